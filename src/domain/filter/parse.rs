//! Reading a filter from JSON, in Qdrant's spelling or the shorter one: every error names the place and what may stand
//! there.

use serde_json::{Map, Value};

use super::{Condition, Date, Filter, MinShould, Number, Range, Scalar};
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

/// The clauses of a filter, as messages list them.
const CLAUSES: &str = "must, should, must_not or min_should";

/// The part of the limits that is spent.
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
            return refuse(place, format_args!("is an object of {CLAUSES}"));
        };
        let mut filter = Filter::default();
        for (name, list) in object {
            let place = &format!("{place}.{name}");
            match name.as_str() {
                "must" => filter.must = self.conditions(list, place, depth)?,
                "should" => filter.should = self.conditions(list, place, depth)?,
                "must_not" => filter.must_not = self.conditions(list, place, depth)?,
                "min_should" => filter.min_should = self.min_should(list, place, depth)?,
                _ => {
                    let outer = place.strip_suffix(&format!(".{name}")).unwrap_or(place);
                    return refuse(outer, format_args!("has the unknown key {name:?}, not {CLAUSES}"));
                }
            }
        }
        Ok(filter)
    }

    fn min_should(&mut self, value: &Value, place: &str, depth: usize) -> Result<Option<MinShould>> {
        let Value::Object(object) = value else { return refuse(place, "is an object of conditions and min_count") };
        only(object, &["conditions", "min_count"], place)?;
        let none = Value::Null;
        let conditions =
            self.conditions(object.get("conditions").unwrap_or(&none), &format!("{place}.conditions"), depth)?;
        let count = object.get("min_count").and_then(Value::as_u64).filter(|count| *count > 0);
        let Some(min_count) = count.and_then(|count| usize::try_from(count).ok()) else {
            return refuse(&format!("{place}.min_count"), "is a whole number of at least 1");
        };
        Ok(Some(MinShould { conditions, min_count }))
    }

    fn conditions(&mut self, list: &Value, place: &str, depth: usize) -> Result<Vec<Condition>> {
        let list = match list {
            Value::Array(list) => list.as_slice(),
            Value::Object(one) if !one.is_empty() => std::slice::from_ref(list),
            _ => return refuse(place, "is a list of conditions"),
        };
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
        for (name, make) in
            [("is_null", Condition::IsNull as fn(String) -> Condition), ("is_empty", Condition::IsEmpty)]
        {
            let Some(field) = object.get(name) else { continue };
            only(object, &[name], place)?;
            let place = format!("{place}.{name}");
            let Value::Object(field) = field else { return refuse(&place, "is an object with a key") };
            only(field, &["key"], &place)?;
            return Ok(make(path(field, &place)?));
        }
        let clause = |name: &String| matches!(name.as_str(), "must" | "should" | "must_not" | "min_should");
        if !object.keys().all(clause) {
            return refuse(
                place,
                format_args!(
                    "has neither key (with match, any or range), has_id, is_null, is_empty, nor {CLAUSES} only"
                ),
            );
        }
        Ok(Condition::Nested(Box::new(self.filter(value, place, depth + 1)?)))
    }

    fn field(&mut self, object: &Map<String, Value>, place: &str) -> Result<Condition> {
        only(object, &["key", "match", "any", "range"], place)?;
        let key = path(object, place)?;
        match (object.get("match"), object.get("any"), object.get("range")) {
            (Some(Value::Object(form)), None, None) => self.match_form(key, form, &format!("{place}.match")),
            (Some(value), None, None) => Ok(Condition::Match { key, value: scalar(value, &format!("{place}.match"))? }),
            (None, Some(values), None) => {
                Ok(Condition::Any { key, values: self.list(values, &format!("{place}.any"), scalar)? })
            }
            (None, None, Some(value)) => range(key, value, &format!("{place}.range")),
            _ => refuse(place, "takes exactly one of match, any and range beside its key"),
        }
    }

    /// Qdrant's forms of a match.
    fn match_form(&mut self, key: String, form: &Map<String, Value>, place: &str) -> Result<Condition> {
        let Some((name, value)) = form.iter().next().filter(|_| form.len() == 1) else {
            return refuse(place, "takes exactly one of value, any and except");
        };
        let inner = format!("{place}.{name}");
        match name.as_str() {
            "value" => Ok(Condition::Match { key, value: scalar(value, &inner)? }),
            "any" => Ok(Condition::Any { key, values: self.list(value, &inner, scalar)? }),
            "except" => Ok(Condition::Except { key, values: self.list(value, &inner, scalar)? }),
            "text" | "text_any" | "phrase" => refuse(
                &inner,
                "asks for words in a text, which is not supported; value, any and except compare whole ones",
            ),
            _ => refuse(place, format_args!("has the unknown key {name:?}, not one of value, any, except")),
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

/// The dotted path of a condition. Qdrant's mark for the elements of an array, `[]`, is taken and not needed.
fn path(object: &Map<String, Value>, place: &str) -> Result<String> {
    if let Some(Value::String(key)) = object.get("key") {
        let key = key.replace("[]", "");
        if !key.split('.').any(str::is_empty) {
            return Ok(key);
        }
    }
    refuse(place, "has a key that is not a dotted path such as \"label\" or \"camera.lens\"")
}

/// A range of numbers or, where its bounds are texts, of dates.
fn range(key: String, value: &Value, place: &str) -> Result<Condition> {
    let Value::Object(object) = value else { return refuse(place, "is an object of gt, gte, lt and lte") };
    if object.values().all(Value::is_null) {
        return refuse(place, "needs at least one of gt, gte, lt and lte");
    }
    if object.values().any(Value::is_string) {
        let date = |value: &Value, place: &str| {
            let date = value.as_str().and_then(Date::of);
            date.map_or_else(|| refuse(place, "is a date such as \"2024-05-01T12:00:00Z\", as the other bounds"), Ok)
        };
        return Ok(Condition::Dates { key, range: bounds(object, place, date)? });
    }
    let number = |value: &Value, place: &str| match value {
        Value::Number(number) => Ok(Number::of(number)),
        _ => refuse(place, "is a number, or a date such as \"2024-05-01T12:00:00Z\""),
    };
    Ok(Condition::Range { key, range: bounds(object, place, number)? })
}

fn bounds<T>(object: &Map<String, Value>, place: &str, read: impl Fn(&Value, &str) -> Result<T>) -> Result<Range<T>> {
    let mut range = Range::default();
    for (name, value) in object {
        let bound = match name.as_str() {
            "gt" => &mut range.gt,
            "gte" => &mut range.gte,
            "lt" => &mut range.lt,
            "lte" => &mut range.lte,
            _ => return refuse(place, format_args!("has the unknown key {name:?}, not gt, gte, lt or lte")),
        };
        // Clients of Qdrant send the bounds that they leave open as null.
        if !value.is_null() {
            *bound = Some(read(value, &format!("{place}.{name}"))?);
        }
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
            (json!({"must": [{"key": "a", "match": {"value": []}}]}), "filter.must[0].match.value is a text"),
            (json!({"must": [{"key": "a", "match": {"any": [null]}}]}), "filter.must[0].match.any[0] is a text"),
            (json!({"must": [{"key": "a", "match": {"text": "x"}}]}), "filter.must[0].match.text asks for words"),
            (json!({"must": [{"key": "a", "match": {"like": "x"}}]}), "unknown key \"like\""),
            (json!({"must": [{"key": "a", "match": {}}]}), "exactly one of value, any and except"),
            (json!({"must": [{"is_null": "a"}]}), "filter.must[0].is_null is an object"),
            (json!({"must": [{"is_empty": {"key": ""}}]}), "filter.must[0].is_empty has a key"),
            (json!({"min_should": {"conditions": []}}), "filter.min_should.min_count is a whole number"),
            (json!({"min_should": {"min_count": 1}}), "filter.min_should.conditions is a list"),
            (json!({"must": [{"key": "a", "range": {"gt": "2024-05-01", "lt": 5}}]}), "range.lt is a date"),
            (json!({"must": [{"key": "a", "any": [1, []]}]}), "filter.must[0].any[1] is a text"),
            (json!({"must": [{"key": "a", "range": {}}]}), "at least one of gt"),
            (json!({"must": [{"key": "a", "range": {"from": 1}}]}), "unknown key \"from\""),
            (json!({"must": [{"key": "a", "range": {"gt": "1"}}]}), "filter.must[0].range.gt is a date"),
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
