//! Maildir file names: `BASE[,S=disk_size][,W=octets][,x=...][:2,FLAGS[,more]]`.
//!
//! Names are bytes chosen by whatever delivered the message: any byte but `/` and NUL, not always UTF-8. Every
//! function here takes any bytes and never fails; what it cannot understand it leaves as it is.
//!
//! The *base* is what identifies a message: everything before the first `:`, size hints included, as in Dovecot and
//! Courier. It never changes while the message lives. The flags stand behind the last `:` if `2,` follows it.

use std::cmp::Ordering;

/// Separates the base from the info part.
const INFO: u8 = b':';

/// The part that identifies the message: up to, not including, the first `:`.
pub fn base(name: &[u8]) -> &[u8] {
    match memchr::memchr(INFO, name) {
        Some(end) => name.get(..end).unwrap_or(name),
        None => name,
    }
}

/// The flag letters (`D F P R S T`, keywords `a`-`z`, unknown ones), without what follows a second comma.
pub fn flags(name: &[u8]) -> &[u8] {
    let all = info(name).unwrap_or_default();
    match memchr::memchr(b',', all) {
        Some(end) => all.get(..end).unwrap_or(all),
        None => all,
    }
}

/// Everything behind `:2,`; `None` when the name has no such part.
pub(super) fn info(name: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memrchr(INFO, name)?;
    name.get(colon + 1..)?.strip_prefix(b"2,")
}

/// The value of the first `,KEY=` of the name: `S` is the size on disk, `W` the octets with CRLF line ends.
/// `None` when there is none, it is not a number, or it does not end at `,`, `:` or the end of the name.
pub fn size_hint(name: &[u8], key: u8) -> Option<u64> {
    let marker = [b',', key, b'='];
    let start = memchr::memchr_iter(b',', name).find(|&at| name.get(at..at + 3) == Some(&marker[..]))? + 3;
    let rest = name.get(start..)?;
    let end = rest.iter().position(|c| !c.is_ascii_digit()).unwrap_or(rest.len());
    if !matches!(rest.get(end), None | Some(b',' | b':')) {
        return None;
    }
    decimal(rest.get(..end)?)
}

/// A number of decimal digits; `None` for anything else and for what does not fit.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, c| {
        if !c.is_ascii_digit() {
            return None;
        }
        n.checked_mul(10)?.checked_add(u64::from(c - b'0'))
    })
}

/// The same, for numbers that must fit 32 bits: UIDs, UIDVALIDITY.
pub(crate) fn decimal32(digits: &[u8]) -> Option<u32> {
    decimal(digits).and_then(|n| u32::try_from(n).ok())
}

/// The name with some flags added and some removed, the letters sorted as Maildir wants them. A name without an info
/// part gets one; text behind a second comma stays. Unknown letters stay. A name that already is as asked for comes
/// back byte for byte.
pub fn with_flags(name: &[u8], add: &[u8], remove: &[u8]) -> Vec<u8> {
    let old = flags(name);
    let has_info = info(name).is_some();
    let missing = add.iter().any(|c| !old.contains(c) && !remove.contains(c));
    if has_info && !missing && !old.iter().any(|c| remove.contains(c)) {
        return name.to_vec();
    }
    let mut letters: Vec<u8> = old.iter().chain(add).copied().filter(|c| !remove.contains(c)).collect();
    letters.sort_unstable();
    letters.dedup();
    let (stem, rest) = around_flags(name, old.len());
    [stem, b":2,", &letters, rest].concat()
}

/// What is before the info part, and what is behind so many flags in it.
pub(super) fn around_flags(name: &[u8], flags: usize) -> (&[u8], &[u8]) {
    let rest = info(name).and_then(|all| all.get(flags..)).unwrap_or_default();
    let stem = match memchr::memrchr(INFO, name) {
        Some(colon) => name.get(..colon).unwrap_or(name),
        None => name,
    };
    (stem, rest)
}

