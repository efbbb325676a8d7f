//! **latentd**, a representation server: it loads self-supervised image encoders and decoders as ONNX and serves
//! embeddings, reconstructions, denoising, anomaly scores and nearest-image search over a stored latent index.
//!
//! Rooms are modules, arrows are imports, and arrows point one way:
//!
//! `main → cli → app → http → service → {pipeline, model, anomaly, index, store, webhook} → batch → runtime`, with `image` beside
//! `model` and `statistics` beside `index`; `domain`, `error`, `config`, `admission`, `compute`, `memory`,
//! `simd`, `telemetry`, `threads` and `tls` are leaves that anyone may use. Only `http` knows axum and status codes, only `runtime` knows `ort`, only
//! `index::embedded` knows redb, only `index::qdrant` knows the Qdrant client, only `store` knows `object_store`.
//! `tests/architecture.rs` fails on an arrow that runs back up.

mod admission;
pub mod anomaly;
pub mod app;
pub mod batch;
pub mod cli;
pub mod compute;
pub mod config;
pub mod domain;
pub mod error;
pub mod http;
pub mod image;
pub mod index;
mod memory;
pub mod model;
mod pipeline;
pub mod runtime;
pub mod service;
mod simd;
mod statistics;
pub mod store;
pub mod telemetry;
pub mod threads;
pub mod tls;
pub mod webhook;
