//! The HTTP interface, called in process: the real router over the real ONNX Runtime and tiny models.
#![allow(clippy::unwrap_used, reason = "what a test takes for granted is a part of what it proves")]

mod anomaly;
mod anomaly_models;
mod batches;
mod calibrations;
mod collections;
mod composed;
mod conventions;
mod denoise;
mod documents;
mod embeddings;
mod explorer;
mod families;
#[path = "../support/files.rs"]
mod files;
mod generate;
mod harness;
mod health;
mod images;
mod inpaint;
mod inputs;
mod insight;
mod interpolate;
mod items;
mod limits;
mod load;
mod memory;
mod models;
mod openai;
mod overload;
mod preprocess;
mod reconstruct;
mod retrieval;
mod search;
mod writes;
