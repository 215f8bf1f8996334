//! Message flags: as letters in a file name, as bits in memory.
//!
//! File names come from anybody: unknown letters are nobody's flags here, and stay where they are.

use super::name;

/// The flags of one message (RFC 3501 section 2.3.2). `\Recent` is not one of them: it belongs to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags {
    /// [`Flags::SEEN`] and so on.
    pub bits: u8,
    /// Bit i: keyword i of the mailbox, the letter `a` + i in the file name.
    pub keywords: u32,
}

/// Keywords that have a letter.
pub const KEYWORDS: usize = 26;

const LETTERS: [(u8, u8); 6] = [
    (b'D', Flags::DRAFT),
    (b'F', Flags::FLAGGED),
    (b'P', Flags::PASSED),
    (b'R', Flags::ANSWERED),
    (b'S', Flags::SEEN),
    (b'T', Flags::DELETED),
];

impl Flags {
    /// `\Seen`.
    pub const SEEN: u8 = 1;
    /// `\Answered`.
    pub const ANSWERED: u8 = 2;
    /// `\Flagged`.
    pub const FLAGGED: u8 = 4;
    /// `\Deleted`.
    pub const DELETED: u8 = 8;
    /// `\Draft`.
    pub const DRAFT: u8 = 16;
    /// Maildir's `P`, passed on. No IMAP flag; it is kept.
    pub const PASSED: u8 = 32;
    /// Those that IMAP knows.
    pub const ALL: u8 = 31;

    /// What the name of a file says.
    pub fn of_name(file_name: &[u8]) -> Flags {
        Flags::of_letters(name::flags(file_name))
    }

    /// What such letters say.
    pub fn of_letters(letters: &[u8]) -> Flags {
        letters.iter().fold(Flags::default(), |flags, letter| match letter {
            b'a'..=b'z' => Flags { keywords: flags.keywords | 1 << (letter - b'a'), ..flags },
            b'D' => flags.and(Flags::DRAFT),
            b'F' => flags.and(Flags::FLAGGED),
            b'P' => flags.and(Flags::PASSED),
            b'R' => flags.and(Flags::ANSWERED),
            b'S' => flags.and(Flags::SEEN),
            b'T' => flags.and(Flags::DELETED),
            _ => flags,
        })
    }

    fn and(self, bit: u8) -> Flags {
        Flags { bits: self.bits | bit, ..self }
    }

    /// The name of the same file with these flags. Letters that mean nothing here stay; a name that already has these flags
    /// and an info part comes back byte for byte.
    pub fn in_name(self, file_name: &[u8]) -> Vec<u8> {
        let has_info = name::info(file_name).is_some();
        if has_info && Flags::of_name(file_name) == self {
            return file_name.to_vec();
        }
        let old = name::flags(file_name);
        let (stem, rest) = name::around_flags(file_name, old.len());
        let mut renamed =
            Vec::with_capacity(stem.len() + 3 + old.len() + LETTERS.len() + KEYWORDS + rest.len());
        renamed.extend_from_slice(stem);
        renamed.extend_from_slice(b":2,");
        let begins = renamed.len();
        renamed.extend(LETTERS.iter().filter(|(_, bit)| self.bits & bit != 0).map(|&(letter, _)| letter));
        if self.keywords != 0 {
            let keywords = (b'a'..=b'z').zip(0u32..);
            renamed
                .extend(keywords.filter(|(_, bit)| self.keywords & 1 << bit != 0).map(|(letter, _)| letter));
        }
        let unknown =
            |letter: &u8| !letter.is_ascii_lowercase() && LETTERS.iter().all(|(known, _)| known != letter);
        if old.iter().any(unknown) {
            renamed.extend(old.iter().copied().filter(unknown));
            let mut letters = renamed.split_off(begins);
            letters.sort_unstable();
            letters.dedup();
            renamed.extend_from_slice(&letters);
        }
        renamed.extend_from_slice(rest);
        renamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn letters_become_bits_and_back() {
        let flags = Flags::of_name(b"1.a:2,FSTbz");
        assert_eq!(flags.bits, Flags::FLAGGED | Flags::SEEN | Flags::DELETED);
        assert_eq!(flags.keywords, 1 << 1 | 1 << 25);
        assert_eq!(flags.in_name(b"1.a:2,FSTbz"), b"1.a:2,FSTbz");
        assert_eq!(flags.in_name(b"1.a"), b"1.a:2,FSTbz");
        assert_eq!(Flags::default().in_name(b"1.a:2,DFPRSTaXz,ext"), b"1.a:2,X,ext");
        assert_eq!(Flags::default().in_name(b"1.a"), b"1.a:2,");
    }

    proptest! {
        #[test]
        fn any_flags_survive_any_name(
            name in proptest::collection::vec(1u8.., 1..40), bits in 0u8..64, keywords in 0u32..1 << 26,
        ) {
            let flags = Flags { bits, keywords };
            let renamed = flags.in_name(&name);
            prop_assert_eq!(Flags::of_name(&renamed), flags);
            prop_assert_eq!(name::base(&renamed), name::base(&name));
            // The same as by adding and removing letters.
            let (add, remove): (Vec<u8>, Vec<u8>) = (b'A'..=b'z').filter(|letter| {
                letter.is_ascii_lowercase() || LETTERS.iter().any(|(known, _)| known == letter)
            }).partition(|letter| {
                let one = Flags::of_name(&[b":2,", &[*letter][..]].concat());
                flags.bits & one.bits != 0 || flags.keywords & one.keywords != 0
            });
            prop_assert_eq!(renamed, name::with_flags(&name, &add, &remove));
        }
    }
}
