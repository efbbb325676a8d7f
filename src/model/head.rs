//! From what the encoder gave for one image to the vector that is served.

use super::{
    manifest::{EmbeddingSpec, Pooling},
    memory::Patches,
};
use crate::{
    batch::Tensor,
    domain::{Embedding, SpaceKey},
    error::{Error, Result},
};

/// The exponent of generalised-mean pooling.
const GEM_POWER: f64 = 3.0;
/// What generalised-mean pooling raises smaller numbers to, since it takes roots.
const GEM_FLOOR: f64 = 1e-6;

/// What a request may ask of its vectors; what it leaves open is the model's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VectorOptions {
    /// Keep this many leading numbers.
    pub dimensions: Option<usize>,
    pub normalize: Option<bool>,
    pub pooling: Option<Pooling>,
}

/// How the vectors of one model are made: pick the output, pool its tokens, truncate, scale.
///
/// An output `[dim]` is the vector. A feature map `[channels, height, width]` is flattened in row-major order, or pooled
/// over its positions by `mean` or `gem`. An output `[tokens, dim]` is pooled, the first token being the class token
/// where there is one:
///
/// - `cls`: the first token;
/// - `mean`: the mean of the patch tokens;
/// - `gem`: their generalised mean, `(mean max(x, 1e-6)³)^⅓`.
///
/// The patch tokens are all but the first where one token fewer makes a whole grid of square patches with the
/// image's aspect ratio (a class token and 14 × 14 patches are 197 tokens), and all of them otherwise. The two
/// cases cannot both hold, but for a single token, which then is a patch.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingHead {
    spec: EmbeddingSpec,
    /// The place of the output in the graph.
    at: usize,
    form: Form,
    /// Numbers of the vector by the model's own pooling.
    dimension: usize,
    /// Width and height of the image, divided by their greatest common divisor.
    aspect: (usize, usize),
}

/// What the encoder's output is for one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `[dim]`, or of a rank that is flattened.
    Vector,
    /// `[tokens, dim]`
    Tokens { dim: usize },
    /// `[channels, height, width]`
    Map { channels: usize, numbers: usize },
}

impl Form {
    fn of(shape: &[usize]) -> Self {
        match *shape {
            [_, dim] => Self::Tokens { dim },
            [channels, height, width] => Self::Map { channels, numbers: channels * height * width },
            _ => Self::Vector,
        }
    }

    /// The poolings that it can have, as messages list them.
    const fn poolings(self) -> (&'static [Pooling], &'static str) {
        match self {
            Self::Vector => (&[Pooling::None], "none"),
            Self::Tokens { .. } => (&[Pooling::Cls, Pooling::Mean, Pooling::Gem], "cls, mean or gem"),
            Self::Map { .. } => (&[Pooling::None, Pooling::Mean, Pooling::Gem], "none, mean or gem"),
        }
    }

    /// Numbers of a vector that this pooling makes of it.
    fn dimension(self, pooling: Pooling, shape: &[usize]) -> usize {
        match (self, pooling) {
            (Self::Tokens { dim }, _) => dim,
            (Self::Map { channels, .. }, Pooling::Mean | Pooling::Gem) => channels,
            _ => shape.iter().product(),
        }
    }
}

/// Where the head finds the encoder's output, and the image's size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    /// The place of the output in the graph.
    pub(super) at: usize,
    /// Of the output, without the batch axis; 0 for a count of tokens that is not fixed.
    pub(super) shape: &'a [usize],
    /// Pixels the graph takes.
    pub(super) width: u32,
    pub(super) height: u32,
}

impl EmbeddingHead {
    /// # Errors
    /// One line: an output that the pooling does not fit.
    pub(super) fn new(spec: &EmbeddingSpec, source: Source<'_>) -> Result<Self, String> {
        let form = Form::of(source.shape);
        let dimension = form.dimension(spec.pooling, source.shape);
        let (poolings, names) = form.poolings();
        if !poolings.contains(&spec.pooling) {
            let shown = match form {
                Form::Tokens { .. } => "[batch, tokens, dim]",
                Form::Map { .. } => "[batch, channels, height, width]",
                Form::Vector => "[batch, dim]",
            };
            return Err(format!(
                "embedding.pooling = \"{}\", but {} is {shown}: use {names}",
                spec.pooling.as_str(),
                spec.output
            ));
        }
        if dimension == 0 {
            return Err(format!("embedding.output = \"{}\" has no numbers", spec.output));
        }
        let (width, height) = (source.width as usize, source.height as usize);
        let divisor = gcd(width, height).max(1);
        let aspect = (width / divisor, height / divisor);
        Ok(Self { spec: spec.clone(), at: source.at, form, dimension, aspect })
    }

