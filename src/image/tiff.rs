//! TIFF: which kinds are read, and their pixels.
//!
//! The crate `tiff` takes strips, tiles, compression, prediction and byte order apart; JPEG in TIFF goes to libjpeg-turbo
//! (`strips`). What the samples mean is decided by `colours`, as Pillow does. So the crate is shown a file whose samples
//! are levels of grey, by a number changed as it reads: it would refuse palettes and change some colours by itself. By
//! another one, samples that libtiff never predicts are none that are predicted. And the image is shown as large as its
//! tiles, since the crate stumbles over what reaches beyond it.

mod colours;
mod strips;

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use ::image::metadata::Orientation;
use tiff::{
    TiffError,
    decoder::{Decoder, Limits},
};

use super::{
    decode::{Decoded, SPARE_BYTES, keep_upper_bytes},
    header::broken,
    ifd::Directory,
    resize::Size,
    shrink::Shrink,
    sniff::Format,
};
use crate::error::{Error, ErrorKind, Result};

mod tag {
    pub(super) const WIDTH: u16 = 256;
    pub(super) const HEIGHT: u16 = 257;
    pub(super) const BITS: u16 = 258;
    pub(super) const COMPRESSION: u16 = 259;
    pub(super) const PHOTOMETRIC: u16 = 262;
    pub(super) const FILL_ORDER: u16 = 266;
    pub(super) const STRIP_OFFSETS: u16 = 273;
    pub(super) const SAMPLES: u16 = 277;
    pub(super) const ROWS_PER_STRIP: u16 = 278;
    pub(super) const STRIP_LENGTHS: u16 = 279;
    pub(super) const PLANAR: u16 = 284;
    pub(super) const PREDICTOR: u16 = 317;
    pub(super) const PALETTE: u16 = 320;
    pub(super) const TILE_WIDTH: u16 = 322;
    pub(super) const TILE_HEIGHT: u16 = 323;
    pub(super) const TILE_OFFSETS: u16 = 324;
    pub(super) const TILE_LENGTHS: u16 = 325;
    pub(super) const EXTRA_SAMPLES: u16 = 338;
    pub(super) const SAMPLE_FORMAT: u16 = 339;
    pub(super) const JPEG_TABLES: u16 = 347;
    pub(super) const SUBSAMPLING: u16 = 530;
}

/// What the samples of a pixel are, beside alpha.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colours {
    Grey,
    /// Grey whose 0 is white.
    InvertedGrey,
    Rgb,
    Palette,
    Cmyk,
    YCbCr,
}

impl Colours {
    const fn samples(self) -> u32 {
        match self {
            Self::Grey | Self::InvertedGrey | Self::Palette => 1,
            Self::Rgb | Self::YCbCr => 3,
            Self::Cmyk => 4,
        }
    }
}

/// What the first sample behind the colours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alpha {
    None,
    /// The colours are multiplied by it.
    Associated,
    Unassociated,
}

/// A TIFF of a kind that is read.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) image: Size,
    colours: Colours,
    alpha: Alpha,
    /// Samples of a pixel, all of the same size.
    samples: u32,
    /// 1, 2, 4, 8 or 16.
    bits: u32,
    /// Whether each sample of all pixels is stored by itself.
    planar: bool,
    jpeg: bool,
}

