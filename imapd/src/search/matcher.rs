//! Looks for texts in a message's file: in fields of its headers and in those bodies that are text, decoded and folded.
//!
//! The message is a stranger's. What is held of it is one piece of a body and what the longest text needs to be found across
//! two pieces. As Dovecot does, TEXT looks at all headers, those of parts too, and at bodies of type text and message; BODY
//! looks at those bodies only. A text is not found across the end of a field or a part.

use super::parts::{self, Header, Text, Transfer, Visitor};
use super::program::{Leaf, Program, Verdict};
use super::transfer::{Base64, QuotedPrintable};
use super::words;
use crate::casemap;
use crate::charset;
use encoding_rs::Decoder;
use std::io::{self, Read};
use std::ops::ControlFlow;

/// Octets that are decoded and folded at a time, so that they stay in the processor's cache.
const PIECE: usize = 16 * 1024;

/// What is used again for each message.
#[derive(Default)]
pub struct Scratch {
    buffer: parts::Buffer,
    raw: Vec<u8>,
    text: String,
    decoded: Vec<u8>,
    window: Vec<u8>,
}

/// Finds out what `leaves` still do not know of the message behind `reader`, until the program's verdict is known.
pub fn search(
    program: &Program,
    leaves: &mut [Verdict],
    stack: &mut Vec<Verdict>,
    scratch: &mut Scratch,
    reader: &mut impl Read,
) -> io::Result<Verdict> {
    let mut buffer = std::mem::take(&mut scratch.buffer);
    let mut matcher = Matcher { program, leaves, stack, scratch, body: None, verdict: Verdict::Unknown };
    let result = parts::walk(reader, &mut buffer, &mut matcher);
    // What has not been found by now is not there.
    matcher.settle(|_| true);
    let verdict = matcher.verdict;
    scratch.buffer = buffer;
    result.map(|()| verdict)
}

struct Matcher<'a> {
    program: &'a Program,
    leaves: &'a mut [Verdict],
    stack: &'a mut Vec<Verdict>,
    scratch: &'a mut Scratch,
    body: Option<BodyText>,
    verdict: Verdict,
}

/// How the body at hand is read.
struct BodyText {
    transfer: Decoding,
    decoder: Decoder,
    /// ASCII need not go through the decoder when it is between two characters, unless its charset has states.
    has_states: bool,
    is_between: bool,
}

enum Decoding {
    Identity,
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
}

