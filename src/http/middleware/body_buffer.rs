//! The memory that a body is put together in.
//!
//! A large body lies in pages of its own, which go back to the system with its last byte. The allocator keeps what it is
//! given back for a while: bodies that are refused half-way would leave as much behind as all that are held.

use bytes::{Bytes, BytesMut};
use memmap2::MmapMut;

use crate::error::{Error, Result};

/// Bodies up to this size lie in memory of the allocator.
pub(super) const SMALL: usize = 1 << 20;

/// A body while its chunks come.
pub(super) struct BodyBuffer {
    /// Bytes that have been announced; 0 where nothing was said.
    announced: usize,
    memory: Memory,
}

enum Memory {
    Small(BytesMut),
    Pages(FilledPages),
}

/// Pages of which the first bytes are written. Those behind them take no memory yet.
struct FilledPages {
    pages: MmapMut,
    filled: usize,
}

impl AsRef<[u8]> for FilledPages {
    fn as_ref(&self) -> &[u8] {
        &self.pages[..self.filled]
    }
}

impl FilledPages {
    fn new(capacity: usize, begin: &[u8]) -> Result<Self> {
        let pages = MmapMut::map_anon(capacity.max(begin.len()))
            .map_err(|error| Error::internal("there is no memory for a body").with_source(error))?;
        let mut filled = Self { pages, filled: 0 };
        filled.push(begin);
        Ok(filled)
    }

    /// There is room for the bytes.
    fn push(&mut self, bytes: &[u8]) {
        self.pages[self.filled..][..bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }
}

impl BodyBuffer {
    /// A buffer for a body of this announced length, for which nothing is taken before its bytes come but for a small
    /// part.
    pub(super) fn new(announced: usize) -> Self {
        Self { announced, memory: Memory::Small(BytesMut::with_capacity(announced.min(SMALL))) }
    }

    pub(super) fn len(&self) -> usize {
        match &self.memory {
            Memory::Small(bytes) => bytes.len(),
            Memory::Pages(pages) => pages.filled,
        }
    }

    /// Appends a chunk. What outgrows its memory moves to as much as was announced or, without that, to twice as much.
    ///
    /// # Errors
    /// `internal` where the system has no memory.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<()> {
        let needed = self.len() + chunk.len();
        let larger = if needed <= self.announced { self.announced } else { 2 * needed };
        match &mut self.memory {
            Memory::Small(bytes) if needed <= SMALL => bytes.extend_from_slice(chunk),
            Memory::Small(bytes) => {
                let mut pages = FilledPages::new(larger, bytes)?;
                pages.push(chunk);
                self.memory = Memory::Pages(pages);
            }
            Memory::Pages(pages) => {
                if needed > pages.pages.len() {
                    *pages = FilledPages::new(larger, pages.as_ref())?;
                }
                pages.push(chunk);
            }
        }
        Ok(())
    }

    pub(super) fn freeze(self) -> Bytes {
        match self.memory {
            Memory::Small(bytes) => bytes.freeze(),
            Memory::Pages(pages) => Bytes::from_owner(pages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(announced: usize, chunks: &[Vec<u8>]) -> BodyBuffer {
        let mut buffer = BodyBuffer::new(announced);
        chunks.iter().for_each(|chunk| buffer.push(chunk).unwrap());
        buffer
    }

    fn capacity(buffer: &BodyBuffer) -> usize {
        match &buffer.memory {
            Memory::Small(bytes) => bytes.capacity(),
            Memory::Pages(pages) => pages.pages.len(),
        }
    }

    #[test]
    fn a_large_body_moves_once_to_memory_of_its_announced_length() {
        let chunks: Vec<Vec<u8>> = (0..9).map(|at| vec![at; SMALL / 4]).collect();
        let announced = 9 * SMALL / 4;
        assert_eq!(capacity(&filled(announced, &chunks[..4])), SMALL);
        assert_eq!(capacity(&filled(announced, &chunks[..5])), announced);
        let whole = filled(announced, &chunks);
        assert_eq!((whole.len(), capacity(&whole)), (announced, announced));
        assert_eq!(whole.freeze(), chunks.concat());
    }

    #[test]
    fn a_body_without_a_length_or_longer_than_announced_grows() {
        let chunks: Vec<Vec<u8>> = (0..11).map(|at| vec![at; SMALL / 3]).collect();
        for announced in [0, 1, SMALL + 1] {
            assert_eq!(filled(announced, &chunks).freeze(), chunks.concat(), "{announced}");
        }
        assert_eq!(filled(0, &[]).freeze(), "");
    }
}
