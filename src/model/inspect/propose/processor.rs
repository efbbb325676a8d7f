//! `preprocessor_config.json` of a Hugging Face image processor, as a section `[preprocess]`.

use std::{fmt::Write as _, path::Path};

use serde_json::Value;

const FILE_NAME: &str = "preprocessor_config.json";

/// The processor's configuration; what it leaves out is as the processors of the library have it by default.
pub(super) struct Processor(Value);

impl Processor {
    /// The one beside the graphs, if there is one that can be read.
    pub(super) fn beside(folder: &Path) -> Option<Self> {
        let text = std::fs::read(folder.join(FILE_NAME)).ok()?;
        serde_json::from_slice::<Value>(&text).ok().filter(Value::is_object).map(Self)
    }

    fn does(&self, key: &str, default: bool) -> bool {
        self.0[key].as_bool().unwrap_or(default)
    }

    /// Width and height of the images that come out, where they are told.
    pub(super) fn size(&self) -> Option<(usize, usize)> {
        let crop = self.does("do_center_crop", false).then(|| both_sides(&self.0["crop_size"])).flatten();
        crop.or_else(|| both_sides(&self.0["size"]))
    }

    /// The section for graphs that take this width and height.
    pub(super) fn section(&self, (width, height): (usize, usize)) -> String {
        let mut text = format!("[preprocess]                # from {FILE_NAME}\n");
        // writing to a string cannot fail
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(text, "{key} = {value}");
        };
        let crops = self.does("do_center_crop", false);
        match self.shortest_edge(crops) {
            _ if !self.does("do_resize", true) => line("resize", &"\"none\""),
            Some(edge) => {
                line("resize", &"\"shortest-edge\"");
                line("edge", &edge);
            }
            None => line("resize", &"\"exact\""),
        }
        line("filter", &format_args!("\"{}\"", self.filter()));
        line("crop", &if crops || self.shortest_edge(crops).is_some() { "\"center\"" } else { "\"none\"" });
        let rescale =
            if self.does("do_rescale", true) { self.0["rescale_factor"].as_f64().unwrap_or(1.0 / 255.0) } else { 1.0 };
        line("rescale", &format_args!("{rescale:?}"));
        if self.does("do_normalize", true) {
            for (key, name) in [("image_mean", "mean"), ("image_std", "std")] {
                if let Some(values) = self.0[key].as_array() {
                    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                    line(name, &format_args!("[{}]", values.join(", ")));
                }
            }
        }
        if self.size().is_some_and(|size| size != (width, height)) {
            text.push_str("# the processor gives another size than the graph takes\n");
        }
        text
    }

    fn shortest_edge(&self, crops: bool) -> Option<u64> {
        let size = &self.0["size"];
        // a bare number was the shorter edge for processors that crop, and both sides for the others
        size["shortest_edge"].as_u64().or_else(|| size.as_u64().filter(|_| crops))
    }

    /// Pillow's number of the filter.
    fn filter(&self) -> &'static str {
        match self.0["resample"].as_u64() {
            Some(0) => "nearest",
            Some(1) => "lanczos",
            Some(3) => "bicubic",
            _ => "bilinear",
        }
    }
}

fn both_sides(value: &Value) -> Option<(usize, usize)> {
    let side = |value: &Value| usize::try_from(value.as_u64()?).ok();
    let edge = || side(value).or_else(|| side(&value["shortest_edge"])).map(|edge| (edge, edge));
    side(&value["width"]).zip(side(&value["height"])).or_else(edge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_crops_becomes_shortest_edge_and_centre_crop() {
        let config = serde_json::json!({
            "do_resize": true, "size": {"shortest_edge": 256}, "do_center_crop": true,
            "crop_size": {"height": 224, "width": 224}, "resample": 3, "rescale_factor": 0.00392156862745098,
            "do_normalize": true, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
        });
        let processor = Processor(config);
        assert_eq!(processor.size(), Some((224, 224)));
        let section = processor.section((224, 224));
        for line in [
            "resize = \"shortest-edge\"",
            "edge = 256",
            "filter = \"bicubic\"",
            "crop = \"center\"",
            "rescale = 0.00392156862745098",
            "mean = [0.485, 0.456, 0.406]",
            "std = [0.229, 0.224, 0.225]",
        ] {
            assert!(section.lines().any(|one| one == line), "{line} in {section}");
        }
    }

    #[test]
    fn a_processor_of_fixed_size_becomes_exact() {
        let processor = Processor(serde_json::json!({"size": 32, "do_rescale": false, "do_normalize": false}));
        assert_eq!(processor.size(), Some((32, 32)));
        let section = processor.section((32, 32));
        assert!(section.contains("resize = \"exact\"") && section.contains("rescale = 1.0"), "{section}");
        assert!(!section.contains("mean"));
    }
}
