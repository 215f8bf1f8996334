//! Threads: whatever messages say of each other, each is shown once.
#![no_main]

use imapd::thread::print::print;
use imapd::thread::tree::{Subject, Threads, Tree};
use libfuzzer_sys::fuzz_target;

// Each line is a message: its date, its Message-ID, its subject, its references.
fuzz_target!(|octets: &[u8]| {
    let mails: Vec<&[u8]> = octets.split(|octet| *octet == b'\n').collect();
    let at = |mail: &[u8], place: usize| mail.get(place).copied().unwrap_or_default();
    let tree = || {
        let mut tree = Tree::new(mails.iter().map(|mail| {
            let id = at(mail, 1);
            (i64::from(at(mail, 0)), (id != 0).then_some(u64::from(id)))
        }));
        for (node, mail) in mails.iter().enumerate() {
            tree.link(node as u32, mail.iter().skip(3).map(|id| u64::from(*id)));
        }
        tree
    };
    let threads = tree().references(|node| {
        let subject = at(mails[node as usize], 2);
        Subject { hash: (subject > 9).then_some(u64::from(subject / 2)), is_reply: subject % 2 == 1 }
    });
    check(&threads, mails.len());
    check(&tree().refs(), mails.len());
});

fn check(threads: &Threads, count: usize) {
    let names: Vec<u32> = (1..=count as u32).collect();
    let mut text = Vec::new();
    let _ = print::<()>(threads, &names, |octets| {
        text.extend_from_slice(octets);
        Ok(())
    });
    let text = String::from_utf8(text).expect("digits and parentheses");
    let mut shown: Vec<u32> = text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect();
    shown.sort_unstable();
    assert_eq!(shown, names, "{text}");
    assert_eq!(text.matches('(').count(), text.matches(')').count());
}
