//! How patches are hidden from a masked autoencoder: by a mask that its graph takes, or by a noise whose order decides
//! what a graph with a fixed share keeps.

use super::{
    family::GraphRole,
    manifest::{Manifest, MaskedSpec},
};
use crate::{
    batch::Tensor,
    error::{Error, Result},
    image::{Background, Channels, Grid, InputSpec, Mask, Plane, PreprocessSpec, Preprocessor},
};

/// The draws of complementary masks for the metric `hidden`, by the seeds from 0 on.
const DRAWS: u64 = 4;

/// Which patches a request wants hidden.
#[derive(Debug, Clone, PartialEq)]
pub enum Hiding {
    /// A share in 0…1, or the model's own, chosen by the seed.
    Share { ratio: Option<f64>, seed: u64 },
    /// By their numbers.
    Patches(Vec<u64>),
    /// Where a grey image of the model's size, with values in 0…1, is dark.
    Dark(Plane),
}

/// The masks of one model.
#[derive(Debug)]
pub struct Masking {
    grid: Grid,
    ratio: f64,
    /// The role of the graph's second input, by which it hides.
    role: &'static str,
    /// Under which reconstructions and scores are made.
    complementary: Vec<Mask>,
    /// Complementary masks of several draws, under which the metric `hidden` looks.
    draws: Vec<Mask>,
    /// Brings a painted mask to the model's size as its images are.
    painted: Option<Preprocessor>,
}

impl Masking {
    /// The masking of a manifest without violations; none for other families.
    #[must_use]
    pub(super) fn of(manifest: &Manifest) -> Option<Self> {
        let (MaskedSpec { ratio, .. }, grid) = (manifest.masked?, manifest.grid()?);
        let noise = manifest.graphs.get(&GraphRole::Masked)?.inputs.contains_key("noise");
        let hidden = grid.hidden_at(ratio);
        let complementary = Mask::complementary(grid, hidden);
        let draws = (0..DRAWS).flat_map(|seed| Mask::complementary_by(grid, hidden, seed)).collect();
        // what is transparent is not painted: on white, it stays visible
        let input = InputSpec {
            channels: Channels::Gray,
            bgr: false,
            background: Background::default(),
            ..manifest.input.clone()
        };
        let spec = PreprocessSpec { mean: None, std: None, ..manifest.preprocess.clone() };
        let painted = Preprocessor::new(input, spec).ok();
        Some(Self { grid, ratio, role: if noise { "noise" } else { "mask" }, complementary, draws, painted })
    }

    #[must_use]
    pub const fn grid(&self) -> Grid {
        self.grid
    }

    /// Masks that together hide every patch, each as many as the model was made to fill in.
    #[must_use]
    pub fn complementary(&self) -> &[Mask] {
        &self.complementary
    }

    /// Complementary masks of four draws: each patch is hidden in several surroundings.
    #[must_use]
    pub fn draws(&self) -> &[Mask] {
        &self.draws
    }

    /// How a painted mask comes to the model's size: grey, and otherwise as its images do.
    ///
    /// # Errors
    /// `internal` where the model's own preprocessing does not go with grey images.
    pub fn painted(&self) -> Result<&Preprocessor> {
        self.painted.as_ref().ok_or_else(|| Error::internal("a model's masks cannot be prepared like its images"))
    }

    /// The mask that a request wants.
    ///
    /// # Errors
    /// `invalid_request`: a ratio outside 0…1, patches that are not there or named twice, and any other count of
    /// hidden patches than that of a graph which always hides the same.
    pub fn mask(&self, hiding: &Hiding) -> Result<Mask> {
        let mask = match hiding {
            Hiding::Share { ratio, seed } => {
                let ratio = ratio.unwrap_or(self.ratio);
                if !(0.0..=1.0).contains(&ratio) {
                    return Err(Error::invalid_request(format!("mask_ratio is in 0…1, not {ratio}")));
                }
                Mask::random(self.grid, self.grid.hidden_at(ratio), *seed)
            }
            Hiding::Patches(patches) => Mask::of_patches(self.grid, patches)?,
            Hiding::Dark(image) => Mask::of_image(self.grid, image),
        };
        let (hidden, own) = (mask.patches().len(), self.grid.hidden_at(self.ratio));
        if self.role == "noise" && hidden != own {
            let patches = self.grid.patches();
            let text = format!(
                "{hidden} patches are to be hidden, but this model always hides {own} of its {patches} patches"
            );
            return Err(Error::invalid_request(text));
        }
        Ok(mask)
    }

    /// What the graph takes beside the image: the role of the input, and its values.
    #[must_use]
    pub fn input(&self, mask: &Mask) -> (&'static str, Tensor) {
        let data = if self.role == "noise" { mask.noise() } else { mask.values() };
        (self.role, Tensor { shape: vec![self.grid.patches()], data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masking(input: &str, ratio: &str) -> Masking {
        let text = format!(
            "manifest = 1\nfamily = \"masked-autoencoder\"\n[input]\nwidth = 8\nheight = 12\nchannels = \"rgb\"\n\
             [preprocess]\nresize = \"exact\"\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n[masked]\npatch = 4\n\
             {ratio}\n[graphs.encoder]\nfile = \"e.onnx\"\ninputs = {{ image = \"image\" }}\n\
             outputs = {{ tokens = \"tokens\" }}\n[graphs.masked]\nfile = \"m.onnx\"\n\
             inputs = {{ image = \"image\", {input} = \"x\" }}\noutputs = {{ image = \"out\" }}\n\
             [embedding]\noutput = \"tokens\"\npooling = \"cls\"\n"
        );
        Masking::of(&Manifest::parse(&text).unwrap()).unwrap()
    }

    #[test]
    fn a_request_without_a_ratio_hides_the_models_own_share() {
        for (ratio, hidden) in [("", 5), ("ratio = 0.5", 3)] {
            let masking = masking("mask", ratio);
            assert_eq!(masking.grid(), Grid { columns: 2, rows: 3, side: 4 });
            let mask = masking.mask(&Hiding::Share { ratio: None, seed: 3 }).unwrap();
            assert_eq!(mask.patches().len(), hidden);
            assert!(masking.complementary().iter().all(|mask| mask.patches().len() == hidden));
        }
    }

    #[test]
    fn a_graph_with_a_mask_hides_any_share() {
        let masking = masking("mask", "");
        for (ratio, hidden) in [(0.0, 0), (0.5, 3), (1.0, 6)] {
            let mask = masking.mask(&Hiding::Share { ratio: Some(ratio), seed: 0 }).unwrap();
            assert_eq!(mask.patches().len(), hidden);
            let (role, row) = masking.input(&mask);
            assert_eq!((role, row.shape, row.data), ("mask", vec![6], mask.values()));
        }
        for ratio in [-0.1, 1.1, f64::NAN] {
            assert!(masking.mask(&Hiding::Share { ratio: Some(ratio), seed: 0 }).is_err(), "{ratio}");
        }
    }

    #[test]
    fn a_graph_with_noise_hides_its_own_share_and_refuses_others() {
        let masking = masking("noise", "ratio = 0.5");
        let mask = masking.mask(&Hiding::Patches(vec![0, 1, 5])).unwrap();
        let (role, row) = masking.input(&mask);
        assert_eq!((role, row.data), ("noise", mask.noise()));
        for other in [Hiding::Patches(vec![0, 1]), Hiding::Share { ratio: Some(0.75), seed: 0 }] {
            let error = masking.mask(&other).unwrap_err();
            assert!(error.message().contains("always hides 3 of its 6 patches"), "{error}");
        }
    }
}
