//! Messages as multi-line responses: the same however the file is cut, and never a line with a single dot.
#![no_main]

use common::io::dot::DotStuffer;
use libfuzzer_sys::fuzz_target;

fn stuffed(pieces: &[&[u8]], replace_nul: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut stuffer = DotStuffer::new(replace_nul);
    let mut push = |piece: &[u8]| {
        out.extend_from_slice(piece);
        Ok::<(), ()>(())
    };
    for piece in pieces {
        assert_eq!(stuffer.feed(piece, &mut push, &mut |_| true), Ok(true));
    }
    stuffer.end_line(&mut push).unwrap();
    out
}

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (replace_nul, cut, text) = input;
    let whole = stuffed(&[text], replace_nul);
    let (a, b) = text.split_at(usize::from(cut).min(text.len()));
    assert_eq!(stuffed(&[a, b], replace_nul), whole);
    let single: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(stuffed(&single, replace_nul), whole);
    assert!(whole.is_empty() || whole.ends_with(b"\r\n"));
    assert!(!whole.starts_with(b".\r\n") && !whole.windows(5).any(|window| window == b"\r\n.\r\n"));
    assert!(!(replace_nul && whole.contains(&0)));
});
