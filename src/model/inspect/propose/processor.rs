//! `preprocessor_config.json` of a Hugging Face image processor, as a section `[preprocess]`.
//!
//! Every field that changes pixels is understood or refused by its name: a field that is passed over gives vectors that
//! are wrong and look right.

use std::{fmt::Write as _, path::Path};

use serde_json::Value;

const FILE_NAME: &str = "preprocessor_config.json";

/// Fields that say nothing about pixels, or nothing that the server does otherwise: it always converts to the model's
/// channels.
const HARMLESS: [&str; 22] = [
    "_processor_class",
    "_valid_processor_keys",
    "auto_map",
    "data_format",
    "device",
    "disable_grouping",
    "do_convert_rgb",
    "do_reduce_labels",
    "feature_extractor_type",
    "id2label",
    "image_processor_type",
    "image_seq_length",
    "input_data_format",
    "label2id",
    "model_input_names",
    "num_labels",
    "padding_value",
    "processor_class",
    "reduce_labels",
    "return_tensors",
    "transformers_version",
    "use_fast",
];
/// Fields that are read.
const UNDERSTOOD: [&str; 16] = [
    "crop_pct",
    "crop_size",
    "default_to_square",
    "do_center_crop",
    "do_flip_channel_order",
    "do_normalize",
    "do_rescale",
    "do_resize",
    "image_mean",
    "image_std",
    "include_top",
    "offset",
    "resample",
    "rescale_factor",
    "rescale_offset",
    "size",
];
/// The side from which on ConvNeXT's processor resizes without a crop.
const CONVNEXT_WHOLE: u64 = 384;
/// The share of the resized image that ConvNeXT's processor keeps where the file does not say.
const CONVNEXT_CROP: f64 = 224.0 / 256.0;

/// The processor's configuration; a field that it leaves out has the default of most processors of the library.
pub(super) struct Processor(Value);

/// How a processor brings an image to its size.
enum Geometry {
    None,
    Exact,
    ShortestEdge(u64),
}

impl Processor {
    /// The one beside the graphs, if there is one that can be read.
    pub(super) fn beside(folder: &Path) -> Option<Self> {
        let text = std::fs::read(folder.join(FILE_NAME)).ok()?;
        serde_json::from_slice::<Value>(&text).ok().filter(Value::is_object).map(Self)
    }

    fn does(&self, key: &str, default: bool) -> bool {
        self.0[key].as_bool().unwrap_or(default)
    }

    /// Whether the processor's class has this name in its own.
    fn is(&self, name: &str) -> bool {
        let class = |key: &str| self.0[key].as_str().is_some_and(|class| class.to_lowercase().contains(name));
        class("image_processor_type") || class("feature_extractor_type")
    }

