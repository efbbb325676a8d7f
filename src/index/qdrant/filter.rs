//! Our filters as Qdrant's.
//!
//! Conditions that hold for every item or for none are resolved here, so that nothing depends on what Qdrant makes of
//! an empty list.

use qdrant_client::qdrant::{self, RepeatedStrings, condition::ConditionOneOf, r#match::MatchValue};
use uuid::Uuid;

use super::{
    fields::{dates_path, float, numbers_path, terms_path, text},
    request::{field, has_id, uuid_of},
};
use crate::domain::{Condition, Filter, MinShould, Range, Scalar};

/// What becomes of a condition.
enum Logic {
    Always,
    Never,
    If(Box<qdrant::Condition>),
}

fn when(condition: qdrant::Condition) -> Logic {
    Logic::If(Box::new(condition))
}

/// The filter of a request; none where every item passes.
pub(super) fn translate(filter: Option<&Filter>) -> Option<qdrant::Filter> {
    match filter.map(whole)? {
        Logic::Always => None,
        Logic::Never => Some(must(vec![never()])),
        Logic::If(condition) => Some(must(vec![*condition])),
    }
}

/// A filter of conditions that all have to hold.
pub(super) fn must(conditions: Vec<qdrant::Condition>) -> qdrant::Filter {
    qdrant::Filter { must: conditions, ..qdrant::Filter::default() }
}

/// Adds a condition that must not hold.
pub(super) fn except(filter: Option<qdrant::Filter>, condition: qdrant::Condition) -> qdrant::Filter {
    let mut filter = filter.unwrap_or_default();
    filter.must_not.push(condition);
    filter
}

/// Adds a condition that has to hold.
pub(super) fn and(filter: Option<qdrant::Filter>, condition: qdrant::Condition) -> qdrant::Filter {
    let mut filter = filter.unwrap_or_default();
    filter.must.push(condition);
    filter
}

/// No item has the nil UUID.
fn never() -> qdrant::Condition {
    has_id(&[Uuid::nil()])
}

fn whole(filter: &Filter) -> Logic {
    let mut found = qdrant::Filter::default();
    for condition in &filter.must {
        match part(condition) {
            Logic::Always => {}
            Logic::Never => return Logic::Never,
            Logic::If(condition) => found.must.push(*condition),
        }
    }
    for condition in &filter.must_not {
        match part(condition) {
            Logic::Always => return Logic::Never,
            Logic::Never => {}
            Logic::If(condition) => found.must_not.push(*condition),
        }
    }
    let mut satisfied = filter.should.is_empty();
    for condition in &filter.should {
        match part(condition) {
            Logic::Always => satisfied = true,
            Logic::Never => {}
            Logic::If(condition) => found.should.push(*condition),
        }
    }
    if satisfied {
        found.should.clear();
    } else if found.should.is_empty() {
        return Logic::Never;
    }
    if let Some(MinShould { conditions, min_count }) = &filter.min_should {
        match at_least(*min_count, conditions) {
            Logic::Always => {}
            Logic::Never => return Logic::Never,
            Logic::If(condition) => found.must.push(*condition),
        }
    }
    if found == qdrant::Filter::default() {
        return Logic::Always;
    }
    when(qdrant::Condition { condition_one_of: Some(ConditionOneOf::Filter(found)) })
}

/// At least so many of the conditions hold; those that always do are counted here.
fn at_least(count: usize, conditions: &[Condition]) -> Logic {
    let (mut missing, mut open) = (count, Vec::new());
    for condition in conditions {
        match part(condition) {
            Logic::Always => missing = missing.saturating_sub(1),
            Logic::Never => {}
            Logic::If(condition) => open.push(*condition),
        }
    }
    if missing == 0 {
        return Logic::Always;
    }
    if missing > open.len() {
        return Logic::Never;
    }
    let min_should = Some(qdrant::MinShould { conditions: open, min_count: missing as u64 });
    let filter = qdrant::Filter { min_should, ..qdrant::Filter::default() };
    when(qdrant::Condition { condition_one_of: Some(ConditionOneOf::Filter(filter)) })
}

/// No text, number or truth value stands at the key: a term of null is none.
fn empty(key: &str) -> qdrant::Condition {
    let null = text(&Scalar::Null);
    let other = field(terms_path(key), MatchValue::ExceptKeywords(RepeatedStrings { strings: vec![null] }));
    let filter = qdrant::Filter { must_not: vec![other], ..qdrant::Filter::default() };
    qdrant::Condition { condition_one_of: Some(ConditionOneOf::Filter(filter)) }
}

fn part(condition: &Condition) -> Logic {
    match condition {
        Condition::Match { key, value } => when(field(terms_path(key), MatchValue::Keyword(text(value)))),
        Condition::Any { values, .. } if values.is_empty() => Logic::Never,
        Condition::Any { key, values } => {
            let strings = values.iter().map(text).collect();
            when(field(terms_path(key), MatchValue::Keywords(RepeatedStrings { strings })))
        }
        Condition::Except { key, values } => {
            // A term of null is no value, so it is never what a key has beside the others.
            let strings = values.iter().chain([&Scalar::Null]).map(text).collect();
            when(field(terms_path(key), MatchValue::ExceptKeywords(RepeatedStrings { strings })))
        }
        Condition::Range { key, range } => within(numbers_path(key), range, |number| float(&Scalar::Number(number))),
        Condition::Dates { key, range } => within(dates_path(key), range, |date| Some(date.micros() as f64)),
        Condition::IsNull(key) => when(field(terms_path(key), MatchValue::Keyword(text(&Scalar::Null)))),
        Condition::IsEmpty(key) => when(empty(key)),
        Condition::HasId(ids) if ids.is_empty() => Logic::Never,
        Condition::HasId(ids) => when(has_id(&ids.iter().map(uuid_of).collect::<Vec<_>>())),
        Condition::Nested(filter) => whole(filter),
    }
}

/// Qdrant compares numbers as floats, so bounds beyond 2^53 are as coarse as floats are there.
fn within<T: Ord + Copy>(path: String, range: &Range<T>, float: impl Fn(T) -> Option<f64>) -> Logic {
    use std::ops::Bound;
    let Some((lower, upper)) = range.bounds() else { return Logic::Never };
    let (gt, gte) = match lower {
        Bound::Included(number) => (None, float(number)),
        Bound::Excluded(number) => (float(number), None),
        Bound::Unbounded => (None, None),
    };
    let (lt, lte) = match upper {
        Bound::Included(number) => (None, float(number)),
        Bound::Excluded(number) => (float(number), None),
        Bound::Unbounded => (None, None),
    };
    let range = qdrant::Range { lt, gt, gte, lte };
    let condition = qdrant::FieldCondition { key: path, range: Some(range), ..Default::default() };
    when(qdrant::Condition { condition_one_of: Some(ConditionOneOf::Field(condition)) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn translated(value: Value) -> Option<qdrant::Filter> {
        translate(Some(&Filter::try_from(value).unwrap()))
    }

    #[test]
    fn what_holds_always_or_never_is_resolved_here() {
        let cat = json!({"key": "label", "match": "cat"});
        let none = json!({"key": "label", "any": []});
        let never_ = Some(must(vec![never()]));
        for (filter, expected) in [
            (json!({}), None),
            (json!({"must": [{}]}), None),
            (json!({"should": [{}, cat]}), None),
            (json!({"must": [none]}), never_.clone()),
            (json!({"must": [{"has_id": []}]}), never_.clone()),
            (json!({"must_not": [{"should": []}]}), never_.clone()),
            (json!({"should": [none]}), never_.clone()),
            (json!({"must": [{"key": "n", "range": {"gt": 2, "lt": 1}}]}), never_),
            (json!({"must_not": [none]}), None),
            (json!({"should": [none, cat]}), translated(json!({"should": [cat]}))),
            (json!({"must": [cat, {}], "should": [{}]}), translated(json!({"must": [cat]}))),
        ] {
            assert_eq!(translated(filter.clone()), expected, "{filter}");
        }
    }

    #[test]
    fn no_filter_is_none() {
        assert_eq!(translate(None), None);
    }
}
