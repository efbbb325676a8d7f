//! Conditions over an item's id and metadata, the same for every engine. The model is Qdrant's, and so is the spelling,
//! beside a shorter one of ours; docs/FILTERS.md is the reference.

mod date;
mod number;
mod parse;
mod scalar;
mod schema;

use std::fmt;

use serde_json::{Map, Value, json};

pub use date::Date;
pub use number::{Number, NumberRange, Range};
pub use scalar::Scalar;

use super::{ItemId, Metadata};

/// Which items an operation is about: those that pass every `must`, at least one `should`, no `must_not`, and of
/// `min_should` as many as it asks for. An empty list does not constrain, so the empty filter passes everything.
///
/// ```json
/// {"must": [{"key": "label", "match": "cat"}], "should": [], "must_not": [{"has_id": ["a", "b"]}]}
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    pub must: Vec<Condition>,
    pub should: Vec<Condition>,
    pub must_not: Vec<Condition>,
    pub min_should: Option<MinShould>,
}

/// `{"conditions": […], "min_count": 2}`: at least so many of the conditions hold.
#[derive(Debug, Clone, PartialEq)]
pub struct MinShould {
    pub conditions: Vec<Condition>,
    pub min_count: usize,
}

/// One test of an item. A key that is absent, null or of another type than the test asks for fails it.
///
/// A dotted key reaches into objects (`camera.lens`), so a metadata key that itself contains a dot cannot be named.
/// An array stands for its elements, one level deep: it passes if any of them does, and a dotted key reaches through
/// an array of objects.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// `{"key": "label", "match": "cat"}`: the value equals.
    Match { key: String, value: Scalar },
    /// `{"key": "tags", "any": ["a", "b"]}`: the value equals one of these; of none, nothing passes.
    Any { key: String, values: Vec<Scalar> },
    /// `{"key": "label", "match": {"except": ["cat"]}}`: the value, or one of an array's, is none of these.
    Except { key: String, values: Vec<Scalar> },
    /// `{"key": "price", "range": {"gte": 1, "lt": 9}}`: the value is a number within.
    Range { key: String, range: NumberRange },
    /// `{"key": "taken", "range": {"gte": "2024-05-01T00:00:00Z"}}`: the value is a text that is a date within.
    Dates { key: String, range: Range<Date> },
    /// `{"is_null": {"key": "label"}}`: the value, or one of an array's, is null.
    IsNull(String),
    /// `{"is_empty": {"key": "label"}}`: no text, number or truth value is there.
    IsEmpty(String),
    /// `{"has_id": ["a"]}`: the item's id is one of these.
    HasId(Vec<ItemId>),
    /// `{"should": […]}`: the item passes this filter.
    Nested(Box<Filter>),
}

impl Filter {
    /// Whether it passes every item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.must.is_empty() && self.should.is_empty() && self.must_not.is_empty() && self.min_should.is_none()
    }

    /// Whether it passes every item by construction, whatever the items are.
    #[must_use]
    pub fn matches_everything(&self) -> bool {
        self.must.iter().all(Condition::matches_everything)
            && (self.should.is_empty() || self.should.iter().any(Condition::matches_everything))
            && self.must_not.iter().all(Condition::matches_nothing)
            && self.min_should.as_ref().is_none_or(|MinShould { conditions, min_count }| {
                conditions.iter().filter(|condition| condition.matches_everything()).count() >= *min_count
            })
    }

    /// Whether it passes no item by construction.
    fn matches_nothing(&self) -> bool {
        self.must.iter().any(Condition::matches_nothing)
            || (!self.should.is_empty() && self.should.iter().all(Condition::matches_nothing))
            || self.must_not.iter().any(Condition::matches_everything)
            || self.min_should.as_ref().is_some_and(|MinShould { conditions, min_count }| {
                conditions.iter().filter(|condition| !condition.matches_nothing()).count() < *min_count
            })
    }

    /// Whether an item passes.
    #[must_use]
    pub fn matches(&self, id: &ItemId, metadata: &Metadata) -> bool {
        let passes = |condition: &Condition| condition.matches(id, metadata);
        self.must.iter().all(passes)
            && (self.should.is_empty() || self.should.iter().any(passes))
            && !self.must_not.iter().any(passes)
            && self.min_should.as_ref().is_none_or(|MinShould { conditions, min_count }| {
                conditions.iter().filter(|condition| passes(condition)).take(*min_count).count() == *min_count
            })
    }

    /// The JSON that parses to this filter.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let clauses = [("must", &self.must), ("should", &self.should), ("must_not", &self.must_not)];
        let mut object = Map::new();
        for (name, conditions) in clauses {
            if !conditions.is_empty() {
                object.insert(name.to_owned(), conditions.iter().map(Condition::to_value).collect());
            }
        }
        if let Some(MinShould { conditions, min_count }) = &self.min_should {
            let conditions: Value = conditions.iter().map(Condition::to_value).collect();
            object.insert("min_should".to_owned(), json!({"conditions": conditions, "min_count": min_count}));
        }
        Value::Object(object)
    }
}