/// The order in which messages nobody has seen yet get their UIDs: by the seconds the name begins with, then by the
/// microseconds after `M` in its second part where both have them, then by the rest. It is Dovecot's, byte for byte
/// (names as they stand in the directory, bytes as signed), so that both number a Maildir alike.
pub fn delivery_order(a: &[u8], b: &[u8]) -> Ordering {
    let (secs_a, rest_a) = leading_number(a);
    let (secs_b, rest_b) = leading_number(b);
    secs_a
        .cmp(&secs_b)
        .then_with(|| match (microseconds(rest_a), microseconds(rest_b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => Ordering::Equal,
        })
        .then_with(|| base_order(rest_a, rest_b))
        .then_with(|| a.cmp(b))
}

/// Sorts by [`delivery_order`]. That order is not transitive for every set of names (some with microseconds, some
/// without), which the standard library's sort may answer with a panic; this plain merge sort does not mind.
pub fn sort_by_delivery<'n, T: Copy>(items: &mut [T], name: &impl Fn(T) -> &'n [u8]) {
    // The seconds decide nearly always, and are read once.
    let mut timed: Vec<(u64, T)> = items.iter().map(|&item| (leading_number(name(item)).0, item)).collect();
    sort_timed(&mut timed, name);
    items.iter_mut().zip(timed).for_each(|(to, (_, item))| *to = item);
}

fn sort_timed<'n, T: Copy>(items: &mut [(u64, T)], name: &impl Fn(T) -> &'n [u8]) {
    if items.len() < 2 {
        return;
    }
    let (left, right) = items.split_at_mut(items.len() / 2);
    sort_timed(left, name);
    sort_timed(right, name);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.iter().copied().peekable(), right.iter().copied().peekable());
    while let (Some(&(earlier, a)), Some(&(later, b))) = (left.peek(), right.peek()) {
        let order = earlier.cmp(&later).then_with(|| delivery_order(name(a), name(b)));
        merged.extend(if order == Ordering::Greater { right.next() } else { left.next() });
    }
    merged.extend(left.chain(right));
    items.copy_from_slice(&merged);
}

/// Compares two names as far as their bases differ. Where one base ends and the other goes on, the ended one counts
/// with the byte that ended it (`:`, or 0 at the end of the name).
fn base_order(a: &[u8], b: &[u8]) -> Ordering {
    let mut position = 0;
    loop {
        let (x, y) = (a.get(position).copied().unwrap_or(0), b.get(position).copied().unwrap_or(0));
        let (ended_x, ended_y) = (matches!(x, 0 | INFO), matches!(y, 0 | INFO));
        if ended_x && ended_y {
            return Ordering::Equal;
        }
        if x != y {
            return (x as i8).cmp(&(y as i8));
        }
        position += 1;
    }
}

/// The time that a name begins with, 0 if none.
pub(super) fn seconds(name: &[u8]) -> u64 {
    leading_number(name).0
}

/// The decimal number a name begins with, 0 if none, and what follows it.
fn leading_number(name: &[u8]) -> (u64, &[u8]) {
    let end = name.iter().position(|c| !c.is_ascii_digit()).unwrap_or(name.len());
    let (digits, rest) = name.split_at(end);
    (saturating(digits), rest)
}

fn saturating(digits: &[u8]) -> u64 {
    digits.iter().fold(0u64, |n, c| n.saturating_mul(10).saturating_add(u64::from(c.wrapping_sub(b'0'))))
}

/// The number behind the first `M` in the part between the first two dots.
fn microseconds(rest: &[u8]) -> Option<u64> {
    let part = rest.strip_prefix(b".")?;
    let end = part.iter().position(|&c| c == b'.' || c == INFO).unwrap_or(part.len());
    let part = part.get(..end)?;
    let start = memchr::memchr(b'M', part)? + 1;
    Some(leading_number(part.get(start..)?).0)
}

/// A new base name that no other delivery has: seconds, microseconds, process, a counter, host.
pub(crate) fn generate() -> Vec<u8> {
    generate_marked("")
}

