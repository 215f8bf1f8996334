//! Texts with variables, as Dovecot writes them: `%u`, `%08Xv`, `%Lu`, `%%`.

use super::value::{Text, Value, text};
use std::borrow::Cow;

/// Widest a variable may be asked to be.
const WIDEST: usize = 64;

/// One part of a text with variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text that stands for itself; `%%` is a piece of its own, `%`.
    Literal(&'a str),
    /// A variable and how it is printed.
    Variable(Variable),
}

/// `%`, then `0` and digits, then capital letters, then the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Variable {
    /// Its one-letter name.
    pub name: char,
    /// Number of characters; 0: as many as it has.
    pub width: usize,
    /// Padded with zeros where there are fewer. Without it, and with a width, what there is more is cut off.
    pub zeros: bool,
    /// `X`: as hexadecimal number.
    pub hex: bool,
    /// `L`: in lower case.
    pub lower: bool,
    /// `U`: in upper case.
    pub upper: bool,
}

/// The pieces of a text; `None` where a `%` is followed by something that is no variable.
pub fn pieces(format: &str) -> impl Iterator<Item = Option<Piece<'_>>> {
    let mut rest = format;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(variable) = rest.strip_prefix('%') else {
            let (literal, after) = rest.split_at(rest.find('%').unwrap_or(rest.len()));
            rest = after;
            return Some(Some(Piece::Literal(literal)));
        };
        if let Some(after) = variable.strip_prefix('%') {
            rest = after;
            return Some(Some(Piece::Literal("%")));
        }
        match Variable::read(variable) {
            Some((piece, after)) => {
                rest = after;
                Some(Some(Piece::Variable(piece)))
            }
            None => {
                rest = "";
                Some(None)
            }
        }
    })
}

impl Variable {
    /// Takes everything behind the `%` up to the name.
    fn read(text: &str) -> Option<(Variable, &str)> {
        let mut variable = Variable::default();
        let unpadded = text.strip_prefix('0').inspect(|_| variable.zeros = true).unwrap_or(text);
        let digits = unpadded.find(|c: char| !c.is_ascii_digit())?;
        if digits > 0 {
            variable.width = unpadded[..digits].parse().ok().filter(|&width| width <= WIDEST)?;
        }
        for (at, c) in unpadded[digits..].char_indices() {
            match c {
                'X' => variable.hex = true,
                'L' => variable.lower = true,
                'U' => variable.upper = true,
                'a'..='z' => {
                    variable.name = c;
                    return Some((variable, &unpadded[digits + at + 1..]));
                }
                _ => return None,
            }
        }
        None
    }

    /// A number as this variable prints it.
    pub fn print_number(&self, number: u64) -> String {
        self.print_text(if self.hex { format!("{number:x}") } else { number.to_string() })
    }

    /// A text as this variable prints it.
    pub fn print_text(&self, mut text: String) -> String {
        if self.lower {
            text.make_ascii_lowercase();
        }
        if self.upper {
            text.make_ascii_uppercase();
        }
        match (self.width, self.zeros) {
            (0, _) => text,
            (width, true) => format!("{text:0>width$}"),
            // Dovecot's meaning: "%2u" is the first two characters.
            (width, false) => format!("{text:.width$}"),
        }
    }
}

/// Replaces every variable by what `print` makes of it. The text has been checked when it was configured.
pub fn expand(format: &str, mut print: impl FnMut(Variable) -> String) -> String {
    let mut out = String::with_capacity(format.len());
    for piece in pieces(format).flatten() {
        match piece {
            Piece::Literal(literal) => out.push_str(literal),
            Piece::Variable(variable) => out.push_str(&print(variable)),
        }
    }
    out
}

/// Whether the text is well formed and has no variables but these.
pub(super) fn only_has(format: &str, names: &str) -> bool {
    pieces(format).all(|piece| match piece {
        Some(Piece::Literal(_)) => true,
        Some(Piece::Variable(variable)) => names.contains(variable.name),
        None => false,
    })
}

