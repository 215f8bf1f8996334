//! What SEARCH, SORT and THREAD look for (RFC 3501 section 6.4.4, RFC 4731, RFC 5032, RFC 5256, RFC 5957, RFC 7162).

use super::cursor::{Cursor, Parsed, bad, is_astring_char};
use super::{Date, SequenceSet, bits};

/// Levels of nested keys at most (DESIGN.md section 8).
pub const DEPTH_MAX: usize = 100;
/// Keys in one command at most.
pub const KEYS_MAX: usize = 1000;

/// The arguments of SEARCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchArguments {
    /// RFC 4731: what to answer with ESEARCH; `None`: the old answer. `RETURN ()` means ALL and is spelt so.
    pub returns: Option<SearchReturn>,
    /// The charset of the texts in the key, as it was sent; `None`: US-ASCII.
    pub charset: Option<Vec<u8>>,
    /// What is looked for.
    pub key: SearchKey,
}

/// Result options of RFC 4731.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SearchReturn {
    /// `MIN`
    pub min: bool,
    /// `MAX`
    pub max: bool,
    /// `ALL`
    pub all: bool,
    /// `COUNT`
    pub count: bool,
}

/// What is looked for. Texts are octets in the charset of the command, as they were sent; an empty one matches
/// everything that has the field. At most [`KEYS_MAX`] keys in all, nested at most [`DEPTH_MAX`] deep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchKey {
    /// `ALL`
    All,
    /// `SEEN`, `UNSEEN`, ... `RECENT`, `OLD`: one of [`super::bits`] is set or not. (`NEW` is two of them.)
    #[allow(missing_docs)]
    Flag { bit: u8, set: bool },
    /// `KEYWORD`, `UNKEYWORD`. Keywords have no case.
    #[allow(missing_docs)]
    Keyword { name: Box<str>, set: bool },
    /// Message sequence numbers.
    Messages(SequenceSet),
    /// `UID`
    Uids(SequenceSet),
    /// `FROM`
    From(Vec<u8>),
    /// `TO`
    To(Vec<u8>),
    /// `CC`
    Cc(Vec<u8>),
    /// `BCC`
    Bcc(Vec<u8>),
    /// `SUBJECT`
    Subject(Vec<u8>),
    /// `HEADER name text`
    #[allow(missing_docs)]
    Header { name: Vec<u8>, text: Vec<u8> },
    /// `BODY`
    Body(Vec<u8>),
    /// `TEXT`
    Text(Vec<u8>),
    /// `LARGER`: more octets than this.
    Larger(u64),
    /// `SMALLER`: fewer octets than this.
    Smaller(u64),
    /// `BEFORE`: the internal date.
    Before(Date),
    /// `ON`
    On(Date),
    /// `SINCE`
    Since(Date),
    /// `SENTBEFORE`: the Date: header, in its own time zone.
    SentBefore(Date),
    /// `SENTON`
    SentOn(Date),
    /// `SENTSINCE`
    SentSince(Date),
    /// `OLDER`: the internal date is so many seconds ago or more (RFC 5032).
    Older(u32),
    /// `YOUNGER`: the internal date is so many seconds ago or less.
    Younger(u32),
    /// `MODSEQ`: this modification sequence or a greater one (RFC 7162 3.1.5); what entry it is of makes no difference here.
    ModSeq(u64),
    /// All of them; at least one.
    And(Vec<SearchKey>),
    /// `OR`: one of the two.
    Or(Box<(SearchKey, SearchKey)>),
    /// `NOT`
    Not(Box<SearchKey>),
}

/// The arguments of SORT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortArguments {
    /// By what, the most important first; each kind at most once, since a second time it decides nothing.
    pub criteria: Vec<SortCriterion>,
    /// The charset of the texts in the key, as it was sent.
    pub charset: Vec<u8>,
    /// Which messages.
    pub key: SearchKey,
}

/// One criterion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortCriterion {
    /// Largest first.
    pub reverse: bool,
    /// By what.
    pub key: SortKey,
}

/// What messages are sorted by (RFC 5256 section 3, RFC 5957).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// `ARRIVAL`: the internal date.
    Arrival,
    /// `CC`
    Cc,
    /// `DATE`: the Date: header.
    Date,
    /// `FROM`
    From,
    /// `SIZE`
    Size,
    /// `SUBJECT`: the base subject.
    Subject,
    /// `TO`
    To,
    /// `DISPLAYFROM`
    DisplayFrom,
    /// `DISPLAYTO`
    DisplayTo,
}

/// The arguments of THREAD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadArguments {
    /// How.
    pub algorithm: ThreadAlgorithm,
    /// The charset of the texts in the key, as it was sent.
    pub charset: Vec<u8>,
    /// Which messages.
    pub key: SearchKey,
}

/// How messages are threaded (RFC 5256 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadAlgorithm {
    /// `ORDEREDSUBJECT`
    OrderedSubject,
    /// `REFERENCES`
    References,
    /// `REFS`: references alone, threads by their latest message.
    Refs,
}

