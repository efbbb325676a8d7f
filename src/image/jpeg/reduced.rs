//! Sequential JPEGs at a reduced size, read for nothing but their low frequencies.
//!
//! All bits have to be read, for codes do not say where the next block begins. But of most coefficients the place is
//! enough: those that an image of a half, a quarter or an eighth of the size does not show are stepped over, and are
//! neither scaled nor transformed. Chroma that is stored at half the size is reduced by half as much, so that it comes
//! out at the size of luma.

mod bits;
mod transform;

use std::rc::Rc;

use self::{
    bits::{Bits, Codes},
    transform::{Inverse, ZIGZAG, inverse, weight},
};
use super::{
    Frame, SOS, Segments,
    pixels::{Colours, Wanted, unfit},
};
use crate::error::Result;

/// The pixels of a file in one scan; none for another kind of file, which needs another decoder.
///
/// # Errors
/// `invalid_image` when the coded data are not those of such an image.
pub(super) fn decode(bytes: &[u8], frame: &Frame, wanted: &Wanted) -> Result<Option<Vec<u8>>> {
    if frame.progressive || frame.partial {
        return Ok(None);
    }
    let Some((layout, scan)) = Layout::read(bytes, frame, wanted) else { return Ok(None) };
    layout.decode(Bits::new(scan), wanted).ok_or_else(unfit).map(Some)
}

/// What segments before a scan define.
#[derive(Default)]
struct Tables {
    scales: [Option<[u16; 64]>; 4],
    first: [Option<Rc<Codes>>; 4],
    others: [Option<Rc<Codes>>; 4],
    restart: usize,
    /// Identifier, sampling factors and the number of the table of scales of each component.
    components: Vec<[u8; 3]>,
}

impl Tables {
    /// Takes in a segment; none if it is not as it should be.
    fn take(&mut self, marker: u8, payload: &[u8]) -> Option<()> {
        match marker {
            0xc0 | 0xc1 => self.components = payload.get(6..)?.as_chunks().0.to_vec(),
            0xc4 => self.take_codes(payload)?,
            0xdb => self.take_scales(payload)?,
            0xdd => self.restart = usize::from(u16::from_be_bytes(*payload.first_chunk()?)),
            _ => {}
        }
        Some(())
    }

    fn take_codes(&mut self, mut payload: &[u8]) -> Option<()> {
        while let Some((&what, rest)) = payload.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let symbols = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(symbols)?;
            let tables = match what >> 4 {
                0 => &mut self.first,
                1 => &mut self.others,
                _ => return None,
            };
            *tables.get_mut(usize::from(what & 15))? = Some(Rc::new(Codes::new(counts, symbols)?));
            payload = rest;
        }
        Some(())
    }

    fn take_scales(&mut self, mut payload: &[u8]) -> Option<()> {
        while let Some((&what, rest)) = payload.split_first() {
            let wide = what >> 4 == 1;
            let (numbers, rest) = rest.split_at_checked(if wide { 128 } else { 64 })?;
            let number = |at: usize| {
                if wide { u16::from_be_bytes([numbers[2 * at], numbers[2 * at + 1]]) } else { u16::from(numbers[at]) }
            };
            *self.scales.get_mut(usize::from(what & 15))? = Some(std::array::from_fn(number));
            payload = rest;
        }
        Some(())
    }
}

/// One component of a scan.
struct Component {
    /// Blocks in a group, along each side.
    blocks: (usize, usize),
    /// Pixels that a block becomes, along each side.
    pixels: (usize, usize),
    inverse: Box<dyn Inverse>,
    /// What the coefficients are multiplied with, in the order of the scan, up to the last that is used.
    scale: Vec<f32>,
    first: Rc<Codes>,
    others: Rc<Codes>,
}

/// A scan of all components: groups of blocks, row by row, and in each group the blocks of one component after the
/// other.
struct Layout {
    components: Vec<Component>,
    /// Groups along each side.
    groups: (usize, usize),
    /// Pixels of a group, along each side.
    pixels: (usize, usize),
    /// Groups between two restart markers.
    restart: Option<usize>,
}

