//! By how much a JPEG is decoded smaller than it is.
//!
//! A JPEG codes blocks of 8 × 8 pixels by their frequencies, so that images of a half, a quarter or an eighth of
//! its size come out of it at less work, already low-pass filtered. An image that will be resized to less than half
//! of that loses nothing that can be seen by it: a level or two of 255. The factor depends on the file and on the
//! model alone, never on the load or on what else is done with the image, so that vectors stay repeatable.

use super::{decode::Header, resize::Size, sniff::Format};

/// Pixels on each side that become one: 1, 2, 4 or 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shrink(u32);

impl Shrink {
    /// The image as it is stored.
    pub const NONE: Self = Self(1);

    const ALL: [Self; 4] = [Self(8), Self(4), Self(2), Self::NONE];

    /// How many samples there must be for each pixel of the resized image, along each side.
    const SPARE: u64 = 2;

    /// The most by which an image of size `from` may be decoded smaller, if `to` is made of it.
    #[must_use]
    pub fn between(from: Size, to: Size) -> Self {
        let fits = |shrink: Self| {
            let enough = |from: u32, to: u32| u64::from(from) >= Self::SPARE * u64::from(shrink.0) * u64::from(to);
            enough(from.width, to.width) && enough(from.height, to.height)
        };
        Self::ALL.into_iter().find(|shrink| fits(*shrink)).unwrap_or(Self::NONE)
    }

    /// As [`between`](Self::between), for a file that may have to be turned: `resized` tells what is made of an image
    /// of a size. None for formats that have no smaller images in them.
    pub(super) fn of_file(header: &Header, resized: impl Fn(Size) -> Size) -> Self {
        if header.format != Format::Jpeg {
            return Self::NONE;
        }
        let stored = Size { width: header.width, height: header.height };
        let turned = Size { width: header.height, height: header.width };
        Self::between(stored, resized(stored)).min(Self::between(turned, resized(turned)))
    }

    #[must_use]
    pub const fn factor(self) -> u32 {
        self.0
    }

    /// Pixels of a side that had `side`: the last one may stand for fewer than the others.
    #[must_use]
    pub const fn side(self, side: u32) -> u32 {
        side.div_ceil(self.0)
    }
}

#[cfg(test)]
mod tests;
