//! Conditions over an item's id and metadata, the same for every engine. The model is Qdrant's, and so is the spelling,
//! beside a shorter one of ours; docs/FILTERS.md is the reference.

mod date;
mod number;
mod parse;
mod schema;

use std::fmt;

use serde_json::{Map, Value, json};

pub use date::Date;
pub use number::{Number, NumberRange, Range};

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

/// A value that conditions compare: text, a truth value, or a number (1 equals 1.0).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scalar {
    /// Never made of a condition's value: an index keeps it for `is_null`.
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
}

impl Scalar {
    /// The scalar of a JSON value; none for null, arrays and objects.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Number(number) => Some(Self::Number(Number::of(number))),
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn equals(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(text), Value::String(other)) => text == other,
            (Self::Bool(value), Value::Bool(other)) => value == other,
            (Self::Null, Value::Null) => true,
            (Self::Number(number), Value::Number(other)) => *number == Number::of(other),
            _ => false,
        }
    }

    /// The JSON of it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => json!(value),
            Self::Number(number) => number.to_value(),
            Self::Text(text) => json!(text),
        }
    }
}

/// The text itself, and numbers and truth values as JSON writes them.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            other => other.to_value().fmt(f),
        }
    }
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
mod tests {
    use super::*;

    fn passes(filter: Value, metadata: Value) -> bool {
        let filter = Filter::try_from(filter).unwrap();
        filter.matches(&"a".parse().unwrap(), metadata.as_object().unwrap())
    }

    #[test]
    fn a_match_compares_text_truth_and_numbers_by_value() {
        let item = json!({"label": "cat", "n": 1, "f": 1.0, "ok": true, "none": null});
        for (key, value, expected) in [
            ("label", json!("cat"), true),
            ("label", json!("dog"), false),
            ("n", json!(1), true),
            ("n", json!(1.0), true),
            ("f", json!(1), true),
            ("n", json!("1"), false),
            ("ok", json!(true), true),
            ("ok", json!(1), false),
            ("none", json!(0), false),
            ("absent", json!("cat"), false),
        ] {
            let filter = json!({"must": [{"key": key, "match": value}]});
            assert_eq!(passes(filter.clone(), item.clone()), expected, "{filter}");
        }
    }

    #[test]
    fn dotted_keys_reach_into_objects_and_through_arrays_of_objects() {
        let item = json!({"a": {"b": {"c": 1}}, "l": [{"n": 1}, {"n": 2}], "x.y": 3});
        for (key, value, expected) in
            [("a.b.c", 1, true), ("a.b", 1, false), ("l.n", 2, true), ("l.n", 3, false), ("x.y", 3, false)]
        {
            assert_eq!(passes(json!({"must": [{"key": key, "match": value}]}), item.clone()), expected, "{key}");
        }
    }

    #[test]
    fn an_array_passes_if_any_element_does_and_only_one_level_deep() {
        let item = json!({"tags": ["a", "b"], "deep": [["a"]]});
        assert!(passes(json!({"must": [{"key": "tags", "match": "b"}]}), item.clone()));
        assert!(passes(json!({"must": [{"key": "tags", "any": ["x", "a"]}]}), item.clone()));
        assert!(!passes(json!({"must": [{"key": "tags", "any": []}]}), item.clone()));
        assert!(!passes(json!({"must": [{"key": "deep", "match": "a"}]}), item));
    }

    #[test]
    fn ranges_keep_their_open_and_closed_ends() {
        for (range, expected) in [
            (json!({"gte": 5, "lte": 5}), true),
            (json!({"gt": 5}), false),
            (json!({"lt": 5}), false),
            (json!({"gt": 4.9, "lt": 5.1}), true),
            (json!({"gt": 6, "lt": 4}), false),
        ] {
            let filter = json!({"must": [{"key": "n", "range": range}]});
            assert_eq!(passes(filter.clone(), json!({"n": 5})), expected, "{filter}");
            assert!(!passes(filter, json!({"n": "5"})));
        }
    }

    #[test]
    fn clauses_combine_and_empty_ones_do_not_constrain() {
        let yes = json!({"key": "n", "match": 1});
        let no = json!({"key": "n", "match": 2});
        for (filter, expected) in [
            (json!({}), true),
            (json!({"must": [], "should": [], "must_not": []}), true),
            (json!({"must": [yes, no]}), false),
            (json!({"should": [yes, no]}), true),
            (json!({"should": [no]}), false),
            (json!({"must_not": [no]}), true),
            (json!({"must_not": [no, yes]}), false),
            (json!({"must": [{"should": [no, {"has_id": ["a"]}]}]}), true),
            (json!({"must": [{}]}), true),
        ] {
            assert_eq!(passes(filter.clone(), json!({"n": 1})), expected, "{filter}");
        }
    }

