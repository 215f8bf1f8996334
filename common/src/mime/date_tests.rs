use super::*;
use proptest::prelude::*;

fn utc(value: &str) -> Option<(i64, i32, i32)> {
    parse(value.as_bytes()).map(|date| (date.seconds, date.zone, date.day))
}

/// 1994-02-07 and 21:52:25 on it.
const DAY: i32 = 8803;
const AT: i64 = DAY as i64 * 86_400 + 78_745;

#[test]
fn dates_of_the_rfcs() {
    for (value, want) in [
        ("Mon, 7 Feb 1994 21:52:25 -0800 (PST)", (AT + 28_800, -480, DAY)),
        ("7 Feb 1994 21:52:25 +0000", (AT, 0, DAY)),
        ("Mon, 07 Feb 1994 21:52 UT", (AT - 25, 0, DAY)),
        ("Mon , 7 Feb 94 21 (c) : 52 : 25 GMT", (i64::from(DAY) * 86_400, 0, DAY)),
        ("Mon, 7 Feb 94 21:52:25 Z", (AT, 0, DAY)),
        ("Mon, 7 Feb 094 21:52:25 EST", (AT + 18_000, -300, DAY)),
        ("Mon, 7 Feb 1994 21:52:60 PDT", (AT + 34 + 25_200, -420, DAY)),
        ("Mon, 7 Feb 1994 21:52:25 A", (AT, 0, DAY)),
        ("Mon, 7 Feb 1994 21:52:25 -0000", (AT, 0, DAY)),
    ] {
        assert_eq!(utc(value), Some(want), "{value}");
    }
}

#[test]
fn dates_as_they_come() {
    for (value, want) in [
        ("Mon Feb  7 21:52:25 1994", (AT, 0, DAY)),
        ("Mon Feb 7 21:52:25 PST 1994", (AT + 28_800, -480, DAY)),
        ("Mon, Feb 7, 1994 21:52:25", (AT, 0, DAY)),
        ("February 7th, 1994 9:52:25 PM", (AT, 0, DAY)),
        ("7-Feb-1994 21:52:25 +0200", (AT - 7200, 120, DAY)),
        ("07-Feb-94 21:52:25", (AT, 0, DAY)),
        ("7Feb1994 21:52:25", (AT, 0, DAY)),
        ("1994-02-07 21:52:25+02:00", (AT - 7200, 120, DAY)),
        ("1994-02-07T21:52:25.123Z", (AT, 0, DAY)),
        ("1994-02-07T21:52:25-0800", (AT + 28_800, -480, DAY)),
        ("Mon, 7 Feb 1994 21:52:25 GMT+0200", (AT - 7200, 120, DAY)),
        ("Mon, 7 Feb 1994 21:52:25 \"GMT\"", (AT, 0, DAY)),
        ("Mon, 7 Feb 1994 21:52:25.5 +2", (AT - 7200, 120, DAY)),
        ("Mon,7 Feb 1994 21:52:25", (AT, 0, DAY)),
        ("mon, 7 FEB 1994 21:52:25 -0800", (AT + 28_800, -480, DAY)),
        // RFC 5256 section 2.2: a time that is none is midnight, a zone that is none is UTC.
        ("Mon, 7 Feb 1994", (AT - 78_745, 0, DAY)),
        ("Mon, 7 Feb 1994 25:61:00 +9999", (AT - 78_745, 0, DAY)),
        ("Thu, 1 Jan 70 00:00 (UTC) EST (x)", (18_000, -300, 0)),
        ("1 Jan 1900 00:00:00", (-2_208_988_800, 0, -25_567)),
        ("31 Dec 9999 23:59:59", (253_402_300_799, 0, 2_932_896)),
        ("29 Feb 2024 12:00", (1_709_208_000, 0, 19_782)),
        ("1 Jan 49 00:00", (2_493_072_000, 0, 28_855)),
    ] {
        assert_eq!(utc(value), Some(want), "{value}");
    }
}

#[test]
fn no_dates() {
    for value in [
        "",
        "yesterday, 25:61",
        "30 Feb 1994",
        "29 Feb 1900",
        "0 Feb 1994",
        "7 Feb",
        "Feb 1994",
        "7 1994",
        "02/07/94",
        "7 Feb 19944",
        "99999999999999999999 Feb 1994",
        "a b c d e f g h i j k l m n o p q r s 7 Feb 1994",
        "(7 Feb 1994)",
    ] {
        assert_eq!(utc(value), None, "{value}");
    }
}

#[test]
fn days_and_back() {
    for day in (-719_528..2_932_897).step_by(97) {
        let (year, month, of_month) = civil(day);
        assert_eq!(day_number(year as i32, month, of_month), Some(day as i32));
    }
    assert_eq!(civil(0), (1970, 1, 1));
    civil(i64::MAX);
    civil(i64::MIN);
}

proptest! {
    #[test]
    fn rfc_5322_dates_are_read_again(at in -2_000_000_000i64..5_000_000_000, zone in -720i32..720) {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let local = at + i64::from(zone) * 60;
        let (day, time) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let (year, month, of_month) = civil(day);
        let month = MONTHS[month as usize - 1];
        let sign = if zone < 0 { '-' } else { '+' };
        let (hours, minutes) = (zone.abs() / 60, zone.abs() % 60);
        let clock = format!("{:02}:{:02}:{:02}", time / 3600, time / 60 % 60, time % 60);
        let value = format!("{of_month} {month} {year} {clock} {sign}{hours:02}{minutes:02}");
        prop_assert_eq!(utc(&value), Some((at, zone, day as i32)), "{}", value);
    }

    #[test]
    fn nothing_is_too_strange(value in "([0-9]{1,5}|Feb|mon|[,:/.+-]|[(]|[)]| |T|Z|pm|GMT){0,16}") {
        utc(&value);
    }
}

#[test]
fn printed_dates_are_those_of_rfc_5322() {
    for (seconds, text) in [
        (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
        (1_795_277_109, "Sat, 21 Nov 2026 16:05:09 +0000"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
        (-1, "Wed, 31 Dec 1969 23:59:59 +0000"),
    ] {
        assert_eq!(print(seconds), text);
        assert_eq!(parse(text.as_bytes()).map(|date| date.seconds), Some(seconds));
    }
}
