use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// `name@` and 12 hex digits of a BLAKE3 hash over everything that decides what a model's vectors mean; for options
/// that change vectors, `;key=value` after it. Two vectors compare only when their space keys are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpaceKey(String);

impl SpaceKey {
    /// The key of a model whose space-defining inputs hash to `hash`.
    #[must_use]
    pub fn new(model: &str, hash: &blake3::Hash) -> Self {
        Self(format!("{model}@{}", &hash.to_hex()[..12]))
    }

    /// The key of vectors made with options that change them, such as `dim=64;norm=0`; no options, the same key.
    #[must_use]
    pub fn derived(&self, options: &str) -> Self {
        if options.is_empty() { self.clone() } else { Self(format!("{};{options}", self.0)) }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SpaceKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let well_formed = text.split(';').next().and_then(|base| base.rsplit_once('@')).is_some_and(|(name, hash)| {
            !name.is_empty() && hash.len() == 12 && hash.bytes().all(|b| b.is_ascii_hexdigit())
        });
        if well_formed && text.len() <= 256 && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid_request(format!("{text:?} is not a space key such as name@0123456789ab")))
        }
    }
}

impl TryFrom<String> for SpaceKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<SpaceKey> for String {
    fn from(key: SpaceKey) -> Self {
        key.0
    }
}

impl fmt::Display for SpaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_and_derives() {
        let key = SpaceKey::new("m:int8", &blake3::hash(b"x"));
        assert_eq!(key.as_str().parse::<SpaceKey>().unwrap(), key);
        assert_eq!(key.derived("dim=64").as_str(), format!("{key};dim=64"));
        assert_eq!(key.derived(""), key);
        assert!(key.derived("dim=64;norm=0").as_str().parse::<SpaceKey>().is_ok());
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", "m", "m@12", "@0123456789ab", "m@0123456789xy", "m@0123456789ab\n"] {
            assert!(bad.parse::<SpaceKey>().is_err(), "{bad:?}");
        }
    }
}