    #[test]
    fn what_matches_everything_by_construction_is_told() {
        let one = json!({"key": "n", "match": 1});
        let none = json!({"has_id": []});
        for (filter, everything) in [
            (json!({}), true),
            (json!({"must": [], "should": [], "must_not": []}), true),
            (json!({"must": [{}]}), true),
            (json!({"must": [{"must": [{"should": [{}]}]}]}), true),
            (json!({"must": [{}, one]}), false),
            (json!({"should": [one]}), false),
            (json!({"should": [one, {}]}), true),
            (json!({"should": [none]}), false),
            (json!({"must_not": [one]}), false),
            (json!({"must_not": [{}]}), false),
            (json!({"must_not": [none]}), true),
            (json!({"must_not": [{"key": "n", "any": []}]}), true),
            (json!({"must_not": [{"must_not": [{}]}]}), true),
            (json!({"must_not": [{"must": [none, one]}]}), true),
            (json!({"must_not": [{"should": [none, one]}]}), false),
            (json!({"min_should": {"conditions": [{}, one], "min_count": 1}}), true),
            (json!({"min_should": {"conditions": [{}, one], "min_count": 2}}), false),
            (json!({"must_not": [{"min_should": {"conditions": [none, one], "min_count": 2}}]}), true),
        ] {
            assert_eq!(Filter::try_from(filter.clone()).unwrap().matches_everything(), everything, "{filter}");
        }
    }

    #[test]
    fn a_filter_in_qdrants_own_spelling_is_the_same_filter() {
        for (theirs, ours) in [
            (json!({"key": "a", "match": {"value": 1}}), json!({"key": "a", "match": 1})),
            (json!({"key": "a", "match": {"any": ["x", 2]}}), json!({"key": "a", "any": ["x", 2]})),
            (json!({"key": "a[].b", "match": {"value": true}}), json!({"key": "a.b", "match": true})),
        ] {
            let parse = |condition: &Value| Filter::try_from(json!({"must": [condition]})).unwrap();
            assert_eq!(parse(&theirs), parse(&ours));
            assert_eq!(
                Filter::try_from(json!({"must": theirs})).unwrap(),
                parse(&ours),
                "one condition without a list"
            );
        }
    }

    #[test]
    fn except_null_and_empty_are_told_apart() {
        let item =
            json!({"label": "cat", "tags": ["a", "b"], "none": null, "nulls": [null, 1], "list": [], "o": {"n": 1}});
        for (condition, expected) in [
            (json!({"key": "label", "match": {"except": ["dog"]}}), true),
            (json!({"key": "label", "match": {"except": ["cat"]}}), false),
            (json!({"key": "tags", "match": {"except": ["a"]}}), true),
            (json!({"key": "tags", "match": {"except": ["a", "b"]}}), false),
            (json!({"key": "absent", "match": {"except": ["a"]}}), false),
            (json!({"key": "none", "match": {"except": ["a"]}}), false),
            (json!({"is_null": {"key": "none"}}), true),
            (json!({"is_null": {"key": "nulls"}}), true),
            (json!({"is_null": {"key": "label"}}), false),
            (json!({"is_null": {"key": "absent"}}), false),
            (json!({"is_empty": {"key": "absent"}}), true),
            (json!({"is_empty": {"key": "none"}}), true),
            (json!({"is_empty": {"key": "list"}}), true),
            (json!({"is_empty": {"key": "nulls"}}), false),
            (json!({"is_empty": {"key": "o.n"}}), false),
            (json!({"is_empty": {"key": "label"}}), false),
        ] {
            assert_eq!(passes(json!({"must": [condition]}), item.clone()), expected, "{condition}");
        }
    }

    #[test]
    fn dates_compare_by_time_and_other_texts_are_none() {
        let item = json!({"taken": "2024-05-01T12:00:00+02:00", "day": "2024-05-01", "label": "cat"});
        for (condition, expected) in [
            (json!({"key": "taken", "range": {"gte": "2024-05-01T10:00:00Z", "lte": "2024-05-01T10:00:00Z"}}), true),
            (json!({"key": "taken", "range": {"lt": "2024-05-01T10:00:00Z"}}), false),
            (json!({"key": "day", "range": {"gte": "2024-05-01", "lt": "2024-05-02"}}), true),
            (json!({"key": "label", "range": {"gte": "0001-01-01"}}), false),
        ] {
            assert_eq!(passes(json!({"must": [condition]}), item.clone()), expected, "{condition}");
        }
    }

    #[test]
    fn as_many_conditions_hold_as_min_should_asks_for() {
        let is = |n: u64| json!({"key": "n", "match": n});
        let item = json!({"n": [1, 2]});
        for (count, expected) in [(1, true), (2, true), (3, false)] {
            let filter = json!({"min_should": {"conditions": [is(1), is(2), is(3)], "min_count": count}});
            assert_eq!(passes(filter.clone(), item.clone()), expected, "{filter}");
        }
    }

    #[test]
    fn a_filter_survives_its_json() {
        let value = json!({
            "must": [{"key": "a.b", "match": 1.5}, {"key": "t", "any": ["x", 1, true]}, {"must": [{"has_id": ["ü"]}]}],
            "should": [{"key": "n", "range": {"gt": 1, "gte": 2, "lt": 3.5, "lte": 4}}],
            "must_not": [
                {"key": "label", "match": "cat"},
                {"key": "label", "match": {"except": ["dog"]}},
                {"is_null": {"key": "a"}},
                {"is_empty": {"key": "b"}},
                {"key": "taken", "range": {"gt": "2024-05-01T00:00:00Z", "lte": "2024-05-01T00:00:00.5Z"}}
            ],
            "min_should": {"conditions": [{"key": "n", "match": 1}], "min_count": 1}
        });
        let filter: Filter = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(filter.to_value(), value);
        assert_eq!(serde_json::from_str::<Filter>(&filter.to_string()).unwrap(), filter);
    }
}
