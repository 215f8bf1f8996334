//! Taking over a mailbox from Courier: UIDs and unique-ids stay what the clients know.
//!
//! `courierimapuiddb` has UIDVALIDITY and UIDs, in the format of a version 1 uidlist. `courierpop3dsizelist` has what
//! Courier's POP3 server said: a header `/<version> ...`, then `<file name> <size> [<uid>:<uidvalidity>[:<utf8>]]` in
//! the order of its listing. Both are only read. Sizes are not taken over: they are counted again, because they must be
//! exact. Broken lines are passed over.

use super::name;
use super::scan::Listing;
use super::uidlist::UidList;
use crate::sys::fs as sys;
use std::path::Path;

/// What the default unique-id of a message would be, from UIDVALIDITY, UID and base name; `None` if that takes
/// reading the message.
pub type DefaultUniqueId<'a> = dyn Fn(u32, u32, &[u8]) -> Option<Vec<u8>> + 'a;

/// One line of Courier's POP3 list.
struct Listed<'a> {
    base: &'a [u8],
    unique_id: Vec<u8>,
}

/// Builds a uidlist for a mailbox that has none. Its `uid_validity` is 0 if Courier's IMAP server never saw it; then
/// `new_uid_validity` is asked. `None` when there is nothing to take over. `files` are the messages that exist.
pub fn take_over<E>(
    maildir: &Path,
    files: &Listing,
    guid: Vec<u8>,
    new_uid_validity: impl FnOnce() -> Result<u32, E>,
    default: Option<&DefaultUniqueId<'_>>,
) -> Result<Option<UidList>, E> {
    let imap = sys::read_control(&maildir.join("courierimapuiddb")).ok();
    let imap = imap.and_then(|text| UidList::parse(text).ok());
    let pop3 = sys::read_control(&maildir.join("courierpop3dsizelist")).unwrap_or_default();
    // Of a message that is listed twice the first line counts: two UIDs would be two of one message.
    let mut seen = std::collections::HashSet::new();
    let exists = |l: &Listed<'_>| files.find(l.base).is_some();
    let listed: Vec<Listed<'_>> =
        parse_pop3(&pop3).into_iter().filter(|l| exists(l) && seen.insert(l.base)).collect();
    let mut list = match imap {
        Some(mut list) => {
            list.guid = guid;
            list
        }
        None if listed.is_empty() => return Ok(None),
        None => UidList::new(new_uid_validity()?, guid),
    };
    list.needs_rewrite = true;
    let known: std::collections::HashMap<Vec<u8>, u32> =
        (0..list.len()).map(|i| (list.base(i).to_vec(), list.uid(i))).collect();
    // Nobody but POP3 clients knows these: any UID will do, so they get them in the order of their list.
    for message in listed.iter().filter(|message| !known.contains_key(message.base)) {
        list.add(message.base);
    }
    let places: std::collections::HashMap<Vec<u8>, usize> =
        (0..list.len()).map(|i| (list.base(i).to_vec(), i)).collect();
    let order: Vec<usize> = listed.iter().filter_map(|message| places.get(message.base).copied()).collect();
    let in_order = keeps_order(&list, &order, files);
    for (number, message) in (1u32..).zip(&listed) {
        let Some(&i) = places.get(message.base) else { continue };
        if !in_order {
            list.set_field(i, b'O', number.to_string().as_bytes());
        }
        let usual = default.and_then(|default| default(list.uid_validity, list.uid(i), message.base));
        if usual.as_deref() != Some(&message.unique_id[..]) {
            list.set_field(i, b'P', &message.unique_id);
        }
    }
    Ok(Some(list))
}

/// Whether going by UID gives the POP3 list's order, with everything not listed behind it.
fn keeps_order(list: &UidList, order: &[usize], files: &Listing) -> bool {
    let ascending = order.windows(2).all(|pair| pair.first() < pair.last());
    let last = order.last().copied().unwrap_or(0);
    let existing = (0..list.len()).filter(|&i| files.find(list.base(i)).is_some());
    let unlisted_before = existing.filter(|&i| i <= last).count() > order.len();
    ascending && !unlisted_before
}

