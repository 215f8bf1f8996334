//! The few of DER's values that are read here (X.690): tags, lengths, times. Octets may be a stranger's.

/// BOOLEAN.
pub const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;
/// UTCTime.
pub const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
pub const GENERALIZED_TIME: u8 = 0x18;
/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// `[0]`: a certificate's version.
pub const VERSION: u8 = 0xa0;
/// `[3]`: a certificate's extensions.
pub const EXTENSIONS: u8 = 0xa3;
/// SET.
pub const SET: u8 = 0x31;
/// UTF8String.
pub const UTF8_STRING: u8 = 0x0c;
/// PrintableString.
pub const PRINTABLE_STRING: u8 = 0x13;
/// IA5String.
pub const IA5_STRING: u8 = 0x16;
/// TeletexString.
pub const TELETEX_STRING: u8 = 0x14;

/// What is left of a sequence of DER values.
pub struct Der<'a>(pub &'a [u8]);

impl<'a> Der<'a> {
    /// The tag of the next value, if there is one.
    pub fn tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The content of the next value, whatever it is. It is never longer than what is left.
    pub fn next(&mut self) -> Option<&'a [u8]> {
        let (&[_, length], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            0x81..=0x83 => {
                let (octets, rest) = rest.split_at_checked(usize::from(length & 3))?;
                (octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }

    /// The content of the next value, if it has this tag; else nothing is taken.
    pub fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.tag()? == tag { self.next() } else { None }
    }

    /// UTCTime or GeneralizedTime, in UTC and with seconds, as RFC 5280 4.1.2.5 wants them.
    pub fn time(&mut self) -> Option<i64> {
        let is_short = self.tag()? == UTC_TIME;
        let text = self.take(if is_short { UTC_TIME } else { GENERALIZED_TIME })?.strip_suffix(b"Z")?;
        if !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let (year, rest) = text.split_at_checked(if is_short { 2 } else { 4 })?;
        let number = |digits: &[u8]| digits.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
        let year = match number(year) {
            year @ 50.. if is_short => 1900 + year,
            year if is_short => 2000 + year,
            year => year,
        };
        let &[m1, m2, d1, d2, h1, h2, n1, n2, s1, s2] = rest else { return None };
        let pair = |one, two| number(&[one, two]);
        let (month, day) = (pair(m1, m2), pair(d1, d2));
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        Some(days(year, month, day) * 86_400 + pair(h1, h2) * 3600 + pair(n1, n2) * 60 + pair(s1, s2))
    }
}

/// Days since 1970-01-01.
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    // Count from 1 March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}
