//! Dates of messages (RFC 5322 sections 3.3 and 4.3), and what real mail has in their place.
//!
//! Words and numbers are taken for what they can be, in whatever order they come: the order of RFC 5322, of asctime(3), with dashes
//! or as ISO 8601 has it. RFC 5256 section 2.2: a time that is none is midnight, a zone that is none is UTC.

use super::token::{Cursor, Ends};

/// A moment as a message names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Date {
    /// Seconds since 1970 UTC.
    pub seconds: i64,
    /// Minutes that the zone is ahead of UTC.
    pub zone: i32,
    /// The day as written, without regard to time and zone: days since 1970-01-01.
    pub day: i32,
}

const DAY: i64 = 86_400;

/// Reads an unfolded value. `None` if it names no day.
pub fn parse(value: &[u8]) -> Option<Date> {
    let mut found = Found::default();
    let mut cursor = Cursor::new(value);
    let mut comment = Vec::new();
    // More words than that are no date.
    for _ in 0..16 {
        cursor.skip_cfws(&mut comment);
        if cursor.peek().is_none() {
            break;
        }
        let word = cursor.run(const { &Ends::of(b",(;") });
        if word.is_empty() {
            cursor.skip(1);
        }
        found.word(word);
    }
    let (year, month, day) = (found.year?, found.month?, found.day?);
    let day = day_number(year, month, day)?;
    let time = found.time.unwrap_or(0);
    let zone = found.zone.unwrap_or(0);
    let seconds = i64::from(day) * DAY + i64::from(time) - i64::from(zone) * 60;
    Some(Date { seconds, zone, day })
}

#[derive(Default)]
struct Found {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    /// Seconds since midnight.
    time: Option<i32>,
    zone: Option<i32>,
}

impl Found {
    fn word(&mut self, word: &[u8]) {
        let word = word.strip_suffix(b".").unwrap_or(word);
        match word.first() {
            Some(b'+' | b'-') => self.zone = self.zone.or(numeric_zone(word)),
            Some(b'0'..=b'9') => self.number(word),
            Some(_) => self.name(word),
            None => {}
        }
    }

    fn name(&mut self, word: &[u8]) {
        if self.month.is_none() {
            if let Some(month) = month(word) {
                self.month = Some(month);
                return;
            }
        }
        // "GMT+0200" is what it says, whatever its first half means.
        if let Some(at) = word.iter().position(|octet| matches!(octet, b'+' | b'-')) {
            let (name, offset) = word.split_at_checked(at).unwrap_or((word, b""));
            if named_zone(name).is_some() {
                self.zone = self.zone.or(numeric_zone(offset));
            }
            return;
        }
        match self.time {
            Some(time) if word.eq_ignore_ascii_case(b"pm") && time < DAY as i32 / 2 => {
                self.time = Some(time + DAY as i32 / 2);
            }
            Some(time) if word.eq_ignore_ascii_case(b"am") && time >= DAY as i32 / 2 => {
                self.time = Some(time - DAY as i32 / 2);
            }
            _ => self.zone = self.zone.or(named_zone(word)),
        }
    }

    fn number(&mut self, word: &[u8]) {
        if memchr::memchr(b':', word).is_some() && !word.contains(&b'T') {
            self.time_of(word);
            return;
        }
        if memchr::memchr2(b'-', b'/', word).is_some() {
            self.joined(word);
            return;
        }
        let length = word.iter().take_while(|octet| octet.is_ascii_digit()).count();
        let (digits, behind) = word.split_at_checked(length).unwrap_or((word, b""));
        let Some(value) = number(digits) else { return };
        if self.day.is_none() && length <= 2 {
            // "7th", and "7Feb1994".
            self.day = Some(value.unsigned_abs());
            if behind.len() > 2 {
                self.joined(behind);
            }
        } else if self.year.is_none() && self.day.is_some() && behind.is_empty() {
            self.year = year(value, length);
        } else if self.time.is_none() && length == 4 && behind.is_empty() {
            self.time = clock(value / 100, value % 100, 0);
        }
    }

    /// `7-Feb-1994`, `1994-02-07`, `1994-02-07T21:52:25Z`, `Feb-1994`.
    fn joined(&mut self, word: &[u8]) {
        let (date, time) = match memchr::memchr(b'T', word) {
            Some(at) => word.split_at_checked(at).unwrap_or((word, b"")),
            None => (word, &b""[..]),
        };
        let mut fields = date.split(|octet| matches!(octet, b'-' | b'/')).filter(|field| !field.is_empty());
        let (first, second, third) = (fields.next(), fields.next(), fields.next());
        match (first, second, third) {
            (Some(first), Some(second), Some(third)) if first.len() == 4 => {
                let [year, month, day] = [first, second, third].map(number);
                (self.year, self.month) = (year, month.map(i32::unsigned_abs));
                self.day = day.map(i32::unsigned_abs);
            }
            (Some(first), Some(second), Some(third)) => {
                // 02/07/94 may be either of two days: it is none.
                if let Some(month) = month(second) {
                    self.month = Some(month);
                    self.day = number(first).map(i32::unsigned_abs);
                    self.year = number(third).and_then(|value| year(value, third.len()));
                }
            }
            (Some(only), None, None) => {
                let letters = only.iter().take_while(|octet| octet.is_ascii_alphabetic()).count();
                let (name, digits) = only.split_at_checked(letters).unwrap_or((only, b""));
                self.month = self.month.or(month(name));
                self.year = self.year.or(number(digits).and_then(|value| year(value, digits.len())));
            }
            _ => {}
        }
        let time = time.get(1..).unwrap_or_default();
        let length = time.iter().take_while(|octet| matches!(octet, b'0'..=b'9' | b':' | b'.')).count();
        let (clock, zone) = time.split_at_checked(length).unwrap_or((time, b""));
        if !clock.is_empty() {
            self.time_of(clock);
            self.zone = numeric_zone(zone).or(named_zone(zone));
        }
    }

