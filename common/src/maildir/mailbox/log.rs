//! `tinmail-index.log`: what changed since the index was written, in order.
//!
//! Sessions follow it by reading on from where they were; it is also how they learn of each other's changes. It is
//! appended to under the [lock](super::lock) only, in frames with a checksum: one that a crash cut short is not read, and
//! the next writer cuts it off. Its head names the index that it belongs to; with any other it means nothing.

mod piece;

use super::super::blocks::checksum;
use super::super::flags::Flags;
use super::super::index::Decoder;
use super::super::make_anew;
use super::super::uidlist_file::Stamp;
use super::summary::Summary;
use crate::sys::clock;
use piece::Piece;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

/// The file's name in the index directory.
pub const NAME: &str = "tinmail-index.log";
const TEMP_NAME: &str = "tinmail-index.log.tmp";
const MAGIC: &[u8; 8] = b"tinmlog3";
const HEAD: u64 = 16;
const FRAME_HEAD: usize = 8;
/// Entries are gathered up to about so many bytes.
const FRAME_MAX: usize = 32 * 1024;
/// A frame of stamps and a summary.
const LAST_FRAME: usize = FRAME_HEAD + 1 + 4 * 24 + 12 + 1 + Summary::LENGTH;

/// What the directories and control files were, and when somebody looked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Stamps {
    pub new: Stamp,
    pub cur: Stamp,
    pub uidlist: Stamp,
    pub keywords: Stamp,
    /// By the file system's clock, nanoseconds since 1970.
    pub made: i64,
    pub next_uid: u32,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Entry {
    /// The message has these flags now.
    Flags { uid: u32, modseq: u64, flags: Flags, place: u16 },
    /// A new message; its UID is greater than all others.
    Added { uid: u32, modseq: u64, octets: u64, date: i64, place: u16, name: Box<[u8]> },
    /// The message is no more.
    Expunged { uid: u32, modseq: u64 },
    /// Of all messages up to this UID some client has been told.
    Told { uid: u32 },
    /// Somebody found out.
    Known { uid: u32, octets: u64, date: i64 },
    /// The state that the index and the log up to here describe. It begins a frame.
    Stamps(Stamps),
    /// The same, counted.
    Summary(Summary),
}

impl Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Entry::Flags { uid, modseq, flags, place } => {
                out.push(b'F');
                out.extend_from_slice(&uid.to_le_bytes());
                out.extend_from_slice(&modseq.to_le_bytes());
                out.extend_from_slice(&flags.keywords.to_le_bytes());
                out.push(flags.bits);
                out.extend_from_slice(&place.to_le_bytes());
            }
            Entry::Added { uid, modseq, octets, date, place, name } => {
                out.push(b'A');
                out.extend_from_slice(&uid.to_le_bytes());
                for number in [*modseq, *octets, *date as u64] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                out.extend_from_slice(&place.to_le_bytes());
                let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(name.get(..usize::from(length)).unwrap_or_default());
            }
            Entry::Expunged { uid, modseq } => {
                out.push(b'X');
                out.extend_from_slice(&uid.to_le_bytes());
                out.extend_from_slice(&modseq.to_le_bytes());
            }
            Entry::Told { uid } => {
                out.push(b'T');
                out.extend_from_slice(&uid.to_le_bytes());
            }
            Entry::Known { uid, octets, date } => {
                out.push(b'K');
                out.extend_from_slice(&uid.to_le_bytes());
                out.extend_from_slice(&octets.to_le_bytes());
                out.extend_from_slice(&date.to_le_bytes());
            }
            Entry::Stamps(stamps) => {
                out.push(b'S');
                for stamp in [stamps.new, stamps.cur, stamps.uidlist, stamps.keywords] {
                    out.extend_from_slice(&stamp.encode());
                }
                out.extend_from_slice(&stamps.made.to_le_bytes());
                out.extend_from_slice(&stamps.next_uid.to_le_bytes());
            }
            Entry::Summary(summary) => {
                out.push(b'C');
                summary.encode(out);
            }
        }
    }

    /// The first entry of a frame that passed its checksum.
    pub fn decode(fields: &mut Decoder<'_>) -> Option<Entry> {
        let [tag] = fields.take();
        Some(match tag {
            b'F' => {
                let (uid, modseq, keywords) = (fields.u32(), fields.u64(), fields.u32());
                let ([bits], place) = (fields.take(), fields.u16());
                Entry::Flags { uid, modseq, flags: Flags { bits, keywords }, place }
            }
            b'A' => {
                let (uid, modseq, octets) = (fields.u32(), fields.u64(), fields.u64());
                let (date, place, length) = (fields.u64() as i64, fields.u16(), fields.u16());
                let (name, rest) = fields.0.split_at_checked(usize::from(length))?;
                fields.0 = rest;
                Entry::Added { uid, modseq, octets, date, place, name: name.into() }
            }
            b'X' => Entry::Expunged { uid: fields.u32(), modseq: fields.u64() },
            b'T' => Entry::Told { uid: fields.u32() },
            b'K' => Entry::Known { uid: fields.u32(), octets: fields.u64(), date: fields.u64() as i64 },
            b'S' => {
                let mut stamp = || Stamp::decode(fields.take());
                let (new, cur, uidlist, keywords) = (stamp(), stamp(), stamp(), stamp());
                let (made, next_uid) = (fields.u64() as i64, fields.u32());
                Entry::Stamps(Stamps { new, cur, uidlist, keywords, made, next_uid })
            }
            b'C' => Entry::Summary(Summary::decode(fields)),
            _ => return None,
        })
    }
}

