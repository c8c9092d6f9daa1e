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

/// First probes of thousands of endpoints take much at once, most of it from endpoints that are silent: by then they have
/// been given up.
const AFTER_FIRST_PROBES: std::time::Duration = std::time::Duration::from_secs(30);

/// [`give_back`] now, and once what the first probes take has been freed.
pub async fn give_back_after_start() {
    give_back();
    tokio::time::sleep(AFTER_FIRST_PROBES).await;
    give_back();
}

/// Call after a load, when what it took has been freed: some milliseconds.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: gives back pages that hold no block, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
