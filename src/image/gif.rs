//! GIF: where the first frame lies, and its pixels.
//!
//! As in Pillow, the image is the screen, grown where the first frame reaches beyond it. What the frame leaves free is
//! transparent if the frame has a transparent colour, and else has the first colour of the palette.

use ::image::metadata::Orientation;
use weezl::{BitOrder, LzwStatus, decode::Configuration};

use super::{decode::Decoded, resize::Size, shrink::Shrink};

/// Blocks before the first frame, at most: comments and what programs leave.
const MAX_BLOCKS: usize = 4096;

/// The first frame and the image around it.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub(super) image: Size,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    /// Of the frame, or else of the whole file: three bytes a colour. Without either, the numbers are levels of grey.
    palette: Option<&'a [u8]>,
    transparent: Option<u8>,
    interlaced: bool,
    /// What follows the frame's header: the size of the codes, then blocks of data.
    data: &'a [u8],
}

impl<'a> Layout<'a> {
    /// None where the file breaks off before its first frame, or has none.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(bytes.get(6..)?);
        let (screen_width, screen_height) = (rest.u16()?, rest.u16()?);
        let [packed, _background, _aspect] = rest.array()?;
        let global = rest.palette(packed)?;
        let mut transparent = None;
        for _ in 0..MAX_BLOCKS {
            match rest.array()? {
                [b'!'] => {
                    const GRAPHIC_CONTROL: u8 = 0xf9;
                    let [label] = rest.array()?;
                    let first = rest.block()?;
                    if let (GRAPHIC_CONTROL, [flags, _, _, colour, ..]) = (label, first)
                        && flags & 1 != 0
                    {
                        transparent = Some(*colour);
                    }
                    let mut last = first;
                    while !last.is_empty() {
                        last = rest.block()?;
                    }
                }
                [b','] => {
                    let [left, top, width, height] = [rest.u16()?, rest.u16()?, rest.u16()?, rest.u16()?];
                    let [packed] = rest.array()?;
                    let palette = rest.palette(packed)?.or(global);
                    let image = Size {
                        width: (u32::from(left) + u32::from(width)).max(screen_width.into()),
                        height: (u32::from(top) + u32::from(height)).max(screen_height.into()),
                    };
                    let interlaced = packed & 0x40 != 0;
                    let [left, top, width, height] = [left, top, width, height].map(usize::from);
                    let whole = width > 0 && height > 0;
                    let data = rest.0;
                    let layout = Self { image, left, top, width, height, palette, transparent, interlaced, data };
                    return whole.then_some(layout);
                }
                [b';'] => return None,
                _ => {}
            }
        }
        None
    }

    /// The image: RGBA where the frame has a transparent colour, else RGB. None where data are missing or corrupt.
    pub(super) fn decode(&self) -> Option<Decoded> {
        let numbers = self.numbers()?;
        let Size { width, height } = self.image;
        let channels = if self.transparent.is_some() { 4 } else { 3 };
        let free = self.colour(self.transparent.unwrap_or(0));
        let free = &free[..channels];
        let mut data = free.repeat(width as usize * height as usize);
        for (row, numbers) in self.rows().zip(numbers.chunks_exact(self.width)) {
            let start = ((self.top + row) * width as usize + self.left) * channels;
            let target = data.get_mut(start..start + self.width * channels)?;
            for (pixel, number) in target.chunks_exact_mut(channels).zip(numbers) {
                pixel.copy_from_slice(&self.colour(*number)[..channels]);
            }
        }
        let orientation = Orientation::NoTransforms;
        // 3 or 4
        let channels = channels as u8;
        Some(Decoded { width, height, stored: self.image, shrink: Shrink::NONE, channels, orientation, data })
    }

    /// The rows of the frame in the order in which they are stored.
    fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        const WHOLE: &[(usize, usize)] = &[(0, 1)];
        const INTERLACED: &[(usize, usize)] = &[(0, 8), (4, 8), (2, 4), (1, 2)];
        let passes = if self.interlaced { INTERLACED } else { WHOLE };
        passes.iter().flat_map(|(first, step)| (*first..self.height).step_by(*step))
    }

    /// The numbers of the colours, row by row as stored.
    fn numbers(&self) -> Option<Vec<u8>> {
        let mut rest = Reader(self.data);
        let [code_size @ 1..=11] = rest.array()? else { return None };
        let mut decoder = Configuration::new(BitOrder::Lsb, code_size).with_yield_on_full_buffer(true).build();
        let mut numbers = vec![0; self.width * self.height];
        let mut filled = 0;
        while filled < numbers.len() {
            let mut block = rest.block()?;
            if block.is_empty() {
                return None;
            }
            while filled < numbers.len() {
                let result = decoder.decode_bytes(block, &mut numbers[filled..]);
                block = &block[result.consumed_in..];
                filled += result.consumed_out;
                match result.status {
                    // A block that is read to its end may still have left numbers in the decoder.
                    Ok(_) if filled == numbers.len() => {}
                    Ok(LzwStatus::Ok) => {}
                    Ok(LzwStatus::NoProgress) => break,
                    Ok(LzwStatus::Done) | Err(_) => return None,
                }
            }
        }
        Some(numbers)
    }

    /// RGBA. Numbers beyond the palette are black.
    fn colour(&self, number: u8) -> [u8; 4] {
        let alpha = if self.transparent == Some(number) { 0 } else { 255 };
        let Some(palette) = self.palette else { return [number, number, number, alpha] };
        match palette.as_chunks::<3>().0.get(usize::from(number)) {
            Some([r, g, b]) => [*r, *g, *b, alpha],
            None => [0, 0, 0, alpha],
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// The palette that these flags announce, if they announce one.
    #[expect(clippy::option_option, reason = "the outer one says that the file breaks off")]
    fn palette(&mut self, packed: u8) -> Option<Option<&'a [u8]>> {
        if packed & 0x80 == 0 {
            return Some(None);
        }
        self.take(3 << ((packed & 7) + 1)).map(Some)
    }

    /// A block of data behind the byte with its length; an empty one is the last.
    fn block(&mut self) -> Option<&'a [u8]> {
        let [length] = self.array()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests;
