//! Base subjects: what is left of a subject without `Re:`, `[lists]` and `(fwd)` (RFC 5256 section 2.1).
//!
//! The text is a stranger's, folded by [`crate::casemap`] already: letters of ASCII are capitals here. Every step is linear.

/// A subject's base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseSubject<'a> {
    /// The text that is compared; it may be empty.
    pub text: &'a [u8],
    /// Whether the subject is one of a reply or of something forwarded (RFC 5256 section 3, REFERENCES step 5).
    pub is_reply: bool,
}

/// Blanks become one (step 1), in place.
pub fn squeeze(subject: &mut Vec<u8>) {
    let mut was_blank = false;
    subject.retain_mut(|octet| {
        let is_blank = matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
        if is_blank {
            *octet = b' ';
        }
        let keep = !(is_blank && was_blank);
        was_blank = is_blank;
        keep
    });
}

/// The base of a subject that was folded and squeezed.
pub fn base(subject: &[u8]) -> BaseSubject<'_> {
    let (mut text, mut is_reply) = (subject, false);
    loop {
        // Steps 2 to 5; step 6 begins again.
        text = without_trailers(text, &mut is_reply);
        text = without_leaders(text, &mut is_reply);
        let inner = text.strip_prefix(b"[FWD:").and_then(|text| text.strip_suffix(b"]"));
        match inner {
            Some(inner) => (text, is_reply) = (inner, true),
            None => return BaseSubject { text, is_reply },
        }
    }
}

/// Step 2: without `subj-trailer`s.
fn without_trailers<'a>(text: &'a [u8], is_reply: &mut bool) -> &'a [u8] {
    let mut text = text.trim_ascii_end();
    while let Some(rest) = text.strip_suffix(b"(FWD)") {
        (text, *is_reply) = (rest.trim_ascii_end(), true);
    }
    text
}

/// Steps 3 to 5: without `subj-leader`s and `subj-blob`s.
fn without_leaders<'a>(text: &'a [u8], is_reply: &mut bool) -> &'a [u8] {
    let mut text = text.trim_ascii_start();
    loop {
        // All blobs that stand in a row, and the place of the last one.
        let (mut rest, mut last) = (text, text);
        while let Some(behind) = after_blob(rest) {
            (last, rest) = (rest, behind);
        }
        if let Some(behind) = after_refwd(rest) {
            (text, *is_reply) = (behind.trim_ascii_start(), true);
            continue;
        }
        // Blobs go one by one, as long as something is left.
        return if rest.is_empty() { last } else { rest };
    }
}

/// What is behind a `subj-blob` at the start, and the blanks behind that.
fn after_blob(text: &[u8]) -> Option<&[u8]> {
    let inner = text.strip_prefix(b"[")?;
    let end = memchr::memchr3(b'[', b']', 0, inner)?;
    (inner.get(end) == Some(&b']')).then(|| inner.get(end + 1..).unwrap_or_default().trim_ascii_start())
}

/// What is behind a `subj-refwd` at the start.
fn after_refwd(text: &[u8]) -> Option<&[u8]> {
    let rest = [&b"RE"[..], b"FWD", b"FW"].iter().find_map(|word| text.strip_prefix(*word))?;
    let rest = rest.trim_ascii_start();
    after_blob(rest).unwrap_or(rest).strip_prefix(b":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::casemap;
    use proptest::prelude::*;

    fn folded(subject: &str) -> Vec<u8> {
        let mut folded = casemap::folded(subject);
        squeeze(&mut folded);
        folded
    }

    #[test]
    fn subjects() {
        for (subject, text, is_reply) in [
            ("", "", false),
            ("Hello", "HELLO", false),
            ("  two   blanks\t\there ", "TWO BLANKS HERE", false),
            ("Re: Hello", "HELLO", true),
            ("RE:Hello", "HELLO", true),
            ("re : Hello", "HELLO", true),
            ("Fw: Hello", "HELLO", true),
            ("FWD: Hello", "HELLO", true),
            ("Re: re: fwd: Hello", "HELLO", true),
            ("Re[2]: Hello", "HELLO", true),
            ("Re [2] : Hello", "HELLO", true),
            ("Re[2] Hello", "RE[2] HELLO", false),
            ("Reply: Hello", "REPLY: HELLO", false),
            ("Aw: Hello", "AW: HELLO", false),
            ("Re", "RE", false),
            ("Re:", "", true),
            ("Hello (fwd)", "HELLO", true),
            ("Hello (fwd) (FWD)  ", "HELLO", true),
            ("Hello(fwd)", "HELLO", true),
            ("(fwd)", "", true),
            ("[list] Hello", "HELLO", false),
            ("[list] Re: [other] Hello", "HELLO", true),
            ("[a][b] [c]Hello", "HELLO", false),
            ("[a][b] Re: Hello", "HELLO", true),
            ("[list]", "[LIST]", false),
            ("[a] [b]", "[B]", false),
            ("Re: [list]", "[LIST]", true),
            ("[list] Re:", "", true),
            ("[fwd: Hello]", "HELLO", true),
            ("[Fwd: Re: [x] Hello (fwd)]", "HELLO", true),
            ("Re: [fwd: [fwd: Hello]]", "HELLO", true),
            ("[fwd: Hello] more", "MORE", false),
            ("[fwd:]", "", true),
            ("[un[closed", "[UN[CLOSED", false),
            ("[a[b]] Hello", "[A[B]] HELLO", false),
            ("Hello [list]", "HELLO [LIST]", false),
            ("Hello Re: you", "HELLO RE: YOU", false),
        ] {
            let folded = folded(subject);
            let want = BaseSubject { text: text.as_bytes(), is_reply };
            assert_eq!(base(&folded), want, "{subject}");
        }
    }

    #[test]
    fn long_subjects_take_no_longer() {
        for unit in ["[a]", "re:", "[fwd:", "(fwd)", "[", "]", "[a]re:", "re[a]", " "] {
            base(&folded(&unit.repeat(100_000)));
        }
        let nested = format!("{}x{}", "[fwd:".repeat(50_000), "]".repeat(50_000));
        assert_eq!(base(&folded(&nested)).text, b"X");
    }

    proptest! {
        #[test]
        fn a_base_is_its_own(subject in "(\\[|\\]|a|re|fwd|fw|:| |\\(fwd\\)|\\[fwd:|x|\\[b\\]){0,12}") {
            let folded = folded(&subject);
            let once = base(&folded).text;
            prop_assert_eq!(base(once).text, once);
        }

        #[test]
        fn a_reply_has_the_same_base(subject in "[a-z\\[\\]: ]{0,20}") {
            let (plain, reply) = (folded(&subject), folded(&format!("Re: {subject}")));
            prop_assert_eq!(base(&plain).text, base(&reply).text);
            prop_assert!(base(&reply).is_reply);
        }
    }
}
