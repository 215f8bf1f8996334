//! Texts as they are compared: the collation i;unicode-casemap (RFC 5051), which SEARCH, SORT and THREAD use (RFC 5256
//! section 1, I18NLEVEL=1 of RFC 5255).
//!
//! A text is folded once; then octets are compared. Folding replaces a character by its capital letter where that is one
//! character, decomposes it fully, and puts what comes out into capitals again: one step more than RFC 5051, which leaves the
//! small letters of a ligature small. So "ﬁne" is found by FINE, and "café" by "cafe" as well as by "CAFÉ". Texts are
//! strangers'; every text has a folded form.

mod table;

/// Hangul syllables are decomposed by counting (Unicode 3.12).
const HANGUL: std::ops::RangeInclusive<u32> = 0xAC00..=0xD7A3;

/// Writes the folded form of `text` to the end of `out`, in UTF-8.
pub fn fold(text: &str, out: &mut Vec<u8>) {
    if text.is_ascii() {
        return fold_ascii(text.as_bytes(), out);
    }
    let mut rest = text;
    while !rest.is_empty() {
        let ascii = rest.bytes().position(|octet| !octet.is_ascii()).unwrap_or(rest.len());
        let (plain, others) = rest.split_at_checked(ascii).unwrap_or((rest, ""));
        fold_ascii(plain.as_bytes(), out);
        let mut chars = others.chars();
        rest = loop {
            let before = chars.as_str();
            match chars.next() {
                Some(char) if !char.is_ascii() => fold_char(char, out),
                _ => break before,
            }
        };
    }
}

/// The same for what is known to be ASCII, eight octets at a time: whole messages go through here.
pub fn fold_ascii(ascii: &[u8], out: &mut Vec<u8>) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let from = out.len();
    out.resize(from + ascii.len(), 0);
    let mut room = out.get_mut(from..).unwrap_or_default().chunks_exact_mut(8);
    let mut words = ascii.chunks_exact(8);
    for (to, word) in (&mut room).zip(&mut words) {
        let Some(word) = word.first_chunk() else { return };
        let word = u64::from_le_bytes(*word);
        // The highest bit of each octet: whether it is `a` or above, and above `z`. ASCII leaves it free.
        let from_a = word.wrapping_add(ONES * u64::from(0x80 - b'a'));
        let behind_z = word.wrapping_add(ONES * u64::from(0x7F - b'z'));
        let small = (from_a & !behind_z) & (ONES * 0x80);
        if let Some(to) = to.first_chunk_mut() {
            *to = (word ^ small >> 2).to_le_bytes();
        }
    }
    let rest = words.remainder();
    for (to, octet) in room.into_remainder().iter_mut().zip(rest) {
        *to = octet.to_ascii_uppercase();
    }
}

/// The folded form of `text` by itself.
pub fn folded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    fold(text, &mut out);
    out
}

fn fold_char(char: char, out: &mut Vec<u8>) {
    let char = capital(char);
    let code = u32::from(char);
    if HANGUL.contains(&code) {
        let index = code - HANGUL.start();
        for jamo in [0x1100 + index / 588, 0x1161 + index % 588 / 28, 0x11A7 + index % 28] {
            // The last one counts from the place before the first trailing consonant: there is none.
            if jamo != 0x11A7 {
                push(jamo, out);
            }
        }
        return;
    }
    // The entry at or before it. Entries are sorted by the low 21 bits.
    let at = table::KEYS.partition_point(|key| key & 0x1F_FFFF <= code);
    let entry = at.checked_sub(1).and_then(|at| Some((*table::KEYS.get(at)?, *table::VALUES.get(at)?)));
    let Some((key, value)) = entry else { return push(code, out) };
    let (offset, run) = (code - (key & 0x1F_FFFF), key >> 21);
    if offset < run {
        push(u32::from(value) + offset, out);
    } else if run == 0 && offset == 0 {
        let text = table::TEXTS.get(usize::from(value)..).unwrap_or_default();
        let (length, text) = text.split_first().unwrap_or((&0, &[]));
        out.extend_from_slice(text.get(..usize::from(*length)).unwrap_or_default());
    } else {
        push(code, out);
    }
}