/// The log of one index, read up to some place.
#[derive(Debug)]
pub(in super::super) struct Log {
    path: PathBuf,
    /// The index's.
    nonce: u64,
    file: Option<Rc<File>>,
    /// Everything before it has been read.
    offset: u64,
}

impl Log {
    /// The log of the index with this nonce, from its beginning. It need not be there yet.
    pub fn of(directory: &Path, nonce: u64) -> Log {
        let mut log = Log { path: directory.join(NAME), nonce, file: None, offset: HEAD };
        log.find();
        log
    }

    /// That of an index which is in no file.
    pub fn nowhere() -> Log {
        Log { path: PathBuf::new(), nonce: 0, file: None, offset: HEAD }
    }

    /// The same log, even if another takes its place, from its beginning.
    pub fn reread(&self) -> Log {
        Log { path: self.path.clone(), nonce: self.nonce, file: self.file.clone(), offset: HEAD }
    }

    fn find(&mut self) {
        let mut open = OpenOptions::new();
        open.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = open.clone().write(true).open(&self.path).or_else(|_| open.open(&self.path));
        self.file = file.ok().filter(|file| self.is_of_this_index(file)).map(Rc::new);
    }

    fn is_of_this_index(&self, file: &File) -> bool {
        let mut head = [0; HEAD as usize];
        file.metadata().is_ok_and(|meta| meta.is_file())
            && file.read_exact_at(&mut head, 0).is_ok()
            && head == self.head()
    }

    fn head(&self) -> [u8; HEAD as usize] {
        let mut head = [0; HEAD as usize];
        head.iter_mut().zip(MAGIC.iter().chain(&self.nonce.to_le_bytes())).for_each(|(to, from)| *to = *from);
        head
    }

    /// How far it has been read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether nothing was ever appended, as far as has been read.
    pub fn is_empty(&self) -> bool {
        self.offset == HEAD
    }

    /// Octets that are in the file.
    pub fn length(&self) -> u64 {
        self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(HEAD, |meta| meta.size())
    }

    /// Whether it has been read or written as a whole since the machine was started. A crash of the machine may lose any part of
    /// what was written before, and leave the end of it.
    fn is_of_this_boot(meta: &Metadata) -> bool {
        let written = meta.modified().ok();
        written.zip(clock::booted().ok()).is_some_and(|(written, booted)| written > booted)
    }