fn parse_pop3(text: &[u8]) -> Vec<Listed<'_>> {
    let mut lines = text.split(|&c| c == b'\n').filter(|line| !line.is_empty()).peekable();
    if lines.peek().is_some_and(|line| line.starts_with(b"/")) {
        lines.next();
    }
    lines.filter_map(parse_pop3_line).collect()
}

fn parse_pop3_line(line: &[u8]) -> Option<Listed<'_>> {
    // The name may hold spaces; what follows it does not.
    let mut words = line.rsplitn(3, |&c| c == b' ');
    let (last, middle, first) = (words.next()?, words.next()?, words.next());
    let (file_name, id) = match first {
        Some(file_name) if name::decimal(middle).is_some() => (file_name, last),
        // Version 0: name and size.
        _ if name::decimal(last).is_some() => (line.get(..line.len() - last.len() - 1)?, &b""[..]),
        _ => return None,
    };
    let base = name::base(file_name);
    let mut numbers = id.split(|&c| c == b':');
    let uid = numbers.next().and_then(name::decimal).unwrap_or(0);
    let uid_validity = numbers.next().and_then(name::decimal).unwrap_or(0);
    let unique_id = match (uid, uid_validity) {
        (0, _) => escape(base),
        (uid, 0) => format!("UID{uid}").into_bytes(),
        (uid, uid_validity) => format!("UID{uid}-{uid_validity}").into_bytes(),
    };
    (!base.is_empty()).then_some(Listed { base, unique_id })
}

