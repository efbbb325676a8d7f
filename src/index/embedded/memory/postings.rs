//! The filter index: for every key and value of the metadata, the slots that have it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use roaring::RoaringBitmap;

use crate::{
    domain::{Condition, Date, Filter, ItemId, MinShould, Number, NumberRange, Range, Scalar},
    error::Result,
    index::terms::{Term, shorten},
};

/// Slots; a single one, as of a value that only one item has, takes no bitmap.
#[derive(Debug)]
enum Slots {
    One(u32),
    Many(RoaringBitmap),
}

impl Slots {
    fn insert(&mut self, slot: u32) {
        match self {
            Self::One(only) if *only == slot => {}
            Self::One(only) => *self = Self::Many(RoaringBitmap::from_iter([*only, slot])),
            Self::Many(bitmap) => {
                bitmap.insert(slot);
            }
        }
    }

    /// How many of the allowed slots these are, and the first of them.
    fn count(&self, allowed: Option<&RoaringBitmap>) -> Option<(u64, u32)> {
        match (self, allowed) {
            (Self::One(slot), None) => Some((1, *slot)),
            (Self::One(slot), Some(allowed)) => allowed.contains(*slot).then_some((1, *slot)),
            (Self::Many(slots), None) => Some((slots.len(), slots.min()?)),
            (Self::Many(slots), Some(allowed)) => {
                let both = slots & allowed;
                Some((both.len(), both.min()?))
            }
        }
    }

    /// Removes a slot; `true` if none is left.
    fn remove(&mut self, slot: u32) -> bool {
        match self {
            Self::One(only) => *only == slot,
            Self::Many(bitmap) => {
                bitmap.remove(slot);
                bitmap.is_empty()
            }
        }
    }

    fn union_into(&self, bitmap: &mut RoaringBitmap) {
        match self {
            Self::One(slot) => {
                bitmap.insert(*slot);
            }
            Self::Many(slots) => *bitmap |= slots,
        }
    }
}

/// A value, how many slots have it, and one of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tally {
    pub(crate) value: Scalar,
    pub(crate) count: u64,
    pub(crate) slot: u32,
}

/// The values of one key.
#[derive(Debug, Default)]
struct Field {
    words: HashMap<Scalar, Slots>,
    numbers: BTreeMap<Number, Slots>,
}

impl Field {
    fn insert(&mut self, value: Scalar, slot: u32) {
        match value {
            Scalar::Number(number) => {
                self.numbers.entry(number).and_modify(|slots| slots.insert(slot)).or_insert(Slots::One(slot));
            }
            word => {
                self.words.entry(word).and_modify(|slots| slots.insert(slot)).or_insert(Slots::One(slot));
            }
        }
    }

    /// Removes a slot from a value; `true` if the field is empty then.
    fn remove(&mut self, value: &Scalar, slot: u32) -> bool {
        match value {
            Scalar::Number(number) => {
                if self.numbers.get_mut(number).is_some_and(|slots| slots.remove(slot)) {
                    self.numbers.remove(number);
                }
            }
            word => {
                if self.words.get_mut(word).is_some_and(|slots| slots.remove(slot)) {
                    self.words.remove(word);
                }
            }
        }
        self.words.is_empty() && self.numbers.is_empty()
    }

    fn with_any(&self, values: &[Scalar]) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        for value in values {
            let slots = match value {
                Scalar::Number(number) => self.numbers.get(number),
                word => self.words.get(&shorten(word.clone())),
            };
            if let Some(slots) = slots {
                slots.union_into(&mut found);
            }
        }
        found
    }

    /// The slots that have a value, null not counted, for which the test holds.
    fn with(&self, test: impl Fn(&Scalar) -> bool) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        for (word, slots) in &self.words {
            if *word != Scalar::Null && test(word) {
                slots.union_into(&mut found);
            }
        }
        for (number, slots) in &self.numbers {
            if test(&Scalar::Number(*number)) {
                slots.union_into(&mut found);
            }
        }
        found
    }

    fn with_other_than(&self, values: &[Scalar]) -> RoaringBitmap {
        let excepted: HashSet<Scalar> = values.iter().cloned().map(shorten).collect();
        self.with(|value| !excepted.contains(value))
    }

    /// The slots whose texts are dates in the range: dates are texts to the index, read as they are asked for.
    fn dated(&self, range: &Range<Date>) -> RoaringBitmap {
        self.with(|value| match value {
            Scalar::Text(text) => Date::of(text).is_some_and(|date| range.contains(date)),
            _ => false,
        })
    }

    /// The most frequent values, of equal counts the lesser first.
    fn facets(&self, allowed: Option<&RoaringBitmap>, limit: usize) -> Vec<Tally> {
        let named = self.words.iter().filter(|(word, _)| **word != Scalar::Null);
        let words = named.map(|(word, slots)| (Cow::Borrowed(word), slots));
        let numbers = self.numbers.iter().map(|(number, slots)| (Cow::Owned(Scalar::Number(*number)), slots));
        let counted = |(value, slots): (_, &Slots)| slots.count(allowed).map(|(count, slot)| (count, value, slot));
        let mut found: Vec<(u64, Cow<'_, Scalar>, u32)> = words.chain(numbers).filter_map(counted).collect();
        let order = |a: &(u64, Cow<'_, Scalar>, u32), b: &(u64, Cow<'_, Scalar>, u32)| {
            b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1))
        };
        if found.len() > limit {
            found.select_nth_unstable_by(limit, order);
            found.truncate(limit);
        }
        found.sort_unstable_by(order);
        found.into_iter().map(|(count, value, slot)| Tally { value: value.into_owned(), count, slot }).collect()
    }

    fn within(&self, range: &NumberRange) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        if let Some(bounds) = range.bounds() {
            self.numbers.range(bounds).for_each(|(_, slots)| slots.union_into(&mut found));
        }
        found
    }
}

