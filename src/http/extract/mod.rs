//! Requests as values: the three ways of sending images, and options from wherever they may stand.
//!
//! | file | idea |
//! | --- | --- |
//! | `body` | a body in any of the three ways, parsed on the CPU pool where it is large |
//! | `fields` | the fields of query, parts and JSON, merged and read into a route's struct |
//! | `value` | one value as the number, the truth value or the JSON that its field needs |
//! | `content` | what is no option: images, vectors, lists of objects |
//! | `image`, `vector` | an image and a vector inside JSON |
//! | `examples` | examples of a recommendation, ids and vectors in one list |
//! | `items` | items to add, each with its image or vector |
//! | `normals` | images for a calibration, each with its group and its label |
//! | `path` | names in the path, and options of routes without a body |

mod body;
mod content;
mod examples;
mod fields;
mod image;
mod items;
mod normals;
mod path;
mod value;
mod vector;

pub(super) use body::{
    FormRules, FromFields, IMAGES, Images, ImagesRequest, LOOKS_LIKE_JSON, MaskedRequest, OPTIONS, OptionsRequest,
    RequestBody, ScoredRequest,
};
pub(super) use content::Content;
pub(super) use examples::{ExampleList, ExampleSchema};
pub(super) use fields::Fields;
pub(super) use image::ImageSchema;
pub(super) use items::ItemsRequest;
pub(super) use normals::NormalsRequest;
pub(super) use path::{LookupName, LookupParams, NoOptions, PathParams, QueryOptions, SpaceOptions};
pub(super) use value::from_text;