impl Layout {
    /// Reads the headers up to the scan, and where it begins. None for a scan of another kind, and where something is
    /// missing.
    fn read<'a>(bytes: &'a [u8], frame: &Frame, wanted: &Wanted) -> Option<(Self, &'a [u8])> {
        let mut segments = Segments::new(bytes);
        let mut tables = Tables::default();
        let scan = loop {
            match segments.next_segment()? {
                (SOS, payload) => break payload,
                (marker, payload) => tables.take(marker, payload)?,
            }
        };
        let (&count, scan) = scan.split_first()?;
        if usize::from(count) != tables.components.len() || count != frame.components {
            return None;
        }
        let (chosen, rest) = scan.split_at_checked(2 * usize::from(count))?;
        if rest != [0, 63, 0] {
            return None;
        }
        let full = 8 / wanted.shrink.factor() as usize;
        let factors = |component: &[u8; 3]| match component[1] {
            // blocks of the only component of a scan are not grouped
            _ if count == 1 => (1, 1),
            factors => (usize::from(factors >> 4), usize::from(factors & 15)),
        };
        let all = || tables.components.iter().map(factors);
        let most = (all().map(|(across, _)| across).max()?, all().map(|(_, down)| down).max()?);
        let component = |(known, chosen): (&[u8; 3], &[u8; 2])| {
            if known[0] != chosen[0] {
                return None;
            }
            let blocks = factors(known);
            let side =
                |most: usize, blocks| (blocks > 0 && most.is_multiple_of(blocks)).then(|| full * (most / blocks));
            let pixels = (side(most.0, blocks.0)?, side(most.1, blocks.1)?);
            let scales = tables.scales.get(usize::from(known[2]))?.as_ref()?;
            Some(Component {
                blocks,
                pixels,
                inverse: inverse(pixels)?,
                scale: used(scales, pixels),
                first: Rc::clone(tables.first.get(usize::from(chosen[1] >> 4))?.as_ref()?),
                others: Rc::clone(tables.others.get(usize::from(chosen[1] & 15))?.as_ref()?),
            })
        };
        let components =
            tables.components.iter().zip(chosen.as_chunks().0).map(component).collect::<Option<Vec<_>>>()?;
        let groups = |length: u32, most: usize| (length as usize).div_ceil(8 * most);
        let layout = Self {
            components,
            groups: (groups(frame.width, most.0), groups(frame.height, most.1)),
            pixels: (full * most.0, full * most.1),
            restart: Some(tables.restart).filter(|groups| *groups > 0),
        };
        Some((layout, segments.rest()))
    }

    /// The pixels; none if the scan does not have them.
    fn decode(&self, mut bits: Bits<'_>, wanted: &Wanted) -> Option<Vec<u8>> {
        let stride = self.groups.0 * self.pixels.0;
        let mut planes = vec![vec![0; stride * self.pixels.1]; self.components.len()];
        let mut before = vec![0; self.components.len()];
        let (width, mut rows_left) = (wanted.size.width as usize, wanted.size.height as usize);
        let mut until_restart = self.restart;
        let mut pixels = Vec::with_capacity(wanted.samples());
        for _ in 0..self.groups.1 {
            for group in 0..self.groups.0 {
                if until_restart == Some(0) {
                    if !bits.restart() {
                        return None;
                    }
                    before.fill(0);
                    until_restart = self.restart;
                }
                for ((component, plane), before) in self.components.iter().zip(&mut planes).zip(&mut before) {
                    component.decode(&mut bits, before, &mut plane[group * self.pixels.0..], stride)?;
                }
                until_restart = until_restart.map(|groups| groups - 1);
            }
            if bits.overran() {
                return None;
            }
            let rows = rows_left.min(self.pixels.1);
            rows_left -= rows;
            for row in 0..rows {
                let row = |plane: usize| &planes[plane][row * stride..][..width];
                match wanted.colours {
                    Colours::Grey => pixels.extend_from_slice(row(0)),
                    Colours::Rgb => join(row(0), row(1), row(2), &mut pixels, |rgb| rgb),
                    Colours::YCbCr => join(row(0), row(1), row(2), &mut pixels, rgb),
                }
            }
        }
        Some(pixels)
    }
}

impl Component {
    /// Decodes the blocks of a group into rows of `stride` pixels; none where there is no such code.
    #[inline(always)]
    fn decode(&self, bits: &mut Bits<'_>, before: &mut i32, out: &mut [u8], stride: usize) -> Option<()> {
        for down in 0..self.blocks.1 {
            for across in 0..self.blocks.0 {
                let mut block = [0.0; 64];
                self.read(bits, before, &mut block)?;
                let start = down * self.pixels.1 * stride + across * self.pixels.0;
                self.inverse.write(&block, &mut out[start..], stride);
            }
        }
        Some(())
    }

    #[inline(always)]
    fn read(&self, bits: &mut Bits<'_>, before: &mut i32, block: &mut [f32; 64]) -> Option<()> {
        *before = before.wrapping_add(bits.difference(&self.first)?);
        block[0] = *before as f32 * self.scale[0];
        let mut at = 0;
        while at + 1 < self.scale.len() {
            let (advance, value) = bits.coefficient(&self.others)?;
            at += advance as usize;
            if let Some(scale) = self.scale.get(at) {
                block[usize::from(ZIGZAG[at & 63])] = value as f32 * scale;
            }
        }
        while at < 63 {
            at += bits.step_over(&self.others)? as usize;
        }
        Some(())
    }
}

/// What coefficients are to be multiplied with where so many of them are used along each side.
fn used(scales: &[u16; 64], (across, down): (usize, usize)) -> Vec<f32> {
    let place = |at: u8| (usize::from(at % 8), usize::from(at / 8));
    let is_used = |at: &u8| {
        let (x, y) = place(*at);
        x < across && y < down
    };
    let last = ZIGZAG.iter().rposition(is_used).unwrap_or(0);
    let scale = |(at, scale): (&u8, &u16)| {
        let (x, y) = place(*at);
        if is_used(at) { f32::from(*scale) * weight(x) * weight(y) } else { 0.0 }
    };
    ZIGZAG.iter().zip(scales).take(last + 1).map(scale).collect()
}

/// Joins rows of three components to pixels.
#[inline(always)]
fn join(a: &[u8], b: &[u8], c: &[u8], pixels: &mut Vec<u8>, convert: impl Fn([u8; 3]) -> [u8; 3]) {
    let start = pixels.len();
    pixels.resize(start + 3 * a.len(), 0);
    for (((out, &a), &b), &c) in pixels[start..].as_chunks_mut().0.iter_mut().zip(a).zip(b).zip(c) {
        *out = convert([a, b, c]);
    }
}

/// From luma and chroma as JFIF defines them, in units of 1/65536.
#[inline(always)]
fn rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = ((i32::from(y) << 16) + (1 << 15), i32::from(cb) - 128, i32::from(cr) - 128);
    let level = |sum: i32| (sum >> 16).clamp(0, 255) as u8;
    [level(y + 91_881 * cr), level(y - 22_554 * cb - 46_802 * cr), level(y + 116_130 * cb)]
}

#[cfg(test)]
mod tests;
