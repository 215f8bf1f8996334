//! Memory of processes, as the kernel counts it.

use std::fs;
use std::path::Path;

/// KiB that only this process has (`Private_Clean` and `Private_Dirty`); 0 when it is gone.
pub fn private_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let value = |line: &str| line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).unwrap_or(0);
    rollup
        .lines()
        .filter(|line| line.starts_with("Private_Clean") || line.starts_with("Private_Dirty"))
        .map(value)
        .sum()
}

/// The process and all below it.
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(&parent) = family.get(at) {
        at += 1;
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if parent_of(&entry.path()) == Some(parent) && !family.contains(&child) {
                family.push(child);
            }
        }
    }
    family
}

fn parent_of(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name in parentheses may have anything in it.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

/// Private KiB of the process and all below it.
pub fn family_kib(pid: u32) -> u64 {
    family(pid).into_iter().map(private_kib).sum()
}
