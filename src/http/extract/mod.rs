//! Requests as values: the three ways of sending images, and options from wherever they may stand.
//!
//! | file | idea |
//! | --- | --- |
//! | `image`, `vector` | an image, a list of images, a vector inside JSON |
//! | `misfit` | what stands there instead, as the item's own error |
//! | `fields` | a JSON body by its grammar: images and vectors are read in place, all else are options |
//! | `options` | options of query, parts and JSON, merged and read into a route's struct |
//! | `coerce` | texts of query and parts as the numbers, truth values and JSON that a field needs |
//! | `examples` | examples of a recommendation, ids and vectors in one list |
//! | `entries` | items to add, each with its image or vector |
//! | `submission` | a body in any of the three ways |
//! | `path` | names in the path, and options of routes without a body |

mod coerce;
mod entries;
mod examples;
mod fields;
mod image;
mod misfit;
mod options;
mod path;
mod submission;
mod vector;

pub(super) use entries::ItemsRequest;
pub(super) use examples::{ExampleList, ExampleSchema};
pub(super) use fields::{Fields, Grammar, Kind};
pub(super) use image::ImageSchema;
pub(super) use path::{Name, NoOptions, QueryOptions, Segments, Sought, SpaceOptions, from_text};
pub(super) use submission::{Form, Images, ImagesRequest, MaskedRequest, OptionsRequest, Submission};
