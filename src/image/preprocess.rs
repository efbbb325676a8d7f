//! Pixels → tensor in the order of Hugging Face processors (resize, crop, rescale, normalise), and back to 0…1.

use super::{
    decode::{Decoded, Header},
    pixels::{Pixels, Plane, background},
    resize::{Region, Scaling, Size, fit, resize, resize_rows},
    shrink::Shrink,
    spec::{Channels, Crop, FilterKind, InputSpec, PreprocessSpec, Resize, Values},
};
use crate::error::{Error, Result};

/// The preprocessing of one model.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    input: InputSpec,
    spec: PreprocessSpec,
    /// For each channel, the tensor's value of each sample.
    tables: Vec<[f32; 256]>,
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Preprocessor {
    /// # Errors
    /// `invalid_request` with every violation of the two sections.
    pub fn new(input: InputSpec, spec: PreprocessSpec) -> Result<Self> {
        let mut violations = input.violations();
        violations.extend(spec.violations(&input));
        if !violations.is_empty() {
            return Err(Error::invalid_request(violations.join("; ")));
        }
        let channels = input.channels.count();
        let mean = spec.mean.clone().unwrap_or_else(|| vec![0.0; channels]);
        let std = spec.std.clone().unwrap_or_else(|| vec![1.0; channels]);
        let tables = mean.iter().zip(&std).map(|(mean, std)| table(spec.rescale, *mean, *std)).collect();
        Ok(Self { input, spec, tables, mean, std })
    }

    #[must_use]
    pub const fn input(&self) -> &InputSpec {
        &self.input
    }

    #[must_use]
    pub const fn spec(&self) -> &PreprocessSpec {
        &self.spec
    }

    /// Values of one image: channels · height · width.
    #[must_use]
    pub const fn tensor_len(&self) -> usize {
        self.input.channels.count() * self.area()
    }

    /// By how much a file may be decoded smaller for this model. Not at all where single pixels are picked.
    #[must_use]
    pub fn shrink(&self, header: &Header) -> Shrink {
        match self.spec.filter {
            FilterKind::Nearest => Shrink::NONE,
            _ => Shrink::of_file(header, |from| self.resized_to(from)),
        }
    }

    /// The image at the model's size, as the model will see it.
    ///
    /// # Errors
    /// `invalid_image` when the model takes images of its own size only and this one has another.
    pub fn pixels(&self, decoded: &Decoded) -> Result<Pixels> {
        let mut data = Vec::with_capacity(self.tensor_len());
        self.for_each_row(decoded, |row| data.extend_from_slice(row))?;
        Ok(Pixels { width: self.input.width, height: self.input.height, channels: self.input.channels, data })
    }

    /// The tensor of an image, what [`write_tensor`](Self::write_tensor) makes of its [`pixels`](Self::pixels): each row
    /// is written as soon as it is resized, and the pixels are kept nowhere.
    ///
    /// # Errors
    /// As [`pixels`](Self::pixels).
    ///
    /// Panics when `out` has another length than [`tensor_len`](Self::tensor_len).
    pub fn tensor(&self, decoded: &Decoded, out: &mut [f32]) -> Result<()> {
        assert_eq!(out.len(), self.tensor_len(), "not of the model's size");
        let mut at = 0;
        self.for_each_row(decoded, |row| {
            self.write_row(row, at, out);
            at += 1;
        })
    }

    /// Hands over the rows of the image at the model's size, from the top down.
    fn for_each_row(&self, decoded: &Decoded, mut each: impl FnMut(&[u8])) -> Result<()> {
        let view = decoded.view(&self.input);
        let (to, channels) = (self.resized_to(view.upright), self.input.channels);
        let (left, top) = self.offset(to)?;
        let (columns, rows) = (Span::of(left, self.input.width, to.width), Span::of(top, self.input.height, to.height));
        let covered =
            Region { left: columns.first, top: rows.first, size: Size { width: columns.count, height: rows.count } };
        let around = self.around();
        let inside = columns.place as usize * channels.count()..;
        let mut line = around.clone();
        (0..rows.place).for_each(|_| each(&around));
        let scaling = Scaling { to, region: covered, channels, filter: self.spec.filter };
        resize_rows(&view.data, view.source, &scaling, |row| {
            if row.len() == line.len() {
                each(row);
            } else {
                line[inside.clone()][..row.len()].copy_from_slice(row);
                each(&line);
            }
        });
        (rows.place + rows.count..self.input.height).for_each(|_| each(&around));
        Ok(())
    }

    /// Where the model's image lies on an upright image of this size.
    ///
    /// # Errors
    /// Those of [`pixels`](Self::pixels).
    pub fn placement(&self, image: Size) -> Result<Placement> {
        let resized = self.resized_to(image);
        let (left, top) = self.offset(resized)?;
        Ok(Placement { image, resized, left, top, model: self.size() })
    }

    /// A part of an image, given at its own size and in the model's channels, at the model's size: resized exactly,
    /// whatever the model does to whole images.
    #[must_use]
    pub fn part(&self, image: &Pixels, part: Region) -> Pixels {
        let channels = self.input.channels;
        let line = image.width as usize * channels.count();
        let (start, length) = (part.left as usize * channels.count(), part.size.width as usize * channels.count());
        let rows = image.data.chunks_exact(line).skip(part.top as usize).take(part.size.height as usize);
        let cut: Vec<u8> = rows.flat_map(|row| &row[start..start + length]).copied().collect();
        let to = self.size();
        let data = resize(&cut, part.size, (to, Region::all(to)), channels, self.spec.filter).into_owned();
        Pixels { width: to.width, height: to.height, channels, data }
    }

    /// The tensor of an image at the model's size: CHW, rescaled and normalised, into `out` of
    /// [`tensor_len`](Self::tensor_len) values.
    ///
    /// Panics when either has another size: both come from this preprocessor.
    pub fn write_tensor(&self, pixels: &Pixels, out: &mut [f32]) {
        assert_eq!((pixels.data.len(), out.len()), (self.tensor_len(), self.tensor_len()), "not of the model's size");
        let rows = pixels.data.chunks_exact(self.input.width as usize * self.input.channels.count());
        rows.zip(0..).for_each(|(row, at)| self.write_row(row, at, out));
    }

    /// Writes a row of the image at its place in each channel of the tensor.
    fn write_row(&self, row: &[u8], at: usize, out: &mut [f32]) {
        match self.input.channels {
            Channels::Rgb => self.write_row_of::<3>(row, at, out),
            Channels::Gray => self.write_row_of::<1>(row, at, out),
        }
    }

    fn write_row_of<const N: usize>(&self, row: &[u8], at: usize, out: &mut [f32]) {
        let width = self.input.width as usize;
        let pixels = row.as_chunks::<N>().0;
        for ((plane, table), place) in out.chunks_exact_mut(self.area()).zip(&self.tables).zip(0..) {
            let channel = self.channel_at(place);
            for (value, pixel) in plane[at * width..][..width].iter_mut().zip(pixels) {
                *value = table[usize::from(pixel[channel])];
            }
        }
    }

    /// An image at the model's size with values in 0…1.
    #[must_use]
    pub fn unit(&self, pixels: &Pixels) -> Plane {
        let channels = pixels.channels.count();
        let mut data = Vec::with_capacity(pixels.data.len());
        for channel in 0..channels {
            data.extend(pixels.data.chunks_exact(channels).map(|pixel| f32::from(pixel[channel]) / 255.0));
        }
        Plane { width: pixels.width, height: pixels.height, channels, data }
    }

    /// A graph's image, CHW at the model's size, as values in 0…1: clamped, and 0 where it is not finite.
    #[must_use]
    pub fn to_unit(&self, tensor: &[f32], values: Values) -> Plane {
        let area = self.area();
        let full = (self.spec.rescale * 255.0) as f32;
        let mut data: Vec<f32> = match values {
            Values::Unit => tensor.iter().copied().map(clamped).collect(),
            Values::Normalized => tensor
                .chunks(area)
                .zip(self.mean.iter().zip(&self.std))
                .flat_map(|(plane, (mean, std))| plane.iter().map(move |value| clamped((value * std + mean) / full)))
                .collect(),
        };
        if self.input.bgr && data.len() == self.tensor_len() {
            let (blue, rest) = data.split_at_mut(area);
            blue.swap_with_slice(&mut rest[area..]);
        }
        Plane { width: self.input.width, height: self.input.height, channels: self.input.channels.count(), data }
    }

    /// The tensor of an image given in 0…1, at the model's size, without rounding to 8 bits.
    ///
    /// Panics when either has another size: both come from this preprocessor.
    pub fn tensor_from_unit(&self, plane: &Plane, out: &mut [f32]) {
        assert_eq!((plane.data.len(), out.len()), (self.tensor_len(), self.tensor_len()), "not of the model's size");
        let area = self.area();
        let full = (self.spec.rescale * 255.0) as f32;
        let channels = self.mean.iter().zip(&self.std);
        for ((out, at), (mean, std)) in out.chunks_exact_mut(area).zip(0..).zip(channels) {
            let from = self.channel_at(at) * area;
            for (out, value) in out.iter_mut().zip(&plane.data[from..from + area]) {
                *out = (value * full - mean) / std;
            }
        }
    }

    /// The image's channel that stands at this place of the graph's order.
    const fn channel_at(&self, place: usize) -> usize {
        if self.input.bgr { self.input.channels.count() - 1 - place } else { place }
    }

    const fn area(&self) -> usize {
        self.input.width as usize * self.input.height as usize
    }

    const fn size(&self) -> Size {
        Size { width: self.input.width, height: self.input.height }
    }

    fn resized_to(&self, from: Size) -> Size {
        match (self.spec.resize, self.spec.edge) {
            (Resize::Exact, _) => self.size(),
            (Resize::Letterbox, _) => fit(from, self.size()),
            (Resize::ShortestEdge, Some(edge)) => shortest_edge(from, edge),
            (Resize::ShortestEdge, None) | (Resize::None, _) => from,
        }
    }

    /// Where the model's image begins in the resized one, in pixels to the right and down.
    fn offset(&self, resized: Size) -> Result<(i64, i64)> {
        let model = self.size();
        let half = |inside: u32, outside: u32| (i64::from(inside) - i64::from(outside)).div_euclid(2);
        if self.spec.resize == Resize::Letterbox {
            Ok((-half(model.width, resized.width), -half(model.height, resized.height)))
        } else if self.spec.crop == Crop::Center {
            Ok((half(resized.width, model.width), half(resized.height, model.height)))
        } else if resized == model {
            Ok((0, 0))
        } else {
            Err(Error::invalid_image(format!(
                "the image has {} × {} pixels; this model does not resize and takes {} × {} only",
                resized.width, resized.height, model.width, model.height
            )))
        }
    }

    /// A row of what lies around an image that does not fill the model's: the background of a letterbox, or the zeros
    /// that the processors pad a crop with.
    fn around(&self) -> Vec<u8> {
        let pixel = match self.spec.resize {
            Resize::Letterbox => background(self.input.background, self.input.channels),
            _ => vec![0; self.input.channels.count()],
        };
        pixel.repeat(self.input.width as usize)
    }
}

