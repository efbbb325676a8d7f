//! What is sent beside a score: the map in its format, and the regions.

use std::{str::FromStr, sync::Arc};

use super::Scored;
use crate::{
    admission::BytesPermit,
    anomaly::{
        ErrorMap,
        map::Scale,
        regions::{RegionRules, regions},
    },
    error::{Error, Result},
    image::{Background, Channels, InputSpec, Size},
    pipeline::WholeImage,
};

/// Bytes that a map at the size of an image takes for each pixel: its values, the marks of regions, and its colours
/// before and after they are encoded.
pub(super) const DRAWN_BYTES: u64 = 4 + 1 + 3 + 3;

/// How the map of errors is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MapFormat {
    #[default]
    None,
    /// 8-bit grey, scaled to the map's own maximum.
    Png,
    /// 16-bit grey on a fixed scale.
    Png16,
    /// The values as f32.
    Npy,
    /// In colours.
    Heat,
    /// In colours over the image.
    Overlay,
}

impl FromStr for MapFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::None),
            "png" => Ok(Self::Png),
            "png16" => Ok(Self::Png16),
            "npy" => Ok(Self::Npy),
            "heat" => Ok(Self::Heat),
            "overlay" => Ok(Self::Overlay),
            _ => Err(Error::invalid_request(format!("map is none, png, png16, npy, heat or overlay, not {text:?}"))),
        }
    }
}

/// What is wanted beside the score.
#[derive(Debug, Clone, Default)]
pub struct ScoreOutput {
    pub map: MapFormat,
    /// The end of the scale of maps that are drawn.
    pub scale: Scale,
    pub regions: Option<RegionRequest>,
    /// Whether the highest value of the map is wanted.
    pub peak: bool,
}

/// Which regions are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RegionRequest {
    /// The value that every pixel of a region exceeds; none: half of the map's own maximum.
    pub threshold: Option<f32>,
    /// The pixels of a region, at least.
    pub min_area: u32,
    /// The highest value of a region, at least.
    pub min_peak: f32,
}

/// What a map is drawn on. The memory is held until it is drawn.
pub(super) enum Canvas {
    None,
    Memory(#[expect(dead_code, reason = "it is held and not looked at")] BytesPermit),
    /// The image as it was sent.
    Image(WholeImage),
    /// The image as the model takes it, whose memory counts the map too.
    Tiled(#[expect(dead_code, reason = "it is held and not looked at")] Arc<WholeImage>),
}

/// How an image is decoded to be drawn over.
pub(super) fn drawn_input() -> InputSpec {
    let (width, height) = (1, 1);
    InputSpec { width, height, channels: Channels::Rgb, bgr: false, background: Background::WHITE, orientation: true }
}

impl ScoreOutput {
    /// Whether anything is wanted that is made of the map.
    pub(super) fn needs_map(&self) -> bool {
        self.draws() || self.peak
    }

    /// Whether anything is wanted at the size of the image that was sent.
    pub(super) fn draws(&self) -> bool {
        self.map != MapFormat::None || self.regions.is_some()
    }

    /// The result of an image whose map is at the image's own size.
    pub(super) fn finish(&self, score: f64, map: &ErrorMap, canvas: &Canvas) -> Result<Scored> {
        let regions = self.regions.map(|request| request.find(map));
        let drawn = self.draw(map, canvas)?;
        let map_size = drawn.is_some().then_some(Size { width: map.width, height: map.height });
        Ok(Scored { regions, map: drawn, map_size, ..Scored::without_map(score) })
    }

    fn draw(&self, map: &ErrorMap, canvas: &Canvas) -> Result<Option<Vec<u8>>> {
        Ok(match self.map {
            MapFormat::None => None,
            MapFormat::Png => Some(map.png(self.scale)?),
            MapFormat::Png16 => Some(map.png16(self.scale)?),
            MapFormat::Npy => Some(map.npy()),
            MapFormat::Heat => Some(map.heat(self.scale)?),
            MapFormat::Overlay => {
                let Canvas::Image(image) = canvas else {
                    return Err(Error::internal("an overlay has no image to lie over"));
                };
                Some(map.overlay(&image.pixels, self.scale)?)
            }
        })
    }
}

impl RegionRequest {
    fn find(self, map: &ErrorMap) -> Vec<crate::anomaly::regions::Region> {
        let Self { threshold, min_area, min_peak } = self;
        let threshold = threshold.unwrap_or_else(|| map.maximum() / 2.0);
        regions(&map.data, map.width as usize, RegionRules { threshold, min_area, min_peak })
    }
}