impl SearchArguments {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<SearchArguments> {
        let mut returns = None;
        if cursor.eat_word(b"RETURN") {
            cursor.space()?;
            returns = Some(SearchReturn::parse(cursor)?);
            cursor.space()?;
        }
        let mut charset = None;
        if cursor.eat_word(b"CHARSET") {
            cursor.space()?;
            charset = Some(cursor.charset()?);
            cursor.space()?;
        }
        Ok(SearchArguments { returns, charset, key: SearchKey::parse(cursor)? })
    }
}

impl SearchReturn {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<SearchReturn> {
        let mut returns = SearchReturn::default();
        cursor.open()?;
        if cursor.eat(b')') {
            return Ok(SearchReturn { all: true, ..returns });
        }
        loop {
            match cursor.word().as_bytes() {
                b"MIN" => returns.min = true,
                b"MAX" => returns.max = true,
                b"ALL" => returns.all = true,
                b"COUNT" => returns.count = true,
                _ => return bad("Unknown result option."),
            }
            if cursor.closes()? {
                return Ok(returns);
            }
        }
    }
}

impl SortArguments {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<SortArguments> {
        let mut criteria: Vec<SortCriterion> = Vec::new();
        cursor.open()?;
        loop {
            let reverse = cursor.eat_word(b"REVERSE");
            if reverse {
                cursor.space()?;
            }
            let key = match cursor.word().as_bytes() {
                b"ARRIVAL" => SortKey::Arrival,
                b"CC" => SortKey::Cc,
                b"DATE" => SortKey::Date,
                b"FROM" => SortKey::From,
                b"SIZE" => SortKey::Size,
                b"SUBJECT" => SortKey::Subject,
                b"TO" => SortKey::To,
                b"DISPLAYFROM" => SortKey::DisplayFrom,
                b"DISPLAYTO" => SortKey::DisplayTo,
                _ => return bad("Unknown sort criterion."),
            };
            if !criteria.iter().any(|known| known.key == key) {
                criteria.push(SortCriterion { reverse, key });
            }
            if cursor.closes()? {
                break;
            }
        }
        cursor.space()?;
        let charset = cursor.charset()?;
        cursor.space()?;
        Ok(SortArguments { criteria, charset, key: SearchKey::parse(cursor)? })
    }
}

impl ThreadArguments {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<ThreadArguments> {
        let algorithm = match cursor.word().as_bytes() {
            b"ORDEREDSUBJECT" => ThreadAlgorithm::OrderedSubject,
            b"REFERENCES" => ThreadAlgorithm::References,
            b"REFS" => ThreadAlgorithm::Refs,
            _ => return bad("Unknown thread algorithm."),
        };
        cursor.space()?;
        let charset = cursor.charset()?;
        cursor.space()?;
        Ok(ThreadArguments { algorithm, charset, key: SearchKey::parse(cursor)? })
    }
}

/// A key whose end has not been read yet.
enum Open {
    /// The keys of the command, or with `(` those in parentheses.
    And(Vec<SearchKey>),
    Or,
    OrWith(SearchKey),
    Not,
}

impl SearchKey {
    /// All keys to the end of the command, which are one by AND. What nests is kept on a stack of our own.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
        let mut open = vec![Open::And(Vec::new())];
        let mut keys = 0usize;
        loop {
            keys += 1;
            if keys > KEYS_MAX {
                return bad("Too many search keys.");
            }
            // The command itself is no level.
            if open.len() > DEPTH_MAX + 1 {
                return bad("Search keys are nested too deep.");
            }
            if cursor.eat(b'(') {
                cursor.blanks();
                open.push(Open::And(Vec::new()));
                continue;
            }
            if cursor.eat_word(b"NOT") {
                cursor.space()?;
                open.push(Open::Not);
                continue;
            }
            if cursor.eat_word(b"OR") {
                cursor.space()?;
                open.push(Open::Or);
                continue;
            }
            let mut done = simple(cursor)?;
            // What this key completes, and what that completes.
            loop {
                match open.pop() {
                    Some(Open::Not) => done = SearchKey::Not(Box::new(done)),
                    Some(Open::OrWith(first)) => done = SearchKey::Or(Box::new((first, done))),
                    Some(Open::Or) => {
                        cursor.space()?;
                        open.push(Open::OrWith(done));
                        break;
                    }
                    Some(Open::And(mut all)) => {
                        all.push(done);
                        let inner = !open.is_empty();
                        if inner && cursor.closes()? {
                            done = one(all);
                            continue;
                        }
                        if !inner {
                            if cursor.is_at_end() {
                                return Ok(one(all));
                            }
                            cursor.space()?;
                        }
                        open.push(Open::And(all));
                        break;
                    }
                    None => return bad("A parenthesis too many."),
                }
            }
        }
    }
}

