//! The strips or tiles of a TIFF that is compressed as JPEG, each of which is a JPEG without its tables.

use super::{
    super::{ifd::Directory, jpeg, resize::Size},
    Colours, Layout, corrupt, tag,
};
use crate::error::Result;

/// The strips or the tiles of an image.
struct Parts<'a> {
    /// Of a whole part; those at the right and the lower edge may be cut off.
    size: Size,
    places: Vec<(u32, u32)>,
    /// The segments that all parts share, from start to end marker.
    tables: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    fn read(layout: &Layout, bytes: &'a [u8]) -> Option<Self> {
        let directory = Directory::first(bytes)?;
        let list = |tag| Some(directory.entry(tag)?.numbers().collect::<Vec<u32>>());
        let Size { width, height } = layout.image;
        let (size, starts, lengths) = match list(tag::TILE_OFFSETS) {
            Some(starts) => {
                let size =
                    Size { width: directory.number(tag::TILE_WIDTH)?, height: directory.number(tag::TILE_HEIGHT)? };
                (size, starts, list(tag::TILE_LENGTHS)?)
            }
            None => {
                let rows = directory.number(tag::ROWS_PER_STRIP).unwrap_or(height).min(height);
                (Size { width, height: rows }, list(tag::STRIP_OFFSETS)?, list(tag::STRIP_LENGTHS)?)
            }
        };
        if size.width == 0 || size.height == 0 || starts.len() != lengths.len() {
            return None;
        }
        let count = u64::from(width.div_ceil(size.width)) * u64::from(height.div_ceil(size.height));
        if starts.len() as u64 != count {
            return None;
        }
        let tables = directory.entry(tag::JPEG_TABLES).map(|entry| entry.data());
        Some(Self { size, places: starts.into_iter().zip(lengths).collect(), tables })
    }

    /// The bytes of a part as a JPEG of its own.
    fn file(&self, bytes: &[u8], (start, length): (u32, u32)) -> Option<Vec<u8>> {
        const START: [u8; 2] = [0xff, 0xd8];
        const END: [u8; 2] = [0xff, 0xd9];
        let part = bytes.get(start as usize..(start as usize).checked_add(length as usize)?)?;
        let Some(tables) = self.tables else { return Some(part.to_vec()) };
        let tables = tables.strip_suffix(&END).unwrap_or(tables);
        Some([tables, part.strip_prefix(&START)?].concat())
    }
}

/// The samples of the image: grey, RGB as stored, or RGB that was YCbCr.
pub(super) fn decode(layout: &Layout, bytes: &[u8]) -> Result<Vec<u8>> {
    let parts = Parts::read(layout, bytes).ok_or_else(corrupt)?;
    let (width, height) = (layout.image.width as usize, layout.image.height as usize);
    let samples = layout.samples as usize;
    let mut image = vec![0; width * height * samples];
    let across = layout.image.width.div_ceil(parts.size.width) as usize;
    for (index, place) in parts.places.iter().enumerate() {
        let (left, top) = (index % across * parts.size.width as usize, index / across * parts.size.height as usize);
        let file = parts.file(bytes, *place).ok_or_else(corrupt)?;
        let part = jpeg::decode_part(&file, layout.colours == Colours::Rgb, parts.size)?;
        let (part_width, part_height) = (part.width as usize, part.height as usize);
        let (columns, rows) =
            ((width - left).min(parts.size.width as usize), (height - top).min(parts.size.height as usize));
        if usize::from(part.channels) != samples || part_width < columns || part_height < rows {
            return Err(corrupt());
        }
        for row in 0..rows {
            let from = row * part_width * samples;
            let to = ((top + row) * width + left) * samples;
            image[to..to + columns * samples].copy_from_slice(&part.data[from..from + columns * samples]);
        }
    }
    Ok(image)
}
