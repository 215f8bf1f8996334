//! One message's FETCH response.

use super::digester::Digester;
use super::items::{Known, print_items, separate};
use super::plan::Plan;
use super::section::{self, Extent, Found};
use super::source::Source;
use super::wire::{self, Sink, Wire};
use crate::digest::Digest;
use crate::grammar::{SectionText, print};
use crate::mailbox::{Flags, Info, Mailbox};
use crate::sync;
use crate::waiting::Clock;
use common::io::Ending;
use common::maildir::StorageError;
use common::mime::tree::Tree;
use std::cell::{Cell, RefCell};
use std::io;
use std::time::{Duration, Instant};

/// A line of a response that has grown beyond this is not kept for the next one.
const LINE_USUAL: usize = 64 << 10;
/// Octets of a response that is put together in one piece.
const WHOLE_MAX: usize = 96 << 10;
/// The most octets that announce a literal, beside its name.
const LITERAL_MAX: usize = 32;
/// Octets of a line with which room is reckoned: each line gets one more.
const LINE_MIN: usize = 8;
/// A message that takes longer than this before there is anything to send is one that the client waits for.
const LONG: Duration = Duration::from_millis(500);
/// Parts of a message that are remembered between two commands.
const RECALL_PARTS_MAX: usize = 1000;

/// Why there is no response for a message.
pub(super) enum Stop {
    /// It cannot be read, and nothing of the response has been sent.
    Skip(StorageError),
    /// The conversation is over.
    Over(Ending),
}

impl From<Ending> for Stop {
    fn from(ending: Ending) -> Stop {
        Stop::Over(ending)
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Stop {
        Stop::Skip(error)
    }
}

/// What is remembered of the message whose text was fetched in pieces: clients ask for one piece after the other, and each
/// would otherwise be looked for from the beginning.
#[derive(Default)]
pub struct Recall {
    /// Its UID; 0: nothing is remembered.
    uid: u32,
    /// Octets of its file.
    length: u64,
    tree: Option<Tree>,
    place: Option<Place>,
}

impl Recall {
    /// Whether it is about this message.
    #[cfg(test)]
    pub(super) fn is_of(&self, uid: u32) -> bool {
        self.uid == uid
    }
}

/// Where a piece ended.
#[derive(Clone, Copy)]
struct Place {
    /// Where the section begins in the file.
    from: u64,
    /// Octets of it, as they are sent, before this place.
    octets: u64,
    offset: u64,
    state: wire::State,
}

/// Makes responses for one FETCH.
pub(super) struct Answer<'a> {
    plan: &'a Plan<'a>,
    condstore: bool,
    recall: &'a mut Recall,
    digester: Digester,
    line: Vec<u8>,
    found: Vec<Found>,
    /// FLAGS as printed last, and what they were: neighbours mostly have the same.
    flags: Vec<u8>,
    flags_of: Option<(Flags, bool)>,
}