fn has_variable(format: &str) -> bool {
    pieces(format).any(|piece| matches!(piece, Some(Piece::Variable(_))))
}

macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident: $names:literal, needs one: $needs:literal, $accepted:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(Text);

        impl $name {
            pub(super) const fn new(default: &'static str) -> $name {
                $name(text(default))
            }

            /// The text with its variables, which [`pieces`] and [`expand`] understand.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Value for $name {
            const ACCEPTED: &'static str = $accepted;

            fn read(text: &str) -> Option<$name> {
                let fits = only_has(text, $names) && (!$needs || has_variable(text));
                fits.then(|| $name(Cow::Owned(text.to_owned())))
            }

            fn print(&self) -> String {
                self.as_str().to_owned()
            }
        }
    )*};
}

formats! {
    /// How unique-ids are made.
    UidlFormat: "uvfm", needs one: true, "text with at least one of %u %v %f %m, as in %08Xu%08Xv";
    /// What the log says at the end of a POP3 session.
    LogoutFormat: "iotprbdmsk", needs one: false,
        "text with %i %o (octets in, out), %t %p (TOP), %r %b (RETR), %d %m (deleted, messages), %s %k (octets, deleted octets)";
}

/// What is made of the name that the client sends. What is accepted is the business of the one who does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsernameFormat(Text);

impl UsernameFormat {
    pub(super) const fn new(default: &'static str) -> UsernameFormat {
        UsernameFormat(text(default))
    }

    /// As it was written; parses as a [`crate::auth::username::UsernameFormat`].
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for UsernameFormat {
    const ACCEPTED: &'static str =
        "text with %u (whole name) or %n (before the @), also %d (behind it), as in %Lu";

    fn read(text: &str) -> Option<UsernameFormat> {
        text.parse::<crate::auth::username::UsernameFormat>().ok()?;
        Some(UsernameFormat(Cow::Owned(text.to_owned())))
    }

    fn print(&self) -> String {
        self.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(format: &str) -> String {
        expand(format, |variable| variable.print_number(if variable.name == 'u' { 10 } else { 0xABCD }))
    }

    #[test]
    fn numbers_and_texts_are_as_wide_as_asked() {
        let rows = [
            ("%08Xu%08Xv", "0000000a0000abcd"),
            ("%v.%u", "43981.10"),
            ("%5u|%05u|%Xv|%UXv", "10|00010|abcd|ABCD"),
            ("%1u|%3v|%03v|%2Xv", "1|439|43981|ab"),
            ("100%%", "100%"),
            ("", ""),
        ];
        for (format, want) in rows {
            assert_eq!(numbers(format), want, "{format}");
        }
        assert_eq!(expand("%Lu@%Ud", |v| v.print_text("Ab".to_owned())), "ab@AB");
        assert_eq!(
            expand("%2f|%03f|%04f", |v| v.print_text("\u{e4}bc".to_owned())),
            "\u{e4}b|\u{e4}bc|0\u{e4}bc"
        );
    }

    #[test]
    fn unknown_variables_are_refused() {
        assert!(UidlFormat::read("%f").is_some());
        assert!(LogoutFormat::read("").is_some());
        assert!(LogoutFormat::read("%t%p%r%b%d%m%s%k%i%o").is_some() && LogoutFormat::read("%u").is_none());
        for (format, fits) in
            [("%Lu", true), ("%n@%Ld", true), ("%d", false), ("%08u", false), ("all", false)]
        {
            assert_eq!(UsernameFormat::read(format).is_some(), fits, "{format}");
        }
        for bad in
            ["", "fixed", "%", "%0", "%08X", "%x", "%-8u", "%{uid}", "%999u", "%99999999999999999999u", "%é"]
        {
            assert!(UidlFormat::read(bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(format in "[%0-9XLUuvfmé ]{0,12}") {
            if only_has(&format, "uvfm") {
                numbers(&format);
            }
        }
    }
}
