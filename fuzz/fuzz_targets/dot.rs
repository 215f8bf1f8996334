//! Messages as multi-line responses: the same however the file is cut, and never a line with a single dot.
#![no_main]

use common::io::dot::{DotStuffer, ROOM_MIN};
use libfuzzer_sys::fuzz_target;

fn stuffed(pieces: &[&[u8]], room: usize, replace_nul: bool) -> (Vec<u8>, Vec<bool>) {
    let (mut out, mut lines) = (Vec::new(), Vec::new());
    let mut output = vec![0; room];
    let mut stuffer = DotStuffer::new(replace_nul);
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let progress = stuffer.stuff(rest, &mut output, &mut |blank| {
                lines.push(blank);
                true
            });
            assert!(progress.read > 0 && !progress.stopped);
            out.extend_from_slice(&output[..progress.written]);
            rest = &rest[progress.read..];
        }
    }
    out.extend_from_slice(stuffer.end_line());
    (out, lines)
}

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (replace_nul, cut, text) = input;
    let result = stuffed(&[text], 2 * text.len() + ROOM_MIN, replace_nul);
    let (a, b) = text.split_at(usize::from(cut).min(text.len()));
    assert_eq!(stuffed(&[a, b], ROOM_MIN + usize::from(cut), replace_nul), result);
    let single: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(stuffed(&single, ROOM_MIN, replace_nul), result);
    let whole = result.0;
    assert!(whole.is_empty() || whole.ends_with(b"\r\n"));
    assert!(!whole.starts_with(b".\r\n") && !whole.windows(5).any(|window| window == b"\r\n.\r\n"));
    assert!(!(replace_nul && whole.contains(&0)));
});
