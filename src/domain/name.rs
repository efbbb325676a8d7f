use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const NAME_RULE: &str = "1 to 64 characters of a-z, 0-9, '.', '_' and '-', the first a letter or digit";

fn is_folder_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first_fits = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    first_fits
        && text.len() <= 64
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
}

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

/// A model's name: that of its folder, `[a-z0-9][a-z0-9._-]{0,63}`, and for a variant `:` and its name by the same
/// rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(String);

text_type!(ModelName);

impl FromStr for ModelName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (folder, variant) = text.split_once(':').map_or((text, None), |(folder, rest)| (folder, Some(rest)));
        if is_folder_name(folder) && variant.is_none_or(is_folder_name) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid_request(format!("model name {text:?} is not {NAME_RULE}")))
        }
    }
}

/// A collection's name, by the same rule as a model's folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CollectionName(String);

text_type!(CollectionName);

impl FromStr for CollectionName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if is_folder_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid_request(format!("collection name {text:?} is not {NAME_RULE}")))
        }
    }
}

/// A calibration's name, by the same rule as a model's folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CalibrationName(String);

text_type!(CalibrationName);

impl FromStr for CalibrationName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if is_folder_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid_request(format!("calibration name {text:?} is not {NAME_RULE}")))
        }
    }
}

/// A calibration as a request names it: `NAME`, the latest version, or `NAME@VERSION`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CalibrationRef {
    pub name: CalibrationName,
    /// None: the latest.
    pub version: Option<u32>,
}

impl fmt::Display for CalibrationRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

impl FromStr for CalibrationRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((name, version)) = text.split_once('@') else {
            return Ok(Self { name: text.parse()?, version: None });
        };
        let version = version.parse().ok().filter(|version| *version > 0);
        let version = version.ok_or_else(|| {
            Error::invalid_request(format!(
                "calibration {text:?} is not NAME or NAME@VERSION, whose versions count from 1"
            ))
        })?;
        Ok(Self { name: name.parse()?, version: Some(version) })
    }
}

impl TryFrom<String> for CalibrationRef {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<CalibrationRef> for String {
    fn from(calibration: CalibrationRef) -> Self {
        calibration.to_string()
    }
}

/// An item's id: 1 to 256 bytes of UTF-8 without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ItemId(String);

text_type!(ItemId);

impl ItemId {
    /// The id of an image that was sent without one: the BLAKE3 of its bytes, in hex, so that a repeated upload
    /// changes nothing.
    #[must_use]
    pub fn of_content(bytes: &[u8]) -> Self {
        Self::of_hash(&blake3::hash(bytes))
    }

    /// The same id where the hash is known.
    #[must_use]
    pub fn of_hash(hash: &blake3::Hash) -> Self {
        Self(hash.to_hex().to_string())
    }
}

impl FromStr for ItemId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > 256 {
            return Err(Error::invalid_request(format!("an item id has 1 to 256 bytes, this one has {}", text.len())));
        }
        if text.chars().any(char::is_control) {
            return Err(Error::invalid_request("an item id has no control characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_names_follow_the_folder_rule_and_may_name_a_variant() {
        for good in ["a", "simclr-cifar10", "0.x_y-z", "m:int8", &"a".repeat(64)] {
            assert!(good.parse::<ModelName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a/b", "..", "a:", "a:b:c", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad}");
        }
        assert!("a:b".parse::<CollectionName>().is_err());
    }

    #[test]
    fn a_calibration_is_named_alone_or_with_its_version() {
        let parse = |text: &str| text.parse::<CalibrationRef>();
        assert_eq!(parse("line-1").unwrap().version, None);
        let versioned = parse("line-1@12").unwrap();
        assert_eq!((versioned.name.as_str(), versioned.version), ("line-1", Some(12)));
        assert_eq!(versioned.to_string(), "line-1@12");
        for bad in ["", "@1", "a@", "a@0", "a@x", "a@1@2", "A", "a/b", ".."] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn item_ids_take_any_text_but_control_characters() {
        assert!("Ordner/ü 1.jpg".parse::<ItemId>().is_ok());
        assert!("ü".repeat(128).parse::<ItemId>().is_ok());
        for bad in ["", "a\nb", &"ü".repeat(129)] {
            assert!(bad.parse::<ItemId>().is_err(), "{bad:?}");
        }
    }
}
