//! The routes, one file for each resource. A handler extracts, calls one use case and wraps what it gave.

mod anomaly;
mod calibrations;
mod classify;
mod collections;
mod denoise;
mod embeddings;
mod facets;
mod generate;
pub(super) mod health;
mod inpaint;
mod insight;
mod interpolate;
mod items;
mod map;
mod models;
mod preprocess;
mod recommend;
mod reconstruct;
mod search;
mod stored_images;

pub(super) use calibrations::CalibrationOptions;
pub(super) use classify::ClassifyOptions;
pub(super) use embeddings::{EmbeddingList, EmbeddingOptions};
pub(super) use inpaint::InpaintOptions;
pub(super) use interpolate::InterpolateOptions;
pub(super) use items::{AddOptions, DELETE_PATH, ITEM_PATH, NewItem};
pub(super) use search::{BatchOptions, SearchOptions};

use axum::{middleware::from_fn, routing::get};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{AppState, middleware::json_only};

/// What answers about the server itself: always open, also while it drains.
pub(super) fn health() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(health::livez)).routes(routes!(health::readyz)).routes(routes!(health::metrics))
}

/// Everything under `/v1`.
pub(super) fn v1() -> OpenApiRouter<AppState> {
    let negotiated = OpenApiRouter::new()
        .routes(routes!(embeddings::embeddings))
        .routes(routes!(reconstruct::reconstruct))
        .routes(routes!(denoise::denoise))
        .routes(routes!(inpaint::inpaint))
        .routes(routes!(anomaly::anomaly))
        .routes(routes!(generate::generate))
        .routes(routes!(preprocess::preprocess))
        .routes(routes!(map::map))
        .routes(routes!(stored_images::image))
        .routes(routes!(stored_images::sprites));
    let json = OpenApiRouter::new()
        .routes(routes!(models::list))
        .routes(routes!(interpolate::interpolate))
        .routes(routes!(models::describe))
        .routes(routes!(calibrations::list))
        .routes(routes!(calibrations::create, calibrations::describe, calibrations::remove))
        .routes(routes!(calibrations::extend))
        .routes(routes!(calibrations::export))
        .routes(routes!(calibrations::import, calibrations::put_import))
        .routes(routes!(collections::list))
        .routes(routes!(collections::create, collections::describe, collections::remove))
        .routes(routes!(items::add, items::page))
        .routes(routes!(items::read, items::patch, items::remove))
        .routes(routes!(items::remove_many))
        // The static path hides `…/items/{id}` from an item whose id is `delete`.
        .route(DELETE_PATH, get(items::read).patch(items::patch).delete(items::remove))
        .routes(routes!(search::search))
        .routes(routes!(search::batch))
        .routes(routes!(recommend::recommend))
        .routes(routes!(classify::classify))
        .routes(routes!(facets::count))
        .routes(routes!(facets::facets))
        .routes(routes!(insight::duplicates))
        .routes(routes!(insight::health))
        .layer(from_fn(json_only));
    negotiated.merge(json)
}