impl Condition {
    /// Whether an item passes.
    #[must_use]
    pub fn matches(&self, id: &ItemId, metadata: &Metadata) -> bool {
        match self {
            Self::Match { key, value } => any_at(metadata, key, &|found| value.equals(found)),
            Self::Any { key, values } => any_at(metadata, key, &|found| values.iter().any(|value| value.equals(found))),
            Self::Range { key, range } => any_at(
                metadata,
                key,
                &|found| matches!(found, Value::Number(number) if range.contains(Number::of(number))),
            ),
            Self::Except { key, values } => any_at(metadata, key, &|found| {
                Scalar::of(found).is_some() && !values.iter().any(|value| value.equals(found))
            }),
            Self::Dates { key, range } => any_at(metadata, key, &|found| {
                found.as_str().and_then(Date::of).is_some_and(|date| range.contains(date))
            }),
            Self::IsNull(key) => any_at(metadata, key, &Value::is_null),
            Self::IsEmpty(key) => !any_at(metadata, key, &|found| Scalar::of(found).is_some()),
            Self::HasId(ids) => ids.contains(id),
            Self::Nested(filter) => filter.matches(id, metadata),
        }
    }

    fn matches_everything(&self) -> bool {
        match self {
            Self::Match { .. }
            | Self::Any { .. }
            | Self::Range { .. }
            | Self::HasId(_)
            | Self::Except { .. }
            | Self::Dates { .. }
            | Self::IsNull(_)
            | Self::IsEmpty(_) => false,
            Self::Nested(filter) => filter.matches_everything(),
        }
    }

    fn matches_nothing(&self) -> bool {
        match self {
            Self::Match { .. }
            | Self::Range { .. }
            | Self::Except { .. }
            | Self::Dates { .. }
            | Self::IsNull(_)
            | Self::IsEmpty(_) => false,
            Self::Any { values, .. } => values.is_empty(),
            Self::HasId(ids) => ids.is_empty(),
            Self::Nested(filter) => filter.matches_nothing(),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Match { key, value } => json!({"key": key, "match": value.to_value()}),
            Self::Any { key, values } => {
                json!({"key": key, "any": values.iter().map(Scalar::to_value).collect::<Value>()})
            }
            Self::Except { key, values } => {
                json!({"key": key, "match": {"except": values.iter().map(Scalar::to_value).collect::<Value>()}})
            }
            Self::Range { key, range } => json!({"key": key, "range": range.to_value(|number| number.to_value())}),
            Self::Dates { key, range } => json!({"key": key, "range": range.to_value(|date| json!(date.to_string()))}),
            Self::IsNull(key) => json!({"is_null": {"key": key}}),
            Self::IsEmpty(key) => json!({"is_empty": {"key": key}}),
            Self::HasId(ids) => json!({"has_id": ids}),
            Self::Nested(filter) => filter.to_value(),
        }
    }
}

/// Whether the test holds for any value at the dotted key.
fn any_at(object: &Metadata, key: &str, test: &dyn Fn(&Value) -> bool) -> bool {
    match key.split_once('.') {
        None => object.get(key).is_some_and(|value| any_element(value, test)),
        Some((head, rest)) => object.get(head).is_some_and(|value| {
            any_element(value, &|value| value.as_object().is_some_and(|object| any_at(object, rest, test)))
        }),
    }
}

fn any_element(value: &Value, test: &dyn Fn(&Value) -> bool) -> bool {
    match value {
        Value::Array(elements) => elements.iter().any(test),
        value => test(value),
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_value().fmt(f)
    }
}

impl serde::Serialize for Filter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Filter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::try_from(value).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
