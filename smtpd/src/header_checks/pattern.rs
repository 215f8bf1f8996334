//! Patterns: `*` is any number of octets, `?` is one, `\` takes the next character as it is. Letters of ASCII fit in either case.
//! A pattern is for the whole field.
//!
//! The pattern is the administrator's, what is compared a stranger's: the time is bounded by the product of their lengths.

/// Octets of the longest pattern.
const LENGTH_MAX: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// In lower case.
    Octet(u8),
    One,
    Many,
}

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Piece>);

impl Pattern {
    /// Reads one. Errors: it is a regular expression, or fits no field.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let is_expression = text.starts_with('^')
            || text.ends_with('$') && !text.ends_with("\\$")
            || text.match_indices(".*").any(|(at, _)| !is_number(text, at))
            || text.contains(".+");
        if is_expression {
            return Err(
                "this looks like a regular expression: here * is any text, ? one character, and the \
                        pattern is for the whole field, as in /Subject: *word*/"
                    .to_owned(),
            );
        }
        if text.len() > LENGTH_MAX {
            return Err("the pattern is too long".to_owned());
        }
        let mut pieces = Vec::new();
        let mut octets = text.bytes();
        while let Some(octet) = octets.next() {
            let piece = match octet {
                b'\\' => Piece::Octet(octets.next().ok_or("nothing behind \\")?.to_ascii_lowercase()),
                b'*' => Piece::Many,
                b'?' => Piece::One,
                octet => Piece::Octet(octet.to_ascii_lowercase()),
            };
            if (piece, pieces.last()) != (Piece::Many, Some(&Piece::Many)) {
                pieces.push(piece);
            }
        }
        if !pieces.contains(&Piece::Octet(b':')) {
            return Err("a field has a colon, the pattern has none".to_owned());
        }
        Ok(Pattern(pieces))
    }

    /// Whether it fits.
    pub fn fits(&self, text: &[u8]) -> bool {
        let (mut at, mut piece) = (0, 0);
        // Behind the last `*`, and as far as that one has taken the text.
        let mut retry: Option<(usize, usize)> = None;
        while let Some(octet) = text.get(at) {
            match self.0.get(piece) {
                Some(Piece::Many) => {
                    piece += 1;
                    retry = Some((piece, at));
                }
                Some(Piece::One) => (at, piece) = (at + 1, piece + 1),
                Some(Piece::Octet(wanted)) if *wanted == octet.to_ascii_lowercase() => {
                    (at, piece) = (at + 1, piece + 1);
                }
                _ => match &mut retry {
                    // It takes one octet more.
                    Some((behind, taken)) => {
                        *taken += 1;
                        (at, piece) = (*taken, *behind);
                    }
                    None => return false,
                },
            }
        }
        self.0.get(piece..).unwrap_or_default().iter().all(|rest| *rest == Piece::Many)
    }
}

/// Whether a digit stands before this place: `192.0.2.*` is part of an address. A regular expression has a class or a dot before
/// its `.*`, or words.
fn is_number(text: &str, at: usize) -> bool {
    text.get(..at).is_some_and(|front| front.ends_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("a:b", "A:B", true),
            ("a:b", "a:bc", false),
            ("a:b", "xa:b", false),
            ("a:*", "a:", true),
            ("a:*", "a:anything", true),
            ("*:*", "x:y", true),
            ("*:*", "xy", false),
            ("a:?b", "a:xb", true),
            ("a:?b", "a:b", false),
            ("a:*b*c", "a:xbxxc", true),
            ("a:*b*c", "a:bbcbc", true),
            ("a:*b*c", "a:xcxb", false),
            ("a:**b", "a:b", true),
            ("a:\\*", "a:*", true),
            ("a:\\*", "a:x", false),
            ("a:\\\\", "a:\\", true),
            ("a:ä*", "a:ä", true),
            ("a:x\\$", "a:x$", true),
            ("Received:*192.168.77.*", "Received: from x [192.168.77.9] by y", true),
            ("Received:*192.168.77.*", "Received: from x [192.168.78.9] by y", false),
            ("a:", "", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().fits(text.as_bytes()), fits, "{pattern} {text}");
        }
        for pattern in
            ["^a:", "a:b$", "a:.*", "a:.+x", "nothing", "", "a:\\", &format!("a:{}", "x".repeat(500))]
        {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn the_worst_text_takes_its_product_and_no_more() {
        let pattern = Pattern::parse(&format!("a:{}b", "*a".repeat(240))).unwrap();
        assert!(!pattern.fits(format!("a:{}", "a".repeat(8192)).as_bytes()));
    }

    /// The rule itself, as slow as it is short.
    fn plainly(pieces: &[Piece], text: &[u8]) -> bool {
        match (pieces.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((Piece::Many, behind)), rest) => {
                plainly(behind, text) || rest.is_some_and(|(_, rest)| plainly(pieces, rest))
            }
            (Some((Piece::One, behind)), Some((_, rest))) => plainly(behind, rest),
            (Some((Piece::Octet(wanted), behind)), Some((octet, rest))) => {
                *wanted == octet.to_ascii_lowercase() && plainly(behind, rest)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn as_the_rule_says(pattern in "[ab*?]{0,5}:[ab*?]{0,5}", text in "[aAb:]{0,9}") {
            let pattern = Pattern::parse(&pattern).unwrap();
            prop_assert_eq!(pattern.fits(text.as_bytes()), plainly(&pattern.0, text.as_bytes()));
        }
    }
}
