//! Which messages a conditional STORE has to leave (RFC 7162 section 3.1.3).
//!
//! A message has one modification sequence for all its flags. The log of the index says more: what each change since the
//! index was written made of them. So a message whose other flags were changed need not be left (section 3.1.12). Where
//! the log does not reach back far enough it is.

use super::super::flags::Flags;
use super::Mailbox;
use super::change::{FlagChange, How};
use super::log::{Entry, Log};
use super::view::View;
use std::collections::HashMap;

/// The condition of one STORE.
#[derive(Debug)]
pub(super) struct Unchanged {
    since: u64,
    /// The flags that the command is about; `None`: all there are.
    wanted: Option<Flags>,
    /// By UID those of the messages in the log: the flags that they had at `since` and, as far as they are wanted, always
    /// had afterwards; or `None`. Read when it is asked for.
    history: Option<HashMap<u32, Option<Flags>>>,
}

impl Unchanged {
    /// `wanted`: the flags of the change, as the mailbox knows them.
    pub fn new(since: u64, change: &FlagChange<'_>, wanted: Flags) -> Unchanged {
        Unchanged { since, wanted: (change.how != How::Replace).then_some(wanted), history: None }
    }

    /// Whether a message may be changed that has these flags and this modification sequence now. The view is up to date,
    /// and the lock is held.
    pub fn allows(&mut self, mailbox: &Mailbox, uid: u32, flags: Flags, modseq: u64) -> bool {
        let Some(wanted) = self.wanted else { return modseq <= self.since };
        if self.since == 0 {
            // Whether it is there at all. System flags always are.
            return wanted.bits == 0 && wanted.keywords & flags.keywords == 0;
        }
        let since = self.since;
        modseq <= since
            || matches!(
                self.history.get_or_insert_with(|| history(mailbox, since, wanted)).get(&uid),
                Some(Some(_))
            )
    }
}

fn history(mailbox: &Mailbox, since: u64, wanted: Flags) -> HashMap<u32, Option<Flags>> {
    let mut history = HashMap::new();
    if !mailbox.in_file {
        return history;
    }
    let view = mailbox.newest();
    let same = |before: &Flags, now: Flags| {
        (before.bits ^ now.bits) & wanted.bits == 0 && (before.keywords ^ now.keywords) & wanted.keywords == 0
    };
    let mut log = Log::of(mailbox.index_directory(), view.index.nonce());
    // Of a log that cannot be read to its end nothing is known.
    let read = log.read(mailbox.log.offset(), &mut |entry| match entry {
        Entry::Flags { uid, modseq, flags, .. } if modseq > since => {
            let before = history.remove(&uid).unwrap_or_else(|| in_index(view, uid, since));
            history.insert(uid, before.filter(|before| same(before, flags)));
        }
        Entry::Flags { uid, flags, .. } => _ = history.insert(uid, Some(flags)),
        Entry::Added { uid, modseq, name, .. } => {
            history.insert(uid, (modseq <= since).then(|| Flags::of_name(&name)));
        }
        _ => {}
    });
    if read.is_err() || log.offset() != mailbox.log.offset() {
        history.clear();
    }
    history
}

/// The flags of a message in the index, if it has had them since then.
fn in_index(view: &View, uid: u32, since: u64) -> Option<Flags> {
    let row = view.index.at_or_after(uid).ok().filter(|&row| row < view.index.header.count)?;
    let row = view.index.row(row).ok()?;
    (row.uid == uid && row.modseq <= since).then_some(row.mail_flags)
}

#[cfg(test)]
mod tests {
    use super::super::super::Maildir;
    use super::super::super::testing::TempDir;
    use super::super::{Event, OpenOptions};
    use super::*;
    use std::fs;
    use std::time::Duration;

    const OPTIONS: OpenOptions =
        OpenOptions { read_only: false, fsync: false, lock_timeout: Duration::from_millis(500) };

    /// A mailbox, opened twice.
    fn twice(count: u32) -> (TempDir, Mailbox, Mailbox) {
        let dir = TempDir::maildir();
        (1..=count).for_each(|i| dir.write(&format!("cur/{i}.m:2,"), "text\n"));
        let maildir = Maildir::open(dir.path()).unwrap();
        let [a, b] = [(); 2].map(|()| Mailbox::open(&maildir, &OPTIONS).unwrap());
        (dir, a, b)
    }

