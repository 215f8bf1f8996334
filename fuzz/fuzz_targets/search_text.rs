//! A message's parts as SEARCH reads them, whole and in small pieces, and the decoders of bodies.
#![no_main]

use imapd::search::parts::{self, Buffer, Header, Text, Visitor};
use imapd::search::transfer::{Base64, QuotedPrintable};
use libfuzzer_sys::fuzz_target;
use std::io::Read;
use std::ops::ControlFlow;

fuzz_target!(|octets: &[u8]| {
    let (step, message) = octets.split_first().unwrap_or((&1, &[]));
    let step = usize::from(*step).max(1);
    assert_eq!(shown(message, usize::MAX), shown(message, step), "pieces make no difference");
    let (mut base64, mut whole, mut pieces) = (Base64::default(), Vec::new(), Vec::new());
    base64.decode(message, &mut whole);
    base64 = Base64::default();
    message.chunks(step).for_each(|piece| base64.decode(piece, &mut pieces));
    assert_eq!(whole, pieces);
    let (mut quoted, mut whole, mut pieces) = (QuotedPrintable::default(), Vec::new(), Vec::new());
    quoted.decode(message, &mut whole);
    quoted.finish(&mut whole);
    message.chunks(step).for_each(|piece| quoted.decode(piece, &mut pieces));
    quoted.finish(&mut pieces);
    assert_eq!(whole, pieces);
    assert!(whole.len() <= message.len());
});

fn shown(message: &[u8], step: usize) -> Vec<u8> {
    let mut shown = Shown(Vec::new());
    let _ = parts::walk(&mut Dribble(message, step), &mut Buffer::default(), &mut shown);
    shown.0
}

/// Hands out so many octets at a time.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let (now, later) = self.0.split_at(self.0.len().min(self.1).min(room.len()));
        room[..now.len()].copy_from_slice(now);
        self.0 = later;
        Ok(now.len())
    }
}

struct Shown(Vec<u8>);

impl Visitor for Shown {
    fn field(&mut self, _: Header, name: &[u8], value: &[u8]) -> ControlFlow<()> {
        self.0.extend_from_slice(&[name, b"\0", value, b"\0"].concat());
        ControlFlow::Continue(())
    }
    fn header_end(&mut self, _: Header) -> ControlFlow<()> {
        self.0.push(1);
        ControlFlow::Continue(())
    }
    fn text_begin(&mut self, text: Text) {
        self.0.extend_from_slice(text.encoding.name().as_bytes());
    }
    fn text(&mut self, octets: &[u8]) -> ControlFlow<()> {
        self.0.extend_from_slice(octets);
        ControlFlow::Continue(())
    }
    fn text_end(&mut self) -> ControlFlow<()> {
        self.0.push(2);
        ControlFlow::Continue(())
    }
}
