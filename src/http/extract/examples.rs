//! Examples of a recommendation: ids and vectors in one list.

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use utoipa::ToSchema;

use super::vector::JsonVector;
use crate::{
    error::{Error, Result},
    service::Example,
};

/// An item of the collection by its id, or a vector.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is read by hand and stands here for the documentation")]
pub enum ExampleSchema {
    Id(String),
    Vector(Vec<f32>),
}

/// A list of examples; the first that is none is the request's error, with its place.
#[derive(Debug, Default)]
pub(in crate::http) struct ExampleList(pub(in crate::http) Vec<Example>);

impl<'de> Deserialize<'de> for ExampleList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = Vec::<Value>::deserialize(deserializer)?;
        let example = |(at, value)| {
            example(value).map_err(|error| de::Error::custom(format!("element {at}: {}", error.message())))
        };
        values.into_iter().enumerate().map(example).collect::<Result<_, D::Error>>().map(Self)
    }
}

fn example(value: Value) -> Result<Example> {
    let unreadable = |error: serde_json::Error| Error::invalid_request(error.to_string());
    match value {
        Value::String(id) => Ok(Example::Id(id.parse()?)),
        Value::Array(_) => JsonVector::deserialize(value).map_err(unreadable)?.0.map(Example::Vector),
        _ => Err(Error::invalid_request("neither an id nor a vector")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_and_vectors_stand_in_one_list() {
        let list = serde_json::from_value::<ExampleList>(json!(["a", [1, -0.5], "1"])).unwrap();
        let id = |text: &str| Example::Id(text.parse().unwrap());
        assert_eq!(list.0, [id("a"), Example::Vector(vec![1.0, -0.5]), id("1")]);
    }

    #[test]
    fn what_is_no_example_is_told_with_its_place() {
        for (bad, part) in [
            (json!(["a", 5]), "element 1: neither an id nor a vector"),
            (json!([null]), "element 0: neither"),
            (json!([[1, "x"]]), "element 0: element 1 of the vector is not a number"),
            (json!([[1e39]]), "beyond 32-bit floats"),
            (json!([""]), "element 0: an item id has 1 to 256 bytes"),
        ] {
            let error = serde_json::from_value::<ExampleList>(bad.clone()).unwrap_err().to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
        assert!(serde_json::from_value::<ExampleList>(json!("a")).is_err());
    }
}