    /// Every field that changes pixels in a way that no manifest can say, one line each.
    pub(super) fn refused(&self) -> Vec<String> {
        let mut refused = Vec::new();
        for (key, value) in self.0.as_object().into_iter().flatten() {
            let off = matches!(value, Value::Null | Value::Bool(false));
            let one = key == "ensure_multiple_of" && value.as_u64() == Some(1);
            let known = UNDERSTOOD.contains(&key.as_str()) || HARMLESS.contains(&key.as_str());
            if !(off || one || known) {
                refused.push(format!("{FILE_NAME}: {key} = {value} changes pixels in a way that is not known here"));
            }
        }
        let edges = |value: &Value| both_sides(value).is_some();
        if self.does("do_resize", true) && !self.0["size"].is_null() && !edges(&self.0["size"]) {
            refused.push(format!("{FILE_NAME}: size = {} is neither both sides nor the shortest edge", self.0["size"]));
        }
        if self.0["size"]["longest_edge"].is_number() {
            refused.push(format!("{FILE_NAME}: size.longest_edge gives images of any size"));
        }
        if self.filter().is_none() {
            refused.push(format!(
                "{FILE_NAME}: resample = {} is none of nearest (0), lanczos (1), bilinear (2) and bicubic (3)",
                self.0["resample"]
            ));
        }
        if self.crop_pct().is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            refused.push(format!("{FILE_NAME}: crop_pct = {} is not a share in 0…1", self.0["crop_pct"]));
        }
        refused
    }

    /// Whether the processor hands the blue channel over first.
    pub(super) fn is_bgr(&self) -> bool {
        self.does("do_flip_channel_order", false)
    }

    /// Width and height of the images that come out, where they are told.
    pub(super) fn size(&self) -> Option<(usize, usize)> {
        let crop = self.crops().then(|| both_sides(&self.0["crop_size"])).flatten();
        crop.or_else(|| both_sides(&self.0["size"]))
    }

    fn crops(&self) -> bool {
        // The class crops unless it is told not to.
        self.does("do_center_crop", self.is("poolformer") || self.is("levit"))
    }

    fn crop_pct(&self) -> Option<f64> {
        self.0["crop_pct"].as_f64().or_else(|| self.is("convnext").then_some(CONVNEXT_CROP))
    }

    /// How images come to their size, and whether a crop follows.
    fn geometry(&self) -> (Geometry, bool) {
        let crops = self.crops();
        if !self.does("do_resize", true) {
            return (Geometry::None, crops);
        }
        let edge = self.shortest_edge(crops);
        match (self.crop_pct(), edge.or_else(|| self.square_edge())) {
            // PoolFormer's processor crops in a step of its own, whatever the size.
            (Some(share), Some(edge)) if self.is("poolformer") || crops => {
                (Geometry::ShortestEdge((edge as f64 / share) as u64), true)
            }
            (Some(share), Some(edge)) if edge < CONVNEXT_WHOLE => {
                (Geometry::ShortestEdge((edge as f64 / share) as u64), true)
            }
            (Some(_), Some(_)) => (Geometry::Exact, false),
            _ => match edge {
                // LeViT's processor resizes by this factor without any field that says so.
                Some(edge) if self.is("levit") => (Geometry::ShortestEdge(edge * 256 / 224), true),
                Some(edge) => (Geometry::ShortestEdge(edge), true),
                None => (Geometry::Exact, crops),
            },
        }
    }

    /// The section for graphs that take this width and height.
    pub(super) fn section(&self, (width, height): (usize, usize)) -> String {
        let mut text = format!("[preprocess]                # from {FILE_NAME}\n");
        // writing to a string cannot fail
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(text, "{key} = {value}");
        };
        let (geometry, crops) = self.geometry();
        match geometry {
            Geometry::None => line("resize", &"\"none\""),
            Geometry::Exact => line("resize", &"\"exact\""),
            Geometry::ShortestEdge(edge) => {
                line("resize", &"\"shortest-edge\"");
                line("edge", &edge);
            }
        }
        let guessed = if self.0["resample"].is_null() { "  # a guess: the file does not say" } else { "" };
        line("filter", &format_args!("\"{}\"{guessed}", self.filter().unwrap_or("bilinear")));
        line("crop", &if crops { "\"center\"" } else { "\"none\"" });
        let rescale =
            if self.does("do_rescale", true) { self.0["rescale_factor"].as_f64().unwrap_or(1.0 / 255.0) } else { 1.0 };
        line("rescale", &format_args!("{rescale:?}"));
        match self.normalisation() {
            Some((mean, std)) => {
                line("mean", &format_args!("{mean:?}"));
                line("std", &format_args!("{std:?}"));
            }
            None if self.does("do_normalize", false) => {
                text.push_str(
                    "# it normalises, but image_mean and image_std are not in the file: take the class's own\n",
                );
            }
            None => {}
        }
        if self.size().is_some_and(|size| size != (width, height)) {
            text.push_str("# the processor gives another size than the graph takes\n");
        }
        text
    }

    /// Mean and deviation of the whole arithmetic: an offset of −1 is a mean that is 1 larger, and a second division by
    /// the deviation its square.
    fn normalisation(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        let numbers = |key: &str| -> Option<Vec<f64>> {
            match &self.0[key] {
                Value::Array(values) => values.iter().map(Value::as_f64).collect(),
                Value::Number(value) => Some(vec![value.as_f64()?; 3]),
                _ => None,
            }
        };
        let normalises = self.does("do_normalize", true);
        let given = normalises.then(|| numbers("image_mean").zip(numbers("image_std"))).flatten();
        let offset =
            self.does("do_rescale", true) && (self.does("rescale_offset", false) || self.does("offset", false));
        let (mut mean, mut std) = match given {
            Some(given) => given,
            None if offset && !normalises => (vec![0.0; 3], vec![1.0; 3]),
            None => return None,
        };
        if offset {
            mean.iter_mut().for_each(|mean| *mean += 1.0);
        }
        if self.does("include_top", false) {
            std.iter_mut().for_each(|std| *std *= *std);
        }
        Some((mean, std))
    }

    fn shortest_edge(&self, crops: bool) -> Option<u64> {
        let size = &self.0["size"];
        // A bare number was the shorter edge for processors that crop, and both sides for the others.
        let bare = crops || !self.does("default_to_square", true);
        size["shortest_edge"].as_u64().or_else(|| size.as_u64().filter(|_| bare))
    }

    /// The side of a square size.
    fn square_edge(&self) -> Option<u64> {
        both_sides(&self.0["size"]).filter(|(width, height)| width == height).map(|(edge, _)| edge as u64)
    }

    /// The filter by Pillow's number; none for one that the server does not have.
    fn filter(&self) -> Option<&'static str> {
        match self.0["resample"].as_u64() {
            Some(0) => Some("nearest"),
            Some(1) => Some("lanczos"),
            Some(2) => Some("bilinear"),
            Some(3) => Some("bicubic"),
            Some(_) => None,
            None => Some("bilinear"),
        }
    }
}

