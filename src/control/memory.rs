//! Memory that a load took and needs no longer goes back to the system.
//!
//! Loading takes many times what serving keeps. glibc's `malloc` would hold on to much of that: by
//! default it learns from each large block freed to take the next ones from its heap, where they
//! leave holes. With a fixed threshold, large blocks are maps of their own, gone when they are freed.

/// Blocks from this size on are maps of their own, in bytes. Smaller ones share a heap, of which only
/// whole pages can be given back.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 64 << 10;

/// Call once, before anything large is loaded.
pub fn keep_large_blocks_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets one number of the allocator, which it reads under its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
    }
}

/// Call after a load, when what it took has been freed: some milliseconds.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: gives back pages that hold no block, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
