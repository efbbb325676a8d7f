//! Words of the product as types: each parses from raw input once and holds its invariant afterwards.

mod device;
mod field;
mod filter;
mod map_method;
mod metadata;
mod metric;
mod name;
mod space;
mod top_k;
mod vector;

pub use device::Device;
pub use field::FieldPath;
pub use filter::{Condition, Date, Filter, MinShould, Number, NumberRange, Range, Scalar};
pub use map_method::MapMethod;
pub use metadata::{Metadata, check_integers, check_metadata};
pub use metric::Metric;
pub use name::{CalibrationName, CalibrationRef, CollectionName, ItemId, ModelName};
pub use space::SpaceKey;
pub use top_k::TopK;
pub use vector::Embedding;
