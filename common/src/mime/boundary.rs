//! The lines between the parts of multiparts (RFC 2046 section 5.1.1): `--` and a boundary at the start of a line, and `--` once more
//! behind the last part.

/// Octets of a boundary (RFC 2046 allows 70). A longer one is none.
pub const LENGTH_MAX: usize = 998;

/// What a line that begins with `--` is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// There is not enough of it.
    Unknown,
    /// A line like others.
    Nothing,
    /// Octets up to the boundary's end; whether it is a last one.
    Boundary {
        /// Whose boundary it is: the place in the list.
        open: usize,
        /// Octets up to its end.
        length: usize,
        /// Nothing but an epilogue follows.
        last: bool,
    },
}

/// What the line at the start of `data`, of which `--` is there, is to the open multiparts with these boundaries, outermost first:
/// the longest boundary that fits counts, and of two that are alike the inner one.
pub fn find<'a>(boundaries: impl Iterator<Item = &'a [u8]> + Clone, data: &[u8], at_end: bool) -> Found {
    let line = data.get(2..).unwrap_or_default();
    let longest = boundaries.clone().map(<[u8]>::len).max().unwrap_or(0);
    if !at_end && line.len() < longest + 2 && memchr::memchr(b'\n', line).is_none() {
        return Found::Unknown;
    }
    let mut best: Option<(usize, usize)> = None;
    for (at, boundary) in boundaries.enumerate() {
        let length = boundary.len();
        if line.starts_with(boundary) && best.is_none_or(|(_, longest)| length >= longest) {
            best = Some((at, length));
        }
    }
    let Some((open, length)) = best else { return Found::Nothing };
    let last = line.get(length..).is_some_and(|rest| rest.starts_with(b"--"));
    Found::Boundary { open, length: 2 + length + if last { 2 } else { 0 }, last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_and_innermost_boundary_counts() {
        let open: [&[u8]; 4] = [b"a", b"ab", b"a", b"c"];
        let boundary = |open, length, last| Found::Boundary { open, length, last };
        for (line, want) in [
            (&b"--ax\n"[..], boundary(2, 3, false)),
            (b"--a--\n", boundary(2, 5, true)),
            (b"--abc\n", boundary(1, 4, false)),
            (b"--ab-- \r\n", boundary(1, 6, true)),
            (b"--c-\n", boundary(3, 3, false)),
            (b"--x\n", Found::Nothing),
            (b"--\n", Found::Nothing),
            (b"--ab-", Found::Unknown),
            (b"--ab--", boundary(1, 6, true)),
        ] {
            assert_eq!(find(open.iter().copied(), line, false), want, "{}", line.escape_ascii());
        }
        assert_eq!(find(open.iter().copied(), b"--ab-", true), boundary(1, 4, false));
        assert_eq!(find([].into_iter(), b"--ab\n", false), Found::Nothing);
    }
}
