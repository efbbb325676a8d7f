//! What tests of images share: the files of `tests/data/images`, which Pillow and scikit-image wrote, and the
//! images that both sides draw.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read as _},
    path::PathBuf,
};

use ::image::metadata::Orientation;
use serde::{Deserialize, de::DeserializeOwned};

use super::{Channels, Decoded, InputSpec, Pixels, Plane, Shrink, resize::Size, spec::Background};

/// As the default of `limits.image_pixels`.
pub(crate) const MAX_PIXELS: u64 = 50_000_000;

/// An entry of `samples.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Sample {
    pub expected: String,
    pub width: u32,
    pub height: u32,
    pub tolerance: u8,
    pub orientation: u8,
}

/// An array of an `.npz` file.
#[derive(Debug)]
pub(crate) struct Array {
    pub shape: Vec<usize>,
    pub kind: String,
    pub bytes: Vec<u8>,
}

impl Array {
    pub(crate) fn floats(&self) -> Vec<f32> {
        assert_eq!(self.kind, "<f4");
        self.bytes.as_chunks().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect()
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/images").join(name)
}

pub(crate) fn read(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn sample(name: &str) -> Vec<u8> {
    read(&format!("samples/{name}"))
}

pub(crate) fn json<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&read(name)).unwrap()
}

pub(crate) fn samples() -> BTreeMap<String, Sample> {
    json("samples.json")
}

/// A PNG of three channels, read without any code of ours.
pub(crate) fn expected(name: &str) -> ::image::RgbImage {
    ::image::load_from_memory(&read(&format!("expected/{name}"))).unwrap().into_rgb8()
}

pub(crate) fn npz(name: &str) -> BTreeMap<String, Array> {
    let mut archive = zip::ZipArchive::new(Cursor::new(read(name))).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut file = archive.by_index(index).unwrap();
            let key = file.name().unwrap().trim_end_matches(".npy").to_owned();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            (key, npy(&bytes))
        })
        .collect()
}

fn npy(bytes: &[u8]) -> Array {
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    assert!(header.contains("'fortran_order': False"), "{header}");
    let after = |key: &str| header.split_once(key).unwrap().1;
    let kind = after("'descr': '").split('\'').next().unwrap().to_owned();
    let shape = after("'shape': (").split(')').next().unwrap();
    let shape = shape.split(',').filter_map(|side| side.trim().parse().ok()).collect();
    Array { shape, kind, bytes: bytes[10 + length..].to_vec() }
}

/// `pattern` of make_images.py: gradients, a hard-edged checker and noise.
pub(crate) fn pattern(width: u32, height: u32, channels: u32, seed: u32) -> Vec<u8> {
    let mut data = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..channels {
                let mut mixed =
                    x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77) ^ (c + seed).wrapping_mul(0xC2B2_AE3D);
                mixed ^= mixed >> 15;
                mixed = mixed.wrapping_mul(0x2C1B_3C6D);
                mixed ^= mixed >> 12;
                let value = match (x / 8 + y / 8 + c) % 3 {
                    0 => x * 5 + y * 3 + c * 40,
                    1 => (((x / 4) ^ (y / 3)) & 1) * 255,
                    _ => mixed,
                };
                data.push((value & 0xff) as u8);
            }
        }
    }
    data
}

/// The pattern as a decoded image of one or three channels.
pub(crate) fn image(width: u32, height: u32, channels: u8, seed: u32) -> Decoded {
    Decoded {
        width,
        height,
        stored: Size { width, height },
        shrink: Shrink::NONE,
        channels,
        orientation: Orientation::NoTransforms,
        data: pattern(width, height, u32::from(channels), seed),
    }
}

/// Interleaved samples as values in 0…1, channel after channel.
pub(crate) fn plane(width: u32, height: u32, channels: usize, samples: &[u8]) -> Plane {
    let data = (0..channels)
        .flat_map(|channel| samples.iter().skip(channel).step_by(channels))
        .map(|sample| f32::from(*sample) / 255.0)
        .collect();
    Plane { width, height, channels, data }
}

pub(crate) fn input(width: u32, height: u32, channels: Channels) -> InputSpec {
    InputSpec { width, height, channels, bgr: false, background: Background::WHITE, orientation: true }
}

/// Upright RGB on white at its own size.
pub(crate) fn rgb(decoded: &Decoded) -> Pixels {
    decoded.to_pixels(&input(1, 1, Channels::Rgb))
}

/// The largest difference between samples.
pub(crate) fn furthest(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}
