//! Line ends as the Internet wants them, 64 octets at a time.
//!
//! Mail is stored with LF, mostly, and sent with CR LF. Looking for one line end after the other and copying one line after the
//! other are two calls for each line of every message that is fetched; this is one loop.

/// What is sent in place of NUL, of which there can be none in an IMAP literal: it keeps the size.
pub const NUL_SENT: u8 = 0x80;

/// Octets that are looked at together.
#[cfg(target_arch = "x86_64")]
const BLOCK: usize = 64;

/// Copies the beginning of `input`, with a CR before each LF that has none and [`NUL_SENT`] for NUL, until there are less than
/// 128 octets left or room for less than 192, or there is a NUL among the next 64: octets used and written, possibly none.
/// `previous` is the octet before the input.
///
/// Most blocks have one LF or none, in no order that a processor would foresee: both are one way here, without a branch. What
/// follows a LF is copied a second time, to where it belongs, and what that writes too far the next block writes again.
#[cfg(target_arch = "x86_64")]
pub fn copy_with_cr_lf(input: &[u8], room: &mut [u8], previous: u8) -> (usize, usize) {
    let (mut used, mut written) = (0, 0);
    while input.len() - used >= 2 * BLOCK && room.len() - written >= 3 * BLOCK {
        // SAFETY: there are 128 octets of input from `used` on, and room for 192 from `written` on. A LF is at 63 at most, and
        // none makes 64: so the input is read up to 64 behind that, and not before its beginning. At most one CR for each of
        // 64 LF is inserted: the last copy begins at 63 + 64 at most.
        unsafe {
            let (from, to) = (input.as_ptr().add(used), room.as_mut_ptr().add(written));
            let Some(mut line_feeds) = copy_block(from, to) else { break };
            let mut inserted = 0;
            loop {
                let at = line_feeds.trailing_zeros() as usize;
                let before = if used + at == 0 { previous } else { *input.get_unchecked(used + at - 1) };
                let bare = usize::from(line_feeds != 0 && before != b'\r');
                *to.add(at + inserted) = b'\r';
                inserted += bare;
                copy_block(from.add(at), to.add(at + inserted));
                line_feeds &= line_feeds.wrapping_sub(1);
                if line_feeds == 0 {
                    break;
                }
            }
            (used, written) = (used + BLOCK, written + BLOCK + inserted);
        }
    }
    (used, written)
}

/// Copies a block. Where its LF are, by bit; `None`: there is a NUL in it.
///
/// # Safety
///
/// There are 64 octets to be read and to be written.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn copy_block(from: *const u8, to: *mut u8) -> Option<u64> {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_set1_epi8,
        _mm_setzero_si128, _mm_storeu_si128,
    };
    // SAFETY: SSE2, which every processor of this kind has; the caller sees to the octets.
    unsafe {
        let (from, to) = (from.cast::<__m128i>(), to.cast::<__m128i>());
        let (a, b) = (_mm_loadu_si128(from), _mm_loadu_si128(from.add(1)));
        let (c, d) = (_mm_loadu_si128(from.add(2)), _mm_loadu_si128(from.add(3)));
        _mm_storeu_si128(to, a);
        _mm_storeu_si128(to.add(1), b);
        _mm_storeu_si128(to.add(2), c);
        _mm_storeu_si128(to.add(3), d);
        let line_feed = _mm_set1_epi8(b'\n' as i8);
        let mask = |octets| u64::from(_mm_movemask_epi8(_mm_cmpeq_epi8(octets, line_feed)) as u16);
        let least = _mm_min_epu8(_mm_min_epu8(a, b), _mm_min_epu8(c, d));
        let nul = _mm_movemask_epi8(_mm_cmpeq_epi8(least, _mm_setzero_si128()));
        (nul == 0).then_some(mask(a) | mask(b) << 16 | mask(c) << 32 | mask(d) << 48)
    }
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
        fn as_octet_by_octet(text in "[ab\\r\\n\\x00]{0,300}|[ab\\r\\n]{0,900}|[a-z\\n]{0,900}|([a-z]{0,90}\r?\n){0,20}", room in 0usize..2400, cr in any::<bool>()) {
            let text = text.as_bytes();
            let previous = if cr { b'\r' } else { b'a' };
            let mut to = vec![b'?'; room];
            let (used, written) = copy_with_cr_lf(text, &mut to, previous);
            prop_assert_eq!(&to[..written], simple(&text[..used], previous));
            if cfg!(target_arch = "x86_64") {
                let nul = text[used..].iter().take(BLOCK).any(|&octet| octet == 0);
                prop_assert!(nul || text.len() - used < 2 * BLOCK || room - written < 3 * BLOCK);
            }
        }
    }
}