fn both_sides(value: &Value) -> Option<(usize, usize)> {
    let side = |value: &Value| usize::try_from(value.as_u64()?).ok();
    let edge = || side(value).or_else(|| side(&value["shortest_edge"])).map(|edge| (edge, edge));
    let pair = || match value.as_array().map(Vec::as_slice) {
        Some([height, width]) => side(width).zip(side(height)),
        _ => None,
    };
    side(&value["width"]).zip(side(&value["height"])).or_else(edge).or_else(pair)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn assert_has(section: &str, lines: &[&str]) {
        for line in lines {
            assert!(section.lines().any(|one| one == *line), "{line} in {section}");
        }
    }

    #[test]
    fn a_processor_that_crops_becomes_shortest_edge_and_centre_crop() {
        let config = json!({
            "do_resize": true, "size": {"shortest_edge": 256}, "do_center_crop": true,
            "crop_size": {"height": 224, "width": 224}, "resample": 3, "rescale_factor": 0.00392156862745098,
            "do_normalize": true, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
        });
        let processor = Processor(config);
        assert_eq!(processor.size(), Some((224, 224)));
        assert!(processor.refused().is_empty());
        assert_has(
            &processor.section((224, 224)),
            &[
                "resize = \"shortest-edge\"",
                "edge = 256",
                "filter = \"bicubic\"",
                "crop = \"center\"",
                "rescale = 0.00392156862745098",
                "mean = [0.485, 0.456, 0.406]",
                "std = [0.229, 0.224, 0.225]",
            ],
        );
    }

    #[test]
    fn a_processor_of_fixed_size_becomes_exact() {
        let processor = Processor(json!({"size": 32, "do_rescale": false, "do_normalize": false}));
        assert_eq!(processor.size(), Some((32, 32)));
        let section = processor.section((32, 32));
        assert!(section.contains("resize = \"exact\"") && section.contains("rescale = 1.0"), "{section}");
        assert!(!section.contains("mean"));
    }

    #[test]
    fn convnext_resizes_to_the_edge_by_its_share_and_crops_below_384() {
        let convnext = |edge: u64, crop_pct: Value| {
            Processor(json!({
                "image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": edge},
                "crop_pct": crop_pct, "resample": 3,
            }))
        };
        let small = convnext(224, json!(0.875));
        assert_eq!(small.size(), Some((224, 224)));
        assert_has(&small.section((224, 224)), &["resize = \"shortest-edge\"", "edge = 256", "crop = \"center\""]);
        assert_has(&convnext(224, Value::Null).section((224, 224)), &["edge = 256"]);
        assert_has(&convnext(224, json!(0.95)).section((224, 224)), &["edge = 235"]);
        assert_has(&convnext(384, json!(0.875)).section((384, 384)), &["resize = \"exact\"", "crop = \"none\""]);
        assert!(convnext(224, json!(1.5)).refused()[0].contains("crop_pct = 1.5"));
    }

    #[test]
    fn classes_with_arithmetic_of_their_own_are_understood() {
        let pool = json!({
            "image_processor_type": "PoolFormerImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.9,
            "crop_size": {"height": 224, "width": 224}, "resample": 3,
        });
        assert_has(&Processor(pool).section((224, 224)), &["edge = 248", "crop = \"center\""]);
        let levit = json!({
            "feature_extractor_type": "LevitFeatureExtractor", "size": {"shortest_edge": 224}, "do_center_crop": true,
            "crop_size": {"height": 224, "width": 224}, "resample": 3,
        });
        assert_has(&Processor(levit).section((224, 224)), &["edge = 256"]);
        let efficient = json!({
            "size": {"height": 8, "width": 8}, "resample": 0, "rescale_factor": 0.5, "rescale_offset": true,
            "include_top": true, "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        });
        assert_has(&Processor(efficient).section((8, 8)), &["mean = [1.5, 1.5, 1.5]", "std = [0.25, 0.25, 0.25]"]);
        let mobile = Processor(json!({"size": {"shortest_edge": 288}, "do_flip_channel_order": true}));
        assert!(mobile.is_bgr() && mobile.refused().is_empty());
    }

    #[test]
    fn fields_that_change_pixels_in_another_way_are_refused_by_name() {
        for (config, named) in [
            (json!({"do_pad": true}), "do_pad = true"),
            (json!({"size": {"longest_edge": 800}}), "size = "),
            (json!({"size": {"shortest_edge": 800, "longest_edge": 1333}}), "size.longest_edge"),
            (json!({"resample": 5}), "resample = 5"),
            (json!({"do_align_long_axis": true}), "do_align_long_axis"),
            (json!({"keep_aspect_ratio": true}), "keep_aspect_ratio"),
            (json!({"ensure_multiple_of": 32}), "ensure_multiple_of = 32"),
        ] {
            let refused = Processor(config.clone()).refused();
            assert!(refused.iter().any(|line| line.contains(named)), "{config}: {refused:?}");
        }
        let fine = json!({"do_pad": false, "ensure_multiple_of": 1, "image_processor_type": "X", "size": [8, 8]});
        assert!(Processor(fine.clone()).refused().is_empty(), "{fine}");
    }
}
