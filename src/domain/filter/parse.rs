//! Reading a filter from JSON: every refusal names the place and what may stand there.

use serde_json::{Map, Value};

use super::{Condition, Filter, Number, NumberRange, Scalar};
use crate::{
    domain::ItemId,
    error::{Error, Result},
};

/// Filters inside filters, the outermost included.
const MAX_DEPTH: usize = 8;
/// Conditions of a whole filter.
const MAX_CONDITIONS: usize = 1000;
/// Members of all its `any` and `has_id` lists together.
const MAX_VALUES: usize = 10_000;

impl TryFrom<Value> for Filter {
    type Error = Error;

    fn try_from(value: Value) -> Result<Self> {
        Parser::default().filter(&value, "filter", 1)
    }
}

/// What of the limits is spent.
#[derive(Default)]
struct Parser {
    conditions: usize,
    values: usize,
}

fn refuse<T>(place: &str, what: impl std::fmt::Display) -> Result<T> {
    Err(Error::invalid_request(format!("{place} {what}")))
}

impl Parser {
    fn filter(&mut self, value: &Value, place: &str, depth: usize) -> Result<Filter> {
        if depth > MAX_DEPTH {
            return refuse(place, format_args!("is nested more than {MAX_DEPTH} deep"));
        }
        let Value::Object(object) = value else {
            return refuse(place, "is an object of must, should and must_not");
        };
        let mut filter = Filter::default();
        for (name, list) in object {
            let conditions = match name.as_str() {
                "must" => &mut filter.must,
                "should" => &mut filter.should,
                "must_not" => &mut filter.must_not,
                _ => return refuse(place, format_args!("has the unknown key {name:?}, not must, should or must_not")),
            };
            *conditions = self.conditions(list, &format!("{place}.{name}"), depth)?;
        }
        Ok(filter)
    }

    fn conditions(&mut self, list: &Value, place: &str, depth: usize) -> Result<Vec<Condition>> {
        let Value::Array(list) = list else { return refuse(place, "is a list of conditions") };
        self.conditions += list.len();
        if self.conditions > MAX_CONDITIONS {
            return refuse("filter", format_args!("has more than {MAX_CONDITIONS} conditions"));
        }
        let at = |index| format!("{place}[{index}]");
        list.iter().enumerate().map(|(index, value)| self.condition(value, &at(index), depth)).collect()
    }

    fn condition(&mut self, value: &Value, place: &str, depth: usize) -> Result<Condition> {
        let Value::Object(object) = value else { return refuse(place, "is an object") };
        if object.contains_key("key") {
            return self.field(object, place);
        }
        if let Some(ids) = object.get("has_id") {
            only(object, &["has_id"], place)?;
            let ids = self.list(ids, &format!("{place}.has_id"), |value, place| match value {
                Value::String(text) => text.parse::<ItemId>().or_else(|error| refuse(place, format_args!(": {error}"))),
                _ => refuse(place, "is an id, which is a text"),
            })?;
            return Ok(Condition::HasId(ids));
        }
        if object.keys().any(|name| !matches!(name.as_str(), "must" | "should" | "must_not")) {
            return refuse(
                place,
                "has neither key (with match, any or range), has_id, nor must, should or must_not only",
            );
        }
        Ok(Condition::Nested(Box::new(self.filter(value, place, depth + 1)?)))
    }

    fn field(&mut self, object: &Map<String, Value>, place: &str) -> Result<Condition> {
        only(object, &["key", "match", "any", "range"], place)?;
        let key = match object.get("key") {
            Some(Value::String(key)) if !key.split('.').any(str::is_empty) => key.clone(),
            _ => return refuse(place, "has a key that is not a dotted path such as \"label\" or \"camera.lens\""),
        };
        match (object.get("match"), object.get("any"), object.get("range")) {
            (Some(value), None, None) => Ok(Condition::Match { key, value: scalar(value, &format!("{place}.match"))? }),
            (None, Some(values), None) => {
                Ok(Condition::Any { key, values: self.list(values, &format!("{place}.any"), scalar)? })
            }
            (None, None, Some(value)) => Ok(Condition::Range { key, range: range(value, &format!("{place}.range"))? }),
            _ => refuse(place, "takes exactly one of match, any and range beside its key"),
        }
    }