    /// Numbers of a vector that no option has shortened.
    #[must_use]
    pub const fn dimension(&self) -> usize {
        self.dimension
    }

    /// What the manifest says of the vectors.
    #[must_use]
    pub const fn spec(&self) -> &EmbeddingSpec {
        &self.spec
    }

    /// # Errors
    /// `invalid_request`: more dimensions than there are or none, or a pooling that does not fit the output.
    pub fn check(&self, options: &VectorOptions) -> Result<()> {
        let whole = self.dimension_by(options.pooling);
        if let Some(dimensions) = options.dimensions.filter(|count| !(1..=whole).contains(count)) {
            let text = format!("dimensions is 1 to {whole} for this model, not {dimensions}");
            return Err(Error::invalid_request(text));
        }
        let (poolings, names) = self.form.poolings();
        if options.pooling.is_none_or(|pooling| poolings.contains(&pooling)) {
            return Ok(());
        }
        Err(Error::invalid_request(match self.form {
            Form::Tokens { .. } => format!("this model gives tokens: pooling is {names}"),
            Form::Map { .. } => format!("this model gives a feature map: pooling is {names}"),
            Form::Vector => format!("this model gives one vector and no tokens: pooling is {names}"),
        }))
    }

    /// Numbers of a vector by this pooling, or by the model's own.
    fn dimension_by(&self, pooling: Option<Pooling>) -> usize {
        match (self.form, pooling.unwrap_or(self.spec.pooling)) {
            (Form::Map { channels, .. }, Pooling::Mean | Pooling::Gem) => channels,
            (Form::Map { numbers, .. }, _) => numbers,
            _ => self.dimension,
        }
    }

    /// The vector of one image, made of the rows that the encoder gave for it: where nothing is pooled, it is the row.
    ///
    /// # Errors
    /// Those of [`Self::check`], and `internal` when the graph gave another shape than it said, or numbers that are
    /// not finite.
    pub fn apply(&self, rows: Vec<Tensor>, options: &VectorOptions) -> Result<Vec<f32>> {
        self.check(options)?;
        let row = rows.into_iter().nth(self.at).ok_or_else(|| Error::internal("the encoder gave too few outputs"))?;
        let pooling = options.pooling.unwrap_or(self.spec.pooling);
        let whole = self.dimension_by(options.pooling);
        let mut vector = match self.form {
            Form::Tokens { .. } => self.pool(&row, pooling)?,
            Form::Map { channels, numbers } if row.data.len() == numbers => pool_map(row.data, channels, pooling),
            Form::Map { .. } | Form::Vector => row.data,
        };
        if vector.len() != whole {
            let text = format!("the encoder gave {} numbers of shape {:?}", vector.len(), row.shape);
            return Err(Error::internal(text));
        }
        vector.truncate(options.dimensions.unwrap_or(whole));
        let embedding = Embedding::new(vector).map_err(|error| {
            Error::internal("the encoder gave a vector with numbers that are not finite").with_source(error)
        })?;
        let normalize = options.normalize.unwrap_or(self.spec.normalize);
        Ok(if normalize { embedding.normalized() } else { embedding }.into_vec())
    }

    /// Numbers of each patch's feature; none where the encoder gives one vector.
    #[must_use]
    pub const fn patch_dimension(&self) -> Option<usize> {
        match self.form {
            Form::Vector => None,
            Form::Tokens { dim } => Some(dim),
            Form::Map { channels, .. } => Some(channels),
        }
    }

    /// The features of the patches of one image, from the rows that the encoder gave for it: the positions of a feature
    /// map, or the patch tokens.
    ///
    /// # Errors
    /// `internal` when the graph gave another shape than it said, or tokens that are no grid of patches.
    pub fn patches(&self, rows: &[Tensor]) -> Result<Patches> {
        let row = rows.get(self.at).ok_or_else(|| Error::internal("the encoder gave too few outputs"))?;
        let other = || Error::internal(format!("the encoder gave patches of shape {:?}", row.shape));
        match (self.form, &row.shape[..]) {
            (Form::Map { channels, .. }, &[given, rows, columns]) if given == channels => {
                let area = rows * columns;
                let features = (0..area).flat_map(|at| row.data.iter().skip(at).step_by(area).copied()).collect();
                Ok(Patches { columns, rows, features })
            }
            (Form::Tokens { dim }, &[tokens, given]) if given == dim => {
                let first = usize::from(self.has_class_token(tokens));
                let (columns, rows) = self.grid_of(tokens - first).ok_or_else(other)?;
                Ok(Patches { columns, rows, features: row.data[first * dim..].to_vec() })
            }
            _ => Err(other()),
        }
    }

