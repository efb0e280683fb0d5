//! Memory, asked for before it is taken: an allocation that fails ends the process, a question that is denied does not.
//!
//! Whoever is about to take room whose size the user's numbers decide asks for all of it here first.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use crate::error::Error;
use std::hint::black_box;

/// Where this little cannot be had, nothing can be done about it.
const FEW_BYTES: usize = 1 << 20;
/// Vectors of parameters that a descent holds at a time, beside those that a method's memory has.
const VECTORS: usize = 16;

/// An error unless that many bytes can be had now.
pub fn ask(what: &'static str, bytes: usize) -> Result<(), Error> {
    if bytes < FEW_BYTES {
        return Ok(());
    }
    let mut room: Vec<u8> = Vec::new();
    reserve(what, &mut room, bytes)?;
    // Otherwise the compiler sees that nobody uses the room, and does not ask.
    black_box(&room);
    Ok(())
}

/// An error unless the few vectors of parameters can be had that a step of a descent takes and gives back.
pub fn ask_for_vectors(n_parameters: usize) -> Result<(), Error> {
    ask("a few vectors of parameters", bytes_of::<f64>(&[VECTORS, n_parameters]))
}

/// Makes room for that many more entries, or for twice as many as there are: an error where it cannot be had.
pub fn reserve<T>(what: &'static str, entries: &mut Vec<T>, more: usize) -> Result<(), Error> {
    let denied = |_| Error::Memory { what, megabytes: more as f64 * size_of::<T>() as f64 / 1e6 };
    entries.try_reserve(more).map_err(denied)
}

/// The bytes of that many numbers of a type, `usize::MAX` where that is beyond all memory.
pub fn bytes_of<T>(factors: &[usize]) -> usize {
    factors.iter().fold(size_of::<T>(), |bytes, &factor| bytes.saturating_mul(factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_all_memory_is_denied() {
        assert_eq!(ask("X", 64 << 20), Ok(()));
        for bytes in [bytes_of::<f64>(&[usize::MAX, 3]), usize::MAX / 4] {
            assert!(matches!(ask("X", bytes), Err(Error::Memory { what: "X", megabytes }) if megabytes > 1e12));
        }
    }
}
