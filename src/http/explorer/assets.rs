//! The files of the page, as they are in this binary.

/// A file of the page.
pub(super) struct Asset {
    /// Below `/ui/`.
    pub(super) path: &'static str,
    pub(super) bytes: &'static [u8],
}

macro_rules! asset {
    ($path:literal) => {
        Asset { path: $path, bytes: include_bytes!(concat!("page/", $path)) }
    };
}

/// The page itself.
pub(super) const INDEX: Asset = asset!("index.html");

/// What the page loads.
pub(super) const ASSETS: &[Asset] = &[
    asset!("address.js"),
    asset!("api.js"),
    asset!("app.js"),
    asset!("calibrations.js"),
    asset!("cells.js"),
    asset!("colours.js"),
    asset!("curl.js"),
    asset!("features.js"),
    asset!("html.js"),
    asset!("icon.svg"),
    asset!("images.js"),
    asset!("map-file.js"),
    asset!("metrics.js"),
    asset!("models.js"),
    asset!("numbers.js"),
    asset!("pages.js"),
    asset!("panels/anomaly.js"),
    asset!("panels/decoding.js"),
    asset!("panels/embedding.js"),
    asset!("panels/latent.js"),
    asset!("parts/bars.js"),
    asset!("parts/compare.js"),
    asset!("parts/copy.js"),
    asset!("parts/dialog.js"),
    asset!("parts/fields.js"),
    asset!("parts/filters.js"),
    asset!("parts/grid.js"),
    asset!("parts/histogram.js"),
    asset!("parts/image-input.js"),
    asset!("parts/item-dialog.js"),
    asset!("parts/item-picker.js"),
    asset!("parts/key.js"),
    asset!("parts/legend.js"),
    asset!("parts/map-stage.js"),
    asset!("parts/mask.js"),
    asset!("parts/panel.js"),
    asset!("parts/selection.js"),
    asset!("parts/states.js"),
    asset!("parts/thumb.js"),
    asset!("parts/upload.js"),
    asset!("sample.js"),
    asset!("scatter.js"),
    asset!("sprites.js"),
    asset!("stage.js"),
    asset!("style/base.css"),
    asset!("style/parts.css"),
    asset!("style/views.css"),
    asset!("vendor/LICENSES.txt"),
    asset!("vendor/hooks.js"),
    asset!("vendor/htm.js"),
    asset!("vendor/preact.js"),
    asset!("views/collection.js"),
    asset!("views/collections.js"),
    asset!("views/duplicates.js"),
    asset!("views/health.js"),
    asset!("views/items.js"),
    asset!("views/map.js"),
    asset!("views/models.js"),
    asset!("views/playground.js"),
    asset!("views/review.js"),
];

impl Asset {
    pub(super) fn media_type(&self) -> &'static str {
        match self.path.rsplit_once('.').map(|(_, ending)| ending) {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        }
    }

    pub(super) fn is_page(&self) -> bool {
        self.path == INDEX.path
    }
}
