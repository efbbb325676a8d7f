//! An image on its way through the server: one handle from the edge to the decoder.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{
    decode::{Decoded, Header, decode_known, read_header},
    shrink::Shrink,
};
use crate::error::Result;

/// Files of at most so many bytes are hashed in less time than a change of thread takes.
const QUICK_HASH_BYTES: usize = 16 << 10;

/// The file of an image whose header has been read. Clones share the bytes, the header and the hash.
///
/// The header is read when the handle is made, the hash is computed when somebody first asks for it, and neither is
/// made twice.
#[derive(Debug, Clone)]
pub struct Encoded(Arc<File>);

#[derive(Debug)]
struct File {
    bytes: Bytes,
    header: Header,
    hash: OnceLock<blake3::Hash>,
}

impl Encoded {
    /// Reads the header of a file: microseconds, whatever the size.
    ///
    /// # Errors
    /// - `invalid_image`: empty, not an image, or a header that is broken or cut off
    /// - `unsupported_media_type`: an image format, or a variant of one, that is not read
    pub fn read(bytes: Bytes) -> Result<Self> {
        let header = read_header(&bytes)?;
        Ok(Self(Arc::new(File { bytes, header, hash: OnceLock::new() })))
    }

    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    #[must_use]
    pub fn header(&self) -> &Header {
        &self.0.header
    }

    /// The BLAKE3 of the bytes. The first call computes it, at about a gigabyte a second.
    #[must_use]
    pub fn hash(&self) -> &blake3::Hash {
        self.0.hash.get_or_init(|| blake3::hash(&self.0.bytes))
    }

    /// Whether [`hash`](Self::hash) may be called on an async thread: it is known already, or takes microseconds.
    #[must_use]
    pub fn hashes_quickly(&self) -> bool {
        self.0.hash.get().is_some() || self.0.bytes.len() <= QUICK_HASH_BYTES
    }

    /// The pixels, of a JPEG at a reduced size. What the header claims is taken as allowed.
    ///
    /// # Errors
    /// `invalid_image` for a file that is truncated or corrupt, `unsupported_media_type` for a variant that is not read.
    pub fn decode(&self, shrink: Shrink) -> Result<Decoded> {
        decode_known(&self.0.header, &self.0.bytes, shrink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::ErrorKind, image::fixtures::sample};

    #[test]
    fn a_handle_tells_its_header_and_clones_share_one_hash() {
        let bytes = Bytes::from(sample("420.jpg"));
        let image = Encoded::read(bytes.clone()).unwrap();
        let other = image.clone();
        assert_eq!(image.header(), &read_header(&bytes).unwrap());
        assert!(std::ptr::eq(image.hash(), other.hash()));
        assert_eq!(*image.hash(), blake3::hash(&bytes));
        assert_eq!(image.bytes().as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn small_files_and_files_hashed_before_may_be_hashed_anywhere() {
        let small = Encoded::read(sample("rgb.png").into()).unwrap();
        assert!(small.hashes_quickly());
        let mut padded = sample("rgb.png");
        padded.resize(QUICK_HASH_BYTES + 1, 0);
        let large = Encoded::read(padded.into()).unwrap();
        assert!(!large.hashes_quickly());
        let _ = large.hash();
        assert!(large.clone().hashes_quickly());
    }

    #[test]
    fn what_is_no_image_gets_no_handle() {
        for (bytes, kind) in [
            (&b""[..], ErrorKind::InvalidImage),
            (b"a text", ErrorKind::InvalidImage),
            (b"8BPS and more", ErrorKind::UnsupportedMediaType),
        ] {
            assert_eq!(Encoded::read(Bytes::from_static(bytes)).unwrap_err().kind(), kind);
        }
    }
}