impl<'a> Answer<'a> {
    pub fn new(plan: &'a Plan<'a>, condstore: bool, recall: &'a mut Recall) -> Answer<'a> {
        Answer {
            plan,
            condstore,
            recall,
            digester: Digester::default(),
            line: Vec::new(),
            found: Vec::new(),
            flags: Vec::new(),
            flags_of: None,
        }
    }

    /// Sends the response for a message. `newly_seen`: it has just been given `\Seen`, which has to be said.
    pub fn send(
        &mut self,
        mailbox: &mut Mailbox,
        message: (u32, &Info, bool),
        sink: &mut impl Sink,
        clock: &Clock,
        scratch: &mut [u8],
    ) -> Result<(), Stop> {
        let (is_begun, over) = (Cell::new(false), RefCell::new(None));
        let (sink, begun) = (RefCell::new(sink), Instant::now());
        let wait = || {
            let mut over = over.borrow_mut();
            // While something is being put into it, it is not waited for.
            if let (None, Ok(mut sink)) = (&*over, sink.try_borrow_mut()) {
                // Who gets one response after the other needs no other word.
                *over = sink.look(clock, !is_begun.get() && begun.elapsed() >= LONG).err();
            }
            if over.is_none() { Ok(()) } else { Err(io::Error::other("nobody waits for it")) }
        };
        let sent = self.send_to(mailbox, message, (&sink, &is_begun), &wait, scratch);
        match over.take() {
            Some(ending) => Err(Stop::Over(ending)),
            None => sent,
        }
    }

    fn send_to<S: Sink>(
        &mut self,
        mailbox: &mut Mailbox,
        (msn, info, newly_seen): (u32, &Info, bool),
        (sink, is_begun): (&RefCell<&mut S>, &Cell<bool>),
        wait: &dyn Fn() -> io::Result<()>,
        scratch: &mut [u8],
    ) -> Result<(), Stop> {
        let plan = self.plan;
        self.line.clear();
        self.line.extend_from_slice(b"* ");
        print::number(&mut self.line, u64::from(msn));
        self.line.extend_from_slice(b" FETCH (");
        let begun = self.line.len();
        if plan.flags || newly_seen {
            self.print_flags(mailbox, info);
        }
        let mut known = Known { octets: info.octets, internal_date: info.internal_date };
        let is_cached = plan.digest && self.items_from_cache(mailbox, msn, info, known);
        // A digest has the date, and so has the open file: asking for it by name is for those who need nothing else.
        if plan.internal_date && !plan.digest && known.internal_date.is_none() {
            known.internal_date = Some(mailbox.internal_date(msn)?);
        }
        let mut source = None;
        if plan.digest && !is_cached || !plan.sections.is_empty() {
            let file = mailbox.open_message(msn)?;
            source = Some(Source::new(file, scratch, wait).map_err(|error| mailbox.unreadable(msn, error))?);
        }
        let mut tree_is_read = false;
        if let Some(source) = &mut source {
            if plan.digest && !is_cached {
                self.make_digest(mailbox, msn, info, source)?;
                tree_is_read = true;
                let digest = Digest::decode(self.digester.last());
                print_items(&mut self.line, plan, info, known, digest.as_ref(), &self.flags);
            }
        }
        if !plan.digest {
            if plan.size && known.octets.is_none() {
                known.octets = Some(mailbox.octets(msn, &|| wait().is_ok())?);
            }
            print_items(&mut self.line, plan, info, known, None, &self.flags);
        }
        if newly_seen && !plan.flags {
            separate(&mut self.line, begun);
            self.line.extend_from_slice(&self.flags);
        }
        // RFC 7162 section 3.1: with each change that is told.
        if newly_seen && self.condstore && !plan.modseq {
            print::text(&mut self.line, format_args!(" MODSEQ ({})", info.modseq));
        }
        let is_done = match &mut source {
            Some(source) if !plan.sections.is_empty() => {
                self.send_whole(&mut **sink.borrow_mut(), mailbox, msn, info, source, begun)?
            }
            _ => true,
        };
        if let (false, Some(source)) = (is_done, &mut source) {
            let is_foreign = self.find(mailbox, msn, info, source, tree_is_read)?;
            is_begun.set(true);
            let sent = self.send_sections(sink, source, begun);
            if is_foreign && !matches!(sent, Ok(true) | Err(Ending::Disconnected | Ending::NotReading)) {
                self.count_anew(mailbox, msn, source);
            }
            sent?;
        }
        self.line.extend_from_slice(b")\r\n");
        sink.borrow_mut().push(&self.line)?;
        self.line.shrink_to(LINE_USUAL);
        self.digester.shrink();
        Ok(())
    }

    fn print_flags(&mut self, mailbox: &Mailbox, info: &Info) {
        if self.flags_of == Some((info.flags, info.recent)) {
            return;
        }
        self.flags.clear();
        self.flags.extend_from_slice(b"FLAGS ");
        sync::flags(&mut self.flags, mailbox, info);
        self.flags_of = Some((info.flags, info.recent));
    }

    /// Prints the items if the message's digest is there.
    fn items_from_cache(&mut self, mailbox: &mut Mailbox, msn: u32, info: &Info, known: Known) -> bool {
        match mailbox.cached(msn).and_then(Digest::decode) {
            Some(digest) => {
                print_items(&mut self.line, self.plan, info, known, Some(&digest), &self.flags);
                true
            }
            None => false,
        }
    }

    /// Reads the message, keeps its digest, and leaves it and the tree in the digester.
    fn make_digest(
        &mut self,
        mailbox: &mut Mailbox,
        msn: u32,
        info: &Info,
        source: &mut Source<'_>,
    ) -> Result<(), Stop> {
        source.parse(&mut self.digester.tree).map_err(|error| mailbox.unreadable(msn, error))?;
        let internal_date = info.internal_date.unwrap_or_else(|| {
            mailbox.learn_date(msn, source.modified());
            source.modified()
        });
        mailbox.cache(msn, self.digester.of_tree(internal_date));
        Ok(())
    }

    /// Finds all sections. Whether the message's size is somebody else's word.
    fn find(
        &mut self,
        mailbox: &mut Mailbox,
        msn: u32,
        info: &Info,
        source: &mut Source<'_>,
        tree_is_read: bool,
    ) -> Result<bool, Stop> {
        let is_large = source.octets().map_err(|error| mailbox.unreadable(msn, error))?.is_none();
        let is_known = self.recall.uid == info.uid && self.recall.length == source.length();
        if !is_known {
            *self.recall = Recall::default();
        }
        if self.plan.tree && !tree_is_read {
            match self.recall.tree.take() {
                Some(tree) => self.digester.tree = tree,
                None => {
                    source.parse(&mut self.digester.tree).map_err(|error| mailbox.unreadable(msn, error))?
                }
            }
        }
        let (mut octets, mut is_foreign) = (0, false);
        if self.plan.octets {
            octets = match source.octets().map_err(|error| mailbox.unreadable(msn, error))? {
                Some(octets) => octets,
                None => {
                    let counted = mailbox.cached(msn).and_then(Digest::decode).map(|digest| digest.octets());
                    is_foreign = true;
                    match counted.or(info.octets) {
                        Some(octets) => octets,
                        // Counting it is reading it: the next time it is known.
                        None => {
                            self.make_digest(mailbox, msn, info, source)?;
                            self.digester.tree.parts().first().map_or(0, |part| part.end.octets)
                        }
                    }
                }
            };
        }
        self.found.clear();
        for piece in &self.plan.sections {
            let found = section::find(source, &self.digester.tree, octets, &piece.item.section);
            self.found.push(found.map_err(|error| mailbox.unreadable(msn, error))?);
        }
        if is_large && self.plan.is_partial() {
            (self.recall.uid, self.recall.length) = (info.uid, source.length());
        }
        Ok(is_foreign)
    }

    /// Sends what is printed so far and the message, if nothing else is asked for and it fits into the buffers: converted where it is
    /// sent from, before its size is known, which is put in front of it. `false`: nothing has been done.
    fn send_whole(
        &mut self,
        sink: &mut impl Sink,
        mailbox: &Mailbox,
        msn: u32,
        info: &Info,
        source: &mut Source<'_>,
        begun: usize,
    ) -> Result<bool, Stop> {
        let [piece] = self.plan.sections.as_slice() else { return Ok(false) };
        if piece.item.partial.is_some() || !section::is_whole(&piece.item.section) {
            return Ok(false);
        }
        let message = source.whole().map_err(|error| mailbox.unreadable(msn, error))?;
        // Lines shorter than this on the average are sent another way.
        let room_for = |text: &[u8]| text.len() + text.len() / LINE_MIN;
        let printed = self.line.len();
        let most = room_for(&self.line) + room_for(&piece.label) + LITERAL_MAX;
        let Some((message, at_least)) = message.map(|message| (message, most + room_for(message))) else {
            return Ok(false);
        };
        if at_least > WHOLE_MAX {
            return Ok(false);
        }
        separate(&mut self.line, begun);
        self.line.extend_from_slice(&piece.label);
        self.line.push(b'{');
        let named = self.line.len();
        // As many digits as there will be, mostly.
        print::number(&mut self.line, message.len() as u64);
        self.line.extend_from_slice(b"}\r\n");
        let guess = self.line.len();
        let room = sink.room(at_least)?;
        let Some(octets) = room.get_mut(guess..).and_then(|room| wire::write_whole(message, room)) else {
            self.line.truncate(printed);
            return Ok(false);
        };
        self.line.truncate(named);
        print::number(&mut self.line, octets as u64);
        self.line.extend_from_slice(b"}\r\n");
        let begin = self.line.len();
        if begin + octets > room.len() {
            self.line.truncate(printed);
            return Ok(false);
        }
        if begin != guess {
            room.copy_within(guess..guess + octets, begin);
        }
        if let Some(room) = room.get_mut(..begin) {
            room.copy_from_slice(&self.line);
        }
        sink.advance(begin + octets);
        self.line.clear();
        if self.recall.uid != info.uid {
            *self.recall = Recall::default();
        }
        Ok(true)
    }

    /// Sends what is printed so far and the sections. Whether all sections had the octets that their size promised, and no more.
    fn send_sections<S: Sink>(
        &mut self,
        sink: &RefCell<&mut S>,
        source: &mut Source<'_>,
        begun: usize,
    ) -> Result<bool, Ending> {
        let mut is_right = true;
        let mut is_first = self.line.len() == begun;
        for (piece, found) in self.plan.sections.iter().zip(&self.found) {
            if !std::mem::take(&mut is_first) {
                self.line.push(b' ');
            }
            self.line.extend_from_slice(&piece.label);
            let octets = match found {
                Found::Nothing => {
                    self.line.extend_from_slice(b"NIL");
                    continue;
                }
                Found::Text(extent) => extent.octets,
                Found::Fields { octets, .. } => *octets,
            };
            let (skip, count) = section::clamp(&piece.item, octets);
            self.line.push(b'{');
            print::number(&mut self.line, count);
            self.line.extend_from_slice(b"}\r\n");
            sink.borrow_mut().push(&self.line)?;
            self.line.clear();
            match (found, &piece.item.section.text) {
                (Found::Text(extent), _) => {
                    let place = if self.recall.uid != 0 { Some(&mut self.recall.place) } else { None };
                    is_right &= send_text(sink, source, *extent, skip, count, place)?;
                }
                (Found::Fields { header, .. }, SectionText::HeaderFields { not, names }) => {
                    let mut wire = Wire::new(skip, count);
                    source.fields(header.from..header.to, names, *not, &mut |line| {
                        wire.put(&mut **sink.borrow_mut(), line).map(drop).map_err(Broken::Ending)
                    })?;
                    complete(&mut wire, &mut **sink.borrow_mut())?;
                }
                _ => {}
            }
        }
        if self.recall.uid != 0 && self.plan.tree && self.digester.tree.parts().len() <= RECALL_PARTS_MAX {
            self.recall.tree = Some(std::mem::take(&mut self.digester.tree));
        }
        Ok(is_right)
    }

    /// The size that was said was wrong. It is counted now and kept, so that the message is whole the next time.
    fn count_anew(&mut self, mailbox: &mut Mailbox, msn: u32, source: &mut Source<'_>) {
        if source.parse(&mut self.digester.tree).is_ok() {
            if let Ok(internal_date) = mailbox.internal_date(msn) {
                mailbox.cache(msn, self.digester.of_tree(internal_date));
            }
        }
    }
}

/// What ends the sending of a literal that has been announced.
enum Broken {
    Ending(Ending),
    Read(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Read(error)
    }
}

impl From<Broken> for Ending {
    fn from(broken: Broken) -> Ending {
        match broken {
            Broken::Ending(ending) => ending,
            Broken::Read(error) => cut_short(&error),
        }
    }
}

/// Tells [`cut_short`] from a connection that failed.
pub(super) const CUT_SHORT: io::ErrorKind = io::ErrorKind::UnexpectedEof;

/// Less than what was announced must not look like all of it: the connection ends.
fn cut_short(why: &dyn std::fmt::Display) -> Ending {
    Ending::Failed(io::Error::new(CUT_SHORT, why.to_string()))
}

/// Sends so many octets of a piece of the file. Whether the piece ends there, if they were to be all of it.
fn send_text<S: Sink>(
    sink: &RefCell<&mut S>,
    source: &mut Source<'_>,
    extent: Extent,
    skip: u64,
    count: u64,
    place: Option<&mut Option<Place>>,
) -> Result<bool, Ending> {
    let mut wire = Wire::new(skip, count);
    let mut offset = extent.from;
    let known = place.as_ref().and_then(|place| **place);
    if let Some(known) = known.filter(|known| known.from == extent.from && known.octets <= skip) {
        wire = Wire::resume(skip - known.octets, count, known.state);
        offset = known.offset;
    }
    while wire.left > 0 && offset < extent.to {
        let octets = source.at(offset).map_err(|error| cut_short(&error))?;
        let room = usize::try_from(extent.to - offset).unwrap_or(usize::MAX);
        let octets = octets.get(..room).unwrap_or(octets);
        if octets.is_empty() {
            return Err(cut_short(&"it has become shorter"));
        }
        offset += wire.put(&mut **sink.borrow_mut(), octets)? as u64;
    }
    complete(&mut wire, &mut **sink.borrow_mut())?;
    if let Some(place) = place {
        *place = Some(Place { from: extent.from, octets: skip + count, offset, state: wire.state() });
    }
    Ok(count < extent.octets || offset == extent.to)
}

/// The last octet may still be owed; more must not be.
fn complete(wire: &mut Wire, sink: &mut impl Sink) -> Result<(), Ending> {
    if wire.left > 0 {
        wire.put(sink, b"")?;
    }
    match wire.left {
        0 => Ok(()),
        left => Err(cut_short(&format_args!("its size is wrong, {left} octets are missing"))),
    }
}
