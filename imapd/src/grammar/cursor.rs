//! Reading a command's text from its first octet to its last: the terminals of RFC 3501 section 9.
//!
//! The text is complete and bounded: literals stand in it behind their `{n}` and a CR LF. Like other servers, it takes any
//! number of blanks where the grammar has one, and octets above 127 in quoted strings.

use crate::charset;

/// Why a command's text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyntaxError {
    /// BAD, and why.
    Bad(&'static str),
    /// CREATE with a use that we do not know, or with one that is no attribute: `NO [USEATTR]` (RFC 6154 section 3).
    UnknownUse,
}

/// What reading a part of a command gives.
pub(super) type Parsed<T> = Result<T, SyntaxError>;

pub(super) fn bad<T>(why: &'static str) -> Parsed<T> {
    Err(SyntaxError::Bad(why))
}

/// The octets of an atom.
pub fn is_atom_char(c: u8) -> bool {
    c.is_ascii_graphic() && !matches!(c, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// Those of an unquoted astring: an atom's and `]`.
pub fn is_astring_char(c: u8) -> bool {
    is_atom_char(c) || c == b']'
}

/// Those of an unquoted list-mailbox.
pub(super) fn is_list_char(c: u8) -> bool {
    is_astring_char(c) || matches!(c, b'%' | b'*')
}

/// What name and password of LOGIN may have unquoted: clients that forget to quote are let in elsewhere too.
pub(super) fn is_lax_char(c: u8) -> bool {
    c.is_ascii_graphic() && !matches!(c, b'(' | b')' | b'{' | b'"')
}

/// The NULs in a text.
pub(super) fn count_nuls(text: &[u8]) -> usize {
    memchr::memchr_iter(0, text).count()
}

/// A place in a command's text.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    /// Of the texts that may have NULs in them, how many there were; `None`: no text may.
    nuls: Option<usize>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8]) -> Cursor<'a> {
        Cursor { text, nuls: None }
    }

    /// The charset of texts that follow, which may have NULs in them if its characters do: RFC 3501 section 6.4.4 has any
    /// charset, and a literal is the only way to write such a text.
    pub(super) fn charset(&mut self) -> Parsed<Vec<u8>> {
        let charset = self.astring()?;
        self.nuls = charset::encoding(&charset).is_some_and(charset::is_utf16).then_some(0);
        Ok(charset)
    }

    /// How many NULs were where they may be.
    pub(super) fn nuls(&self) -> usize {
        self.nuls.unwrap_or(0)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.text
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.first().copied()
    }

    /// Goes over one octet if it is this one.
    pub(super) fn eat(&mut self, wanted: u8) -> bool {
        match self.text.split_first() {
            Some((&first, rest)) if first == wanted => {
                self.text = rest;
                true
            }
            _ => false,
        }
    }

    /// The octets from here on that belong to a class; maybe none.
    pub(super) fn run(&mut self, is: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.text.iter().position(|&c| !is(c)).unwrap_or(self.text.len());
        let (run, rest) = self.text.split_at_checked(end).unwrap_or((self.text, b""));
        self.text = rest;
        run
    }

    pub(super) fn blanks(&mut self) {
        self.run(|c| c == b' ');
    }

    /// SP.
    pub(super) fn space(&mut self) -> Parsed<()> {
        match self.run(|c| c == b' ').is_empty() {
            false => Ok(()),
            true if self.text.is_empty() => bad("An argument is missing."),
            true => bad("A space is missing."),
        }
    }

    /// The end of the command.
    pub(super) fn end(&mut self) -> Parsed<()> {
        self.blanks();
        if self.text.is_empty() { Ok(()) } else { bad("Too many arguments.") }
    }

    /// Whether nothing follows but blanks.
    pub(super) fn is_at_end(&self) -> bool {
        self.text.iter().all(|&c| c == b' ')
    }

    pub(super) fn open(&mut self) -> Parsed<()> {
        if self.eat(b'(') {
            self.blanks();
            return Ok(());
        }
        bad("A list is missing.")
    }

    /// Behind an element of a list: whether it was the last one.
    pub(super) fn closes(&mut self) -> Parsed<bool> {
        let before = self.text.len();
        self.blanks();
        if self.eat(b')') {
            return Ok(true);
        }
        match self.peek() {
            None => bad("A list has no end."),
            Some(_) if self.text.len() == before => bad("A space is missing in a list."),
            Some(_) => Ok(false),
        }
    }

    /// A word of the grammar: letters, digits, `.`, `-`, `=`, in capitals. Empty: there is none here.
    pub(super) fn word(&mut self) -> Word {
        Word::new(self.run(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'=' | b'_')))
    }

    /// The word that follows, if it is this one (in capitals).
    pub(super) fn eat_word(&mut self, wanted: &[u8]) -> bool {
        let before = self.text;
        if self.word().is(wanted) {
            return true;
        }
        self.text = before;
        false
    }

    pub(super) fn atom(&mut self) -> Parsed<&'a [u8]> {
        match self.run(is_atom_char) {
            b"" => bad("An atom is missing."),
            atom => Ok(atom),
        }
    }

    /// `string`, or an unquoted one of the octets that `is` takes.
    pub(super) fn string_or(&mut self, is: impl Fn(u8) -> bool) -> Parsed<Vec<u8>> {
        if matches!(self.peek(), Some(b'"' | b'{')) {
            return self.string();
        }
        match self.run(is) {
            b"" if self.text.is_empty() => bad("An argument is missing."),
            b"" => bad("A string is missing."),
            run => Ok(run.to_vec()),
        }
    }

    pub(super) fn astring(&mut self) -> Parsed<Vec<u8>> {
        self.string_or(is_astring_char)
    }

    pub(super) fn mailbox(&mut self) -> Parsed<super::MailboxName> {
        Ok(super::MailboxName::new(&self.astring()?))
    }

    /// `quoted` or `literal`.
    pub(super) fn string(&mut self) -> Parsed<Vec<u8>> {
        if self.eat(b'"') {
            return self.quoted();
        }
        if !self.eat(b'{') {
            return bad("A string is missing.");
        }
        let octets = self.number()?;
        let _ = self.eat(b'+');
        let fits = self.eat(b'}') && self.eat(b'\r') && self.eat(b'\n');
        let octets = usize::try_from(octets).unwrap_or(usize::MAX);
        match self.text.split_at_checked(octets) {
            Some((literal, rest)) if fits => {
                self.text = rest;
                if let Some(nuls) = &mut self.nuls {
                    *nuls += count_nuls(literal);
                }
                Ok(literal.to_vec())
            }
            _ => bad("A literal is not at the end of its line."),
        }
    }

    fn quoted(&mut self) -> Parsed<Vec<u8>> {
        // As much as it needs from the beginning: a string that moves would leave a part of a password behind.
        let mut end = 0usize;
        while let Some(c) = self.text.get(end).filter(|c| **c != b'"') {
            end += if *c == b'\\' { 2 } else { 1 };
        }
        let mut string = Vec::with_capacity(end.min(self.text.len()));
        loop {
            string.extend_from_slice(self.run(|c| !matches!(c, b'"' | b'\\' | b'\r' | b'\n')));
            match self.text.split_first() {
                Some((b'"', rest)) => {
                    self.text = rest;
                    return Ok(string);
                }
                Some((b'\\', [escaped @ (b'"' | b'\\'), rest @ ..])) => {
                    string.push(*escaped);
                    self.text = rest;
                }
                Some((b'\\', _)) => return bad("Only \\ and \" may follow a \\ in a quoted string."),
                _ => return bad("A quoted string has no end."),
            }
        }
    }

    /// `NIL`, or a string.
    pub(super) fn nstring(&mut self) -> Parsed<Option<Vec<u8>>> {
        let string = matches!(self.peek(), Some(b'"' | b'{'));
        let value = self.astring()?;
        Ok(Some(value).filter(|value| string || !value.eq_ignore_ascii_case(b"NIL")))
    }

    /// A number of 64 bits (RFC 3501 `number` has 32).
    pub(super) fn number(&mut self) -> Parsed<u64> {
        let digits = self.run(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return bad("A number is missing.");
        }
        let add = |n: u64, &c: &u8| n.checked_mul(10)?.checked_add(u64::from(c - b'0'));
        digits.iter().try_fold(0u64, add).ok_or(SyntaxError::Bad("A number is too large."))
    }

    pub(super) fn number32(&mut self) -> Parsed<u32> {
        u32::try_from(self.number()?).map_err(|_| SyntaxError::Bad("A number is too large."))
    }

    /// `nz-number`
    pub(super) fn positive(&mut self) -> Parsed<u32> {
        match self.number32()? {
            0 => bad("0 is no number here."),
            n => Ok(n),
        }
    }
}