impl Layout {
    /// The kind of a file, from its first directory.
    ///
    /// # Errors
    /// `invalid_image` when there is no such directory, `unsupported_media_type` for a kind that is not read.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let directory = Directory::first(bytes).filter(Directory::is_whole).ok_or_else(|| broken(Format::Tiff))?;
        let number = |tag, default| directory.number(tag).unwrap_or(default);
        let (Some(width), Some(height)) = (directory.number(tag::WIDTH), directory.number(tag::HEIGHT)) else {
            return Err(broken(Format::Tiff));
        };
        if width == 0 || height == 0 {
            return Err(broken(Format::Tiff));
        }
        let jpeg = compression(number(tag::COMPRESSION, 1))?;
        if !directory.names(tag::PHOTOMETRIC) {
            return unsupported("no photometric interpretation");
        }
        let photometric = directory.number(tag::PHOTOMETRIC).ok_or_else(|| broken(Format::Tiff))?;
        let samples = number(tag::SAMPLES, 1);
        let planar = number(tag::PLANAR, 1) == 2;
        if number(tag::FILL_ORDER, 1) == 2 {
            return unsupported("bits in reversed order");
        }
        let bits = uniform_bits(&directory)?;
        let (colours, alpha) = meaning(&directory, photometric, samples)?;
        let layout = Self { image: Size { width, height }, colours, alpha, samples, bits, planar, jpeg };
        layout.require_readable(&directory)?;
        Ok(layout)
    }

    /// Bytes per pixel at the peak of decoding: the samples as the decoder leaves them, and the pixels made of them.
    pub(super) fn weight(&self) -> u32 {
        let decoded = self.samples * self.bits.div_ceil(8);
        // The strips or tiles of JPEG are decoded one by one, and one may be the whole image.
        if self.jpeg { decoded * 2 + 4 } else { decoded + self.samples + 4 }
    }

    fn require_readable(&self, directory: &Directory<'_>) -> Result<()> {
        let format = directory.number(tag::SAMPLE_FORMAT).unwrap_or(1);
        let signed_grey = format == 2 && self.colours == Colours::Grey && (self.samples, self.bits) == (1, 8);
        match format {
            1 => {}
            _ if signed_grey => {}
            2 => return unsupported("signed samples"),
            3 => return unsupported("floating-point samples"),
            _ => return unsupported("samples of an unknown format"),
        }
        let depths: &[u32] = match self.colours {
            Colours::Grey | Colours::InvertedGrey if self.samples == 1 => &[1, 2, 4, 8, 16],
            Colours::Palette if self.samples == 1 => &[1, 2, 4, 8],
            Colours::Rgb | Colours::Cmyk => &[8, 16],
            _ => &[8],
        };
        if !depths.contains(&self.bits) {
            return unsupported(&format!("{} samples of {} bits", self.samples, self.bits));
        }
        if self.jpeg && (self.planar || self.bits != 8 || matches!(self.colours, Colours::Palette | Colours::Cmyk)) {
            return unsupported("JPEG compression of separate planes, palettes, CMYK or other than 8 bits");
        }
        if self.jpeg && self.samples != self.colours.samples() {
            return unsupported("JPEG compression of alpha");
        }
        if self.colours == Colours::YCbCr && !self.jpeg {
            let whole = directory.entry(tag::SUBSAMPLING).is_some_and(|entry| entry.numbers().eq([1, 1]));
            if !whole {
                return unsupported("YCbCr colours of reduced size that are not compressed as JPEG");
            }
        }
        Ok(())
    }

    /// Decodes the file whose layout this is, in at most `decoded_bytes` of memory.
    ///
    /// # Errors
    /// `invalid_image` when data are missing or corrupt.
    pub(super) fn decode(&self, bytes: &[u8], decoded_bytes: u64) -> Result<Decoded> {
        let samples = if self.jpeg { strips::decode(self, bytes)? } else { self.samples(bytes, decoded_bytes)? };
        let (channels, data) = colours::interpret(self, bytes, samples)?;
        let Size { width, height } = self.image;
        let orientation = Orientation::NoTransforms;
        Ok(Decoded { width, height, stored: self.image, shrink: Shrink::NONE, channels, orientation, data })
    }

    /// The samples as stored, a byte each, those of a pixel side by side; of 16 bits the upper 8.
    fn samples(&self, bytes: &[u8], decoded_bytes: u64) -> Result<Vec<u8>> {
        let reader = AsGrey::new(bytes).ok_or_else(|| broken(Format::Tiff))?;
        let Size { width, height } = reader.shown;
        let mut limits = Limits::default();
        let most = decoded_bytes + SPARE_BYTES;
        let most_here = usize::try_from(most).unwrap_or(usize::MAX);
        (limits.decoding_buffer_size, limits.intermediate_buffer_size) = (most_here, most_here);
        let mut decoder = Decoder::new(reader).map_err(explain)?.with_limits(limits);
        if decoder.dimensions().map_err(explain)? != (width, height) {
            return Err(broken(Format::Tiff));
        }
        let plan = decoder.image_buffer_layout().map_err(explain)?;
        // A byte a sample once they are unpacked; the tiles of a small image may hold far more than it.
        let unpacked = u64::from(width) * u64::from(height) * u64::from(self.samples);
        if unpacked.max(plan.complete_len as u64) > most {
            return Err(corrupt());
        }
        let mut data = vec![0; plan.complete_len];
        decoder.read_image_bytes(&mut data).map_err(explain)?;
        if self.bits == 16 {
            keep_upper_bytes(&mut data);
        }
        if self.bits < 8 {
            data = self.unpacked(&data, width as usize, plan.row_stride.map_or(0, std::num::NonZero::get));
        }
        if plan.planes > 1 {
            data = interleaved(&data, plan.planes);
        }
        let row = width as usize * self.samples as usize;
        if data.len() != row * height as usize {
            return Err(corrupt());
        }
        let shown = Size { width, height };
        Ok(if shown == self.image { data } else { self.cropped(&data, row) })
    }

    /// The image out of all that its tiles hold.
    fn cropped(&self, data: &[u8], row: usize) -> Vec<u8> {
        let kept = self.image.width as usize * self.samples as usize;
        data.chunks_exact(row.max(1)).take(self.image.height as usize).flat_map(|row| &row[..kept]).copied().collect()
    }

    /// Samples of fewer than 8 bits, whose rows begin with a byte.
    fn unpacked(&self, packed: &[u8], width: usize, stride: usize) -> Vec<u8> {
        let each = 8 / self.bits as usize;
        let mask = (1_u16 << self.bits) - 1;
        packed
            .chunks_exact(stride.max(1))
            .flat_map(|row| {
                let sample = move |at: usize| {
                    let shift = 8 - self.bits * (1 + (at % each) as u32);
                    // masked to fewer than 8 bits
                    ((u16::from(row[at / each]) >> shift) & mask) as u8
                };
                (0..width.min(row.len() * each)).map(sample)
            })
            .collect()
    }
}

