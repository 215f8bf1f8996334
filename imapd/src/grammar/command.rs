//! From a command's text to a [`Command`].

use super::cursor::{
    Cursor, Parsed, SyntaxError, bad, count_nuls, is_astring_char, is_atom_char, is_lax_char, is_list_char,
};
use super::{
    AppendMessage, Command, FetchArguments, FlagList, IdField, ListArguments, MailboxName, SearchArguments,
    SequenceSet, SortArguments, SpecialUse, StatusItems, StoreArguments, TAG_MAX, Tag, ThreadArguments, date,
};
use common::secret::Secret;

/// Pairs of ID at most (RFC 2971 section 3.3).
const ID_PAIRS_MAX: usize = 30;
/// Octets of a field of ID and of its value at most, likewise.
const ID_FIELD_MAX: usize = 30;
const ID_VALUE_MAX: usize = 1024;
/// Names in one ENABLE at most.
const ENABLE_MAX: usize = 100;

/// A command that is refused, with its tag if that could be read.
#[derive(Debug, PartialEq, Eq)]
pub struct BadCommand {
    /// For the completion; without it the refusal is untagged.
    pub tag: Option<Tag>,
    /// Why.
    pub error: SyntaxError,
}

impl Tag {
    /// The tag at the start of a command's text, if there is one.
    pub fn read(text: &[u8]) -> Option<Tag> {
        let tag = Cursor::new(text).run(|c| is_astring_char(c) && c != b'+');
        (1..=TAG_MAX).contains(&tag.len()).then(|| Tag(tag.into()))
    }
}

impl Command {
    /// Reads a complete command: its line without the line end, and in it each literal behind `{n}` and CR LF. Of APPEND the
    /// text ends with the `{n}` of the first message.
    pub fn parse(text: &[u8]) -> Result<(Tag, Command), BadCommand> {
        let Some(tag) = Tag::read(text) else {
            return Err(BadCommand { tag: None, error: SyntaxError::Bad("A tag is missing.") });
        };
        let rest = text.get(tag.as_bytes().len()..).unwrap_or_default();
        if !rest.is_empty() && !rest.starts_with(b" ") {
            return Err(BadCommand { tag: None, error: SyntaxError::Bad("The tag is none.") });
        }
        let mut cursor = Cursor::new(rest);
        let command = parse(&mut cursor);
        // RFC 3501 section 4.3: no NUL anywhere. What was found in spite of them does not count.
        let command = match count_nuls(rest) == cursor.nuls() {
            true => command,
            false => bad("NUL in a command."),
        };
        match command {
            Ok(command) => Ok((tag, command)),
            Err(error) => Err(BadCommand { tag: Some(tag), error }),
        }
    }
}

fn parse(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    if cursor.is_at_end() {
        return bad("A command is missing.");
    }
    cursor.space()?;
    let verb = cursor.word();
    let command = match verb.as_bytes() {
        b"CAPABILITY" => Command::Capability,
        b"NOOP" => Command::Noop,
        b"LOGOUT" => Command::Logout,
        b"STARTTLS" => Command::StartTls,
        b"NAMESPACE" => Command::Namespace,
        b"IDLE" => Command::Idle,
        b"CHECK" => Command::Check,
        b"CLOSE" => Command::Close,
        b"UNSELECT" => Command::Unselect,
        b"EXPUNGE" => Command::Expunge(None),
        verb => {
            cursor.space().map_err(|error| if is_known(verb) { error } else { UNKNOWN })?;
            arguments(verb, cursor)?
        }
    };
    cursor.end()?;
    Ok(command)
}

const UNKNOWN: SyntaxError = SyntaxError::Bad("Unknown command.");

/// Whether it is a command with arguments, so that they are what is missing.
fn is_known(verb: &[u8]) -> bool {
    !matches!(arguments(verb, &mut Cursor::new(b"")), Err(UNKNOWN))
}

