//! Several sessions and another program at work at random, and what each client makes of what it is told.

use super::tests::{OPTIONS, events, set, settle, with_messages};
use super::*;
use std::collections::BTreeMap;
use std::fs;

/// Several sessions and another program do things at random; each session must see what is there, told in steps that
/// make sense.
#[test]
fn many_sessions_against_a_model() {
    let seed = std::env::var("TINMAIL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(super::super::blocks::nonce);
    println!("TINMAIL_SEED={seed}");
    let mut state = seed | 1;
    let mut random = move |below: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) % u64::from(below)) as u32
    };
    for _ in 0..6 {
        let (dir, maildir) = with_messages(20);
        let mut sessions: Vec<Mailbox> = (0..3).map(|_| Mailbox::open(&maildir, &OPTIONS).unwrap()).collect();
        // What each client knows: UIDs in order, with flags.
        let mut clients: Vec<Vec<(u32, Flags)>> = sessions.iter().map(everything).collect();
        for step in 0..150 {
            let who = random(3) as usize;
            let session = &mut sessions[who];
            let count = session.len();
            let some = if count == 0 {
                vec![]
            } else {
                let m = 1 + random(count);
                vec![m..=(m + random(3)).min(count)]
            };
            match random(10) {
                0 => drop(set(session, some, How::Add, 1 << random(5), &["k1", "k2"][..random(3) as usize])),
                1 => drop(set(session, some, How::Remove, 1 << random(5), &["k1"])),
                2 => drop(set(session, some, How::Replace, 1 << random(5), &[])),
                3 => drop(session.expunge(&some).unwrap()),
                4 => {
                    let mut append = Append::begin(&maildir, &OPTIONS).unwrap();
                    append.message(random(32) as u8, &[], None).unwrap();
                    append.write(b"x\r\n").unwrap();
                    append.finish().unwrap();
                }
                5 => drop(session.copy_to(&some, &maildir, random(2) == 0).unwrap()),
                6 => dir.write(&format!("new/{step}.d{}", random(1000)), "x\n"),
                7 => {
                    if let Some(name) = dir.list("cur").first() {
                        let renamed = Flags { bits: random(32) as u8, keywords: 0 }.in_name(name.as_bytes());
                        let renamed = String::from_utf8(renamed).unwrap();
                        fs::rename(dir.path().join("cur").join(name), dir.path().join("cur").join(renamed))
                            .unwrap();
                        settle(&dir);
                    }
                }
                8 => {
                    tell(session, &mut clients[who], true);
                    lengthen(session);
                }
                _ => {}
            }
            if random(40) == 0 {
                let _ = fs::remove_file(dir.path().join("tinmail-index"));
            }
            if random(30) == 0 {
                sessions[who] = Mailbox::open(&maildir, &OPTIONS).unwrap();
                clients[who] = everything(&sessions[who]);
            }
            tell(&mut sessions[who], &mut clients[who], random(2) == 0);
        }
        settle(&dir);
        for (session, client) in sessions.iter_mut().zip(&mut clients) {
            tell(session, client, true);
        }
        let on_disk = everything(&Mailbox::open(&maildir, &OPTIONS).unwrap());
        let names = dir.list("cur").len() + dir.list("new").len();
        assert_eq!(on_disk.len(), names, "seed {seed}");
        for client in &clients {
            assert_eq!(*client, on_disk, "seed {seed}");
        }
        let by_uid: BTreeMap<u32, Flags> = on_disk.into_iter().collect();
        assert_eq!(by_uid.len(), names, "seed {seed}");
    }
}

/// The log of a session that has just read it becomes so long that the next one to tidy up writes a new index.
pub(super) fn lengthen(mailbox: &mut Mailbox) {
    if mailbox.in_file {
        let entries = vec![log::Entry::Known { uid: 0, octets: 0, date: 0 }; 4000];
        mailbox.log.append(&entries).unwrap();
    }
}

pub(super) fn everything(mailbox: &Mailbox) -> Vec<(u32, Flags)> {
    (1..=mailbox.len()).map(|msn| mailbox.info(msn).unwrap()).map(|info| (info.uid, info.flags)).collect()
}

/// Does with the client's list what the events say, as a client would.
fn tell(mailbox: &mut Mailbox, client: &mut Vec<(u32, Flags)>, may_expunge: bool) {
    let mut list = events(mailbox, may_expunge);
    list.retain(|event| {
        if let Event::Expunge(msn) = event {
            client.remove(*msn as usize - 1);
            return false;
        }
        true
    });
    for event in list {
        match event {
            Event::Exists(count) => {
                assert!(count as usize >= client.len());
                for msn in client.len() as u32 + 1..=count {
                    let info = mailbox.info(msn).unwrap();
                    client.push((info.uid, info.flags));
                }
            }
            Event::Flags(msn) => client[msn as usize - 1].1 = mailbox.info(msn).unwrap().flags,
            _ => {}
        }
    }
    assert_eq!(*client, everything(mailbox));
}