/// Whether the compression is JPEG.
fn compression(number: u32) -> Result<bool> {
    let name = match number {
        // none, CCITT group 4, LZW, two numbers of deflate, PackBits
        1 | 4 | 5 | 8 | 32_946 | 32_773 => return Ok(false),
        7 => return Ok(true),
        2 => "CCITT run lengths",
        3 => "CCITT group 3",
        6 => "the old kind of JPEG compression",
        32_809 => "ThunderScan",
        34_676 | 34_677 => "SGI LogLuv compression",
        34_712 | 33_003 | 33_005 => "JPEG 2000 compression",
        34_925 => "LZMA compression",
        50_000 => "zstd compression",
        50_001 => "WebP compression",
        50_002 => "JPEG XL compression",
        other => return unsupported(&format!("compression number {other}")),
    };
    unsupported(name)
}

fn uniform_bits(directory: &Directory<'_>) -> Result<u32> {
    let Some(entry) = directory.entry(tag::BITS) else {
        return if directory.names(tag::BITS) { Err(broken(Format::Tiff)) } else { Ok(1) };
    };
    let mut numbers = entry.numbers();
    let first = numbers.next().ok_or_else(|| broken(Format::Tiff))?;
    if numbers.all(|bits| bits == first) { Ok(first) } else { unsupported("samples of different sizes") }
}