/// A word of the grammar in capitals. Longer ones than the grammar has are no word at all.
#[derive(Clone, Copy)]
pub(super) struct Word {
    octets: [u8; Word::MAX],
    len: usize,
}

impl Word {
    /// `HEADER.FIELDS.NOT`, `RECURSIVEMATCH` and `ORDEREDSUBJECT` fit.
    const MAX: usize = 20;

    fn new(octets: &[u8]) -> Word {
        let mut word = Word { octets: [0; Word::MAX], len: octets.len() };
        match word.octets.get_mut(..octets.len()) {
            Some(room) => {
                room.copy_from_slice(octets);
                room.make_ascii_uppercase();
            }
            // Something that no keyword is.
            None => (word.octets, word.len) = ([b'?'; Word::MAX], Word::MAX),
        }
        word
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    pub(super) fn is(&self, word: &[u8]) -> bool {
        self.as_bytes() == word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        type Row = (&'static [u8], Result<&'static [u8], &'static str>);
        let rows: [Row; 15] = [
            (b"abc", Ok(b"abc")),
            (b"a]b", Ok(b"a]b")),
            (b"\"a b\"", Ok(b"a b")),
            (b"\"a\\\"\\\\b\"", Ok(b"a\"\\b")),
            (b"\"\xe4\"", Ok(b"\xe4")),
            (b"\"\"", Ok(b"")),
            (b"{3}\r\na\r\n", Ok(b"a\r\n")),
            (b"{0+}\r\n", Ok(b"")),
            (b"", Err("An argument is missing.")),
            (b"(", Err("A string is missing.")),
            (b"\xe4", Err("A string is missing.")),
            (b"\"a", Err("A quoted string has no end.")),
            (b"\"\\n\"", Err("Only \\ and \" may follow a \\ in a quoted string.")),
            (b"{3}abc", Err("A literal is not at the end of its line.")),
            (b"{99999999999999999999}\r\n", Err("A number is too large.")),
        ];
        for (text, want) in rows {
            let mut cursor = Cursor::new(text);
            let got = cursor.astring();
            assert_eq!(got.as_deref(), want.map_err(SyntaxError::Bad).as_ref().copied(), "{text:?}");
            if got.is_ok() {
                assert_eq!(cursor.end(), Ok(()));
            }
        }
        assert_eq!(Cursor::new(b"{4}\r\nabc").string(), bad("A literal is not at the end of its line."));
        assert_eq!(Cursor::new(b"nil").nstring(), Ok(None));
        assert_eq!(Cursor::new(b"\"NIL\"").nstring(), Ok(Some(b"NIL".to_vec())));
    }

    #[test]
    fn words_have_no_case_and_no_length() {
        assert!(Cursor::new(b"header.fields.not x").word().is(b"HEADER.FIELDS.NOT"));
        assert!(!Cursor::new(&[b'a'; 100]).word().is(&[b'A'; 20]));
        let mut cursor = Cursor::new(b"ALLOW");
        assert!(!cursor.eat_word(b"ALL"));
        assert_eq!(cursor.rest(), b"ALLOW");
    }

    #[test]
    fn numbers() {
        assert_eq!(Cursor::new(b"18446744073709551615").number(), Ok(u64::MAX));
        assert_eq!(Cursor::new(b"18446744073709551616").number(), bad("A number is too large."));
        assert_eq!(Cursor::new(b"4294967296").positive(), bad("A number is too large."));
        assert_eq!(Cursor::new(b"00").positive(), bad("0 is no number here."));
        assert_eq!(Cursor::new(b"x").positive(), bad("A number is missing."));
    }
}