fn arguments(verb: &[u8], cursor: &mut Cursor<'_>) -> Parsed<Command> {
    Ok(match verb {
        b"ID" => Command::Id(id(cursor)?),
        b"LOGIN" => login(cursor)?,
        b"AUTHENTICATE" => authenticate(cursor)?,
        b"ENABLE" => Command::Enable(enable(cursor)?),
        b"SELECT" => select(cursor, false)?,
        b"EXAMINE" => select(cursor, true)?,
        b"CREATE" => create(cursor)?,
        b"DELETE" => Command::Delete(cursor.mailbox()?),
        b"RENAME" => {
            let from = cursor.mailbox()?;
            cursor.space()?;
            Command::Rename { from, to: cursor.mailbox()? }
        }
        b"SUBSCRIBE" => Command::Subscribe(cursor.mailbox()?),
        b"UNSUBSCRIBE" => Command::Unsubscribe(cursor.mailbox()?),
        b"LIST" => Command::List(ListArguments::parse(cursor)?),
        b"LSUB" => {
            let reference = cursor.string_or(is_list_char)?;
            cursor.space()?;
            Command::Lsub { reference, pattern: cursor.string_or(is_list_char)? }
        }
        b"STATUS" => {
            let mailbox = cursor.mailbox()?;
            cursor.space()?;
            Command::Status { mailbox, items: StatusItems::parse(cursor)? }
        }
        b"APPEND" => {
            let mailbox = cursor.mailbox()?;
            cursor.space()?;
            Command::Append { mailbox, message: AppendMessage::parse(cursor)? }
        }
        b"UID" => {
            let verb = cursor.word();
            cursor.space()?;
            match verb.as_bytes() {
                b"EXPUNGE" => Command::Expunge(Some(SequenceSet::parse(cursor)?)),
                verb => with_numbers(verb, cursor, true)?,
            }
        }
        verb => with_numbers(verb, cursor, false)?,
    })
}

/// The commands that have a form with UID.
fn with_numbers(verb: &[u8], cursor: &mut Cursor<'_>, uid: bool) -> Parsed<Command> {
    Ok(match verb {
        b"SEARCH" => Command::Search { uid, arguments: SearchArguments::parse(cursor)? },
        b"SORT" => Command::Sort { uid, arguments: SortArguments::parse(cursor)? },
        b"THREAD" => Command::Thread { uid, arguments: ThreadArguments::parse(cursor)? },
        b"FETCH" => Command::Fetch { uid, arguments: FetchArguments::parse(cursor)? },
        b"STORE" => Command::Store { uid, arguments: StoreArguments::parse(cursor)? },
        b"COPY" | b"MOVE" => {
            let messages = SequenceSet::parse(cursor)?;
            cursor.space()?;
            Command::Copy { uid, messages, mailbox: cursor.mailbox()?, and_remove: verb == b"MOVE" }
        }
        _ => return Err(UNKNOWN),
    })
}

fn id(cursor: &mut Cursor<'_>) -> Parsed<Vec<IdField>> {
    let mut pairs = Vec::new();
    if cursor.eat_word(b"NIL") {
        return Ok(pairs);
    }
    cursor.open()?;
    if cursor.eat(b')') {
        return Ok(pairs);
    }
    loop {
        let field = cursor.astring()?;
        cursor.space()?;
        let value = cursor.nstring()?;
        // Too much is passed over: it is only talk.
        if pairs.len() < ID_PAIRS_MAX
            && field.len() <= ID_FIELD_MAX
            && value.as_ref().is_none_or(|value| value.len() <= ID_VALUE_MAX)
        {
            pairs.push((field, value));
        }
        if cursor.closes()? {
            return Ok(pairs);
        }
    }
}

fn login(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let user = cursor.string_or(is_lax_char)?;
    cursor.space()?;
    Ok(Command::Login { user, password: Secret::new(cursor.string_or(is_lax_char)?) })
}

fn authenticate(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let mechanism = cursor.atom()?.to_vec();
    cursor.blanks();
    let initial = match cursor.run(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=')) {
        b"" => None,
        initial => Some(Secret::new(initial.to_vec())),
    };
    Ok(Command::Authenticate { mechanism, initial })
}

fn enable(cursor: &mut Cursor<'_>) -> Parsed<Vec<Box<[u8]>>> {
    let mut names = Vec::new();
    loop {
        if names.len() >= ENABLE_MAX {
            return bad("Too many arguments.");
        }
        names.push(cursor.atom()?.to_ascii_uppercase().into());
        if cursor.is_at_end() {
            return Ok(names);
        }
        cursor.space()?;
    }
}

fn select(cursor: &mut Cursor<'_>, read_only: bool) -> Parsed<Command> {
    let mailbox = cursor.mailbox()?;
    let mut condstore = false;
    if !cursor.is_at_end() {
        cursor.space()?;
        cursor.open()?;
        loop {
            match cursor.word().as_bytes() {
                b"CONDSTORE" => condstore = true,
                _ => return bad("Unknown parameter."),
            }
            if cursor.closes()? {
                break;
            }
        }
    }
    Ok(Command::Select { mailbox, read_only, condstore })
}

