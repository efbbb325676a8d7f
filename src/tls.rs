//! The one TLS stack: rustls over ring, for images in a bucket and for `latentd ingest`. The server itself speaks
//! clear text behind its proxy.

/// Makes ring what rustls computes with. To be called before the first client is made; again, it does nothing.
pub fn install() {
    // an error says that one has been installed already
    let _ = rustls::crypto::ring::default_provider().install_default();
}
