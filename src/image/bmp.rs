//! BMP whose rows are stored by the length of their runs.
//!
//! The decoder is our own: as in Pillow, pixels that the file skips have the first colour of the palette, a missing end
//! mark is no fault, and missing pixels are. The crate `image` reads all other kinds.

use ::image::metadata::Orientation;

use super::{decode::Decoded, resize::Size, shrink::Shrink};

/// The file header, in front of the one that tells the size.
const FILE_HEADER: usize = 14;
/// The header of Windows 3; the older one knows no compression.
const INFO_HEADER: usize = 40;

/// The header of a file with run lengths.
#[derive(Debug)]
pub(super) struct RunLengths<'a> {
    bytes: &'a [u8],
    width: usize,
    height: usize,
    top_down: bool,
    /// Whether a byte holds two pixels.
    nibbles: bool,
    /// Blue, green, red and nothing for each colour.
    palette: &'a [u8],
    /// Where the runs begin.
    start: usize,
}

impl<'a> RunLengths<'a> {
    /// None for a file without run lengths, or with a header that is cut off.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let u32_at = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let header = usize::try_from(u32_at(FILE_HEADER)?).ok().filter(|size| *size >= INFO_HEADER)?;
        let bits = u16::from_le_bytes(bytes.get(28..30)?.try_into().ok()?);
        let nibbles = match (u32_at(30)?, bits) {
            (1, 8) => false,
            (2, 4) => true,
            _ => return None,
        };
        let lines = u32_at(22)?.cast_signed();
        let colours = usize::try_from(u32_at(46)?).ok().filter(|count| *count > 0).unwrap_or(1 << bits);
        let palette = FILE_HEADER.checked_add(header)?;
        Some(Self {
            bytes,
            width: usize::try_from(u32_at(18)?).ok()?,
            height: usize::try_from(lines.unsigned_abs()).ok()?,
            top_down: lines < 0,
            nibbles,
            palette: bytes.get(palette..palette.checked_add(colours.min(1 << bits) * 4)?)?,
            start: usize::try_from(u32_at(10)?).ok()?,
        })
    }

    /// The image in RGB; none where pixels are missing.
    pub(super) fn decode(&self) -> Option<Decoded> {
        let numbers = self.numbers()?;
        let mut data = Vec::with_capacity(numbers.len() * 3);
        for line in 0..self.height {
            let row = if self.top_down { line } else { self.height - 1 - line };
            for number in &numbers[row * self.width..(row + 1) * self.width] {
                let at = usize::from(*number) * 4;
                let [blue, green, red] =
                    self.palette.get(at..at + 3).map_or([0; 3], |colour| [colour[0], colour[1], colour[2]]);
                data.extend([red, green, blue]);
            }
        }
        let (width, height) = (u32::try_from(self.width).ok()?, u32::try_from(self.height).ok()?);
        let (stored, orientation) = (Size { width, height }, Orientation::NoTransforms);
        Some(Decoded { width, height, stored, shrink: Shrink::NONE, channels: 3, orientation, data })
    }

    /// The numbers of the colours, row after row as they are stored.
    fn numbers(&self) -> Option<Vec<u8>> {
        let total = self.width.checked_mul(self.height)?;
        let mut numbers = Vec::with_capacity(total);
        let mut at = self.start;
        let mut column = 0_usize;
        while numbers.len() < total {
            let Some(&[count, value]) = self.bytes.get(at..).and_then(|rest| rest.first_chunk()) else { break };
            at += 2;
            match (usize::from(count), value) {
                // the end of a row
                (0, 0) => {
                    numbers.resize(numbers.len().next_multiple_of(self.width), 0);
                    column = 0;
                }
                // the end of the image
                (0, 1) => break,
                (0, 2) => {
                    let Some(&[right, up]) = self.bytes.get(at..).and_then(|rest| rest.first_chunk()) else { break };
                    at += 2;
                    let skipped = usize::from(right) + usize::from(up) * self.width;
                    numbers.resize((numbers.len() + skipped).min(total), 0);
                    column = numbers.len() % self.width;
                }
                (0, length) => {
                    let pixels = usize::from(length).min(total - numbers.len());
                    let stored = if self.nibbles { pixels.div_ceil(2) } else { pixels };
                    let literal = self.bytes.get(at..at + stored)?;
                    numbers.extend((0..pixels).map(|pixel| self.pixel(literal, pixel)));
                    column += pixels;
                    // Whole words, from the beginning of the file.
                    at = (at + stored).next_multiple_of(2);
                }
                (count, value) => {
                    // What is too much for a row is left out.
                    let pixels = count.min(self.width.saturating_sub(column));
                    let run = if self.nibbles { [value >> 4, value & 0x0f] } else { [value; 2] };
                    numbers.extend((0..pixels).map(|pixel| run[pixel % 2]));
                    column += pixels;
                }
            }
        }
        numbers.truncate(total);
        (numbers.len() == total).then_some(numbers)
    }

    fn pixel(&self, literal: &[u8], pixel: usize) -> u8 {
        match (self.nibbles, pixel % 2) {
            (false, _) => literal[pixel],
            (true, 0) => literal[pixel / 2] >> 4,
            (true, _) => literal[pixel / 2] & 0x0f,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::decode::decode;

    /// Four colours whose red is 10 times their number.
    fn file(size: (u32, i32), (compression, bits): (u32, u16), runs: &[u8]) -> Vec<u8> {
        let palette: Vec<u8> = (0..4_u8).flat_map(|number| [1, 2, number * 10, 0]).collect();
        let start = u32::try_from(FILE_HEADER + INFO_HEADER + palette.len()).unwrap();
        let mut bytes = b"BM\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend(start.to_le_bytes());
        bytes.extend(40_u32.to_le_bytes());
        bytes.extend(size.0.to_le_bytes());
        bytes.extend(size.1.to_le_bytes());
        bytes.extend([1, 0]);
        bytes.extend(bits.to_le_bytes());
        for number in [compression, 0, 0, 0, 4, 0] {
            bytes.extend(number.to_le_bytes());
        }
        [bytes.as_slice(), &palette, runs].concat()
    }

    /// The numbers of the colours from the top, or none where the file is refused.
    fn numbers(file: &[u8]) -> Option<Vec<u8>> {
        let decoded = decode(file, 1000).ok()?;
        assert_eq!(decoded.channels, 3);
        assert!(decoded.data.chunks_exact(3).all(|pixel| pixel[1..] == [2, 1]));
        Some(decoded.data.chunks_exact(3).map(|pixel| pixel[0] / 10).collect())
    }

    #[test]
    fn runs_literals_and_rows_that_end_early_are_read_from_below() {
        let runs = [3, 1, 0, 0, 0, 3, 2, 3, 1, 0, 0, 1];
        assert_eq!(numbers(&file((3, 2), (1, 8), &runs)).unwrap(), [2, 3, 1, 1, 1, 1]);
        assert_eq!(numbers(&file((3, -2), (1, 8), &runs)).unwrap(), [1, 1, 1, 2, 3, 1]);
        assert_eq!(numbers(&file((3, 2), (1, 8), &[1, 2, 0, 0, 9, 3, 0, 1])).unwrap(), [3, 3, 3, 2, 0, 0]);
        let nibbles = [5, 0x12, 0, 0, 0, 5, 0x32, 0x10, 0x30, 0];
        assert_eq!(numbers(&file((5, 2), (2, 4), &nibbles)).unwrap(), [3, 2, 1, 0, 3, 1, 2, 1, 2, 1]);
    }

    #[test]
    fn skipped_pixels_have_the_first_colour_and_missing_ones_are_refused() {
        let skipping = [1, 3, 0, 2, 1, 1, 1, 2];
        assert_eq!(numbers(&file((3, 2), (1, 8), &skipping)).unwrap(), [0, 0, 2, 3, 0, 0]);
        for missing in [&[3, 1, 0, 0, 0, 1][..], &[3, 1, 0, 0], &[3, 1, 0, 0, 0, 9, 1], &[0, 2, 1]] {
            assert_eq!(numbers(&file((3, 2), (1, 8), missing)), None, "{missing:?}");
        }
    }
}
