//! A message that a file in mbox format may have already, whole or in part: who appended it was killed.
//!
//! Each attempt appends the same octets but for the date in the `From ` line, and none of another message: our Received with the
//! queue's ID is among the first of them. So what is to be written is compared with what stands there, from the line on with which
//! it begins.
//!
//! ```text
//! all of it stands there                  it was delivered
//! a part does, and the file ends with it  the rest is written behind it
//! a part, then something else             that stays, and the message comes again whole: others have appended theirs
//! ```
//! The file is its user's, who may do anything to it meanwhile: no more than the window is read, and each octet once or twice.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Octets of the file's end in which a message is looked for: what others may have appended behind it since, and the message
/// itself, which base64 for BINARYMIME and `>From ` make longer, but not twice as long.
const OTHERS: u64 = 1 << 20;
const LONGER: u64 = 2;
/// Octets that are read at once.
const PIECE: usize = 16 * 1024;
/// What no line begins with that is within a message.
const FROM: &[u8] = b"From ";

/// The search for one message in a file that nobody else appends to meanwhile.
pub(super) struct Known {
    /// The file's length.
    end: u64,
    window: u64,
    /// Where in the message the date is that is another one each time.
    date: Range<usize>,
    /// Where it stands, as far as it was compared; `None`: it was not looked for yet.
    there: Option<Range<u64>>,
    /// A part of it begins here with which the file ends.
    part: Option<u64>,
}

/// What is to be done with octets of the message.
pub(super) enum Next {
    /// Nothing, they stand there.
    Nothing,
    /// They have to be written, and so has all that follows.
    Write(Gap),
}

/// Where the rest of a message has to be written.
pub(super) struct Gap {
    /// Where the message begins.
    pub begin: u64,
    /// The file is to end here before anything is written.
    pub end: u64,
    /// What comes before the octets: it stands here.
    pub copied: Range<u64>,
}

impl Known {
    /// For a file of this length, and a message of about `size` octets that begins with this line.
    pub(super) fn new(end: u64, size: u64, from_line: &str) -> Known {
        // The sender has no blank in it.
        let date = from_line.match_indices(' ').nth(1).map_or(from_line.len(), |(at, _)| at + 1);
        let window = size.saturating_mul(LONGER).saturating_add(OTHERS);
        let date = date..from_line.trim_end().len();
        Known { end, window, date, there: None, part: None }
    }

    /// The next octets of the message. The first ones have to reach far enough that no other message begins with them.
    pub(super) fn next(&mut self, file: &File, octets: &[u8]) -> io::Result<Next> {
        let compared = match &self.there {
            Some(there) => there.clone(),
            None => match self.find(file, octets)? {
                Some(begin) => {
                    self.there = Some(begin..begin.saturating_add(octets.len() as u64));
                    return Ok(Next::Nothing);
                }
                None => {
                    let begin = self.part.unwrap_or(self.end);
                    return Ok(Next::Write(Gap { begin, end: begin, copied: 0..0 }));
                }
            },
        };
        let same = same(file, compared.end, octets, &(0..0))?;
        let to = compared.end.saturating_add(same as u64);
        if same == octets.len() {
            self.there = Some(compared.start..to);
            return Ok(Next::Nothing);
        }
        Ok(Next::Write(if to == self.end {
            Gap { begin: compared.start, end: compared.end, copied: 0..0 }
        } else {
            let begin = self.part.unwrap_or(self.end);
            Gap { begin, end: begin, copied: compared }
        }))
    }

    /// Where these first octets of the message stand last. Notes a part of them with which the file ends.
    fn find(&mut self, file: &File, octets: &[u8]) -> io::Result<Option<u64>> {
        let mut found = None;
        let mut at = self.end.saturating_sub(self.window);
        if at == 0 {
            self.look_at(0, file, octets, &mut found)?;
        }
        let mut piece = vec![0; PIECE];
        while at < self.end {
            let room = usize::try_from(self.end - at).unwrap_or(PIECE).min(PIECE);
            let got = read(file, piece.get_mut(..room).unwrap_or_default(), at)?;
            if got == 0 {
                break;
            }
            let piece = piece.get(..got).unwrap_or_default();
            for lf in memchr::memchr_iter(b'\n', piece) {
                let line = piece.get(lf + 1..).unwrap_or_default();
                // What of it is in the next piece is compared below.
                if line.iter().zip(FROM).all(|(one, other)| one == other) {
                    self.look_at(at.saturating_add(lf as u64 + 1), file, octets, &mut found)?;
                }
            }
            at = at.saturating_add(got as u64);
        }
        Ok(found)
    }

    fn look_at(&mut self, at: u64, file: &File, octets: &[u8], found: &mut Option<u64>) -> io::Result<()> {
        let same = same(file, at, octets, &self.date)?;
        if same == octets.len() {
            *found = Some(at);
        } else if same > 0 && at.saturating_add(same as u64) == self.end {
            // A line of it may begin as its first one does.
            self.part.get_or_insert(at);
        }
        Ok(())
    }
}

/// How many of these octets stand in the file here. Of the date in them no more is wanted than that the line does not end.
fn same(file: &File, at: u64, octets: &[u8], date: &Range<usize>) -> io::Result<usize> {
    // Most lines are another message's, which soon differs.
    let mut piece = [0; 1024];
    let mut same = 0;
    while let Some(rest) = octets.get(same..).filter(|rest| !rest.is_empty()) {
        let room = rest.len().min(piece.len());
        let got = read(file, piece.get_mut(..room).unwrap_or_default(), at.saturating_add(same as u64))?;
        if got == 0 {
            break;
        }
        let is_same = |(one, other): (&u8, &u8), at| one == other || date.contains(&at) && *one != b'\n';
        let pairs = piece.iter().take(got).zip(rest);
        let equal = pairs.zip(same..).take_while(|(pair, at)| is_same(*pair, *at)).count();
        same += equal;
        if equal < got {
            break;
        }
    }
    Ok(same)
}

/// Appends to the file what stands in it here.
pub(super) fn copy(mut file: &File, from: Range<u64>) -> io::Result<()> {
    let (mut at, mut piece) = (from.start, vec![0; PIECE]);
    while at < from.end {
        let room = usize::try_from(from.end - at).unwrap_or(PIECE).min(PIECE);
        let got = read(file, piece.get_mut(..room).unwrap_or_default(), at)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all(piece.get(..got).unwrap_or_default())?;
        at = at.saturating_add(got as u64);
    }
    Ok(())
}

/// As read(2), at this place, also when a signal comes. 0: the file ends.
fn read(file: &File, room: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(room, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
