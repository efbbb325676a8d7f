//! Images: bytes → pixels → tensor, and back.
//!
//! | file | idea |
//! | --- | --- |
//! | `spec` | what a model asks of its images, as plain data |
//! | `sniff`, `header` | which format the bytes are and how large an image they claim, without decoding |
//! | `handle` | an encoded image: its bytes, its header and its hash, each made once |
//! | `complete` | whether a file is all there |
//! | `ifd`, `orientation` | the directory of a TIFF or an EXIF block; which way up a file says it is |
//! | `decode`, `jpeg`, `gif`, `bmp`, `tiff` | bytes → 8-bit pixels as stored, or of a JPEG that will be resized, fewer of them |
//! | `shrink` | by how much a JPEG is decoded smaller |
//! | `pixels` | orientation, transparency, colour: stored pixels → what a model looks at |
//! | `resize` | Pillow's resampling, bit for bit |
//! | `preprocess` | pixels → tensor in the order of Hugging Face processors, and back to 0…1 |
//! | `encode`, `npy` | pixels and arrays → bytes |
//! | `sheet` | many small images on one |
//! | `quality`, `noise` | how alike two images are; noise that repeats |
//! | `mask` | which patches of an image are hidden |

mod bmp;
mod complete;
pub mod decode;
pub mod encode;
mod gif;
mod handle;
mod header;
mod ifd;
mod jpeg;
pub mod mask;
pub mod noise;
pub mod npy;
mod orientation;
pub mod pixels;
pub mod preprocess;
pub mod quality;
pub mod resize;
mod sheet;
mod shrink;
pub mod sniff;
pub mod spec;
mod tiff;

#[cfg(test)]
pub(crate) mod fixtures;

pub use decode::{Decoded, Header, decode, decode_known, decode_shrunk, decoded_bytes, probe, read_header};
pub use handle::Encoded;
pub use mask::{Grid, Mask};
pub use noise::Noise;
pub use pixels::{Pixels, Plane};
pub use preprocess::{Placement, Preprocessor};
pub use resize::{Region, Size};
pub use sheet::Sheet;
pub use shrink::Shrink;
pub use sniff::Format;
pub use spec::{
    Background, Channels, Crop, FilterKind, InputSpec, PREPROCESSING_VERSION, PreprocessSpec, Resize, Values,
};