/// Courier's unique-id for a message it knows by name only, as its imap/pop3dserver.C writes it: everything that is not
/// graphic as `+XX`, and `'`, `"` and `+` too.
fn escape(base: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &c in base {
        if !(0x21..=0x7e).contains(&c) || matches!(c, b'\'' | b'"' | b'+') {
            out.extend_from_slice(format!("+{c:02X}").as_bytes());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;
    use proptest::prelude::*;

    const GUID: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn taken(dir: &TempDir, files: &[&str]) -> Option<String> {
        let maildir = TempDir::maildir();
        files.iter().for_each(|name| maildir.write(&format!("cur/{name}"), ""));
        let files = Listing::read(maildir.path()).unwrap();
        let default = |v: u32, u: u32, _: &[u8]| Some(format!("UID{u}-{v}").into_bytes());
        let list = take_over(dir.path(), &files, GUID.to_vec(), || Ok::<_, ()>(77), Some(&default)).unwrap();
        list.map(|list| {
            let mut text = Vec::new();
            list.print(&mut text).unwrap();
            String::from_utf8(text).unwrap().replacen("0123456789abcdef0123456789abcdef", "*", 1)
        })
    }

    #[test]
    fn imap_list_alone() {
        let dir = TempDir::new();
        dir.write("courierimapuiddb", "1 1234 9\n3 1.a\n5 2.b,S=4\n");
        assert_eq!(taken(&dir, &["1.a"]).unwrap(), "3 V1234 N9 G*\n3 :1.a\n5 :2.b,S=4\n");
        assert_eq!(taken(&TempDir::new(), &["1.a"]), None);
    }

    #[test]
    fn unique_ids_only_where_they_differ_from_the_default() {
        let dir = TempDir::new();
        dir.write("courierimapuiddb", "1 1234 9\n3 1.a\n5 2.b\n");
        dir.write(
            "courierpop3dsizelist",
            "/3 9 1234\n1.a:2,S 100 3:1234:0\n2.b 100 4:1234:0\ngone 5 6:1234:0\n",
        );
        assert_eq!(taken(&dir, &["1.a", "2.b"]).unwrap(), "3 V1234 N9 G*\n3 :1.a\n5 PUID4-1234 :2.b\n");
    }

    #[test]
    fn another_order_is_kept_as_o() {
        let dir = TempDir::new();
        dir.write("courierimapuiddb", "1 1234 9\n3 1.a\n5 2.b\n8 3.c\n");
        dir.write("courierpop3dsizelist", "/2 9 1234\n2.b 100 5:1234\n1.a 100 3:1234\nbroken\n");
        let all = ["1.a", "2.b", "3.c"];
        assert_eq!(taken(&dir, &all).unwrap(), "3 V1234 N9 G*\n3 O2 :1.a\n5 O1 :2.b\n8 :3.c\n");
        dir.write("courierpop3dsizelist", "/2 9 1234\n2.b 100 5:1234\n3.c 100 8:1234\n");
        assert_eq!(taken(&dir, &all).unwrap(), "3 V1234 N9 G*\n3 :1.a\n5 O1 :2.b\n8 O2 :3.c\n");
    }

    #[test]
    fn pop3_list_alone_in_every_version() {
        let dir = TempDir::new();
        dir.write("courierpop3dsizelist", "a+b:2, 10\n1.a 20 4\n2.b 30 5:66\n");
        assert_eq!(
            taken(&dir, &["1.a", "2.b", "a+b"]).unwrap(),
            "3 V77 N4 G*\n1 Pa+2Bb :a+b\n2 PUID4 :1.a\n3 PUID5-66 :2.b\n"
        );
    }

    #[test]
    fn a_message_that_is_listed_twice_is_one_message() {
        let dir = TempDir::new();
        dir.write("courierpop3dsizelist", "/3 9 66\n1.a:2,S 20 4:66:0\n2.b 30 5:66:0\n1.a 20 6:66:0\n");
        assert_eq!(taken(&dir, &["1.a", "2.b"]).unwrap(), "3 V77 N3 G*\n1 PUID4-66 :1.a\n2 PUID5-66 :2.b\n");
    }

    proptest! {
        /// Whatever is in the lists: each message that exists and is listed has one UID, and a unique-id that can be said.
        #[test]
        fn no_lists_panic(
            imap in "([1-9] )?[0-9]{0,11} ?[0-9]{0,11}\n([0-9]{0,11} ?[ab./:,2\u{e4}]{0,4}\n){0,4}",
            pop3 in "(/[0-9] [0-9 ]{0,5}\n)?([ab./:,2+\u{e4}]{0,4} ?[0-9]{0,11}( [0-9:]{0,9})?\n){0,6}",
            noise: Vec<u8>,
        ) {
            let maildir = TempDir::maildir();
            ["a", "b", "ab", "a+b", "2"].iter().for_each(|name| maildir.write(&format!("cur/{name}"), ""));
            let files = Listing::read(maildir.path()).unwrap();
            for (imap, pop3) in [(imap.as_bytes(), pop3.as_bytes()), (&noise, &noise)] {
                let dir = TempDir::new();
                std::fs::write(dir.path().join("courierimapuiddb"), imap).unwrap();
                std::fs::write(dir.path().join("courierpop3dsizelist"), pop3).unwrap();
                let list = take_over(dir.path(), &files, GUID.to_vec(), || Ok::<_, ()>(77), None).unwrap();
                let Some(list) = list else { continue };
                let times = |list: &UidList, base| (0..list.len()).filter(|&i| list.base(i) == base).count();
                let imap = UidList::parse(imap.to_vec()).ok();
                for listed in parse_pop3(pop3) {
                    prop_assert!(listed.unique_id.iter().all(u8::is_ascii_graphic) && !listed.unique_id.is_empty());
                    let known = imap.as_ref().map_or(0, |imap| times(imap, listed.base));
                    prop_assert!(times(&list, listed.base) == known.max(1) || files.find(listed.base).is_none());
                }
                let mut text = Vec::new();
                list.print(&mut text).unwrap();
                prop_assert_eq!(UidList::parse(text).unwrap().len(), list.len());
            }
        }
    }
}
