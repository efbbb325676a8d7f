//! The call into libjpeg-turbo: `libjpeg.c`, compiled by `build.rs` against the library that `turbojpeg-sys` builds.

use std::{
    ffi::{CStr, c_char, c_int, c_uint},
    ptr,
};

// The library is linked because this crate is named.
use turbojpeg_sys as _;

/// The length of libjpeg's messages at most, their end included (`JMSG_LENGTH_MAX`).
const MESSAGE_BYTES: usize = 200;

/// What the header must say and what is to be made of the file; as `struct latentd_jpeg_request` in `libjpeg.c`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Request {
    pub width: c_uint,
    pub height: c_uint,
    pub components: c_uint,
    pub progressive: c_uint,
    /// Pixels on each side that become one: 1, 2, 4 or 8.
    pub factor: c_uint,
    /// The width after that.
    pub output_width: c_uint,
    /// The height after that.
    pub output_height: c_uint,
    /// Samples of an output pixel: 1 is grey, 3 is RGB, 4 is CMYK as the file has it.
    pub output_channels: c_uint,
    /// Whether three components are RGB whatever the markers of the file say.
    pub stored_rgb: c_uint,
}

impl Request {
    const fn samples(&self) -> usize {
        self.output_width as usize * self.output_height as usize * self.output_channels as usize
    }
}

/// Why there are no pixels.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// libjpeg's error, or a warning that says it has made up pixels.
    Corrupt(String),
    /// libjpeg reads another header than the one of the request.
    Mismatch,
    /// A progressive file whose scans end before the last bits of its coefficients.
    Unfinished,
    /// A valid file of a kind that libjpeg does not decode.
    Unsupported(String),
}

#[expect(unsafe_code, reason = "the declaration of a function in C, in agreement with libjpeg.c")]
mod raw {
    use super::{Request, c_char, c_int};

    unsafe extern "C" {
        pub(super) fn latentd_jpeg_decode(
            bytes: *const u8,
            length: usize,
            request: *const Request,
            pixels: *mut u8,
            message: *mut c_char,
        ) -> c_int;
    }
}

/// The pixels of a JPEG, row by row.
///
/// # Errors
/// [`Failure`], whatever the bytes are.
pub(super) fn decode(bytes: &[u8], request: &Request) -> Result<Vec<u8>, Failure> {
    let mut pixels = vec![0; request.samples()];
    let mut message: [c_char; MESSAGE_BYTES] = [0; MESSAGE_BYTES];
    #[expect(
        unsafe_code,
        reason = "libjpeg reads `bytes.len()` bytes, and writes the samples of the request, for which `pixels` has room, \
                  after it has compared its own sizes with those of the request; it keeps no pointer"
    )]
    let result = unsafe {
        raw::latentd_jpeg_decode(
            bytes.as_ptr(),
            bytes.len(),
            ptr::from_ref(request),
            pixels.as_mut_ptr(),
            message.as_mut_ptr(),
        )
    };
    match result {
        0 => Ok(pixels),
        2 => Err(Failure::Mismatch),
        3 => Err(Failure::Unfinished),
        4 => Err(Failure::Unsupported(text(&message))),
        _ => Err(Failure::Corrupt(text(&message))),
    }
}

fn text(message: &[c_char; MESSAGE_BYTES]) -> String {
    let bytes = message.map(|character| character.to_ne_bytes()[0]);
    CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}