/// The same with something behind the counter.
pub(crate) fn generate_marked(mark: &str) -> Vec<u8> {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static COUNTER: AtomicU32 = AtomicU32::new(1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let count = COUNTER.fetch_add(1, Relaxed);
    // It is asked for once: COPY makes many names.
    static HOST: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let host = HOST.get_or_init(crate::sys::fs::hostname);
    let (micros, process) = (now.subsec_micros(), std::process::id());
    format!("{}.M{micros}P{process}Q{count}{mark}.{host}", now.as_secs()).into_bytes()
}

/// The name of a message that arrived: its base, the number of its file, which no other has while this one lives (after
/// a power cut the clock of a small machine may begin again at the same moment), and its sizes.
pub(crate) fn with_inode(base: &[u8], inode: u64, size: u64, octets: u64) -> Vec<u8> {
    let dot = base.iter().enumerate().filter(|(_, c)| **c == b'.').nth(1);
    let (front, host) = base.split_at(dot.map_or(base.len(), |(at, _)| at));
    [front, format!("I{inode:x}").as_bytes(), host, format!(",S={size},W={octets}").as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base_ends_at_the_first_colon() {
        assert_eq!(base(b"1.a.h,S=3:2,S"), b"1.a.h,S=3");
        assert_eq!(base(b"1.a.h"), b"1.a.h");
        assert_eq!(base(b"1.a:1,x:2,S"), b"1.a");
        assert_eq!(base(b":2,S"), b"");
    }

    #[test]
    fn size_hints_in_any_order_and_only_when_whole() {
        for (name, s, w) in [
            (&b"1.a,S=10,W=12:2,S"[..], Some(10), Some(12)),
            (b"1.a,W=12,S=10", Some(10), Some(12)),
            (b"1.a,x=1,S=10,Q=3,W=12:2,", Some(10), Some(12)),
            (b"1.a,S=10x:2,", None, None),
            (b"1.a,S=:2,", None, None),
            (b"1.a,S=99999999999999999999", None, None),
            (b"1.a", None, None),
        ] {
            assert_eq!((size_hint(name, b'S'), size_hint(name, b'W')), (s, w), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn flags_are_added_sorted_and_the_rest_stays() {
        for (name, add, remove, want) in [
            (&b"1.a"[..], &b"S"[..], &b""[..], &b"1.a:2,S"[..]),
            (b"1.a:2,F", b"S", b"", b"1.a:2,FS"),
            (b"1.a:2,FSab", b"R", b"", b"1.a:2,FRSab"),
            (b"1.a:2,FS,ext", b"T", b"F", b"1.a:2,ST,ext"),
            (b"1.a:2,SF", b"S", b"", b"1.a:2,SF"),
            (b"1.a:1,x", b"S", b"", b"1.a:2,S"),
            (b"1.a:2,S", b"", b"S", b"1.a:2,"),
        ] {
            assert_eq!(with_flags(name, add, remove), want, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn delivery_order_is_by_time_then_microseconds_then_name() {
        let mut names: Vec<&[u8]> =
            vec![b"100.M5P1.h", b"20.z.h", b"100.M40P1.h:2,S", b"100.a.h", b"20.a.h", b"abc", b"100.M5P1.g"];
        sort_by_delivery(&mut names, &|name| name);
        assert_eq!(
            names,
            [&b"abc"[..], b"20.a.h", b"20.z.h", b"100.M5P1.g", b"100.M5P1.h", b"100.M40P1.h:2,S", b"100.a.h"]
        );
    }

    #[test]
    fn generated_names_differ_and_have_no_info() {
        let (a, b) = (generate(), generate());
        assert_ne!(a, b);
        assert_eq!(base(&a), a);
    }

    #[test]
    fn the_inode_stands_with_the_other_numbers_and_does_not_disturb_the_order() {
        let name = with_inode(b"100.M5P1Q1.host.example", 0x1f, 10, 12);
        assert_eq!(name, b"100.M5P1Q1I1f.host.example,S=10,W=12");
        assert_eq!(microseconds(leading_number(&name).1), Some(5));
        assert_eq!(with_inode(b"odd", 1, 2, 3), b"oddI1,S=2,W=3");
    }

    proptest! {
        #[test]
        fn nothing_panics_and_flags_can_be_taken_back(name in proptest::collection::vec(1u8.., 0..60)) {
            let seen = with_flags(&name, b"S", b"");
            prop_assert!(flags(&seen).contains(&b'S'));
            prop_assert_eq!(with_flags(&seen, b"S", b""), seen.clone());
            prop_assert_eq!(base(&seen), base(&name));
            prop_assert!(!flags(&with_flags(&seen, b"", b"S")).contains(&b'S'));
            let _ = (size_hint(&name, b'S'), size_hint(&name, b'W'));
            prop_assert_eq!(delivery_order(&name, &name), Ordering::Equal);
        }
    }
}