impl Matcher<'_> {
    /// Asks all leaves that are not known and that `look` is for. Whether one of them was found.
    fn look(&mut self, look: impl Fn(&Leaf, &Scratch) -> bool) -> ControlFlow<()> {
        let mut found = false;
        for (leaf, verdict) in self.program.leaves.iter().zip(self.leaves.iter_mut()) {
            if *verdict == Verdict::Unknown && look(leaf, self.scratch) {
                *verdict = Verdict::Yes;
                found = true;
            }
        }
        if found { self.decide() } else { ControlFlow::Continue(()) }
    }

    /// The leaves of which nothing was found where they can be: they do not match.
    fn settle(&mut self, which: impl Fn(&Leaf) -> bool) {
        for (leaf, verdict) in self.program.leaves.iter().zip(self.leaves.iter_mut()) {
            if *verdict == Verdict::Unknown && which(leaf) {
                *verdict = Verdict::No;
            }
        }
        let _ = self.decide();
    }

    fn decide(&mut self) -> ControlFlow<()> {
        self.verdict = self.program.evaluate(self.leaves, self.stack);
        match self.verdict {
            Verdict::Unknown => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    fn waits_for(&self, which: impl Fn(&Leaf) -> bool) -> bool {
        let mut leaves = self.program.leaves.iter().zip(self.leaves.iter());
        leaves.any(|(leaf, verdict)| *verdict == Verdict::Unknown && which(leaf))
    }

    /// Looks at what the window holds, and keeps its end for what comes behind it.
    fn look_at_window(&mut self) -> ControlFlow<()> {
        if self.program.has_line_ends {
            self.scratch.window.retain(|octet| *octet != b'\r');
        }
        self.look(|leaf, scratch| match leaf {
            Leaf::Text(needle) | Leaf::Body(needle) => needle.is_in(&scratch.window),
            _ => false,
        })?;
        let keep = self.program.longest.saturating_sub(1);
        let window = &mut self.scratch.window;
        let from = window.len().saturating_sub(keep);
        window.copy_within(from.., 0);
        window.truncate(keep);
        ControlFlow::Continue(())
    }

    /// Octets in the body's charset into the window.
    fn characters(&mut self, from_decoded: bool, octets: &[u8], is_last: bool) -> ControlFlow<()> {
        let decoded = std::mem::take(&mut self.scratch.decoded);
        let mut rest = if from_decoded { &decoded } else { octets };
        let mut flow = ControlFlow::Continue(());
        while !rest.is_empty() && flow.is_continue() {
            let (piece, behind) = rest.split_at_checked(PIECE).unwrap_or((rest, &[]));
            rest = behind;
            if let Some(body) = &mut self.body {
                body.fold(piece, false, self.scratch);
            }
            flow = self.look_at_window();
        }
        self.scratch.decoded = decoded;
        flow?;
        if is_last {
            if let Some(body) = &mut self.body {
                body.fold(b"", true, self.scratch);
            }
            return self.look_at_window();
        }
        flow
    }
}

impl BodyText {
    fn fold(&mut self, piece: &[u8], is_last: bool, scratch: &mut Scratch) {
        let window = &mut scratch.window;
        if !self.has_states && piece.is_ascii() {
            let first = piece.get(..1).unwrap_or_default();
            self.is_between |= self.decoder.latin1_byte_compatible_up_to(first).is_some();
            if self.is_between {
                return casemap::fold_ascii(piece, window);
            }
        }
        let Some(room) = self.decoder.max_utf8_buffer_length(piece.len()) else { return };
        scratch.text.clear();
        scratch.text.reserve(room);
        let _ = self.decoder.decode_to_string(piece, &mut scratch.text, is_last);
        self.is_between = false;
        casemap::fold(&scratch.text, window);
    }
}

impl Visitor for Matcher<'_> {
    fn field(&mut self, header: Header, name: &[u8], value: &[u8]) -> ControlFlow<()> {
        let is_asked = |leaf: &Leaf| match leaf {
            Leaf::Text(_) => true,
            Leaf::Header(wanted, _) => header == Header::Message && wanted.eq_ignore_ascii_case(name),
            _ => false,
        };
        if !self.waits_for(is_asked) {
            return ControlFlow::Continue(());
        }
        let Scratch { text, raw, window, .. } = &mut *self.scratch;
        window.clear();
        casemap::fold(&charset::guess(name), window);
        if !name.is_empty() {
            window.extend_from_slice(b": ");
        }
        let value_at = window.len();
        text.clear();
        words::fold(value, window, text, raw);
        if memchr::memchr(b'*', value).is_some()
            && (name.eq_ignore_ascii_case(b"Content-Type")
                || name.eq_ignore_ascii_case(b"Content-Disposition"))
        {
            words::decode_parameters(value, text);
            casemap::fold(text, window);
        }
        self.look(|leaf, scratch| match leaf {
            Leaf::Header(_, needle) => {
                is_asked(leaf) && needle.is_in(scratch.window.get(value_at..).unwrap_or_default())
            }
            Leaf::Text(needle) => needle.is_in(&scratch.window),
            _ => false,
        })
    }

    fn header_end(&mut self, header: Header) -> ControlFlow<()> {
        if header == Header::Message {
            self.settle(|leaf| matches!(leaf, Leaf::Header(..)));
            return self.decide();
        }
        ControlFlow::Continue(())
    }

    fn text_begin(&mut self, text: Text) {
        self.scratch.window.clear();
        self.body = Some(BodyText {
            transfer: match text.transfer {
                Transfer::Identity => Decoding::Identity,
                Transfer::Base64 => Decoding::Base64(Base64::default()),
                Transfer::QuotedPrintable => Decoding::QuotedPrintable(QuotedPrintable::default()),
            },
            // Only where octets come in pairs a byte order mark says something.
            decoder: match charset::is_stateful(text.encoding) {
                true => text.encoding.new_decoder(),
                false => text.encoding.new_decoder_without_bom_handling(),
            },
            has_states: charset::is_stateful(text.encoding),
            is_between: false,
        });
    }

    fn text(&mut self, octets: &[u8]) -> ControlFlow<()> {
        let Some(body) = &mut self.body else { return ControlFlow::Continue(()) };
        let decoded = &mut self.scratch.decoded;
        decoded.clear();
        match &mut body.transfer {
            Decoding::Identity => return self.characters(false, octets, false),
            Decoding::Base64(base64) => base64.decode(octets, decoded),
            Decoding::QuotedPrintable(quoted) => quoted.decode(octets, decoded),
        }
        self.characters(true, b"", false)
    }

    fn text_end(&mut self) -> ControlFlow<()> {
        self.scratch.decoded.clear();
        if let Some(BodyText { transfer: Decoding::QuotedPrintable(quoted), .. }) = &mut self.body {
            quoted.finish(&mut self.scratch.decoded);
        }
        let flow = self.characters(true, b"", true);
        (self.body, self.scratch.decoded) = (None, std::mem::take(&mut self.scratch.decoded));
        flow
    }
}

#[cfg(test)]
#[path = "matcher_tests.rs"]
mod tests;
