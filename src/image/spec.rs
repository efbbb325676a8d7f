//! What a model asks of its images: the sections `[input]` and `[preprocess]` of a manifest, as plain data.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};
use utoipa::ToSchema;

/// The version of this module's arithmetic and a part of every space key: raise it whenever the same file and
/// the same specification would give other pixels than before.
pub const PREPROCESSING_VERSION: u32 = 3;

/// The largest side a model may ask for.
const MAX_SIDE: u32 = 8192;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    Rgb,
    Gray,
}

impl Channels {
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Gray => 1,
        }
    }
}

/// What transparent pixels are flattened on, and what a letterbox is padded with; written `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Background(pub [u8; 3]);

impl Background {
    pub const WHITE: Self = Self([255, 255, 255]);
}

impl Default for Background {
    fn default() -> Self {
        Self::WHITE
    }
}

impl fmt::Display for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

impl FromStr for Background {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.strip_prefix('#')
            .filter(|digits| digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .map(|value| {
                let [_, r, g, b] = value.to_be_bytes();
                Self([r, g, b])
            })
            .ok_or_else(|| format!("`{text}` is not a colour of the form #rrggbb"))
    }
}

impl Serialize for Background {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Background {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// `[input]`: the images a model's graphs take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Pixels, 1…8192.
    pub width: u32,
    /// Pixels, 1…8192.
    pub height: u32,
    pub channels: Channels,
    /// Whether the graph takes the blue channel first and the red one last, as OpenCV has them. `mean` and `std` are in
    /// the graph's order.
    #[serde(default)]
    pub bgr: bool,
    #[serde(default)]
    #[schema(value_type = String, example = "#ffffff")]
    pub background: Background,
    /// Whether the orientation tag (EXIF 1…8) is applied before anything else.
    #[serde(default = "yes")]
    pub orientation: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// To the model's width and height, whatever that does to the aspect ratio.
    #[default]
    Exact,
    /// The shorter side to `edge`, the longer one to ⌊edge · long / short⌋; a crop must follow.
    ShortestEdge,
    /// The largest size of the same aspect ratio that fits (sides rounded to the nearest pixel, at least 1),
    /// centred (the odd pixel goes right and below), on the background colour.
    Letterbox,
    /// Left as it is; without a crop the image must have the model's size.
    None,
}

/// The filters of Pillow. All but `nearest` widen with the reduction, that is, they are antialiased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FilterKind {
    Nearest,
    Bilinear,
    /// Cubic convolution with a = −0.5.
    #[default]
    Bicubic,
    /// Three lobes.
    Lanczos,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Crop {
    #[default]
    None,
    /// The model's width and height from the middle (offsets rounded down); what lies outside the image is 0.
    Center,
}

/// In which range a graph's images are: `[reconstruction] values`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Values {
    /// 0…1.
    #[default]
    Unit,
    /// The space of the preprocessed input.
    Normalized,
}

/// `[preprocess]`: the steps from pixels to tensor, in the order resize, crop, rescale, normalise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PreprocessSpec {
    pub resize: Resize,
    /// Pixels of the shorter side, for `resize = "shortest-edge"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<u32>,
    pub filter: FilterKind,
    pub crop: Crop,
    /// Multiplies 0…255.
    pub rescale: f64,
    /// One per channel, subtracted after rescaling; omitted: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// One per channel, divides last; omitted: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
}

impl Default for PreprocessSpec {
    fn default() -> Self {
        Self {
            resize: Resize::default(),
            edge: None,
            filter: FilterKind::default(),
            crop: Crop::default(),
            rescale: 1.0 / 255.0,
            mean: None,
            std: None,
        }
    }
}

impl InputSpec {
    /// Everything wrong with the section, as lines that start with the key.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        [("width", self.width), ("height", self.height)]
            .into_iter()
            .filter(|(_, side)| !(1..=MAX_SIDE).contains(side))
            .map(|(key, side)| format!("input.{key} = {side} is outside 1…{MAX_SIDE}"))
            .collect()
    }
}

impl PreprocessSpec {
    /// Everything wrong with the section for that input, as lines that start with the key.
    #[must_use]
    pub fn violations(&self, input: &InputSpec) -> Vec<String> {
        let mut found = Vec::new();
        self.check_geometry(&mut found);
        if !(self.rescale.is_finite() && self.rescale > 0.0) {
            found.push(format!("preprocess.rescale = {} is not a finite number above 0", self.rescale));
        }
        for (key, values) in [("mean", &self.mean), ("std", &self.std)] {
            let Some(values) = values else { continue };
            let channels = input.channels.count();
            if values.len() != channels {
                found.push(format!(
                    "preprocess.{key} has {} values but the input has {channels} channel(s)",
                    values.len()
                ));
            }
            if values.iter().any(|value| !value.is_finite()) {
                found.push(format!("preprocess.{key} holds a value that is not finite"));
            }
        }
        if self.std.iter().flatten().any(|&std| std <= 0.0) {
            found.push("preprocess.std holds a value that is not above 0".to_owned());
        }
        found
    }

    fn check_geometry(&self, found: &mut Vec<String>) {
        match (self.resize, self.edge) {
            (Resize::ShortestEdge, None) => {
                found.push("preprocess.edge is missing; resize = \"shortest-edge\" needs it".to_owned());
            }
            (Resize::ShortestEdge, Some(edge)) if !(1..=MAX_SIDE).contains(&edge) => {
                found.push(format!("preprocess.edge = {edge} is outside 1…{MAX_SIDE}"));
            }
            // a manifest may name the edge beside another resize, where it says nothing
            (Resize::ShortestEdge, Some(_)) | (_, Some(_) | None) => {}
        }
        if self.resize == Resize::ShortestEdge && self.crop == Crop::None {
            found.push(
                "preprocess.crop = \"none\" leaves images of any length after resize = \"shortest-edge\"; use crop = \"center\""
                    .to_owned(),
            );
        }
    }
}

const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests;