    fn change<'a>(how: How, bits: u8, keywords: &'a [&'a str]) -> FlagChange<'a> {
        FlagChange { how, bits, keywords, silent: true }
    }

    fn store(mailbox: &mut Mailbox, change: FlagChange<'_>, since: Option<u64>) -> Vec<u32> {
        let all = vec![1..=mailbox.len()];
        mailbox.store_flags(&all, &change, since).unwrap().modified
    }

    fn told(mailbox: &mut Mailbox) -> Vec<Event> {
        let mut told = Vec::new();
        mailbox.sync(true, &mut |event| told.push(event)).unwrap();
        mailbox.tidy();
        told
    }

    /// What was changed meanwhile, what is asked for, and whether it is left.
    #[test]
    fn only_a_change_of_a_flag_that_is_asked_for_counts() {
        use How::{Add, Remove, Replace};
        const SEEN: u8 = Flags::SEEN;
        const DELETED: u8 = Flags::DELETED;
        type Command = (How, u8, &'static [&'static str]);
        let rows: [(&[Command], Command, bool); 12] = [
            (&[(Add, DELETED, &[])], (Add, SEEN, &[]), false),
            (&[(Add, DELETED, &[])], (Remove, SEEN, &[]), false),
            (&[(Add, DELETED, &[])], (Add, DELETED, &[]), true),
            (&[(Add, DELETED, &[])], (Remove, DELETED | SEEN, &[]), true),
            (&[(Add, DELETED, &[])], (Replace, SEEN, &[]), true),
            (&[(Replace, DELETED, &["Other"])], (Add, SEEN, &["Mine"]), false),
            (&[(Add, 0, &["Mine"])], (Add, 0, &["Mine"]), true),
            (&[(Add, 0, &["Mine"])], (Add, 0, &["Other"]), false),
            (&[(Add, 0, &["Mine"])], (Remove, 0, &["Never"]), false),
            (&[(Add, SEEN, &[]), (Add, DELETED, &[])], (Add, Flags::FLAGGED, &[]), false),
            (&[(Add, DELETED, &[]), (Add, SEEN, &[])], (Add, SEEN, &[]), true),
            // It is as it was, but it was not so all the time.
            (&[(Add, SEEN, &[]), (Remove, SEEN, &[])], (Add, SEEN, &[]), true),
        ];
        for (meanwhile, (how, bits, keywords), left) in rows {
            // Whether the client has heard of it, and whose changes it was, makes no difference.
            for known in [false, true] {
                let (_dir, mut a, mut b) = twice(2);
                let since = a.highest_modseq();
                for &(how, bits, keywords) in meanwhile {
                    store(&mut b, change(how, bits, keywords), None);
                }
                if known {
                    told(&mut a);
                }
                let case = format!("{meanwhile:?} {how:?} {bits} {keywords:?} {known}");
                let modified = store(&mut a, change(how, bits, keywords), Some(since));
                assert_eq!(modified, if left { vec![1, 2] } else { vec![] }, "{case}");
            }
        }
    }

    #[test]
    fn the_client_hears_of_the_others_change_once() {
        let (_dir, mut a, mut b) = twice(2);
        let since = a.highest_modseq();
        b.store_flags(&vec![2..=2], &change(How::Add, Flags::DELETED, &[]), None).unwrap();
        assert_eq!(store(&mut a, change(How::Add, Flags::SEEN, &[]), Some(since)), []);
        assert_eq!(told(&mut a), [Event::Flags(2), Event::Modseq(1)]);
        assert_eq!(a.info(2).unwrap().flags.bits, Flags::SEEN | Flags::DELETED);
        assert_eq!(a.info(1).unwrap().modseq, a.info(2).unwrap().modseq);
    }

    #[test]
    fn zero_asks_whether_it_is_there() {
        let (_dir, mut a, _) = twice(2);
        a.store_flags(&vec![2..=2], &change(How::Add, 0, &["There"]), None).unwrap();
        let rows: [(How, u8, &[&str], &[u32]); 6] = [
            (How::Add, 0, &["There"], &[2]),
            (How::Remove, 0, &["There"], &[2]),
            // A system flag always is.
            (How::Remove, Flags::SEEN, &[], &[1, 2]),
            (How::Add, Flags::SEEN, &["New"], &[1, 2]),
            (How::Replace, 0, &["New"], &[1, 2]),
            (How::Add, 0, &["New"], &[]),
        ];
        for (how, bits, keywords, left) in rows {
            // By the first row message 1 got it.
            store(&mut a, change(How::Remove, 0, &["New"]), None);
            a.store_flags(&vec![1..=1], &change(How::Remove, 0, &["There"]), None).unwrap();
            assert_eq!(
                store(&mut a, change(how, bits, keywords), Some(0)),
                left,
                "{how:?} {bits} {keywords:?}"
            );
        }
    }

    #[test]
    fn what_no_log_knows_is_left() {
        // A message that came meanwhile, one that was there, and a log that went with its index.
        let (dir, mut a, mut b) = twice(1000);
        let since = a.highest_modseq();
        b.store_flags(&vec![1..=2], &change(How::Add, Flags::DELETED, &[]), None).unwrap();
        dir.write("cur/1001.m:2,", "text\n");
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(100);
        fs::File::open(dir.path().join("cur")).unwrap().set_modified(long_ago).unwrap();
        told(&mut a);
        assert_eq!(store(&mut a, change(How::Add, Flags::DRAFT, &[]), Some(since)), [1001]);
        let log = fs::metadata(dir.path().join("tinmail-index.log")).unwrap().len();
        for i in 0..8 {
            let how = if i % 2 == 0 { How::Add } else { How::Remove };
            b.store_flags(&vec![1..=999], &change(how, Flags::ANSWERED, &[]), None).unwrap();
            told(&mut b);
        }
        assert!(
            fs::metadata(dir.path().join("tinmail-index.log")).unwrap().len() < 8 * log,
            "it was not renewed"
        );
        told(&mut a);
        assert_eq!(store(&mut a, change(How::Add, Flags::FLAGGED, &[]), Some(since)).len(), 1001);
        // The file is damaged: nothing is known.
        let since = a.highest_modseq();
        store(&mut b, change(How::Add, Flags::DRAFT, &[]), None);
        b.store_flags(&vec![1..=1000], &change(How::Remove, Flags::DRAFT, &[]), None).unwrap();
        told(&mut a);
        fs::write(dir.path().join("tinmail-index.log"), "rubbish").unwrap();
        assert_eq!(store(&mut a, change(How::Add, Flags::SEEN, &[]), Some(since)).len(), 1001);
    }
}
