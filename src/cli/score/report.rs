//! A page with the highest scores: images, maps, regions and verdicts in one file that needs no other.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{Judged, Options, Outcome, Region, by_score, post, query, summary};
use crate::{
    cli::{
        gather::Gathered,
        remote::{Remote, Trouble},
    },
    error::Result,
};

/// Bytes of an image that is shown as it is, beside its map.
const SHOWN_BYTES: usize = 2 << 20;
/// The largest image that is read for the report; the server has had it before.
const MOST_BYTES: u64 = u64::MAX;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;\
background:#fff;color:#1a1a1a}h1{font-size:1.4rem}ol{list-style:none;padding:0;display:grid;gap:1.5rem;\
grid-template-columns:repeat(auto-fill,minmax(20rem,1fr))}li{border:1px solid #ccc;border-radius:6px;padding:.8rem}\
.pair{display:flex;gap:.5rem}.pair>*{flex:1;min-width:0;width:50%;image-rendering:pixelated}\
svg{display:block;width:100%;height:auto}rect{fill:none;stroke:#fff;stroke-width:1.5;vector-effect:non-scaling-stroke}\
.anomalous{border-left:6px solid #b00020}.review{border-left:6px solid #b36b00}.ok{border-left:6px solid #2e7d32}\
h2{font-size:1rem;margin:.2rem 0;overflow-wrap:anywhere}dl{display:grid;grid-template-columns:auto 1fr;gap:0 .8rem;\
margin:.4rem 0 0}dt{color:#666}dd{margin:0}pre{white-space:pre-wrap}\
@media(prefers-color-scheme:dark){body{background:#161616;color:#e6e6e6}li{border-color:#444}dt{color:#aaa}}";

/// What the page is made with.
pub(super) struct Report<'a> {
    pub(super) remote: &'a Remote,
    pub(super) options: &'a Options,
}

impl Report<'_> {
    /// The page. The maps are asked for image by image, highest score first.
    pub(super) async fn page(&self, images: &[Gathered], outcome: &Outcome) -> Result<String> {
        let (model, calibration) = (&self.options.model, &self.options.calibration);
        let title = escaped(&format!("{model}, calibration {calibration}"));
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n\
             <body><h1>{title}</h1>\n<pre>{}</pre>\n<ol>\n",
            escaped(&summary(outcome))
        );
        for (image, judged) in by_score(outcome).into_iter().take(self.options.worst) {
            let Some(gathered) = images.get(image) else { continue };
            let Ok(file) = gathered.read(MOST_BYTES) else { continue };
            let mapped = self.with_map(&file).await?;
            page.push_str(&entry(&gathered.name, &file, mapped.as_ref().unwrap_or(judged)));
        }
        page.push_str("</ol></body></html>\n");
        Ok(page)
    }

    /// The verdict on an image with its map; none where the metric has no map.
    async fn with_map(&self, file: &Bytes) -> Result<Option<Judged>> {
        let mut options = query(self.options);
        options.extend([("map", "overlay".to_owned()), ("regions", "true".to_owned())]);
        match post(self.remote, &options, &[file]).await {
            Ok(answer) => Ok(answer.data.into_iter().next()),
            Err(Trouble::Refused(_)) => Ok(None),
            Err(trouble) => Err(trouble.into_error()),
        }
    }
}

fn entry(name: &str, file: &[u8], judged: &Judged) -> String {
    let Judged { score, p_value, threshold, verdict, normalized, map, regions, .. } = judged;
    let mut text = format!("<li class=\"{}\"><h2>{}</h2>\n<div class=\"pair\">", escaped(verdict), escaped(name));
    if let Some(media) = media_of(file).filter(|_| file.len() <= SHOWN_BYTES) {
        // writing to a string cannot fail
        let _ = write!(text, "<img alt=\"the image\" src=\"data:{media};base64,{}\">", STANDARD.encode(file));
    }
    if let Some(map) = map {
        text.push_str(&drawn(map, regions));
    }
    let threshold = threshold.map_or_else(|| "none".to_owned(), |threshold| threshold.to_string());
    let _ = write!(
        text,
        "</div>\n<dl><dt>verdict</dt><dd>{}</dd><dt>score</dt><dd>{score}</dd><dt>threshold</dt><dd>{threshold}</dd>\
         <dt>p-value</dt><dd>{p_value}</dd><dt>normalized</dt><dd>{normalized}</dd>",
        escaped(verdict)
    );
    for Region { r#box: [x, y, width, height], figures } in regions {
        let figures: Vec<String> = figures.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let figures = escaped(&figures.join(", "));
        let _ = write!(text, "<dt>region</dt><dd>{width} × {height} at {x}, {y}: {figures}</dd>");
    }
    text.push_str("</dl></li>\n");
    text
}

/// The map with the regions over it, in the coordinates of the map.
fn drawn(map: &str, regions: &[Region]) -> String {
    let Some((width, height)) = size_of(map) else { return String::new() };
    let mut text = format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"where the image is strange\">\
         <image href=\"{}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\"/>",
        escaped(map)
    );
    for Region { r#box: [x, y, width, height], .. } in regions {
        let _ = write!(text, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>");
    }
    text + "</svg>"
}

/// Width and height of a PNG in a data URI.
fn size_of(uri: &str) -> Option<(u32, u32)> {
    let file = STANDARD.decode(uri.strip_prefix("data:image/png;base64,")?).ok()?;
    let number = |at: usize| Some(u32::from_be_bytes(*file.get(at..at + 4)?.first_chunk()?));
    Some((number(16)?, number(20)?))
}

/// The type of an image that browsers show.
fn media_of(file: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &str); 4] =
        [(b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"BM", "image/bmp")];
    let webp = || (file.get(8..12) == Some(b"WEBP")).then_some("image/webp");
    kinds.into_iter().find(|(start, _)| file.starts_with(start)).map(|(_, media)| media).or_else(webp)
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_shows_image_map_and_regions_and_keeps_names_out_of_the_markup() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0, 0, 0, 30, 0, 0, 0, 20]);
        let map = format!("data:image/png;base64,{}", STANDARD.encode(&png));
        let judged: Judged = serde_json::from_value(json!({
            "index": 0, "score": 2.0, "p_value": 0.01, "threshold": 1.0, "verdict": "anomalous", "normalized": 1.0,
            "map": map, "regions": [{"box": [1, 2, 3, 4], "area": 12, "peak": 9.0, "mean": 3.0}]
        }))
        .unwrap();
        let text = entry("a<b>.png", b"BMxx", &judged);
        assert!(text.contains("<h2>a&lt;b&gt;.png</h2>") && text.contains("data:image/bmp;base64,Qk14eA=="), "{text}");
        assert!(
            text.contains("viewBox=\"0 0 30 20\"") && text.contains("<rect x=\"1\" y=\"2\" width=\"3\" height=\"4\"/>")
        );
        assert!(text.contains("area 12, peak 9.0, mean 3.0"), "{text}");
        assert_eq!(media_of(b"RIFFxxxxWEBPVP8 "), Some("image/webp"));
        assert_eq!(media_of(b"II*\0"), None);
    }
}
