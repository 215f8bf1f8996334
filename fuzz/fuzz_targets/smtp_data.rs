//! Mail data: the same however they are cut, ended by CR LF . CR LF and nothing else, and clean when they are taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::data::{Fault, Machine};
use std::convert::Infallible;

fn run(pieces: &[&[u8]], normalize: bool) -> (Vec<u8>, Option<Fault>, Option<usize>) {
    let (mut out, mut used) = (Vec::new(), 0);
    let mut machine = Machine::for_data(normalize);
    for piece in pieces {
        let fed = machine.feed(piece, &mut |octets: &[u8]| {
            out.extend_from_slice(octets);
            Ok::<(), Infallible>(())
        });
        let Ok((read, end)) = fed;
        used += read;
        if end {
            return (out, machine.fault(), Some(used));
        }
        assert_eq!(read, piece.len());
    }
    (out, machine.fault(), None)
}

/// The same in chunks: what is handed on, what is wrong with it, and whether the last line has its end.
fn run_chunks(pieces: &[&[u8]], normalize: bool) -> (Vec<u8>, Option<Fault>, bool) {
    let mut out = Vec::new();
    let mut machine = Machine::for_chunks(normalize);
    for piece in pieces {
        let fed = machine.feed(piece, &mut |octets: &[u8]| {
            out.extend_from_slice(octets);
            Ok::<(), Infallible>(())
        });
        // Whatever is in a chunk, it has no end but its own.
        assert_eq!(fed, Ok((piece.len(), false)));
    }
    machine.end_of_chunks();
    (out, machine.fault(), machine.is_at_line_start())
}

fn is_clean(text: &[u8]) {
    let mut last = 0;
    for &octet in text {
        assert!(octet != 0 && (octet == b'\n') == (last == b'\r'));
        last = octet;
    }
}

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (normalize, cut, text) = input;
    let whole = run(&[text], normalize);
    let (a, b) = text.split_at(usize::from(cut).min(text.len()));
    let single: Vec<&[u8]> = text.chunks(1).collect();
    for again in [run(&[a, b], normalize), run(&single, normalize)] {
        assert_eq!((again.1, again.2), (whole.1, whole.2));
        assert!(whole.1.is_some() || again.0 == whole.0);
    }
    let framed = [b"\r\n", text].concat();
    let end = framed.windows(5).position(|window| window == b"\r\n.\r\n").map(|at| at + 3);
    assert_eq!(whole.2, end);
    if let (None, Some(_)) = (whole.1, whole.2) {
        assert!(whole.0.is_empty() || whole.0.ends_with(b"\r\n"));
        is_clean(&whole.0);
    }
    let chunks = run_chunks(&[text], normalize);
    for again in [run_chunks(&[a, b], normalize), run_chunks(&single, normalize)] {
        assert_eq!((again.1, again.2), (chunks.1, chunks.2));
        assert!(chunks.1.is_some() || again.0 == chunks.0);
    }
    if chunks.1.is_none() {
        is_clean(&chunks.0);
        assert!(normalize || chunks.0 == text);
        assert_eq!(chunks.2, chunks.0.is_empty() || chunks.0.ends_with(b"\r\n"));
    }
});