/// One key of several.
fn one(mut all: Vec<SearchKey>) -> SearchKey {
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => only,
        (Some(last), false) => {
            all.push(last);
            SearchKey::And(all)
        }
        (None, _) => SearchKey::All,
    }
}

/// A key that holds no other.
fn simple(cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
    if cursor.peek().is_some_and(|c| c.is_ascii_digit() || c == b'*') {
        return Ok(SearchKey::Messages(SequenceSet::parse(cursor)?));
    }
    let flag = |bit, set| Ok(SearchKey::Flag { bit, set });
    let word = cursor.word();
    match word.as_bytes() {
        b"" if cursor.is_at_end() => return bad("A search key is missing."),
        b"ALL" => return Ok(SearchKey::All),
        b"ANSWERED" => return flag(bits::ANSWERED, true),
        b"UNANSWERED" => return flag(bits::ANSWERED, false),
        b"DELETED" => return flag(bits::DELETED, true),
        b"UNDELETED" => return flag(bits::DELETED, false),
        b"DRAFT" => return flag(bits::DRAFT, true),
        b"UNDRAFT" => return flag(bits::DRAFT, false),
        b"FLAGGED" => return flag(bits::FLAGGED, true),
        b"UNFLAGGED" => return flag(bits::FLAGGED, false),
        b"SEEN" => return flag(bits::SEEN, true),
        b"UNSEEN" => return flag(bits::SEEN, false),
        b"RECENT" => return flag(bits::RECENT, true),
        b"OLD" => return flag(bits::RECENT, false),
        b"NEW" => {
            let (recent, unseen) = (flag(bits::RECENT, true)?, flag(bits::SEEN, false)?);
            return Ok(SearchKey::And(vec![recent, unseen]));
        }
        _ => {}
    }
    if !HAS_ARGUMENT.contains(&word.as_bytes()) {
        return bad("Unknown search key.");
    }
    cursor.space()?;
    Ok(match word.as_bytes() {
        b"KEYWORD" => SearchKey::Keyword { name: keyword(cursor)?, set: true },
        b"UNKEYWORD" => SearchKey::Keyword { name: keyword(cursor)?, set: false },
        b"UID" => SearchKey::Uids(SequenceSet::parse(cursor)?),
        b"FROM" => SearchKey::From(cursor.astring()?),
        b"TO" => SearchKey::To(cursor.astring()?),
        b"CC" => SearchKey::Cc(cursor.astring()?),
        b"BCC" => SearchKey::Bcc(cursor.astring()?),
        b"SUBJECT" => SearchKey::Subject(cursor.astring()?),
        b"BODY" => SearchKey::Body(cursor.astring()?),
        b"TEXT" => SearchKey::Text(cursor.astring()?),
        b"HEADER" => {
            let name = cursor.astring()?;
            cursor.space()?;
            SearchKey::Header { name, text: cursor.astring()? }
        }
        b"LARGER" => SearchKey::Larger(cursor.number()?),
        b"SMALLER" => SearchKey::Smaller(cursor.number()?),
        b"BEFORE" => SearchKey::Before(Date::parse(cursor)?),
        b"ON" => SearchKey::On(Date::parse(cursor)?),
        b"SINCE" => SearchKey::Since(Date::parse(cursor)?),
        b"SENTBEFORE" => SearchKey::SentBefore(Date::parse(cursor)?),
        b"SENTON" => SearchKey::SentOn(Date::parse(cursor)?),
        b"SENTSINCE" => SearchKey::SentSince(Date::parse(cursor)?),
        b"OLDER" => SearchKey::Older(cursor.positive()?),
        b"YOUNGER" => SearchKey::Younger(cursor.positive()?),
        _ => {
            // RFC 7162 section 3.1.5: the entry and whose it is say nothing that we keep apart.
            if cursor.peek() == Some(b'"') {
                cursor.string()?;
                cursor.space()?;
                if !matches!(cursor.word().as_bytes(), b"PRIV" | b"SHARED" | b"ALL") {
                    return bad("Unknown type of a metadata item.");
                }
                cursor.space()?;
            }
            SearchKey::ModSeq(cursor.number()?)
        }
    })
}

const HAS_ARGUMENT: [&[u8]; 22] = [
    b"KEYWORD",
    b"UNKEYWORD",
    b"UID",
    b"FROM",
    b"TO",
    b"CC",
    b"BCC",
    b"SUBJECT",
    b"BODY",
    b"TEXT",
    b"HEADER",
    b"LARGER",
    b"SMALLER",
    b"BEFORE",
    b"ON",
    b"SINCE",
    b"SENTBEFORE",
    b"SENTON",
    b"SENTSINCE",
    b"OLDER",
    b"YOUNGER",
    b"MODSEQ",
];

fn keyword(cursor: &mut Cursor<'_>) -> Parsed<Box<str>> {
    match std::str::from_utf8(cursor.run(is_astring_char)) {
        Ok(name) if !name.is_empty() => Ok(name.into()),
        _ => bad("A keyword is missing."),
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
