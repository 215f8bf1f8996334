//! Internationalised domains as DNS has them (RFC 5890 A-labels, RFC 3492 Punycode).
//!
//! Of RFC 5891's mapping only lower case is done; a domain that is not normalised in other ways is not found.

/// The domain in ASCII. `None`: a label is too long for one.
pub fn to_ascii(domain: &str) -> Option<String> {
    if domain.is_ascii() {
        return Some(domain.to_ascii_lowercase());
    }
    let mut text = String::new();
    for (at, label) in domain.split(['.', '\u{3002}']).enumerate() {
        if at > 0 {
            text.push('.');
        }
        let label: Vec<char> = label.chars().flat_map(char::to_lowercase).collect();
        if label.iter().all(char::is_ascii) {
            text.extend(label);
        } else {
            text.push_str("xn--");
            encode(&label, &mut text)?;
        }
    }
    Some(text)
}

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
/// Characters of a label that are encoded: an A-label has at most 63 octets.
const LABEL_MAX: usize = 63;

/// RFC 3492 section 6.3.
fn encode(label: &[char], text: &mut String) -> Option<()> {
    if label.len() > LABEL_MAX {
        return None;
    }
    let mut basic = 0_u32;
    for c in label.iter().filter(|c| c.is_ascii()) {
        text.push(*c);
        basic += 1;
    }
    if basic > 0 {
        text.push('-');
    }
    let (mut n, mut delta, mut bias, mut handled) = (128_u32, 0_u32, 72, basic);
    while (handled as usize) < label.len() {
        let next = label.iter().map(|&c| u32::from(c)).filter(|&c| c >= n).min()?;
        delta = delta.checked_add((next - n).checked_mul(handled + 1)?)?;
        n = next;
        for c in label.iter().map(|&c| u32::from(c)) {
            if c < n {
                delta = delta.checked_add(1)?;
            }
            if c == n {
                number(delta, bias, text);
                bias = adapt(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta = delta.checked_add(1)?;
        n += 1;
    }
    Some(())
}

fn number(mut q: u32, bias: u32, text: &mut String) {
    let mut k = BASE;
    loop {
        let t = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if q < t {
            break;
        }
        text.push(digit(t + (q - t) % (BASE - t)));
        q = (q - t) / (BASE - t);
        k += BASE;
    }
    text.push(digit(q));
}

fn digit(value: u32) -> char {
    char::from_digit(value, BASE).map_or('a', |c| match c {
        // 0 to 25 are letters, 26 to 35 digits: from_digit has it the other way round.
        '0'..='9' => char::from(b'a' + (c as u8 - b'0')),
        'a'..='p' => char::from(b'k' + (c as u8 - b'a')),
        _ => char::from(b'0' + (c as u8 - b'q')),
    })
}

/// RFC 3492 section 6.1.
fn adapt(delta: u32, points: u32, first: bool) -> u32 {
    let mut delta = if first { delta / DAMP } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > ((BASE - T_MIN) * T_MAX) / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn domains() {
        for (domain, want) in [
            ("Example.ORG", "example.org"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("B\u{dc}CHER.example", "xn--bcher-kva.example"),
            ("m\u{fc}nchen.de", "xn--mnchen-3ya.de"),
            ("\u{65e5}\u{672c}\u{8a9e}\u{3002}jp", "xn--wgv71a119e.jp"),
            ("\u{43f}\u{440}\u{438}\u{43c}\u{435}\u{440}.\u{440}\u{444}", "xn--e1afmkfd.xn--p1ai"),
            // RFC 3492 section 7.1 (B), (L).
            (
                "\u{4ed6}\u{4eec}\u{4e3a}\u{4ec0}\u{4e48}\u{4e0d}\u{8bf4}\u{4e2d}\u{6587}",
                "xn--ihqwcrb4cv8a8dqg056pqjye",
            ),
            ("3\u{5e74}b\u{7d44}\u{91d1}\u{516b}\u{5148}\u{751f}", "xn--3b-ww4c5e180e575a65lsy2b"),
        ] {
            assert_eq!(to_ascii(domain).as_deref(), Some(want));
        }
        assert_eq!(to_ascii(&"\u{fc}".repeat(64)), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(domain in "\\PC{0,80}") {
            if let Some(ascii) = to_ascii(&domain) {
                prop_assert!(ascii.is_ascii());
            }
        }
    }
}
