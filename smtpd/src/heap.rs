//! The heap of programs that are linked with musl (doc/decisions/0003).
//!
//! musl's own makes a mapping for blocks of each size and gives it back with the last of them. That keeps an idle session of `pop3d`
//! and `imapd` small; for processes that live some milliseconds it is a quarter of their time, in system calls and pages that come and
//! go. This one has one mapping. It believes in pages of 4 KiB, so it is for x86-64 only.

use common::sys::heap::Heap;

#[global_allocator]
static HEAP: Heap = Heap::new();
