//! Answers that a client may keep: entity tags, and `304 Not Modified` for those who have the same already.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use crate::error::{Error, Result};

/// A strong entity tag (RFC 9110, 8.8.3): the same tag, the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntityTag(String);

impl EntityTag {
    /// The tag of what these parts, joined by `-`, name. What is not a letter or a digit is left out of them.
    pub(super) fn of(parts: &[&str]) -> Self {
        let plain = |part: &&str| part.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        Self(format!("\"{}\"", parts.iter().map(plain).collect::<Vec<_>>().join("-")))
    }

    /// Whether the client of a request has this already.
    pub(super) fn is_known(&self, headers: &HeaderMap) -> bool {
        let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut tags = known.flat_map(|value| value.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.0)
    }

    /// The answer to a client that has this already.
    pub(super) fn unchanged(&self, keep: Keep) -> Result<Response> {
        self.on(StatusCode::NOT_MODIFIED.into_response(), keep)
    }

    /// Gives an answer its tag.
    pub(super) fn on(&self, mut response: Response, keep: Keep) -> Result<Response> {
        for (name, text) in [(header::ETAG, self.0.as_str()), (header::CACHE_CONTROL, keep.as_str())] {
            set(&mut response, name, text)?;
        }
        Ok(response)
    }
}

/// For how long a client may keep an answer without asking whether it has changed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keep {
    /// It asks each time.
    Asking,
    /// A minute; what is shown may be that old.
    Minute,
}

impl Keep {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Asking => "private, no-cache",
            Self::Minute => "private, max-age=60",
        }
    }
}

/// Sets a header of an answer.
pub(super) fn set(response: &mut Response, name: HeaderName, text: &str) -> Result<()> {
    let value = HeaderValue::try_from(text)
        .map_err(|error| Error::internal("an answer's header is not text").with_source(error))?;
    response.headers_mut().insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_any_list_that_has_it() {
        let tag = EntityTag::of(&["images/ab/cd", "96"]);
        for (known, expected) in [
            ("\"imagesabcd-96\"", true),
            ("W/\"imagesabcd-96\"", true),
            ("\"other\", \"imagesabcd-96\"", true),
            ("*", true),
            ("\"imagesabcd-9\"", false),
            ("imagesabcd-96", false),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(known))]);
            assert_eq!(tag.is_known(&headers), expected, "{known}");
        }
        assert!(!tag.is_known(&HeaderMap::new()));
    }

    #[test]
    fn an_unchanged_answer_has_its_tag_and_no_body() {
        let answer = EntityTag::of(&["a"]).unchanged(Keep::Minute).unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer.headers()["etag"], "\"a\"");
        assert_eq!(answer.headers()["cache-control"], "private, max-age=60");
    }
}
