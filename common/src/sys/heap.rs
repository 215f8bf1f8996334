//! A heap for programs with one thread that are linked with musl (doc/decisions/0003).
//!
//! dlmalloc's own global one takes a mutex of the C library around each call, which was more than a third of what a short block cost.
//! A flag does here: nobody waits for it who has no second thread, and who has one is still right.

use dlmalloc::Dlmalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

/// The heap, for `#[global_allocator]`.
pub struct Heap {
    busy: AtomicBool,
    blocks: UnsafeCell<Dlmalloc>,
}

// SAFETY: `blocks` is only touched between the two changes of `busy`, so by one thread at a time.
unsafe impl Sync for Heap {}

impl Heap {
    /// Without a block.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Heap {
        Heap { busy: AtomicBool::new(false), blocks: UnsafeCell::new(Dlmalloc::new()) }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Dlmalloc) -> T) -> T {
        while self.busy.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
        // SAFETY: `busy` was false and is true, so no other reference is there; dlmalloc calls nothing that allocates.
        let result = work(unsafe { &mut *self.blocks.get() });
        self.busy.store(false, Ordering::Release);
        result
    }
}

// SAFETY: each call is handed to dlmalloc as it came, and its contract is that of this trait. A panic, which would leave the flag
// set, does not unwind into an allocator: it aborts.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises.
        self.with(|blocks| unsafe { blocks.malloc(layout.size(), layout.align()) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises.
        self.with(|blocks| unsafe { blocks.calloc(layout.size(), layout.align()) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises.
        self.with(|blocks| unsafe { blocks.free(block, layout.size(), layout.align()) });
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises.
        self.with(|blocks| unsafe { blocks.realloc(block, layout.size(), layout.align(), size) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes, enlarges and gives back blocks of all sizes; what was written to one is still there.
    fn use_up(heap: &Heap, mark: u8) {
        for size in (1..5000).step_by(37).chain([70_000, 300_000]) {
            for align in [1, 16, 4096] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the layouts are not of no size, the blocks are there and as large as they are said to be.
                unsafe {
                    let zeroed = heap.alloc_zeroed(layout);
                    assert!(std::slice::from_raw_parts(zeroed, size).iter().all(|&octet| octet == 0));
                    let block = heap.alloc(layout);
                    assert_eq!(block.align_offset(align), 0);
                    block.write_bytes(mark, size);
                    let block = heap.realloc(block, layout, size * 3);
                    zeroed.write_bytes(!mark, size);
                    assert!(std::slice::from_raw_parts(block, size).iter().all(|&octet| octet == mark));
                    heap.dealloc(zeroed, layout);
                    heap.dealloc(block, Layout::from_size_align(size * 3, align).unwrap());
                }
            }
        }
    }

    #[test]
    fn blocks_are_apart_also_for_several_threads() {
        let heap = Heap::new();
        std::thread::scope(|threads| {
            for mark in 1..5 {
                let heap = &heap;
                threads.spawn(move || use_up(heap, mark));
            }
        });
        assert!(!heap.busy.load(Ordering::Relaxed));
    }
}
