//! Many small images on one: a sheet of sprites.

use super::{pixels::Pixels, spec::Channels};

/// Sprites in a row of a sheet.
pub const COLUMNS: usize = 16;
/// What is seen of a sprite that is not there, in each channel.
const EMPTY: u8 = 128;

/// Square images of one size, in rows of `COLUMNS` from the top left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    pixels: Pixels,
    size: u32,
    columns: usize,
}

impl Sheet {
    /// A sheet of so many empty sprites, with sides of `size` pixels.
    #[must_use]
    pub fn new(count: usize, size: u32) -> Self {
        let columns = count.clamp(1, COLUMNS);
        let rows = count.div_ceil(columns).max(1);
        let (width, height) = (columns as u32 * size, rows as u32 * size);
        let data = vec![EMPTY; width as usize * height as usize * 3];
        Self { pixels: Pixels { width, height, channels: Channels::Rgb, data }, size, columns }
    }

    #[must_use]
    pub fn pixels(&self) -> &Pixels {
        &self.pixels
    }

    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Puts a square RGB image of the sheet's size on its place, counted along the rows; another one is left out.
    pub fn put(&mut self, place: usize, sprite: &Pixels) {
        let fits = (sprite.width, sprite.height, sprite.channels) == (self.size, self.size, Channels::Rgb);
        let (left, top) = (place % self.columns, place / self.columns);
        if !fits || (top + 1) * self.size as usize > self.pixels.height as usize {
            return;
        }
        let side = self.size as usize * 3;
        let stride = self.pixels.width as usize * 3;
        let first = top * self.size as usize * stride + left * side;
        for (row, line) in sprite.data.chunks_exact(side).enumerate() {
            let at = first + row * stride;
            self.pixels.data[at..at + side].copy_from_slice(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sprite(size: u32, value: u8) -> Pixels {
        Pixels { width: size, height: size, channels: Channels::Rgb, data: vec![value; (size * size * 3) as usize] }
    }

    #[test]
    fn sprites_stand_in_rows_and_gaps_stay_grey() {
        let mut sheet = Sheet::new(18, 2);
        assert_eq!((sheet.columns(), sheet.pixels().width, sheet.pixels().height), (16, 32, 4));
        sheet.put(17, &sprite(2, 9));
        sheet.put(0, &sprite(3, 7));
        sheet.put(32, &sprite(2, 7));
        let at = |x: usize, y: usize| sheet.pixels().data[(y * 32 + x) * 3];
        assert_eq!((at(0, 0), at(1, 2), at(2, 2), at(3, 3), at(4, 3)), (EMPTY, EMPTY, 9, 9, EMPTY));
        assert!(!sheet.pixels().data.contains(&7), "neither one of another size nor one beyond the sheet");
    }

    #[test]
    fn a_short_sheet_is_no_wider_than_its_sprites() {
        let sheet = Sheet::new(3, 8);
        assert_eq!((sheet.pixels().width, sheet.pixels().height), (24, 8));
    }
}
