//! Complete files in `tmp`, on their way into a mailbox: however many, a record of some octets each.

use super::super::directories::Directories;
use super::super::error::{ErrorKind, StorageError};
use super::super::flags::Flags;
use super::super::index::Decoder;
use super::super::message::FileName;
use super::super::quota::Amount;
use super::spool::{Reader, Spool};
use super::{Mailbox, Message};
use crate::sys::fs as sys;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Stands for no row.
const NO_ROW: u32 = u32::MAX;

/// A complete file in `tmp`.
#[derive(Debug)]
pub(super) struct Ready<'a> {
    /// Its name in `tmp` is so many octets of its base name in the mailbox.
    pub temp_length: u16,
    /// Base name in the mailbox.
    pub base: Cow<'a, [u8]>,
    pub flags: Flags,
    pub octets: u64,
    /// Octets of the file.
    pub size: u64,
    pub date: i64,
    /// Of what it is or will be a second link: the message in this row of the mailbox that it comes from.
    pub row: Option<u32>,
    pub way: Way,
}

/// How it gets its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is in `tmp`.
    New,
    /// The message itself is moved there; what is in `tmp` is a second link to it.
    Moved,
    /// By a link to the message; nothing is in `tmp`.
    Linked,
}

impl Ready<'_> {
    /// What is in `tmp` under this name.
    pub fn new(base: Vec<u8>, flags: Flags) -> Ready<'static> {
        let temp_length = u16::try_from(base.len()).unwrap_or(u16::MAX);
        Ready { temp_length, base: base.into(), flags, octets: 0, size: 0, date: 0, row: None, way: Way::New }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.temp_length.to_le_bytes());
        out.push(self.flags.bits);
        out.extend_from_slice(&self.flags.keywords.to_le_bytes());
        for number in [self.octets, self.size, self.date as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.row.unwrap_or(NO_ROW).to_le_bytes());
        out.push(self.way as u8);
        out.extend_from_slice(&self.base);
    }

    fn decode(record: &[u8]) -> Ready<'_> {
        let mut fields = Decoder(record);
        let (temp_length, [bits], keywords) = (fields.u16(), fields.take(), fields.u32());
        let (octets, size, date) = (fields.u64(), fields.u64(), fields.u64() as i64);
        let row = Some(fields.u32()).filter(|&row| row != NO_ROW);
        let way = match fields.take() {
            [1] => Way::Moved,
            [2] => Way::Linked,
            _ => Way::New,
        };
        Ready {
            temp_length,
            base: fields.0.into(),
            flags: Flags { bits, keywords },
            octets,
            size,
            date,
            row,
            way,
        }
    }

    /// Without flags it goes to `new`, as after a delivery.
    pub fn goes_to_new(&self) -> bool {
        self.flags == Flags::default()
    }

    /// The file's name in the mailbox.
    pub fn name(&self) -> Cow<'_, [u8]> {
        if self.goes_to_new() { (&*self.base).into() } else { self.flags.in_name(&self.base).into() }
    }

    fn temp(&self, maildir: &Path) -> PathBuf {
        let name = self.base.get(..usize::from(self.temp_length)).unwrap_or_default();
        maildir.join("tmp").join(OsStr::from_bytes(name))
    }

    fn place(&self, maildir: &Path) -> PathBuf {
        maildir.join(if self.goes_to_new() { "new" } else { "cur" }).join(OsStr::from_bytes(&self.name()))
    }

    /// Gives it its place. Returns where it was, if it is not a new file.
    fn put(&self, from: Option<&Mailbox>, to: &Target<'_>) -> Result<Option<PathBuf>, StorageError> {
        let place = self.place(to.maildir);
        if let (Some(row), Some(from), Way::Moved | Way::Linked) = (self.row, from, self.way) {
            let data = from.view.row(row).map_err(|error| from.damaged(error))?;
            let message = from.message(row, &data)?;
            if self.way == Way::Linked {
                return self.link(from, &message, to).map(|()| None);
            }
            match from.maildir.move_message(&message, &place) {
                Ok(was) => return Ok(Some(was)),
                // Somebody has expunged it just now; the link is left.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let renamed = sys::rename_without_overwriting(&self.temp(to.maildir), &place);
        renamed.map_err(StorageError::at("rename", &place))?;
        Ok(None)
    }

    fn link(&self, from: &Mailbox, message: &Message, to: &Target<'_>) -> Result<(), StorageError> {
        let place = FileName { in_new: self.goes_to_new(), name: self.name().into_owned() };
        if let (Some(source), Some(target)) = (&from.directories, &to.directories) {
            if from.maildir.link_between(source, message, (target, &place))? {
                return Ok(());
            }
        }
        Err(StorageError::with_kind(ErrorKind::Temp, "link", self.place(to.maildir), "it has to be copied"))
    }
}

/// Where they go.
struct Target<'a> {
    maildir: &'a Path,
    directories: Option<Directories>,
}

