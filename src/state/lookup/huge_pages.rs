//! Large tables that queries read at random, moved into huge pages: with a hundred thousand names
//! each lookup would otherwise wait for the translation of its address as long as for the data.
//!
//! Advice to the kernel and no more: where it cannot, all stays as it is.

/// The size that x86-64 and most others call huge, in octets.
const HUGE: usize = 2 << 20;

/// Moves what of this memory fills whole huge pages into such ones. Takes about as long as copying it, and next to
/// nothing where it is in such ones already. Nothing happens before Linux 6.1, nor where transparent huge pages are off.
pub fn gather<T>(memory: &[T]) {
    advise(memory, libc::MADV_COLLAPSE);
}

/// So many of the same, in memory that is in huge pages from the first touch on.
pub fn filled<T: Copy>(with: T, count: usize) -> Box<[T]> {
    let mut all = Vec::with_capacity(count);
    advise(all.spare_capacity_mut(), libc::MADV_HUGEPAGE);
    all.resize(count, with);
    all.into()
}

/// A copy, in such memory.
pub fn copied<T: Copy>(of: &[T]) -> Box<[T]> {
    let mut all = Vec::with_capacity(of.len());
    advise(all.spare_capacity_mut(), libc::MADV_HUGEPAGE);
    all.extend_from_slice(of);
    all.into()
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
        gather(&large);
        gather(&large[..3]);
        gather::<u64>(&[]);
        assert!(*copied(&large) == *large && copied::<u64>(&[]).is_empty());
        assert!(filled(7u32, 3 << 20).iter().all(|&item| item == 7));
        assert!(large.iter().zip(0..).all(|(octet, number)| *octet == number));
    }
}
