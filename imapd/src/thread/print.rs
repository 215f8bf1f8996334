//! Threads as the THREAD response has them (RFC 5256 section 4, `thread-list`).

use super::tree::Threads;
use common::number;

/// Shows the threads, piece by piece; `numbers` are the messages' numbers. Does not recurse: a thread may be as deep as the
/// mailbox is long.
pub fn print<E>(
    threads: &Threads,
    numbers: &[u32],
    mut show: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    // The sibling at hand on each level that has several.
    let mut levels: Vec<u32> = Vec::new();
    for &root in &threads.roots {
        show(b"(")?;
        let mut node = root;
        'down: loop {
            let mut separator: &[u8] = b" (";
            if threads.is_dummy(node) {
                separator = b"(";
            } else {
                show(number::decimal(
                    u64::from(numbers.get(node as usize).copied().unwrap_or(0)),
                    &mut [0; number::LONGEST],
                ))?;
            }
            if let Some(child) = threads.first_child(node) {
                node = child;
                if threads.next_sibling(child).is_none() {
                    if separator.len() > 1 {
                        show(b" ")?;
                    }
                } else {
                    show(separator)?;
                    levels.push(child);
                }
                continue;
            }
            show(b")")?;
            while let Some(level) = levels.last_mut() {
                match threads.next_sibling(*level) {
                    Some(sibling) => {
                        (*level, node) = (sibling, sibling);
                        show(b"(")?;
                        continue 'down;
                    }
                    None => {
                        levels.pop();
                        show(b")")?;
                    }
                }
            }
            break;
        }
    }
    Ok(())
}
