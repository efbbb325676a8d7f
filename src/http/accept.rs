//! What the caller accepts, against what a route can answer with.

use axum::http::{HeaderMap, header};

use crate::error::{Error, ErrorKind, Result};

/// A form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    /// The bare image.
    Png,
    /// Vectors as little-endian f32, row-major.
    Octets,
    /// Vectors as a NumPy file.
    Npy,
}

impl Media {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Png => "image/png",
            Self::Octets => "application/octet-stream",
            Self::Npy => "application/x-npy",
        }
    }

    /// Whether the answer is the bare result, which cannot hold errors.
    pub(super) const fn is_binary(self) -> bool {
        !matches!(self, Self::Json)
    }

    /// How exactly a range such as `image/*` names this form; none if it does not.
    fn fits(self, range: &str) -> Option<u8> {
        let (kind, _) = self.as_str().split_once('/')?;
        match range.split_once('/')? {
            ("*", "*") => Some(0),
            (range_kind, "*") if range_kind.eq_ignore_ascii_case(kind) => Some(1),
            _ if range.eq_ignore_ascii_case(self.as_str()) => Some(2),
            _ => None,
        }
    }
}

/// The offer that the caller likes best: by its quality, then by how exactly it was named, then by the offers' order.
///
/// # Errors
/// `not_acceptable` when none of them is accepted.
pub(super) fn negotiate(headers: &HeaderMap, offers: &[Media]) -> Result<Media> {
    let accepted: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let accepted = accepted.join(",");
    if accepted.trim().is_empty() {
        return offers.first().copied().ok_or_else(|| Error::internal("a route offers no answer"));
    }
    let mut best: Option<(f32, u8, Media)> = None;
    for &media in offers {
        let Some((exactness, quality)) = preference(&accepted, media) else { continue };
        let better = best.is_none_or(|(q, e, _)| quality > q || (quality == q && exactness > e));
        if quality > 0.0 && better {
            best = Some((quality, exactness, media));
        }
    }
    best.map(|(_, _, media)| media).ok_or_else(|| {
        let offered: Vec<&str> = offers.iter().map(|media| media.as_str()).collect();
        let text = format!("accept: {accepted}; this request can be answered as {}", offered.join(", "));
        Error::new(ErrorKind::NotAcceptable, text)
    })
}

/// The exactness and the quality of the range that names a form most exactly.
fn preference(accepted: &str, media: Media) -> Option<(u8, f32)> {
    let ranges = accepted.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let exactness = media.fits(parts.next()?)?;
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((exactness, quality.map_or(1.0, |text| text.trim().parse().unwrap_or(0.0))))
    });
    ranges.max_by_key(|(exactness, _)| *exactness)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str, offers: &[Media]) -> Option<Media> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        negotiate(&headers, offers).ok()
    }

    #[test]
    fn the_form_that_the_caller_prefers_is_chosen() {
        const IMAGE: &[Media] = &[Media::Json, Media::Png];
        const VECTOR: &[Media] = &[Media::Json, Media::Octets, Media::Npy];
        for (accept, offers, expected) in [
            ("*/*", IMAGE, Some(Media::Json)),
            ("", IMAGE, Some(Media::Json)),
            ("image/png", IMAGE, Some(Media::Png)),
            ("IMAGE/PNG", IMAGE, Some(Media::Png)),
            ("image/*", IMAGE, Some(Media::Png)),
            ("image/png, */*", IMAGE, Some(Media::Png)),
            ("image/png;q=0.5, application/json", IMAGE, Some(Media::Json)),
            ("image/avif,image/webp,*/*;q=0.8", IMAGE, Some(Media::Json)),
            ("application/json;q=0, */*", IMAGE, Some(Media::Png)),
            ("application/*", VECTOR, Some(Media::Json)),
            ("application/octet-stream", VECTOR, Some(Media::Octets)),
            ("application/x-npy;q=0.9, application/octet-stream;q=0.1", VECTOR, Some(Media::Npy)),
            ("text/html", IMAGE, None),
            ("image/png", VECTOR, None),
            ("*/*;q=0", IMAGE, None),
        ] {
            assert_eq!(chosen(accept, offers), expected, "{accept}");
        }
    }

    #[test]
    fn without_a_preference_the_first_offer_is_chosen() {
        assert_eq!(negotiate(&HeaderMap::new(), &[Media::Json, Media::Png]).unwrap(), Media::Json);
    }

    #[test]
    fn not_acceptable_lists_the_offers() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, "text/html".parse().unwrap());
        let error = negotiate(&headers, &[Media::Json, Media::Npy]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAcceptable);
        assert!(error.message().contains("application/json, application/x-npy"));
    }
}