    /// Columns and rows of so many square patches with the image's aspect ratio.
    fn grid_of(&self, patches: usize) -> Option<(usize, usize)> {
        let scale = (patches / (self.aspect.0 * self.aspect.1)).isqrt();
        let (columns, rows) = (self.aspect.0 * scale, self.aspect.1 * scale);
        (columns * rows == patches && patches > 0).then_some((columns, rows))
    }

    fn pool(&self, row: &Tensor, pooling: Pooling) -> Result<Vec<f32>> {
        let dim = self.dimension;
        let fits = row.shape.len() == 2 && row.shape[1] == dim && row.data.len() == row.shape[0] * dim;
        if !fits || row.data.is_empty() {
            return Err(Error::internal(format!("the encoder gave tokens of shape {:?}", row.shape)));
        }
        let first_patch = usize::from(self.has_class_token(row.shape[0]));
        let patches = &row.data[first_patch * dim..];
        Ok(match pooling {
            Pooling::None | Pooling::Cls => row.data[..dim].to_vec(),
            Pooling::Mean => means(patches, dim, |value| value).map(|mean| mean as f32).collect(),
            Pooling::Gem => means(patches, dim, gem_term).map(gem_of).collect(),
        })
    }

    /// Whether the first of so many tokens stands before a whole grid of patches.
    fn has_class_token(&self, tokens: usize) -> bool {
        // a grid of square patches has w·k by h·k of them, w : h being the reduced aspect ratio
        let cell = self.aspect.0 * self.aspect.1;
        let patches = tokens.saturating_sub(1);
        patches > 0 && patches.is_multiple_of(cell) && (patches / cell).isqrt().pow(2) == patches / cell
    }

    /// The key of the vectors that the options give: `base` itself, or one derived by the options that differ from
    /// the model's own, as in `KEY;dim=64;norm=0;pool=mean`.
    ///
    /// # Errors
    /// Those of [`Self::check`].
    pub fn space_key(&self, base: &SpaceKey, options: &VectorOptions) -> Result<SpaceKey> {
        self.check(options)?;
        let mut differing = Vec::new();
        if let Some(dimensions) = options.dimensions.filter(|&count| count != self.dimension_by(options.pooling)) {
            differing.push(format!("dim={dimensions}"));
        }
        if let Some(normalize) = options.normalize.filter(|&normalize| normalize != self.spec.normalize) {
            differing.push(format!("norm={}", u8::from(normalize)));
        }
        if let Some(pooling) = options.pooling.filter(|&pooling| pooling != self.spec.pooling) {
            differing.push(format!("pool={}", pooling.as_str()));
        }
        Ok(base.derived(&differing.join(";")))
    }
}

/// A feature map's numbers, channel after channel, as one vector.
fn pool_map(map: Vec<f32>, channels: usize, pooling: Pooling) -> Vec<f32> {
    let positions = (map.len() / channels.max(1)).max(1);
    let mean = |plane: &[f32], term: &dyn Fn(f64) -> f64| {
        plane.iter().map(|&value| term(f64::from(value))).sum::<f64>() / plane.len() as f64
    };
    let planes = map.chunks_exact(positions);
    match pooling {
        Pooling::None | Pooling::Cls => map,
        Pooling::Mean => planes.map(|plane| mean(plane, &|value| value) as f32).collect(),
        Pooling::Gem => planes.map(|plane| gem_of(mean(plane, &gem_term))).collect(),
    }
}

/// The term of one number in a generalised mean. It is not made by `f64::max`, which would turn a NaN into the floor.
fn gem_term(value: f64) -> f64 {
    let raised = if value < GEM_FLOOR { GEM_FLOOR } else { value };
    raised.powf(GEM_POWER)
}

/// The generalised mean whose terms have this mean.
fn gem_of(mean: f64) -> f32 {
    mean.powf(GEM_POWER.recip()) as f32
}

/// The mean over tokens of each number's image under `map`.
fn means(tokens: &[f32], dim: usize, map: impl Fn(f64) -> f64) -> impl Iterator<Item = f64> {
    let count = tokens.len() / dim;
    (0..dim).map(move |at| {
        let sum: f64 = tokens.iter().skip(at).step_by(dim).map(|&value| map(f64::from(value))).sum();
        sum / count as f64
    })
}

const fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