    fn list<T>(&mut self, list: &Value, place: &str, each: impl Fn(&Value, &str) -> Result<T>) -> Result<Vec<T>> {
        let Value::Array(list) = list else { return refuse(place, "is a list") };
        self.values += list.len();
        if self.values > MAX_VALUES {
            return refuse("filter", format_args!("lists more than {MAX_VALUES} values and ids"));
        }
        list.iter().enumerate().map(|(index, value)| each(value, &format!("{place}[{index}]"))).collect()
    }
}

fn only(object: &Map<String, Value>, known: &[&str], place: &str) -> Result<()> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => refuse(place, format_args!("has the unknown key {name:?}, not one of {}", known.join(", "))),
    }
}

fn scalar(value: &Value, place: &str) -> Result<Scalar> {
    Scalar::of(value).map_or_else(|| refuse(place, "is a text, a number or a truth value"), Ok)
}

fn range(value: &Value, place: &str) -> Result<NumberRange> {
    let Value::Object(object) = value else { return refuse(place, "is an object of gt, gte, lt and lte") };
    let mut range = NumberRange::default();
    for (name, value) in object {
        let bound = match name.as_str() {
            "gt" => &mut range.gt,
            "gte" => &mut range.gte,
            "lt" => &mut range.lt,
            "lte" => &mut range.lte,
            _ => return refuse(place, format_args!("has the unknown key {name:?}, not gt, gte, lt or lte")),
        };
        let Value::Number(number) = value else { return refuse(&format!("{place}.{name}"), "is a number") };
        *bound = Some(Number::of(number));
    }
    if object.is_empty() {
        return refuse(place, "needs at least one of gt, gte, lt and lte");
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_refusal_names_the_place() {
        for (filter, place) in [
            (json!([]), "filter is an object"),
            (json!({"mus": []}), "unknown key \"mus\""),
            (json!({"must": {}}), "filter.must is a list"),
            (json!({"must": [1]}), "filter.must[0] is an object"),
            (json!({"should": [{}, {"key": ""}]}), "filter.should[1] has a key"),
            (json!({"should": [{"key": "a..b", "match": 1}]}), "filter.should[0] has a key"),
            (json!({"must": [{"key": "a"}]}), "exactly one of match, any and range"),
            (json!({"must": [{"key": "a", "match": 1, "any": [1]}]}), "exactly one of"),
            (json!({"must": [{"key": "a", "match": null}]}), "filter.must[0].match is a text"),
            (json!({"must": [{"key": "a", "match": {"value": 1}}]}), "filter.must[0].match is a text"),
            (json!({"must": [{"key": "a", "any": [1, []]}]}), "filter.must[0].any[1] is a text"),
            (json!({"must": [{"key": "a", "range": {}}]}), "at least one of gt"),
            (json!({"must": [{"key": "a", "range": {"from": 1}}]}), "unknown key \"from\""),
            (json!({"must": [{"key": "a", "range": {"gt": "1"}}]}), "filter.must[0].range.gt is a number"),
            (json!({"must": [{"has_id": "a"}]}), "filter.must[0].has_id is a list"),
            (json!({"must": [{"has_id": ["a", ""]}]}), "filter.must[0].has_id[1]"),
            (json!({"must": [{"has_id": [], "x": 1}]}), "unknown key \"x\""),
            (json!({"must": [{"must": [{"nested": 1}]}]}), "filter.must[0].must[0] has neither"),
        ] {
            let error = Filter::try_from(filter.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidRequest);
            assert!(error.message().contains(place), "{filter}: {error}");
        }
    }

    #[test]
    fn depth_conditions_and_values_are_limited() {
        let nested = |depth| (1..depth).fold(json!({}), |inner, _| json!({"must": [inner]}));
        assert!(Filter::try_from(nested(MAX_DEPTH)).is_ok());
        assert!(Filter::try_from(nested(MAX_DEPTH + 1)).unwrap_err().message().contains("deep"));
        let many = |count| json!({"should": vec![json!({"key": "a", "match": 1}); count]});
        assert!(Filter::try_from(many(MAX_CONDITIONS)).is_ok());
        assert!(Filter::try_from(many(MAX_CONDITIONS + 1)).is_err());
        let any = |count| json!({"must": [{"key": "a", "any": vec![json!(1); count]}, {"has_id": ["a"]}]});
        assert!(Filter::try_from(any(MAX_VALUES - 1)).is_ok());
        assert!(Filter::try_from(any(MAX_VALUES)).is_err());
    }
}
