//! All transcripts of a directory, some at a time: most of their time is waiting.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many at a time.
const THREADS: usize = 8;

/// Does something with each transcript in `transcripts/DIRECTORY` whose name contains `only`; returns what came of them, in any order.
pub fn each<T: Send>(directory: &str, only: &str, act: impl Fn(&Path) -> T + Sync) -> Vec<T> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(directory);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("transcripts")
        .map(|entry| entry.expect("entry").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "txt"));
    paths.retain(|path| path.file_stem().is_some_and(|name| name.to_string_lossy().contains(only)));
    paths.sort();
    let outcomes = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = act(path);
                    outcomes.lock().expect("no panic").push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().expect("no panic")
}
