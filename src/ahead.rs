//! Asking for memory before it is read, while there is other work to do.

/// What memory and caches exchange at a time.
const CACHE_LINE_BYTES: usize = 64;

/// What will be read soon, asked for part by part.
pub struct Ahead<'a, T> {
    parts: std::slice::Chunks<'a, T>,
}

impl<'a, T> Ahead<'a, T> {
    /// `next`, in at most that many parts.
    #[inline(always)]
    pub fn new(next: &'a [T], n_parts: usize) -> Self {
        let length = next.len().div_ceil(n_parts.max(1)).next_multiple_of(entries_of_a_line::<T>());
        Self { parts: next.chunks(length.max(1)) }
    }

    /// Asks for the next part; does not wait for it.
    #[inline(always)]
    pub fn ask(&mut self) {
        if let Some(part) = self.parts.next() {
            part.chunks(entries_of_a_line::<T>()).for_each(fetch);
        }
    }
}

#[inline(always)]
fn entries_of_a_line<T>() -> usize {
    const { CACHE_LINE_BYTES / size_of::<T>() }
}

/// Asks for the cache line where `entries` begin. Processors for which this has not been measured are left to themselves.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables))]
#[allow(unsafe_code)]
fn fetch<T>(entries: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every processor of this kind has the instruction. It is a hint: it reads nothing that a program can
        // see, changes nothing, and cannot fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(entries.as_ptr().cast()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole cache lines, each once, in order, in no more parts than there are to be.
    #[test]
    fn all_is_asked_for_once() {
        let entries = [0.0f32; 100];
        for (n_parts, lengths) in [(1, vec![112]), (3, vec![48, 48, 16]), (200, vec![16; 7]), (0, vec![112])] {
            let ahead = Ahead::new(&entries, n_parts);
            let found: Vec<usize> = ahead.parts.clone().map(|part| part.len().next_multiple_of(16)).collect();
            assert_eq!(found, lengths);
        }
        let mut nothing = Ahead::new(&entries[..0], 3);
        nothing.ask();
        assert!(nothing.parts.next().is_none());
    }
}
