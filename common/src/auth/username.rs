//! User names as clients give them, and the name that is looked up. Hostile input.
//!
//! Names and meanings of the settings are Dovecot's: `auth_username_chars`, `auth_username_format`,
//! `auth_master_user_separator`.

use std::fmt;
use std::str::FromStr;

/// Longest name, in octets: longer than any mail address that can be delivered to (RFC 5321 4.5.3.1.3).
pub const MAX_NAME: usize = 255;

/// The characters Dovecot allows in a name by default.
pub const DEFAULT_CHARS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@";

/// Why a name is refused. Such a name exists nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// Nothing in it, or nothing left of it.
    Empty,
    /// More than [`MAX_NAME`] octets.
    TooLong,
    /// A character that `auth_username_chars` does not have, a control character, a `:`, or not UTF-8.
    Character,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameError::Empty => "empty user name",
            NameError::TooLong => "user name is too long",
            NameError::Character => "user name has a character that auth_username_chars does not allow",
        })
    }
}

/// The settings about names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsernameRules {
    /// `auth_username_chars`: what a name may consist of. Empty: everything but control characters and `:`.
    pub chars: String,
    /// `auth_username_format`.
    pub format: UsernameFormat,
    /// `auth_master_user_separator`: what stands between user and master in `user*master`.
    pub master_separator: Option<char>,
}

impl Default for UsernameRules {
    fn default() -> UsernameRules {
        let format = UsernameFormat(vec![Piece::Name(Part::Whole, Letters::Lower)]);
        UsernameRules { chars: DEFAULT_CHARS.to_owned(), format, master_separator: None }
    }
}

/// A name that was checked and formatted: safe to print, to compare with the first field of a line, and as `%u`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl UsernameRules {
    /// Checks and formats a name.
    pub fn normalise(&self, raw: &[u8]) -> Result<Username, NameError> {
        self.format.apply(self.check(raw)?)
    }

    /// Takes `user*master` apart where a separator is set: the user and, if there was one, the master. The first
    /// separator counts, as in Dovecot.
    pub fn split_master<'a>(&self, raw: &'a [u8]) -> (&'a [u8], Option<&'a [u8]>) {
        let mut utf8 = [0; 4];
        let separator = self.master_separator.map(|separator| &*separator.encode_utf8(&mut utf8));
        let split = separator
            .zip(std::str::from_utf8(raw).ok())
            .and_then(|(separator, text)| text.split_once(separator));
        split.map_or((raw, None), |(user, master)| (user.as_bytes(), Some(master.as_bytes())))
    }

    fn check<'a>(&self, raw: &'a [u8]) -> Result<&'a str, NameError> {
        if raw.is_empty() {
            return Err(NameError::Empty);
        }
        if raw.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        let name = std::str::from_utf8(raw).map_err(|_| NameError::Character)?;
        // `:` separates the fields of every file a name is looked for in.
        let allowed =
            |c: char| !c.is_control() && c != ':' && (self.chars.is_empty() || self.chars.contains(c));
        if name.chars().all(allowed) { Ok(name) } else { Err(NameError::Character) }
    }
}

/// `auth_username_format`, taken apart: text with `%u` (the name), `%n` (what is before its `@`), `%d` (what is
/// behind), each with `L` (lower case) or `U` (upper case, ASCII only) in between, and `%%`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsernameFormat(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name(Part, Letters),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Local,
    Domain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letters {
    Same,
    Lower,
    Upper,
}

impl FromStr for UsernameFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<UsernameFormat, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                literal.push(c);
                continue;
            }
            let mut letters = Letters::Same;
            let part = loop {
                match chars.next() {
                    Some('L') => letters = Letters::Lower,
                    Some('U') => letters = Letters::Upper,
                    Some('u') => break Some(Part::Whole),
                    Some('n') => break Some(Part::Local),
                    Some('d') => break Some(Part::Domain),
                    Some('%') if letters == Letters::Same => break None,
                    Some(other) => return Err(format!("unknown variable %{other}")),
                    None => return Err("% at the end".to_owned()),
                }
            };
            match part {
                None => literal.push('%'),
                Some(part) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Name(part, letters));
                }
            }
        }
        if !pieces.iter().any(|piece| matches!(piece, Piece::Name(Part::Whole | Part::Local, _))) {
            return Err("every user would get the same name: neither %u nor %n".to_owned());
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(UsernameFormat(pieces))
    }
}

