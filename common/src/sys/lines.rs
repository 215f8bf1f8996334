//! Line ends as the Internet wants them, 16 octets at a time.
//!
//! Mail is stored with LF, mostly, and sent with CR LF. Looking for one line end after the other and copying one line after the
//! other are two calls for each line of every message that is fetched; this is one loop.

/// What is sent in place of NUL, of which there can be none in an IMAP literal: it keeps the size.
pub const NUL_SENT: u8 = 0x80;

/// Copies the beginning of `input`, with a CR before each LF that has none and [`NUL_SENT`] for NUL, until there are less than
/// 16 octets left or room for less than 18: octets used and written, possibly none. `previous` is the octet before the input.
#[cfg(target_arch = "x86_64")]
pub fn copy_with_cr_lf(input: &[u8], room: &mut [u8], previous: u8) -> (usize, usize) {
    use std::arch::x86_64::{
        _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
        _mm_setzero_si128, _mm_storeu_si128,
    };
    let (mut used, mut written) = (0, 0);
    while let (Some(from), Some(to)) = (input.get(used..used + 16), room.get_mut(written..written + 18)) {
        // SAFETY: SSE2, which every processor of this kind has; 16 octets are read and written, and there are so many.
        let line_feeds = unsafe {
            let octets = _mm_loadu_si128(from.as_ptr().cast());
            let nul = _mm_cmpeq_epi8(octets, _mm_setzero_si128());
            let sent = _mm_or_si128(octets, _mm_and_si128(nul, _mm_set1_epi8(NUL_SENT as i8)));
            _mm_storeu_si128(to.as_mut_ptr().cast(), sent);
            _mm_movemask_epi8(_mm_cmpeq_epi8(octets, _mm_set1_epi8(b'\n' as i8)))
        };
        if line_feeds == 0 {
            (used, written) = (used + 16, written + 16);
            continue;
        }
        // At most 15.
        let text = line_feeds.trailing_zeros() as usize;
        let before = (used + text).checked_sub(1).map_or(Some(&previous), |at| input.get(at));
        let end: &[u8] = if before == Some(&b'\r') { b"\n" } else { b"\r\n" };
        if let Some(to) = to.get_mut(text..text + end.len()) {
            to.copy_from_slice(end);
        }
        (used, written) = (used + text + 1, written + text + end.len());
    }
    (used, written)
}

/// On other processors the caller does all of it.
#[cfg(not(target_arch = "x86_64"))]
pub fn copy_with_cr_lf(_input: &[u8], _room: &mut [u8], _previous: u8) -> (usize, usize) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn simple(text: &[u8], previous: u8) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, &octet) in text.iter().enumerate() {
            let before = at.checked_sub(1).map_or(previous, |at| text[at]);
            if octet == b'\n' && before != b'\r' {
                out.push(b'\r');
            }
            out.push(if octet == 0 { NUL_SENT } else { octet });
        }
        out
    }

    proptest! {
        #[test]
        fn as_octet_by_octet(text in "[ab\\r\\n\\x00]{0,100}|[a-z\\n]{0,100}", room in 0usize..150, cr in any::<bool>()) {
            let text = text.as_bytes();
            let previous = if cr { b'\r' } else { b'a' };
            let mut to = vec![b'?'; room];
            let (used, written) = copy_with_cr_lf(text, &mut to, previous);
            prop_assert_eq!(&to[..written], simple(&text[..used], previous));
            if cfg!(target_arch = "x86_64") {
                prop_assert!(text.len() - used < 16 || room - written < 18);
            }
        }
    }
}