/// Finds the slot of an id, if there is such an item.
pub(crate) type FindId<'a> = &'a dyn Fn(&ItemId) -> Result<Option<u32>>;

#[derive(Debug, Default)]
pub(crate) struct Postings {
    fields: HashMap<Arc<str>, Field>,
}

impl Postings {
    pub(crate) fn insert(&mut self, terms: Vec<Term>, slot: u32) {
        for Term { key, value } in terms {
            self.fields.entry(key).or_default().insert(value, slot);
        }
    }

    pub(crate) fn remove(&mut self, terms: &[Term], slot: u32) {
        for Term { key, value } in terms {
            if self.fields.get_mut(key).is_some_and(|field| field.remove(value, slot)) {
                self.fields.remove(key);
            }
        }
    }

    /// The values at a key among the allowed slots, most frequent first; long texts stand as their hash.
    pub(crate) fn facets(&self, key: &str, allowed: Option<&RoaringBitmap>, limit: usize) -> Vec<Tally> {
        self.fields.get(key).map(|field| field.facets(allowed, limit)).unwrap_or_default()
    }

    /// The slots, among `all`, whose items pass the filter.
    pub(crate) fn passing(&self, filter: &Filter, all: &RoaringBitmap, find: FindId<'_>) -> Result<RoaringBitmap> {
        let mut passing = all.clone();
        for condition in &filter.must {
            passing &= self.condition(condition, all, find)?;
        }
        if !filter.should.is_empty() {
            let mut any = RoaringBitmap::new();
            for condition in &filter.should {
                any |= self.condition(condition, all, find)?;
            }
            passing &= any;
        }
        for condition in &filter.must_not {
            passing -= self.condition(condition, all, find)?;
        }
        if let Some(MinShould { conditions, min_count }) = &filter.min_should {
            passing &= self.at_least(*min_count, conditions, (all, find))?;
        }
        Ok(passing)
    }

    /// The slots whose items pass at least so many of the conditions.
    fn at_least(
        &self,
        count: usize,
        conditions: &[Condition],
        (all, find): (&RoaringBitmap, FindId<'_>),
    ) -> Result<RoaringBitmap> {
        if count > conditions.len() {
            return Ok(RoaringBitmap::new());
        }
        // At each place, the slots that have passed one condition more than the place before it says.
        let mut passed = vec![RoaringBitmap::new(); count];
        for condition in conditions {
            let mut carried = self.condition(condition, all, find)?;
            for level in &mut passed {
                let next = &*level & &carried;
                *level |= &carried;
                carried = next;
            }
        }
        Ok(passed.pop().unwrap_or_else(|| all.clone()))
    }

    fn condition(&self, condition: &Condition, all: &RoaringBitmap, find: FindId<'_>) -> Result<RoaringBitmap> {
        let field = |key: &String| self.fields.get(key.as_str());
        Ok(match condition {
            Condition::Match { key, value } => {
                field(key).map(|field| field.with_any(std::slice::from_ref(value))).unwrap_or_default()
            }
            Condition::Any { key, values } => field(key).map(|field| field.with_any(values)).unwrap_or_default(),
            Condition::Range { key, range } => field(key).map(|field| field.within(range)).unwrap_or_default(),
            Condition::Except { key, values } => {
                field(key).map(|field| field.with_other_than(values)).unwrap_or_default()
            }
            Condition::Dates { key, range } => field(key).map(|field| field.dated(range)).unwrap_or_default(),
            Condition::IsNull(key) => field(key).map(|field| field.with_any(&[Scalar::Null])).unwrap_or_default(),
            Condition::IsEmpty(key) => match field(key) {
                Some(field) => all - field.with(|_| true),
                None => all.clone(),
            },
            Condition::HasId(ids) => {
                let mut found = RoaringBitmap::new();
                for id in ids {
                    found.extend(find(id)?);
                }
                found
            }
            Condition::Nested(filter) => self.passing(filter, all, find)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{domain::Metadata, index::terms::terms};

    fn metadata(value: Value) -> Metadata {
        value.as_object().cloned().unwrap()
    }

    fn passing(postings: &Postings, filter: Value) -> Vec<u32> {
        let filter = Filter::try_from(filter).unwrap();
        postings.passing(&filter, &RoaringBitmap::from_iter(0..4), &|_| Ok(None)).unwrap().iter().collect()
    }

    #[test]
    fn a_removed_item_leaves_nothing_behind() {
        let mut postings = Postings::default();
        let items = [json!({"a": ["x", "x"], "n": 1, "o": [{"p": true}, {"p": 2.5}]}), json!({"a": "x", "n": 1.0})];
        for (slot, item) in items.iter().enumerate() {
            postings.insert(terms(&metadata(item.clone())), slot as u32);
        }
        assert_eq!(passing(&postings, json!({"must": [{"key": "a", "match": "x"}]})), [0, 1]);
        assert_eq!(passing(&postings, json!({"must_not": [{"key": "o.p", "match": 2.5}]})), [1, 2, 3]);
        for (slot, item) in items.iter().enumerate() {
            postings.remove(&terms(&metadata(item.clone())), slot as u32);
        }
        assert!(postings.fields.is_empty(), "{postings:?}");
    }

    #[test]
    fn long_texts_are_found_by_their_hash() {
        let mut postings = Postings::default();
        let text = "ü".repeat(1000);
        postings.insert(terms(&metadata(json!({"t": text}))), 3);
        assert_eq!(passing(&postings, json!({"must": [{"key": "t", "match": text}]})), [3]);
        assert_eq!(passing(&postings, json!({"must": [{"key": "t", "match": text[2..]}]})), [0_u32; 0]);
    }
}