/// Where the model's image lies on the image it is made of: that is resized, and the model's image begins within it, or
/// around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The image as it was sent, upright.
    pub image: Size,
    pub resized: Size,
    /// Where the model's image begins in the resized one, in pixels to the right and down.
    pub left: i64,
    pub top: i64,
    /// The size of the model's image.
    pub model: Size,
}

impl Placement {
    /// That of an image which is the model's as a whole.
    #[must_use]
    pub const fn exact(image: Size, model: Size) -> Self {
        Self { image, resized: model, left: 0, top: 0, model }
    }
}

/// What an image and the model's window on it have in common, along one side.
struct Span {
    /// In the image.
    first: u32,
    count: u32,
    /// In the window.
    place: u32,
}

impl Span {
    /// For a window of `window` pixels from `offset` on over an image of `length`. The offset comes from centring,
    /// so that they always share at least one pixel.
    fn of(offset: i64, window: u32, length: u32) -> Self {
        let within = |at: i64, most: u32| at.clamp(0, i64::from(most)) as u32;
        let first = within(offset, length);
        let end = within(offset + i64::from(window), length);
        Self { first, count: end - first, place: within(-offset, window) }
    }
}

/// ⌊edge · long / short⌋ for the longer side.
fn shortest_edge(from: Size, edge: u32) -> Size {
    let long = |long: u32, short: u32| {
        u32::try_from(u64::from(edge) * u64::from(long) / u64::from(short.max(1))).unwrap_or(u32::MAX)
    };
    if from.width <= from.height {
        Size { width: edge, height: long(from.height, from.width) }
    } else {
        Size { width: long(from.width, from.height), height: edge }
    }
}

/// Rescaled in f64 and rounded to f32, then normalised in f32: the order in which the processors round.
fn table(rescale: f64, mean: f32, std: f32) -> [f32; 256] {
    std::array::from_fn(|sample| ((sample as f64 * rescale) as f32 - mean) / std)
}

fn clamped(value: f32) -> f32 {
    if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests;
