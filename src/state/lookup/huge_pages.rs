//! Large tables that queries read at random, kept in huge pages: with a hundred thousand names
//! each lookup would otherwise wait for the translation of its address as long as for the data.
//!
//! Advice to the kernel and no more: where it cannot, all stays as it is.

use std::sync::Arc;

/// The size that x86-64 and most others call huge, in octets.
const HUGE: usize = 2 << 20;

/// So many of the same, in memory that is in huge pages from the first touch on.
pub fn filled<T: Copy>(with: T, count: usize) -> Box<[T]> {
    let mut all = room_for(count);
    all.resize(count, with);
    all.into()
}

/// A copy, in such memory.
pub fn copied<T: Copy>(of: &[T]) -> Box<[T]> {
    let mut all = room_for(of.len());
    all.extend_from_slice(of);
    all.into()
}

/// Room for so many items in such memory, which is taken as they come.
pub fn room_for<T>(count: usize) -> Vec<T> {
    let mut all = Vec::with_capacity(count);
    advise(all.spare_capacity_mut(), libc::MADV_HUGEPAGE);
    all
}

/// So many octets of zero in such memory, which is taken as they are written.
pub fn zeroed(octets: usize) -> Arc<[u8]> {
    let all = Arc::<[u8]>::new_zeroed_slice(octets);
    advise(&all, libc::MADV_HUGEPAGE);
    // SAFETY: all octets are zero, which is an octet.
    unsafe { all.assume_init() }
}

fn advise<T>(memory: &[T], advice: libc::c_int) {
    let begin = memory.as_ptr().addr().next_multiple_of(HUGE);
    let end = (memory.as_ptr().addr() + size_of_val(memory)) / HUGE * HUGE;
    #[cfg(target_os = "linux")]
    if begin < end {
        let at = memory.as_ptr().with_addr(begin).cast_mut().cast();
        // SAFETY: changes which pages hold this memory, within it, and nothing of what is in it.
        unsafe { libc::madvise(at, end - begin, advice) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_memory_stays() {
        let large: Vec<u64> = (0..1 << 20).collect();
        assert!(*copied(&large) == *large && copied::<u64>(&[]).is_empty());
        assert!(filled(7u32, 3 << 20).iter().all(|&item| item == 7));
        assert!(zeroed(5 << 20).iter().all(|&octet| octet == 0) && zeroed(0).is_empty());
    }
}
