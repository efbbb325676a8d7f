//! Examples of a recommendation: ids and vectors in one list.

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::vector::vector;
use crate::{
    error::{Error, Result},
    service::Example,
};

/// An item of the collection by its id, or a vector.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "an example is read by its first character; this type describes it for the documentation")]
pub enum ExampleSchema {
    Id(String),
    Vector(Vec<f32>),
}

/// A list of examples; the first that is none is the request's error, with its place.
#[derive(Debug, Default)]
pub(in crate::http) struct ExampleList(pub(in crate::http) Vec<Example>);

impl<'de> Deserialize<'de> for ExampleList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = Vec::<&'de RawValue>::deserialize(deserializer)?;
        let example = |(at, one): (usize, &RawValue)| {
            example(one.get()).map_err(|error| de::Error::custom(format!("element {at}: {}", error.message())))
        };
        list.into_iter().enumerate().map(example).collect::<Result<_, D::Error>>().map(Self)
    }
}

fn example(json: &str) -> Result<Example> {
    match json.bytes().next() {
        Some(b'"') => {
            let id: String = serde_json::from_str(json).map_err(|error| Error::invalid_request(error.to_string()))?;
            Ok(Example::Id(id.parse()?))
        }
        Some(b'[') => vector(json).map(Example::Vector),
        _ => Err(Error::invalid_request("neither an id nor a vector")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(json: &str) -> Result<ExampleList, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn ids_and_vectors_stand_in_one_list() {
        let id = |text: &str| Example::Id(text.parse().unwrap());
        assert_eq!(list(r#"["a", [1, -0.5], "1"]"#).unwrap().0, [id("a"), Example::Vector(vec![1.0, -0.5]), id("1")]);
    }

    #[test]
    fn an_error_names_the_place_of_the_element() {
        for (bad, part) in [
            (r#"["a", 5]"#, "element 1: neither an id nor a vector"),
            ("[null]", "element 0: neither"),
            (r#"[[1, "x"]]"#, "element 0: element 1 of the vector is not a number"),
            ("[[1e39]]", "beyond 32-bit floats"),
            (r#"[""]"#, "element 0: an item id has 1 to 256 bytes"),
            (r#""a""#, "expected a sequence"),
        ] {
            let error = list(bad).unwrap_err().to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }
}