/// All of them. Dropped before [`ReadyList::keep`], they leave nothing behind, neither in `tmp` nor in the mailbox.
#[derive(Debug)]
pub(super) struct ReadyList {
    /// Where they go.
    maildir: PathBuf,
    list: Spool,
    /// Where those were that have moved, empty for the others; in the same order, as far as they have their places.
    origins: Spool,
    amount: Amount,
    /// They stay.
    kept: bool,
    /// One could not be linked: it is gone, or has to be copied.
    unlinked: bool,
}

impl ReadyList {
    pub fn new(maildir: &Path) -> ReadyList {
        let tmp = maildir.join("tmp");
        ReadyList {
            maildir: maildir.to_owned(),
            list: Spool::new(&tmp),
            origins: Spool::new(&tmp),
            amount: Amount::default(),
            kept: false,
            unlinked: false,
        }
    }

    pub fn len(&self) -> u32 {
        self.list.len()
    }

    /// What they take of the quota.
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// Adds one. Where that is not possible it is gone.
    pub fn push(&mut self, ready: &Ready<'_>) -> Result<(), StorageError> {
        let pushed = self.list.push(|out| ready.encode(out));
        match pushed {
            Ok(()) => self.amount.count(ready.size, ready.flags, 1),
            Err(_) if ready.way == Way::Linked => {}
            Err(_) => _ = fs::remove_file(ready.temp(&self.maildir)),
        }
        pushed
    }

    /// Whether one of them could not be linked, so that all have to go by `tmp`.
    pub fn is_unlinked(&self) -> bool {
        self.unlinked
    }

    pub fn iter(&self) -> ReadyIter<'_> {
        ReadyIter(self.list.reader())
    }

    /// Gives all of them their places: those that move, from where they are in `from`. `often` is called now and then.
    /// Returns whether any came to `cur`, and to `new`.
    ///
    /// Errors: some have their places already, until this is dropped.
    pub fn put_in_place(
        &mut self,
        from: Option<&Mailbox>,
        often: &dyn Fn(),
    ) -> Result<[bool; 2], StorageError> {
        let mut used = [false; 2];
        let directories = from.and_then(|_| Directories::open(&self.maildir).ok());
        let target = Target { maildir: &self.maildir, directories };
        let mut reader = ReadyIter(self.list.reader());
        while let Some(ready) = reader.next()? {
            let put = ready.put(from, &target);
            self.unlinked |= put.is_err() && ready.way == Way::Linked;
            let was = put?;
            let origin = was.as_ref().map_or(&[][..], |was| was.as_os_str().as_bytes());
            if let Err(error) = self.origins.push(|out| out.extend_from_slice(origin)) {
                take_back(&ready.place(&self.maildir), origin);
                return Err(error);
            }
            used[usize::from(ready.goes_to_new())] = true;
            if self.origins.len() % 1024 == 0 {
                often();
            }
        }
        Ok(used)
    }

    /// They stay where they are. What is still in `tmp` goes: the second links to messages that have moved.
    pub fn keep(&mut self, moved: bool) {
        self.kept = true;
        if moved {
            let _ = self.clear(&|ready, origin| {
                if origin.is_some_and(|origin| !origin.is_empty()) {
                    let _ = fs::remove_file(ready.temp(&self.maildir));
                }
            });
        }
    }

    fn clear(&self, act: &dyn Fn(&Ready<'_>, Option<&[u8]>)) -> Result<(), StorageError> {
        let (mut list, mut origins) = (self.iter(), self.origins.reader());
        while let Some(ready) = list.next()? {
            act(&ready, origins.next()?);
        }
        Ok(())
    }
}

impl Drop for ReadyList {
    fn drop(&mut self) {
        if self.kept || self.list.len() == 0 {
            return;
        }
        let _ = self.clear(&|ready, origin| {
            if let Some(origin) = origin {
                take_back(&ready.place(&self.maildir), origin);
            }
            // One that had its place by its link is not there any more.
            if ready.way != Way::Linked && origin.is_none_or(|origin| !origin.is_empty()) {
                let _ = fs::remove_file(ready.temp(&self.maildir));
            }
        });
    }
}