    /// It has been read to its end: what was written before the machine was started is there, all of it.
    pub fn vouch(&self) {
        let Some(file) = &self.file else { return };
        let meta = file.metadata().ok().filter(|meta| meta.size() == self.offset);
        if meta.is_some_and(|meta| !Log::is_of_this_boot(&meta)) {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// If the log ends with a summary, and nothing before that can have been lost: goes there, passing over everything before it.
    pub fn skip_to_summary(&mut self) -> Option<(Stamps, Summary)> {
        let file = self.file.as_ref()?;
        let end = file.metadata().ok().filter(Log::is_of_this_boot)?.size();
        let begin = end.checked_sub(LAST_FRAME as u64).filter(|&begin| begin >= HEAD)?;
        let mut frame = [0; LAST_FRAME];
        file.read_exact_at(&mut frame, begin).ok()?;
        let mut fields = Decoder(&frame);
        let (size, sum) = (fields.u32(), fields.u32());
        let is_whole =
            size as usize == fields.0.len() && checksum(fields.0, self.nonce.wrapping_add(begin)) == sum;
        let (Some(Entry::Stamps(stamps)), Some(Entry::Summary(summary))) =
            (Entry::decode(&mut fields), Entry::decode(&mut fields))
        else {
            return None;
        };
        if !is_whole {
            return None;
        }
        self.offset = end;
        Some((stamps, summary))
    }

    /// Gives `visit` everything up to `end` that has not been read yet.
    pub fn read(&mut self, end: u64, visit: &mut dyn FnMut(Entry)) -> io::Result<()> {
        if self.file.is_none() {
            self.find();
        }
        let Some(file) = &self.file else { return Ok(()) };
        let length = file.metadata()?.size().min(end);
        let mut piece = Piece::default();
        while self.offset < length {
            let Some(frame) = piece.frame(file, self.offset, length, self.nonce)? else { break };
            self.offset += (FRAME_HEAD + frame.len()) as u64;
            let mut fields = Decoder(frame);
            while !fields.0.is_empty() {
                let Some(entry) = Entry::decode(&mut fields) else { break };
                visit(entry);
            }
        }
        Ok(())
    }

    /// The same by somebody who knows how far the log has been read.
    pub fn append_after(&mut self, offset: u64, entries: &[Entry]) -> io::Result<()> {
        self.offset = offset;
        self.append(entries)
    }

    /// Appends entries, under the lock, after everything has been read. With an error nothing was appended.
    pub fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            self.create()?;
        }
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let begin = self.offset;
        // What a crash left behind the last whole frame would hide what comes now.
        if file.metadata()?.size() > begin {
            file.set_len(begin)?;
        }
        let mut frames = Frames { nonce: self.nonce, offset: begin, octets: vec![0; FRAME_HEAD], begun: 0 };
        for entry in entries {
            let is_full = frames.octets.len() - frames.begun >= FRAME_MAX;
            let is_begun = frames.octets.len() > frames.begun + FRAME_HEAD;
            if is_full || (is_begun && matches!(entry, Entry::Stamps(_))) {
                frames.seal();
                if is_full {
                    frames.write(file, begin)?;
                }
                frames.octets.extend_from_slice(&[0; FRAME_HEAD]);
            }
            entry.encode(&mut frames.octets);
        }
        frames.seal();
        frames.write(file, begin)?;
        self.offset = frames.offset;
        Ok(())
    }

    /// A log in place of one that belongs to an index that is no more.
    fn create(&mut self) -> io::Result<()> {
        let temp = self.path.with_file_name(TEMP_NAME);
        let file = make_anew(&temp)?;
        file.write_all_at(&self.head(), 0)?;
        fs::rename(&temp, &self.path)?;
        self.file = Some(Rc::new(file));
        self.offset = HEAD;
        Ok(())
    }
}

/// Frames on their way into the file.
struct Frames {
    nonce: u64,
    /// Where they begin in the file.
    offset: u64,
    octets: Vec<u8>,
    /// Where the last of them begins here.
    begun: usize,
}

impl Frames {
    /// Completes the last of them.
    fn seal(&mut self) {
        let seed = self.nonce.wrapping_add(self.offset + self.begun as u64);
        let frame = self.octets.get_mut(self.begun..).unwrap_or_default();
        if let Some((head, payload)) = frame.split_at_mut_checked(FRAME_HEAD) {
            let numbers = (payload.len() as u32).to_le_bytes().into_iter();
            let numbers = numbers.chain(checksum(payload, seed).to_le_bytes());
            head.iter_mut().zip(numbers).for_each(|(to, from)| *to = from);
        }
        self.begun = self.octets.len();
    }

