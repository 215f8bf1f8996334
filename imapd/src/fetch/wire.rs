//! A message's text as a literal: CR LF line ends, no NUL (RFC 3501 section 9, `CHAR8`), and of it the octets that were asked for.
//!
//! Works on pieces of any size; what comes out does not depend on where they are cut.

use crate::waiting::Clock;
use common::io::{Conn, Ending};
use common::mime::position::Counter;
use common::sys::lines::{NUL_SENT, copy_with_cr_lf};

/// Room in the reply that is worth filling; with less it is written first.
const ROOM: usize = 512;

/// Where a response goes: the connection, or in tests a vector.
pub trait Sink {
    /// Adds octets.
    fn push(&mut self, octets: &[u8]) -> Result<(), Ending>;
    /// Room for at least so many octets, few beside a buffer, to be filled and confirmed with [`Sink::advance`].
    fn room(&mut self, at_least: usize) -> Result<&mut [u8], Ending>;
    /// So many octets of the room are filled.
    fn advance(&mut self, octets: usize);
    /// See [`Clock::look`].
    fn look(&mut self, clock: &Clock, says: bool) -> Result<(), Ending>;
}

impl Sink for Conn {
    fn push(&mut self, octets: &[u8]) -> Result<(), Ending> {
        Conn::push(self, octets)
    }

    fn room(&mut self, at_least: usize) -> Result<&mut [u8], Ending> {
        Conn::room(self, at_least)
    }

    fn advance(&mut self, octets: usize) {
        Conn::advance(self, octets);
    }

    fn look(&mut self, clock: &Clock, says: bool) -> Result<(), Ending> {
        clock.look(self, says)
    }
}

/// Turns text as it is stored into text as it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// Octets, as they are sent, that are still to be left out.
    pub skip: u64,
    /// Octets that are still to be sent.
    pub left: u64,
    state: State,
}

/// Between two pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    previous: u8,
    /// A LF has been used up of which only the CR has come out.
    owes_line_feed: bool,
}

/// Writes all of a text, as it is sent, into the room: how many octets that is; `None` if there is not room enough.
pub fn write_whole(text: &[u8], room: &mut [u8]) -> Option<usize> {
    let mut state = State::default();
    let (used, written) = state.fill(text, room);
    (used == text.len() && !state.owes_line_feed).then_some(written)
}

impl Wire {
    /// Leaves out `skip` octets and sends `left`.
    pub fn new(skip: u64, left: u64) -> Wire {
        Wire { skip, left, state: State::default() }
    }

    /// Goes on where another one was.
    pub fn resume(skip: u64, left: u64, state: State) -> Wire {
        Wire { skip, left, state }
    }

    /// To be handed to [`Wire::resume`].
    pub fn state(&self) -> State {
        self.state
    }