fn create(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let mailbox = cursor.mailbox()?;
    let mut special_use = Vec::new();
    if !cursor.is_at_end() {
        cursor.space()?;
        cursor.open()?;
        if !cursor.eat_word(b"USE") {
            return bad("Unknown parameter.");
        }
        cursor.space()?;
        cursor.open()?;
        let mut closed = cursor.eat(b')');
        while !closed {
            let name = cursor.run(|c| is_atom_char(c) || c == b'\\');
            match std::str::from_utf8(name).ok().and_then(SpecialUse::from_attribute) {
                Some(known) if !special_use.contains(&known) => special_use.push(known),
                Some(_) => {}
                None => return Err(SyntaxError::UnknownUse),
            }
            closed = cursor.closes()?;
        }
        if !cursor.closes()? {
            return bad("Unknown parameter.");
        }
    }
    Ok(Command::Create { mailbox, special_use })
}

impl AppendMessage {
    /// `[flag-list SP] [date-time SP] {n}`, and nothing behind it.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<AppendMessage> {
        let mut flags = FlagList::default();
        if cursor.peek() == Some(b'(') {
            flags = FlagList::parse_list(cursor)?;
            cursor.space()?;
        }
        let mut internal_date = None;
        if cursor.peek() == Some(b'"') {
            let text = cursor.string()?;
            internal_date = match date::date_time(&text) {
                Some(date) => Some(date),
                None => return bad("The date is none."),
            };
            cursor.space()?;
        }
        let literal = LiteralHeader::at_end(cursor.rest());
        match literal {
            // Nothing stands before it, not even the ~ of a literal8 (RFC 3516).
            Some(literal) if literal.begins == 0 => {
                cursor.run(|_| true);
                Ok(AppendMessage { flags, internal_date, octets: literal.octets, waits: literal.waits })
            }
            _ => bad("The message is no literal."),
        }
    }
}

impl AppendMessage {
    /// The line behind a message: `None` is the end of the command.
    pub(super) fn behind(line: &[u8]) -> Parsed<Option<AppendMessage>> {
        let mut cursor = Cursor::new(line);
        if cursor.is_at_end() {
            return Ok(None);
        }
        if line.contains(&0) {
            return bad("NUL in a command.");
        }
        cursor.space()?;
        AppendMessage::parse(&mut cursor).map(Some)
    }
}

/// The `{n}` at the end of a line (RFC 3501 section 4.3), or `{n+}` (RFC 7888).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiteralHeader {
    /// Octets that follow behind the line; too many for 64 bits are as many as fit.
    pub octets: u64,
    /// Whether the client waits for us before it sends them.
    pub waits: bool,
    /// Where in the line it begins.
    pub begins: usize,
}

impl LiteralHeader {
    /// The one at the end of a line, if it ends in one. Also of `~{n}`: its octets follow as well.
    pub fn at_end(line: &[u8]) -> Option<LiteralHeader> {
        let inner = line.strip_suffix(b"}")?;
        let (inner, waits) = inner.strip_suffix(b"+").map_or((inner, true), |inner| (inner, false));
        let digits = inner.iter().rev().take_while(|c| c.is_ascii_digit()).count();
        let begins = inner.len().checked_sub(digits + 1)?;
        let (Some(b'{'), 1..) = (inner.get(begins), digits) else { return None };
        let add = |n: u64, &c: &u8| n.saturating_mul(10).saturating_add(u64::from(c.wrapping_sub(b'0')));
        let octets = inner.get(begins + 1..)?.iter().fold(0, add);
        Some(LiteralHeader { octets, waits, begins })
    }

    /// Whether it announces a message of APPEND: all literals of that command do but one that stands for the mailbox.
    /// `text` is the command so far, its last line ending in this.
    pub fn is_message(text: &[u8]) -> bool {
        let Some(tag) = Tag::read(text) else { return false };
        let mut cursor = Cursor::new(text.get(tag.as_bytes().len()..).unwrap_or_default());
        cursor.blanks();
        if !cursor.eat_word(b"APPEND") {
            return false;
        }
        cursor.blanks();
        // A first argument that is the literal at the end itself cannot be read, since its octets are not there yet.
        cursor.mailbox().is_ok()
    }
}

impl MailboxName {
    /// For tests and for names that the settings have.
    pub fn of(name: &str) -> MailboxName {
        MailboxName::new(name.as_bytes())
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