/// Takes a message from its place, and back to where it was if it is not a new one.
fn take_back(place: &Path, origin: &[u8]) {
    let _ = match origin.is_empty() {
        true => fs::remove_file(place),
        false => sys::rename_without_overwriting(place, Path::new(OsStr::from_bytes(origin))),
    };
}

/// Goes through them.
pub(super) struct ReadyIter<'a>(Reader<'a>);

impl ReadyIter<'_> {
    pub fn next(&mut self) -> Result<Option<Ready<'_>>, StorageError> {
        Ok(self.0.next()?.map(Ready::decode))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Maildir;
    use super::super::super::testing::TempDir;
    use super::super::OpenOptions;
    use super::*;
    use std::time::Duration;

    const OPTIONS: OpenOptions = OpenOptions { read_only: false, fsync: false, lock_timeout: Duration::ZERO };
    /// Several blocks of the spool.
    const MANY: u32 = 4000;

    /// All messages of a mailbox in the other's `tmp`; then one cannot have its place, or all can.
    fn into_place(way: Way, obstacle: bool) -> (TempDir, TempDir) {
        let moves = way == Way::Moved;
        let (from, to) = (TempDir::maildir(), TempDir::maildir());
        let letters = |i: u32| if i % 2 == 0 { "S" } else { "" };
        (0..MANY).for_each(|i| from.write(&format!("cur/{i}.m:2,{}", letters(i)), "text\n"));
        let before = from.list("cur");
        let maildirs = [&from, &to].map(|dir| Maildir::open(dir.path()).unwrap());
        let mut mailbox = Mailbox::open(&maildirs[0], &OPTIONS).unwrap();
        mailbox.hold_directories();
        let mut list = ReadyList::new(to.path());
        for row in 0..MANY {
            let data = mailbox.view.row(row).unwrap();
            let message = mailbox.message(row, &data).unwrap();
            let ready =
                mailbox.ready_to_copy(row, &message, &maildirs[1], data.mail_flags, Some(way)).unwrap();
            assert!(ready.row == Some(row) && ready.way == way);
            list.push(&ready).unwrap();
            if obstacle && row == MANY - 500 {
                fs::write(ready.place(to.path()), "in the way").unwrap();
            }
        }
        // Somebody gives one another flag meanwhile.
        fs::rename(from.path().join("cur/8.m:2,S"), from.path().join("cur/8.m:2,FS")).unwrap();
        assert_eq!(to.list("tmp").len(), if way == Way::Linked { 0 } else { MANY as usize });
        let put = list.put_in_place(Some(&mailbox), &|| {});
        assert_eq!(put.is_err(), obstacle);
        assert_eq!(list.is_unlinked(), obstacle && way == Way::Linked);
        match put {
            Ok(used) => {
                assert_eq!(used, [true, true]);
                list.keep(moves);
            }
            Err(_) => {
                drop(list);
                let after = from.list("cur").into_iter().map(|name| name.replace("8.m:2,FS", "8.m:2,S"));
                assert_eq!(after.collect::<Vec<_>>(), before);
            }
        }
        assert!(to.list("tmp").is_empty());
        (from, to)
    }

    #[test]
    fn what_fails_is_taken_back() {
        for way in [Way::New, Way::Moved, Way::Linked] {
            let (from, to) = into_place(way, true);
            assert_eq!(to.list("cur").len() + to.list("new").len(), 1, "{way:?}");
            assert!(from.list("cur").contains(&"8.m:2,FS".to_owned()));
        }
    }

    #[test]
    fn what_does_not_fail_stays() {
        for way in [Way::New, Way::Moved, Way::Linked] {
            let (from, to) = into_place(way, false);
            let half = MANY as usize / 2;
            assert_eq!((to.list("cur").len(), to.list("new").len()), (half, half));
            assert_eq!(from.list("cur").len(), if way == Way::Moved { 0 } else { 2 * half });
        }
    }

    #[test]
    fn a_list_that_is_dropped_leaves_nothing() {
        let to = TempDir::maildir();
        let mut list = ReadyList::new(to.path());
        for i in 0..2000 {
            let ready = Ready::new(format!("{i}.a").into_bytes(), Flags::default());
            to.write(&format!("tmp/{i}.a"), "");
            list.push(&ready).unwrap();
        }
        drop(list);
        assert!(to.list("tmp").is_empty());
    }
}