impl UsernameFormat {
    fn apply(&self, name: &str) -> Result<Username, NameError> {
        let (local, domain) = name.split_once('@').unwrap_or((name, ""));
        let mut result = String::with_capacity(name.len());
        for piece in &self.0 {
            let (part, letters) = match piece {
                Piece::Text(text) => (text.as_str(), Letters::Same),
                Piece::Name(Part::Whole, letters) => (name, *letters),
                Piece::Name(Part::Local, letters) => (local, *letters),
                Piece::Name(Part::Domain, letters) => (domain, *letters),
            };
            match letters {
                Letters::Same => result.push_str(part),
                Letters::Lower => result.push_str(&part.to_ascii_lowercase()),
                Letters::Upper => result.push_str(&part.to_ascii_uppercase()),
            }
        }
        match result.len() {
            0 => Err(NameError::Empty),
            1..=MAX_NAME => Ok(Username(result)),
            _ => Err(NameError::TooLong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(format: &str) -> UsernameRules {
        UsernameRules { format: format.parse().unwrap(), ..UsernameRules::default() }
    }

    #[test]
    fn formats() {
        for (format, raw, expected) in [
            ("%Lu", "Anna@Example.ORG", Some("anna@example.org")),
            ("%u", "Anna@Example.ORG", Some("Anna@Example.ORG")),
            ("%n", "Anna@Example.ORG", Some("Anna")),
            ("%Ln", "Anna@Example.ORG", Some("anna")),
            ("%Ln", "Anna", Some("anna")),
            ("%Un", "anna", Some("ANNA")),
            ("%n@%Ld", "Anna@Example.ORG", Some("Anna@example.org")),
            ("%Ld.%Ln", "Anna@Example.ORG", Some("example.org.anna")),
            ("x%%%u", "a", Some("x%a")),
            ("%n", "@example.org", None),
            ("%n", "a@b@c", Some("a")),
        ] {
            let name = rules(format).normalise(raw.as_bytes());
            assert_eq!(name.ok().as_ref().map(Username::as_str), expected, "{format} {raw}");
        }
        for wrong in ["", "all", "%d", "%", "%L", "%x", "%L%"] {
            assert!(wrong.parse::<UsernameFormat>().is_err(), "{wrong}");
        }
        assert_eq!(rules("%Lu"), UsernameRules::default());
    }

    #[test]
    fn names_that_are_refused() {
        let rules = UsernameRules::default();
        for (raw, error) in [
            (&b""[..], NameError::Empty),
            (b"an na", NameError::Character),
            (b"anna\0", NameError::Character),
            (b"anna\n", NameError::Character),
            (b"../etc", NameError::Character),
            (b"a:b", NameError::Character),
            (b"a*b", NameError::Character),
            ("\u{e4}".as_bytes(), NameError::Character),
            (b"\xff", NameError::Character),
            (&[b'a'; 256], NameError::TooLong),
        ] {
            assert_eq!(rules.normalise(raw), Err(error));
        }
        assert!(rules.normalise(&[b'a'; 255]).is_ok());
        let all = UsernameRules { chars: String::new(), ..rules };
        assert_eq!(all.normalise("\u{c4}nna B".as_bytes()).unwrap().as_str(), "\u{c4}nna b");
        for raw in [&b"a:b"[..], b"a\x7fb", b"a\0b", b"\xc2\x85"] {
            assert_eq!(all.normalise(raw), Err(NameError::Character));
        }
    }

    #[test]
    fn masters() {
        let mut rules = UsernameRules::default();
        assert_eq!(rules.split_master(b"anna*boss"), (&b"anna*boss"[..], None));
        rules.master_separator = Some('*');
        assert_eq!(rules.split_master(b"anna*boss"), (&b"anna"[..], Some(&b"boss"[..])));
        assert_eq!(rules.split_master(b"anna*boss*x"), (&b"anna"[..], Some(&b"boss*x"[..])));
        assert_eq!(rules.split_master(b"anna"), (&b"anna"[..], None));
        assert_eq!(rules.split_master(b"*"), (&b""[..], Some(&b""[..])));
    }

    proptest! {
        #[test]
        fn no_name_panics(raw: Vec<u8>, format in "[%Lundx@]{0,8}") {
            let all = UsernameRules { chars: String::new(), ..UsernameRules::default() };
            if let Ok(name) = all.normalise(&raw) {
                prop_assert_eq!(all.normalise(name.as_str().as_bytes()), Ok(name.clone()));
                prop_assert!(!name.as_str().contains(['\0', '\n', '\r', ':']));
            }
            if let Ok(format) = format.parse() {
                let _ = UsernameRules { format, ..all }.normalise(&raw);
            }
        }
    }
}