fn meaning(directory: &Directory<'_>, photometric: u32, samples: u32) -> Result<(Colours, Alpha)> {
    let colours = match photometric {
        0 => Colours::InvertedGrey,
        1 => Colours::Grey,
        2 => Colours::Rgb,
        3 => Colours::Palette,
        4 => return unsupported("a transparency mask"),
        5 => Colours::Cmyk,
        6 if samples == 1 => Colours::Grey,
        6 => Colours::YCbCr,
        8..=10 => return unsupported("CIE L*a*b* colours"),
        32_844 | 32_845 => return unsupported("LogLuv colours"),
        32_803 => return unsupported("the samples of a colour filter array"),
        other => return unsupported(&format!("photometric interpretation {other}")),
    };
    let named = directory.entry(tag::EXTRA_SAMPLES);
    let extra: Vec<u32> = named.map(|entry| entry.numbers().take(8).collect()).unwrap_or_default();
    let alpha = match (extra.first(), samples.checked_sub(colours.samples())) {
        (_, None) => return Err(broken(Format::Tiff)),
        (_, Some(0)) => Alpha::None,
        // The tag may be missing; 999 is a program's own.
        (None, Some(1)) if colours == Colours::Rgb => Alpha::Unassociated,
        (Some(999), Some(1)) if colours == Colours::Rgb => Alpha::Unassociated,
        (None, Some(_)) => return unsupported(&format!("{samples} samples in a pixel, not all of which are named")),
        (Some(1), Some(_)) => Alpha::Associated,
        (Some(2), Some(_)) => Alpha::Unassociated,
        (Some(_), Some(_)) => Alpha::None,
    };
    let plain = alpha == Alpha::None || matches!(colours, Colours::Grey | Colours::Rgb);
    if !(plain || colours == Colours::Palette && alpha == Alpha::Unassociated) {
        return unsupported("alpha with colours other than grey, RGB or a palette");
    }
    if samples > colours.samples() + 3 {
        return unsupported(&format!("{samples} samples in a pixel"));
    }
    Ok((colours, alpha))
}

/// The planes one after the other → pixel by pixel.
fn interleaved(planes: &[u8], count: usize) -> Vec<u8> {
    let area = planes.len() / count;
    (0..area).flat_map(|pixel| (0..count).map(move |plane| planes[plane * area + pixel])).collect()
}

fn unsupported<T>(what: &str) -> Result<T> {
    Err(Error::new(ErrorKind::UnsupportedMediaType, format!("a TIFF with {what} is not read by this server")))
}

fn corrupt() -> Error {
    Error::invalid_image("the TIFF is truncated or corrupt")
}

fn explain(error: TiffError) -> Error {
    match error {
        TiffError::UnsupportedError(reason) => {
            Error::new(ErrorKind::UnsupportedMediaType, "this kind of TIFF is not read by this server")
                .with_source(reason)
        }
        other => corrupt().with_source(other),
    }
}

/// A TIFF that says its samples are levels of grey, whatever they are; that they are not predicted where libtiff takes
/// them as they are; and that the image is as large as its tiles.
struct AsGrey<'a> {
    file: Cursor<&'a [u8]>,
    /// Where numbers stand that are read as others, and these.
    instead: Vec<(usize, Vec<u8>)>,
    /// The size that is read.
    shown: Size,
}

impl<'a> AsGrey<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        const BLACK_IS_ZERO: u32 = 1;
        const UNPREDICTED: u32 = 1;
        let directory = Directory::first(bytes)?;
        let mut instead = vec![directory.replacement(tag::PHOTOMETRIC, BLACK_IS_ZERO)?];
        // LZW and deflate alone are predicted.
        let predicted = matches!(directory.number(tag::COMPRESSION), Some(5 | 8 | 32_946));
        instead.extend(directory.replacement(tag::PREDICTOR, UNPREDICTED).filter(|_| !predicted));
        let mut shown = |side, tile| {
            let length = directory.number(side)?;
            let tile = directory.number(tile).filter(|tile| *tile > 0).unwrap_or(1);
            let whole = length.checked_next_multiple_of(tile).filter(|whole| *whole != length);
            let replaced = whole.and_then(|whole| Some((whole, directory.replacement(side, whole)?)));
            Some(replaced.map_or(length, |(whole, replacement)| {
                instead.push(replacement);
                whole
            }))
        };
        let (width, height) = (shown(tag::WIDTH, tag::TILE_WIDTH)?, shown(tag::HEIGHT, tag::TILE_HEIGHT)?);
        Some(Self { file: Cursor::new(bytes), instead, shown: Size { width, height } })
    }
}

impl Read for AsGrey<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = self.file.position();
        let count = self.file.read(buffer)?;
        let changed = self.instead.iter().flat_map(|(place, bytes)| (*place as u64..).zip(bytes.iter().copied()));
        for (place, byte) in changed {
            let at = place.checked_sub(start).and_then(|at| usize::try_from(at).ok());
            if let Some(target) = at.and_then(|at| buffer[..count].get_mut(at)) {
                *target = byte;
            }
        }
        Ok(count)
    }
}

impl Seek for AsGrey<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests;
