use super::super::{Command, FetchArguments, SequenceSet, bits, cursor::Cursor};
use super::*;
use proptest::prelude::*;

fn printed(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn strings_take_the_form_that_can_hold_them() {
    for (octets, as_string, as_astring) in [
        (&b"abc"[..], "\"abc\"", "abc"),
        (b"", "\"\"", "\"\""),
        (b"a b", "\"a b\"", "\"a b\""),
        (b"a\"b\\", "\"a\\\"b\\\\\"", "\"a\\\"b\\\\\""),
        (b"a\r\nb", "{4}\r\na\r\nb", "{4}\r\na\r\nb"),
        ("\u{e4}".as_bytes(), "{2}\r\n\u{e4}", "{2}\r\n\u{e4}"),
        (b"nil", "\"nil\"", "\"nil\""),
        (b"a]", "\"a]\"", "a]"),
        (b"%", "\"%\"", "\"%\""),
        (b"a\0", "{2}\r\na\u{fffd}", "{2}\r\na\u{fffd}"),
    ] {
        assert_eq!(printed(|out| string(out, octets)), as_string);
        assert_eq!(printed(|out| astring(out, octets)), as_astring);
    }
    assert!(printed(|out| string(out, &[b'x'; 901])).starts_with("{901}\r\nxxx"));
    assert_eq!(printed(|out| nstring(out, None)), "NIL");
    assert_eq!(printed(|out| nstring(out, Some(b""))), "\"\"");
}

#[test]
fn flags_dates_and_sets() {
    let print = |bits, keywords: &[&str]| printed(|out| flags(out, bits, keywords.iter().copied()));
    assert_eq!(print(0, &[]), "()");
    assert_eq!(print(bits::SEEN | bits::RECENT, &["a"]), "(\\Seen \\Recent a)");
    assert_eq!(print(0, &["a", "b"]), "(a b)");
    for (seconds, want) in [
        (0, "\"01-Jan-1970 00:00:00 +0000\""),
        (837_596_665, "\"17-Jul-1996 09:44:25 +0000\""),
        (-1, "\"31-Dec-1969 23:59:59 +0000\""),
        (i64::MAX, "\"31-Dec-9999 15:30:07 +0000\""),
        (i64::MIN, "\"01-Jan-0000 08:29:52 +0000\""),
    ] {
        assert_eq!(printed(|out| date_time(out, seconds)), want);
    }
    assert_eq!(printed(|out| ranges(out, runs([1, 2, 3, 7, 9, 10, 4]))), "1:3,7,9:10,4");
    assert_eq!(printed(|out| ranges(out, runs([u32::MAX, 1]))), "4294967295,1");
    assert_eq!(printed(|out| set(out, &[1..=1, 3..=5])), "1,3:5");
    assert_eq!(printed(|out| ranges(out, [])), "");
}

#[test]
fn completions() {
    let tag = Tag::read(b"a1 ").unwrap();
    let reply = Reply::no("Not there.").with_code("TRYCREATE");
    assert_eq!(printed(|out| completion(out, Some(&tag), &reply)), "a1 NO [TRYCREATE] Not there.\r\n");
    assert_eq!(printed(|out| completion(out, None, &Reply::bad("What?"))), "* BAD What?\r\n");
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(octets in proptest::collection::vec(1u8..=255, 0..1000)) {
        for write in [string, astring] {
            let mut out = Vec::new();
            write(&mut out, &octets);
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.astring(), Ok(octets.clone()));
            prop_assert_eq!(cursor.rest(), b"");
        }
    }

    #[test]
    fn dates_read_back(seconds in -62_167_219_200i64..253_402_300_800) {
        let out = printed(|out| date_time(out, seconds));
        prop_assert_eq!(super::super::date::date_time(out.trim_matches('"').as_bytes()), Some(seconds));
    }

    #[test]
    fn sets_read_back(mut numbers in proptest::collection::vec(1u32..60, 1..30)) {
        numbers.sort_unstable();
        numbers.dedup();
        let text = format!("a FETCH {} UID", printed(|out| ranges(out, runs(numbers.iter().copied()))));
        let Ok((_, Command::Fetch { arguments: FetchArguments { messages, .. }, .. })) = Command::parse(text.as_bytes())
        else { panic!("{text}") };
        let again: Vec<u32> = SequenceSet::resolve(&messages, 100).into_iter().flatten().collect();
        prop_assert_eq!(again, numbers);
    }
}
