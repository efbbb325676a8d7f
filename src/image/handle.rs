//! An encoded image: one handle from the edge of the server to the decoder.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{
    decode::{Decoded, Header, decode_known, read_header},
    shrink::Shrink,
};
use crate::{
    admission::SharedPermit,
    error::{Error, Result},
};

/// Files of at most so many bytes are hashed in less time than a change of thread takes.
const QUICK_HASH_BYTES: usize = 16 << 10;

/// The file of an image and what has been found out about it. Clones share the bytes, the header and the hash.
///
/// The header is read when the handle is made, the hash is computed when somebody first asks for it, and neither is
/// made twice.
#[derive(Debug, Clone)]
pub struct Encoded(Arc<File>);

#[derive(Debug)]
struct File {
    bytes: Bytes,
    /// What is wrong with a header is told when it is asked for: it is the error of this image alone.
    header: Result<Header>,
    hash: OnceLock<blake3::Hash>,
}

impl Encoded {
    /// Takes a file and reads its header: microseconds, whatever the size.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let header = read_header(&bytes);
        Self(Arc::new(File { bytes, header, hash: OnceLock::new() }))
    }

    /// Has the bytes hold a share of a budget from now on: what is made of a body by copying is counted with the body.
    pub(crate) fn count_by(&mut self, share: &SharedPermit) {
        let File { bytes, header, hash } = &*self.0;
        let header = header.as_ref().copied().map_err(Error::duplicate);
        *self = Self(Arc::new(File { bytes: share.attach(bytes.clone()), header, hash: hash.clone() }));
    }

    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// What the file claims to be.
    ///
    /// # Errors
    /// - `invalid_image`: empty, not an image, or a header that is broken or cut off
    /// - `unsupported_media_type`: an image format, or a variant of one, that is not read
    pub fn header(&self) -> Result<&Header> {
        self.0.header.as_ref().map_err(Error::duplicate)
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

    /// The pixels, of a JPEG at a reduced size. The size that the header claims is not checked here.
    ///
    /// # Errors
    /// Those of [`header`](Self::header); `invalid_image` for a file that is truncated or corrupt, `unsupported_media_type` for a variant that is not read.
    pub fn decode(&self, shrink: Shrink) -> Result<Decoded> {
        decode_known(self.header()?, &self.0.bytes, shrink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::ErrorKind, image::fixtures::sample};

    #[test]
    fn a_handle_tells_its_header_and_clones_share_one_hash() {
        let bytes = Bytes::from(sample("420.jpg"));
        let image = Encoded::new(bytes.clone());
        let other = image.clone();
        assert_eq!(image.header().unwrap(), &read_header(&bytes).unwrap());
        assert!(std::ptr::eq(image.hash(), other.hash()));
        assert_eq!(*image.hash(), blake3::hash(&bytes));
        assert_eq!(image.bytes().as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn small_files_and_files_hashed_before_may_be_hashed_anywhere() {
        let small = Encoded::new(sample("rgb.png").into());
        assert!(small.hashes_quickly());
        let mut padded = sample("rgb.png");
        padded.resize(QUICK_HASH_BYTES + 1, 0);
        let large = Encoded::new(padded.into());
        assert!(!large.hashes_quickly());
        let _ = large.hash();
        assert!(large.clone().hashes_quickly());
    }

    #[test]
    fn what_is_no_image_says_so_each_time_it_is_asked() {
        for (bytes, kind) in [
            (&b""[..], ErrorKind::InvalidImage),
            (b"a text", ErrorKind::InvalidImage),
            (b"8BPS and more", ErrorKind::UnsupportedMediaType),
        ] {
            let image = Encoded::new(Bytes::from_static(bytes));
            assert_eq!(image.header().unwrap_err().kind(), kind);
            assert_eq!(image.decode(Shrink::NONE).err().unwrap().kind(), kind);
        }
    }
}