    /// Sends what is wanted of these octets. How many of them are used up: all, unless nothing more is wanted.
    pub fn put(&mut self, sink: &mut impl Sink, octets: &[u8]) -> Result<usize, Ending> {
        let mut rest = octets;
        if self.skip > 0 {
            rest = rest.get(self.skip_in(octets)..).unwrap_or_default();
            if self.skip > 0 {
                return Ok(octets.len());
            }
        }
        while self.left > 0 && (!rest.is_empty() || self.state.owes_line_feed) {
            let room = sink.room(ROOM)?;
            let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(room.len());
            let room = room.get_mut(..most).unwrap_or_default();
            let (used, written) = self.state.fill(rest, room);
            sink.advance(written);
            self.left -= (written as u64).min(self.left);
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(octets.len() - rest.len())
    }

    /// Leaves octets out. How many of the input are used up.
    fn skip_in(&mut self, octets: &[u8]) -> usize {
        // All of it, most of the time.
        let mut counter = Counter::after(self.state.previous);
        counter.advance(octets);
        let all = counter.position.octets + u64::from(self.state.owes_line_feed);
        if let (true, Some(&last)) = (all <= self.skip, octets.last()) {
            self.skip -= all;
            self.state = State { previous: last, owes_line_feed: false };
            return octets.len();
        }
        let mut scrap = [0; 1024];
        let mut rest = octets;
        while self.skip > 0 && (!rest.is_empty() || self.state.owes_line_feed) {
            let most = usize::try_from(self.skip).unwrap_or(usize::MAX).min(scrap.len());
            let (used, written) = self.state.fill(rest, scrap.get_mut(..most).unwrap_or_default());
            self.skip -= (written as u64).min(self.skip);
            rest = rest.get(used..).unwrap_or_default();
        }
        octets.len() - rest.len()
    }
}

impl State {
    /// Fills the room as far as both go: octets used and written.
    fn fill(&mut self, input: &[u8], room: &mut [u8]) -> (usize, usize) {
        // Most of it at once; the rest of either is left.
        let (mut used, mut written) = match self.owes_line_feed {
            false => copy_with_cr_lf(input, room, self.previous),
            true => (0, 0),
        };
        self.previous =
            used.checked_sub(1).and_then(|last| input.get(last)).copied().unwrap_or(self.previous);
        while let Some(free) = room.get_mut(written..).filter(|free| !free.is_empty()) {
            if self.owes_line_feed {
                put(free, b"\n");
                (self.owes_line_feed, self.previous) = (false, b'\n');
                written += 1;
                continue;
            }
            let rest = input.get(used..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let line = rest.get(..free.len()).unwrap_or(rest);
            let text = memchr::memchr(b'\n', line).unwrap_or(line.len());
            let (text, behind) = line.split_at_checked(text).unwrap_or((line, b""));
            put(free, text);
            self.previous = text.last().copied().unwrap_or(self.previous);
            (used, written) = (used + text.len(), written + text.len());
            if behind.is_empty() {
                continue;
            }
            let Some(free) = room.get_mut(written..).filter(|free| !free.is_empty()) else { break };
            used += 1;
            written += 1;
            if self.previous == b'\r' {
                put(free, b"\n");
                self.previous = b'\n';
            } else if free.len() > 1 {
                put(free, b"\r\n");
                self.previous = b'\n';
                written += 1;
            } else {
                put(free, b"\r");
                self.owes_line_feed = true;
            }
        }
        (used, written)
    }
}

/// Copies to the start of the room, which is large enough. NUL becomes what Dovecot sends in its place too.
fn put(room: &mut [u8], octets: &[u8]) {
    if let Some(room) = room.get_mut(..octets.len()) {
        room.copy_from_slice(octets);
        if memchr::memchr(0, room).is_some() {
            room.iter_mut().filter(|octet| **octet == 0).for_each(|octet| *octet = NUL_SENT);
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A response in memory, with a buffer of some size.
    pub struct Memory {
        pub octets: Vec<u8>,
        room: Vec<u8>,
        filled: usize,
        /// Nobody waits for it.
        pub is_gone: bool,
    }

    impl Memory {
        pub fn new(room: usize) -> Memory {
            Memory { octets: Vec::new(), room: vec![0; room], filled: 0, is_gone: false }
        }

        fn flush(&mut self) {
            self.octets.extend_from_slice(&self.room[..self.filled]);
            self.filled = 0;
        }

        pub fn take(&mut self) -> Vec<u8> {
            self.flush();
            std::mem::take(&mut self.octets)
        }
    }

    impl Sink for Memory {
        fn push(&mut self, octets: &[u8]) -> Result<(), Ending> {
            self.flush();
            self.octets.extend_from_slice(octets);
            Ok(())
        }

        fn room(&mut self, at_least: usize) -> Result<&mut [u8], Ending> {
            if self.room.len() - self.filled < at_least {
                self.flush();
            }
            Ok(&mut self.room[self.filled..])
        }

        fn advance(&mut self, octets: usize) {
            self.filled += octets;
        }

        fn look(&mut self, _: &Clock, _: bool) -> Result<(), Ending> {
            if self.is_gone { Err(Ending::Disconnected) } else { Ok(()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Memory;
    use super::*;
    use proptest::prelude::*;

    /// As a simple loop does it.
    fn simple(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, &octet) in text.iter().enumerate() {
            if octet == b'\n' && (at == 0 || text[at - 1] != b'\r') {
                out.push(b'\r');
            }
            out.push(if octet == 0 { NUL_SENT } else { octet });
        }
        out
    }

    proptest! {
        #[test]
        fn any_piece_of_any_text(
            text in "[a\\r\\n\\x00]{0,90}", skip in 0u64..99, left in 0u64..99, piece in 1usize..60, room in 1usize..6,
        ) {
            let whole = simple(text.as_bytes());
            let want: Vec<u8> = whole.iter().copied().skip(skip as usize).take(left as usize).collect();
            let mut enough = vec![0; 200];
            prop_assert_eq!(write_whole(text.as_bytes(), &mut enough), Some(whole.len()));
            prop_assert_eq!(&enough[..whole.len()], &whole);
            if let Some(less) = whole.len().checked_sub(room) {
                prop_assert_eq!(write_whole(text.as_bytes(), &mut enough[..less]), None);
            }
            let (mut wire, mut sink) = (Wire::new(skip, left), Memory::new(ROOM + room));
            let mut used = 0;
            for part in text.as_bytes().chunks(piece) {
                // Stopped and resumed between any two pieces.
                wire = Wire::resume(wire.skip, wire.left, wire.state());
                used += wire.put(&mut sink, part).unwrap();
                if wire.left == 0 {
                    break;
                }
            }
            prop_assert_eq!(sink.take(), want);
            // What is left goes on from where it stopped.
            let mut more = Wire::resume(0, u64::MAX, wire.state());
            if wire.skip == 0 {
                let rest = text.as_bytes().get(used..).unwrap_or_default();
                more.put(&mut sink, rest).unwrap();
                let want: Vec<u8> = whole.iter().copied().skip((skip + left) as usize).collect();
                if left > 0 {
                    prop_assert_eq!(sink.take(), want);
                }
            }
        }
    }
}
