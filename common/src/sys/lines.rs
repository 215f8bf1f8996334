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
/// 64 octets left or room for less than 66, or there is a NUL among the next 64: octets used and written, possibly none.
/// `previous` is the octet before the input.
#[cfg(target_arch = "x86_64")]
pub fn copy_with_cr_lf(input: &[u8], room: &mut [u8], previous: u8) -> (usize, usize) {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_set1_epi8,
        _mm_setzero_si128, _mm_storeu_si128,
    };
    let (mut used, mut written) = (0, 0);
    let mut previous = previous;
    while input.len() - used >= BLOCK && room.len() - written >= BLOCK + 2 {
        // SAFETY: SSE2, which every processor of this kind has; 64 octets are read from `used` on and written from `written`
        // on, and the loop goes on only where there are so many.
        let (line_feeds, nul) = unsafe {
            let from = input.as_ptr().add(used).cast::<__m128i>();
            let to = room.as_mut_ptr().add(written).cast::<__m128i>();
            let [a, b] = [_mm_loadu_si128(from), _mm_loadu_si128(from.add(1))];
            let [c, d] = [_mm_loadu_si128(from.add(2)), _mm_loadu_si128(from.add(3))];
            _mm_storeu_si128(to, a);
            _mm_storeu_si128(to.add(1), b);
            _mm_storeu_si128(to.add(2), c);
            _mm_storeu_si128(to.add(3), d);
            let lf = _mm_set1_epi8(b'\n' as i8);
            let mask = |octets| u64::from(_mm_movemask_epi8(_mm_cmpeq_epi8(octets, lf)) as u16);
            let least = _mm_min_epu8(_mm_min_epu8(a, b), _mm_min_epu8(c, d));
            let nul = _mm_movemask_epi8(_mm_cmpeq_epi8(least, _mm_setzero_si128()));
            (mask(a) | mask(b) << 16 | mask(c) << 32 | mask(d) << 48, nul)
        };
        if nul != 0 {
            break;
        }
        if line_feeds == 0 {
            (used, written) = (used + BLOCK, written + BLOCK);
            continue;
        }
        // At most 63.
        let text = line_feeds.trailing_zeros() as usize;
        if used + text > 0 {
            // SAFETY: it is before an octet of the input that was read above.
            previous = unsafe { *input.get_unchecked(used + text - 1) };
        }
        let bare = usize::from(previous != b'\r');
        // SAFETY: at most two octets behind 63 in the room, in which there are 66 from `written` on. Of a LF that has its CR
        // nothing is written again but itself.
        unsafe {
            let to = room.as_mut_ptr().add(written + text);
            *to = if bare == 1 { b'\r' } else { b'\n' };
            *to.add(bare) = b'\n';
        }
        (used, written) = (used + text + 1, written + text + 1 + bare);
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
        fn as_octet_by_octet(text in "[ab\\r\\n\\x00]{0,300}|[a-z\\n]{0,300}|([a-z]{0,90}\r?\n){0,9}", room in 0usize..600, cr in any::<bool>()) {
            let text = text.as_bytes();
            let previous = if cr { b'\r' } else { b'a' };
            let mut to = vec![b'?'; room];
            let (used, written) = copy_with_cr_lf(text, &mut to, previous);
            prop_assert_eq!(&to[..written], simple(&text[..used], previous));
            if cfg!(target_arch = "x86_64") {
                let nul = text[used..].iter().take(BLOCK).any(|&octet| octet == 0);
                prop_assert!(nul || text.len() - used < BLOCK || room - written < BLOCK + 2);
            }
        }
    }
}
