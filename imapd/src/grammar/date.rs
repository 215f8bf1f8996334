//! Dates (RFC 3501 `date`, `date-time`).

use super::cursor::{Cursor, Parsed, bad};

/// A day of the calendar, without a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31, and one that the month has.
    pub day: u8,
}

impl Date {
    /// Days from 1 January 1970 to this one.
    pub fn days(self) -> i64 {
        // Years begin in March, so that the day that may be missing is the last.
        let (year, month) = (i64::from(self.year), i64::from(self.month));
        let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    /// The day so many days after 1 January 1970, within the years 0 to 9999.
    pub fn from_days(days: i64) -> Date {
        let days = days.clamp(-719_528, 2_932_896) + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let (month, carry) = if from_march < 10 { (from_march + 3, 0) } else { (from_march - 9, 1) };
        // All three are in range by construction.
        Date { year: (era * 400 + year + carry) as u16, month: month as u8, day: day as u8 }
    }
}

/// The months as they are written.
pub const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Date {
    /// `date`: `1-Feb-2003`, quoted or not.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Date> {
        let quoted = cursor.eat(b'"');
        let date = date_text(cursor);
        match date {
            Some(date) if !quoted || cursor.eat(b'"') => Ok(date),
            _ => bad("The date is none."),
        }
    }

    /// Whether there is such a day.
    fn exists(self) -> bool {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let days = match self.month {
            2 => 28 + u8::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        (1..=days).contains(&self.day)
    }
}

fn date_text(cursor: &mut Cursor<'_>) -> Option<Date> {
    let day = digits(cursor, 1, 2)?;
    cursor.eat(b'-').then_some(())?;
    let name = cursor.run(|c| c.is_ascii_alphabetic());
    let month = MONTHS.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(name))? + 1;
    cursor.eat(b'-').then_some(())?;
    let year = digits(cursor, 4, 4)?;
    let date = Date { year, month: u8::try_from(month).ok()?, day: u8::try_from(day).ok()? };
    date.exists().then_some(date)
}

fn digits(cursor: &mut Cursor<'_>, least: usize, most: usize) -> Option<u16> {
    let digits = cursor.run(|c| c.is_ascii_digit());
    if !(least..=most).contains(&digits.len()) {
        return None;
    }
    Some(digits.iter().fold(0, |n, c| n * 10 + u16::from(c - b'0')))
}

/// `date-time` without its quotes, `" 1-Feb-2003 04:05:06 +0700"`: seconds since 1970 UTC.
pub(super) fn date_time(text: &[u8]) -> Option<i64> {
    let mut cursor = Cursor::new(text);
    cursor.blanks();
    let date = date_text(&mut cursor)?;
    cursor.eat(b' ').then_some(())?;
    let hours = digits(&mut cursor, 2, 2)?;
    cursor.eat(b':').then_some(())?;
    let minutes = digits(&mut cursor, 2, 2)?;
    cursor.eat(b':').then_some(())?;
    let seconds = digits(&mut cursor, 2, 2)?;
    cursor.eat(b' ').then_some(())?;
    let east = cursor.eat(b'+');
    (east || cursor.eat(b'-')).then_some(())?;
    let zone = digits(&mut cursor, 4, 4)?;
    // A leap second is the next one.
    if hours > 23 || minutes > 59 || seconds > 60 || zone % 100 > 59 || !cursor.rest().is_empty() {
        return None;
    }
    let of_day = i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(seconds);
    let zone = i64::from(zone / 100) * 3600 + i64::from(zone % 100) * 60;
    Some(date.days() * 86_400 + of_day - if east { zone } else { -zone })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates() {
        for (year, month, day, days) in [
            (1970, 1, 1, 0),
            (1969, 12, 31, -1),
            (2000, 2, 29, 11_016),
            (2000, 3, 1, 11_017),
            (2038, 1, 19, 24_855),
            (0, 1, 1, -719_528),
            (9999, 12, 31, 2_932_896),
        ] {
            let date = Date { year, month, day };
            assert_eq!(date.days(), days, "{date:?}");
            assert_eq!(Date::from_days(days), date);
        }
        for days in (-719_528..=2_932_896).step_by(97) {
            assert_eq!(Date::from_days(days).days(), days);
        }
        assert_eq!(Date::from_days(i64::MAX), Date { year: 9999, month: 12, day: 31 });
        assert_eq!(Date::from_days(i64::MIN), Date { year: 0, month: 1, day: 1 });
    }

    #[test]
    fn texts() {
        let date = |text: &str| Date::parse(&mut Cursor::new(text.as_bytes())).ok();
        let some = |year, month, day| Some(Date { year, month, day });
        for (text, want) in [
            ("1-Feb-2003", some(2003, 2, 1)),
            ("01-feb-2003", some(2003, 2, 1)),
            ("\"29-FEB-2004\"", some(2004, 2, 29)),
            ("29-Feb-1900", None),
            ("\"1-Feb-2003", None),
            ("0-Feb-2003", None),
            ("31-Apr-2003", None),
            ("1-Foo-2003", None),
            ("1-Feb-03", None),
            ("111-Feb-2003", None),
            ("1/Feb/2003", None),
        ] {
            assert_eq!(date(text), want, "{text}");
        }
        for (text, want) in [
            (" 1-Jan-1970 00:00:00 +0000", Some(0)),
            ("01-Jan-1970 00:00:00 +0130", Some(-5400)),
            ("17-Jul-1996 02:44:25 -0700", Some(837_596_665)),
            ("31-Dec-1969 23:59:60 +0000", Some(0)),
            ("17-Jul-1996 02:44:25 0700", None),
            ("17-Jul-1996 24:44:25 -0700", None),
            ("17-Jul-1996 02:60:25 -0700", None),
            ("17-Jul-1996 02:44:25 -0760", None),
            ("17-Jul-1996 02:44:25 -0700 ", None),
            ("17-Jul-1996 02:44:25", None),
            ("", None),
        ] {
            assert_eq!(date_time(text.as_bytes()), want, "{text}");
        }
    }
}