    /// Writes them. With an error the file ends at `begin` again.
    fn write(&mut self, file: &File, begin: u64) -> io::Result<()> {
        if let Err(error) = file.write_all_at(&self.octets, self.offset) {
            let _ = file.set_len(begin);
            return Err(error);
        }
        self.offset += self.octets.len() as u64;
        self.octets.clear();
        self.begun = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::TempDir;
    use super::*;

    fn some_entries(count: u32) -> Vec<Entry> {
        let mut entries: Vec<Entry> = (1..=count)
            .map(|uid| match uid % 4 {
                0 => Entry::Expunged { uid, modseq: 9 },
                1 => Entry::Flags { uid, modseq: 7, flags: Flags { bits: 3, keywords: 5 }, place: 1 },
                2 => {
                    let name = format!("{uid}.name").into_bytes().into();
                    Entry::Added { uid, modseq: 8, octets: 77, date: -5, place: 0, name }
                }
                _ => Entry::Known { uid, octets: 5, date: 6 },
            })
            .collect();
        entries.push(Entry::Stamps(Stamps { made: 5, next_uid: count, ..Stamps::default() }));
        entries
    }

    fn read_all(log: &mut Log) -> Vec<Entry> {
        let mut entries = Vec::new();
        log.read(u64::MAX, &mut |entry| entries.push(entry)).unwrap();
        entries
    }

    #[test]
    fn a_follower_reads_what_was_appended() {
        let dir = TempDir::new();
        let (mut writer, mut reader) = (Log::of(dir.path(), 5), Log::of(dir.path(), 5));
        assert_eq!(read_all(&mut reader), []);
        writer.append(&some_entries(5000)).unwrap();
        assert_eq!(read_all(&mut reader), some_entries(5000));
        writer.append(&some_entries(1)).unwrap();
        assert_eq!(read_all(&mut reader), some_entries(1));
        assert_eq!(read_all(&mut reader), []);
        assert_eq!(read_all(&mut Log::of(dir.path(), 5)).len(), 5003);
        assert_eq!(read_all(&mut Log::of(dir.path(), 6)), []);
    }

    #[test]
    fn what_a_crash_cut_short_is_overwritten() {
        let dir = TempDir::new();
        let mut writer = Log::of(dir.path(), 5);
        writer.append(&some_entries(3)).unwrap();
        let path = dir.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        // The stamps are a frame of their own.
        let last = whole.len() - (LAST_FRAME - 1 - Summary::LENGTH);
        let left = |at| if at < last { Vec::new() } else { some_entries(3)[..3].to_vec() };
        for cut in HEAD as usize..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut late = Log::of(dir.path(), 5);
            assert_eq!(read_all(&mut late), left(cut));
            late.append(&some_entries(2)).unwrap();
            assert_eq!(read_all(&mut Log::of(dir.path(), 5)), [left(cut), some_entries(2)].concat());
        }
        for at in (HEAD as usize)..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 4;
            fs::write(&path, &broken).unwrap();
            assert_eq!(read_all(&mut Log::of(dir.path(), 5)), left(at), "octet {at}");
        }
    }

    #[test]
    fn only_a_whole_summary_at_the_end_is_one() {
        let dir = TempDir::new();
        let summary = Summary { rows: 5, messages: 4, next_uid: 9, ..Summary::default() };
        let mut entries = some_entries(20);
        assert_eq!(Log::of(dir.path(), 5).skip_to_summary(), None);
        Log::of(dir.path(), 5).append(&entries).unwrap();
        assert_eq!(Log::of(dir.path(), 5).skip_to_summary(), None);
        entries.push(Entry::Summary(summary));
        let mut writer = Log::of(dir.path(), 5);
        read_all(&mut writer);
        writer.append(&entries).unwrap();
        let stamps = Stamps { made: 5, next_uid: 20, ..Stamps::default() };
        let mut log = Log::of(dir.path(), 5);
        assert_eq!(log.skip_to_summary(), Some((stamps, summary)));
        assert_eq!(log.offset(), log.length());
        // What is appended behind it is read from there, and the rest whenever it is asked for.
        writer.append(&some_entries(1)).unwrap();
        assert_eq!(read_all(&mut log), some_entries(1));
        assert_eq!(read_all(&mut log.reread()).len(), 21 + 22 + 2);
        assert_eq!(Log::of(dir.path(), 5).skip_to_summary(), None);
        let path = dir.path().join(NAME);
        let length = fs::metadata(&path).unwrap().len() as usize;
        let whole = fs::read(&path).unwrap();
        let end = (0..=length).filter(|&end| {
            fs::write(&path, &whole[..end]).unwrap();
            Log::of(dir.path(), 5).skip_to_summary().is_some()
        });
        let end: Vec<usize> = end.collect();
        assert_eq!(end.len(), 1);
        for at in end[0] - LAST_FRAME..end[0] {
            let mut broken = whole[..end[0]].to_vec();
            broken[at] ^= 4;
            fs::write(&path, &broken).unwrap();
            assert_eq!(Log::of(dir.path(), 5).skip_to_summary(), None, "octet {at}");
        }
    }

    #[test]
    fn the_log_of_another_index_is_replaced() {
        let dir = TempDir::new();
        Log::of(dir.path(), 5).append(&some_entries(3)).unwrap();
        let mut old = Log::of(dir.path(), 5);
        Log::of(dir.path(), 6).append(&some_entries(1)).unwrap();
        assert_eq!(read_all(&mut old), some_entries(3));
        assert_eq!(read_all(&mut Log::of(dir.path(), 6)), some_entries(1));
    }
}
