use super::*;
use crate::queue::Id;
use crate::testing::Scratch;
use std::time::SystemTime;

#[test]
fn only_messages_wait() {
    let scratch = Scratch::new();
    assert!(!is_waiting(scratch.path()), "there is no drop directory");
    let id = |seconds| Id::new(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    scratch.file(&format!("drop/{UNFINISHED}{}", id(1_800_000_000).as_str()), "");
    scratch.file("drop/rubbish", "");
    scratch.file(&format!("drop/{}/x", id(1_800_000_001).as_str()), "");
    let link = scratch.path().join("drop").join(id(1_800_000_002).as_str());
    std::os::unix::fs::symlink("/etc/passwd", link).unwrap();
    assert!(!is_waiting(scratch.path()), "anybody may leave such things for ever");
    scratch.file(&format!("drop/{}", id(1_800_000_003).as_str()), "");
    assert!(is_waiting(scratch.path()));
}