    /// `21:52`, `21:52:25`, `21:52:25.123`, with a zone glued to it.
    fn time_of(&mut self, word: &[u8]) {
        let length = word.iter().take_while(|octet| matches!(octet, b'0'..=b'9' | b':' | b'.')).count();
        let (time, zone) = word.split_at_checked(length).unwrap_or((word, b""));
        let mut fields = time.split(|&octet| octet == b':');
        let mut field =
            || fields.next().map(|field| field.split(|&octet| octet == b'.').next().unwrap_or(field));
        let (hours, minutes, seconds) = (field(), field(), field());
        let value = |field: Option<&[u8]>| field.map_or(Some(0), number);
        if let (None, Some(hours), Some(minutes), Some(seconds)) =
            (self.time, value(hours), value(minutes), value(seconds))
        {
            self.time = clock(hours, minutes, seconds);
        }
        if !zone.is_empty() {
            self.word(zone);
        }
    }
}

/// Seconds since midnight; a leap second is the one before it.
fn clock(hours: i32, minutes: i32, seconds: i32) -> Option<i32> {
    let is_time = (0..24).contains(&hours) && (0..60).contains(&minutes) && (0..61).contains(&seconds);
    is_time.then(|| hours * 3600 + minutes * 60 + seconds.min(59))
}

fn number(digits: &[u8]) -> Option<i32> {
    if digits.len() > 4 || !digits.iter().all(u8::is_ascii_digit) || digits.is_empty() {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// RFC 5322 section 4.3.
fn year(value: i32, digits: usize) -> Option<i32> {
    match digits {
        1 | 2 if value < 50 => Some(value + 2000),
        1..=3 => Some(value + 1900),
        4 => Some(value),
        _ => None,
    }
}

fn month(name: &[u8]) -> Option<u32> {
    const MONTHS: &[u8; 36] = b"janfebmaraprmayjunjulaugsepoctnovdec";
    let start = name.get(..3)?;
    let at = MONTHS.chunks_exact(3).position(|month| month.eq_ignore_ascii_case(start))?;
    // "Marvin" is no month. "Sept" and whole names are.
    (name.len() <= 9 && name.iter().all(u8::is_ascii_alphabetic)).then_some(at as u32 + 1)
}

/// Minutes ahead of UTC that `+0200`, `+02:00` or `-08` says.
fn numeric_zone(word: &[u8]) -> Option<i32> {
    let (sign, digits) = match word.split_first()? {
        (b'+', digits) => (1, digits),
        (b'-', digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [hours @ .., b':', a, b] => (number(hours)?, number(&[*a, *b])?),
        [_] | [_, _] => (number(digits)?, 0),
        _ => (number(digits)? / 100, number(digits)? % 100),
    };
    (hours <= 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

/// RFC 5322 section 4.3. The military zones are UTC, because they were written with either sign.
fn named_zone(name: &[u8]) -> Option<i32> {
    const ZONES: [(&str, i32); 19] = [
        ("UT", 0),
        ("UTC", 0),
        ("GMT", 0),
        ("Z", 0),
        ("EST", -5),
        ("EDT", -4),
        ("CST", -6),
        ("CDT", -5),
        ("MST", -7),
        ("MDT", -6),
        ("PST", -8),
        ("PDT", -7),
        // Not in any RFC, but in mail.
        ("CET", 1),
        ("MET", 1),
        ("CEST", 2),
        ("MEST", 2),
        ("EET", 2),
        ("WET", 0),
        ("JST", 9),
    ];
    let known = ZONES.iter().find(|(zone, _)| name.eq_ignore_ascii_case(zone.as_bytes()));
    known.map(|(_, hours)| hours * 60)
}

/// `Sat, 21 Nov 2026 16:05:09 +0000`: the date-time of RFC 5322 section 3.3 in UTC.
pub fn print(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, of_month) = civil(day);
    let week_day = DAYS.get(day.rem_euclid(7).unsigned_abs() as usize).unwrap_or(&"");
    let month = MONTHS.get((month as usize).saturating_sub(1)).unwrap_or(&"");
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{week_day}, {of_month} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
}

/// The day, counted from 1970-01-01, if there is such a day.
pub fn day_number(year: i32, month: u32, day: u32) -> Option<i32> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) || !(0..=9999).contains(&year) {
        return None;
    }
    // Years from March on: the leap day is the last of one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let month = month as i32;
    let of_years = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(of_years + (153 * month + 2) / 5 + day as i32 - 1 - 719_468)
}

/// Year, month (1 to 12) and day of a day counted from 1970-01-01.
pub fn civil(day: i64) -> (i64, u32, u32) {
    let day = day.saturating_add(719_468);
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month as u32, of_month as u32)
}

#[cfg(test)]
#[path = "date_tests.rs"]
mod tests;