fn push(code: u32, out: &mut Vec<u8>) {
    let char = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The capital letter, where it is one character (RFC 5051 knows no other mappings).
fn capital(char: char) -> char {
    let mut upper = char.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => upper,
        _ => char,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> String {
        String::from_utf8(folded(text)).unwrap()
    }

    #[test]
    fn characters() {
        for (from, to) in [
            ("", ""),
            ("Hello, World", "HELLO, WORLD"),
            ("caf\u{e9}", "CAFE\u{301}"),
            ("CAFE\u{301}", "CAFE\u{301}"),
            ("Stra\u{df}e", "STRA\u{df}E"),
            ("\u{c5}ngstr\u{f6}m \u{212b}", "A\u{30a}NGSTRO\u{308}M A\u{30a}"),
            ("\u{fb01}ne", "FINE"),
            ("\u{3c3}\u{3c2}\u{3a3}", "\u{3a3}\u{3a3}\u{3a3}"),
            ("\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}", "\u{41f}\u{420}\u{418}\u{412}\u{415}\u{422}"),
            ("\u{439}", "\u{418}\u{306}"),
            ("\u{131}\u{17f}\u{212a}", "ISK"),
            ("\u{ff41}\u{ff42}\u{ff21}", "ABA"),
            ("\u{1d4d5}\u{1d4fb}\u{1d4ee}\u{1d4ee}", "FREE"),
            ("\u{1c4}\u{1c5}\u{1c6}", "DZ\u{30c}DZ\u{30c}DZ\u{30c}"),
            ("a\u{a0}b", "A B"),
            ("\u{bd}", "1\u{2044}2"),
            ("\u{ac00}\u{ac01}\u{d7a3}", "\u{1100}\u{1161}\u{1100}\u{1161}\u{11a8}\u{1112}\u{1175}\u{11c2}"),
            ("\u{f900}\u{2f800}", "\u{8c48}\u{4e3d}"),
            ("\u{65e5}\u{672c} x \u{1f600}y", "\u{65e5}\u{672c} X \u{1f600}Y"),
        ] {
            assert_eq!(text(from), to, "{from}");
        }
    }

    #[test]
    fn the_table_is_in_order() {
        let mut next = 0;
        for (key, value) in table::KEYS.iter().zip(table::VALUES) {
            let (code, run) = (key & 0x1F_FFFF, key >> 21);
            assert!(code >= next, "{code:x}");
            next = code + run.max(1);
            if run == 0 {
                let from = usize::from(value);
                let length = usize::from(table::TEXTS[from]);
                assert!(std::str::from_utf8(&table::TEXTS[from + 1..from + 1 + length]).is_ok());
            }
        }
    }

    #[test]
    fn every_character_has_a_form_that_stays() {
        let mut moved = 0;
        for char in (0..=0x10_FFFF).filter_map(char::from_u32) {
            let once = text(char.encode_utf8(&mut [0; 4]));
            moved += usize::from(text(&once) != once);
        }
        // What the table decomposes to got a capital letter in a later Unicode, which the standard library knows.
        assert!(moved < 5, "{moved}");
    }

    proptest! {
        #[test]
        fn a_part_is_folded_like_the_whole(a in "\\PC{0,8}", b in "\\PC{0,8}") {
            prop_assert_eq!(text(&format!("{a}{b}")), text(&a) + &text(&b));
        }

        #[test]
        fn eight_at_a_time_or_one(ascii in "[\\x00-\\x7f]{0,40}") {
            prop_assert_eq!(text(&ascii), ascii.to_ascii_uppercase());
        }

        #[test]
        fn case_makes_no_difference(ascii in "[ -~]{0,20}") {
            prop_assert_eq!(text(&ascii.to_lowercase()), text(&ascii));
        }
    }
}
