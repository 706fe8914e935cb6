//! The allocator of the process: dlmalloc for what is small, the system's for what is large.
//!
//! musl's own maps and unmaps pages for every few KiB, some 70 system calls for one Strict container; dlmalloc does not,
//! and keeps what it once had. A record of 12 MB, which an image with a million groups makes, would stay resident for as
//! long as the plugin runs. The system's allocators map what is so large by itself, and give it back when it is freed.

use std::alloc::{GlobalAlloc, Layout, System};

use dlmalloc::GlobalDlmalloc;

/// From this size on musl and glibc map each allocation by itself (glibc: `M_MMAP_THRESHOLD`). Nothing that an ordinary
/// container needs is as large.
const LARGE: usize = 128 * 1024;

pub(crate) struct Allocator;

fn is_large(size: usize) -> bool {
    size >= LARGE
}

// SAFETY: both parts are allocators, and which of them an allocation belongs to depends on nothing but its size, which is
// the same whenever it is named.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { if is_large(layout.size()) { System.alloc(layout) } else { GlobalDlmalloc.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe {
            if is_large(layout.size()) {
                System.alloc_zeroed(layout)
            } else {
                GlobalDlmalloc.alloc_zeroed(layout)
            }
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises, and it came from the same part.
        unsafe {
            if is_large(layout.size()) {
                System.dealloc(pointer, layout);
            } else {
                GlobalDlmalloc.dealloc(pointer, layout);
            }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as the caller promises. What goes from one part to the other is copied, no more than both can hold.
        unsafe {
            match (is_large(layout.size()), is_large(new_size)) {
                (true, true) => System.realloc(pointer, layout, new_size),
                (false, false) => GlobalDlmalloc.realloc(pointer, layout, new_size),
                _ => {
                    let new = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
                    if !new.is_null() {
                        pointer.copy_to_nonoverlapping(new, layout.size().min(new_size));
                        self.dealloc(pointer, layout);
                    }
                    new
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_every_change_of_size() {
        let byte = |place: usize| u8::try_from(place % 251).unwrap_or_default();
        let mut bytes: Vec<u8> = Vec::new();
        for size in [1, LARGE - 1, LARGE, LARGE + 1, 8 * LARGE, LARGE, LARGE - 1, 10, 3 * LARGE] {
            bytes.truncate(size);
            bytes.shrink_to_fit();
            bytes.extend((bytes.len()..size).map(byte));
            assert!(bytes.iter().enumerate().all(|(place, found)| *found == byte(place)), "{size}");
        }
        assert!(vec![0_u8; 2 * LARGE].iter().all(|byte| *byte == 0));
    }
}
