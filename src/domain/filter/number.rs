use std::{cmp::Ordering, ops::Bound};

use serde_json::{Map, Value, json};

/// A JSON number with exact comparison: integers beyond 2^53 stay distinct, and 1 equals 1.0.
#[derive(Debug, Clone, Copy)]
pub struct Number(Form);

#[derive(Debug, Clone, Copy)]
enum Form {
    Integer(i128),
    /// Finite, and either with a fraction or of a magnitude of at least 1e38.
    Float(f64),
}

/// Floats from here on stay floats; below it every whole float is an `i128` exactly.
const WHOLE_LIMIT: f64 = 1e38;

impl Number {
    #[must_use]
    pub fn of(number: &serde_json::Number) -> Self {
        if let Some(integer) = number.as_i64() {
            return Self(Form::Integer(integer.into()));
        }
        if let Some(integer) = number.as_u64() {
            return Self(Form::Integer(integer.into()));
        }
        let float = number.as_f64().unwrap_or(f64::MAX);
        if float.fract() == 0.0 && float.abs() < WHOLE_LIMIT {
            Self(Form::Integer(float as i128))
        } else {
            Self(Form::Float(float))
        }
    }

    pub(super) fn to_value(self) -> Value {
        match self.0 {
            Form::Float(float) => json!(float),
            Form::Integer(integer) => match (i64::try_from(integer), u64::try_from(integer)) {
                (Ok(integer), _) => json!(integer),
                (_, Ok(integer)) => json!(integer),
                _ => json!(integer as f64),
            },
        }
    }
}

/// Compares an integer with a float that has a fraction or is of huge magnitude: never equal.
fn integer_to_float(integer: i128, float: f64) -> Ordering {
    if float.abs() >= WHOLE_LIMIT {
        return if float > 0.0 { Ordering::Less } else { Ordering::Greater };
    }
    if integer <= float.floor() as i128 { Ordering::Less } else { Ordering::Greater }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0, other.0) {
            (Form::Integer(a), Form::Integer(b)) => a.cmp(&b),
            (Form::Float(a), Form::Float(b)) => a.total_cmp(&b),
            (Form::Integer(a), Form::Float(b)) => integer_to_float(a, b),
            (Form::Float(a), Form::Integer(b)) => integer_to_float(b, a).reverse(),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl std::hash::Hash for Number {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self.0 {
            Form::Integer(integer) => integer.hash(state),
            Form::Float(float) => float.to_bits().hash(state),
        }
    }
}

/// Values between bounds; every bound given holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range<T> {
    pub gt: Option<T>,
    pub gte: Option<T>,
    pub lt: Option<T>,
    pub lte: Option<T>,
}

/// Numbers between bounds.
pub type NumberRange = Range<Number>;

impl<T> Default for Range<T> {
    fn default() -> Self {
        Self { gt: None, gte: None, lt: None, lte: None }
    }
}

impl<T: Ord + Copy> Range<T> {
    #[must_use]
    pub fn contains(&self, number: T) -> bool {
        self.gt.is_none_or(|bound| number > bound)
            && self.gte.is_none_or(|bound| number >= bound)
            && self.lt.is_none_or(|bound| number < bound)
            && self.lte.is_none_or(|bound| number <= bound)
    }

    /// The two tightest bounds, in the form ordered maps take; none where no value lies between them.
    #[must_use]
    pub fn bounds(&self) -> Option<(Bound<T>, Bound<T>)> {
        let lower = match (self.gt, self.gte) {
            (Some(gt), Some(gte)) if gte > gt => Bound::Included(gte),
            (Some(gt), _) => Bound::Excluded(gt),
            (None, Some(gte)) => Bound::Included(gte),
            (None, None) => Bound::Unbounded,
        };
        let upper = match (self.lt, self.lte) {
            (Some(lt), Some(lte)) if lte < lt => Bound::Included(lte),
            (Some(lt), _) => Bound::Excluded(lt),
            (None, Some(lte)) => Bound::Included(lte),
            (None, None) => Bound::Unbounded,
        };
        let empty = match (lower, upper) {
            (Bound::Included(a), Bound::Included(b)) => a > b,
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a >= b,
            _ => false,
        };
        (!empty).then_some((lower, upper))
    }

    pub(super) fn to_value(self, shown: impl Fn(T) -> Value) -> Value {
        let bounds = [("gt", self.gt), ("gte", self.gte), ("lt", self.lt), ("lte", self.lte)];
        let object: Map<_, _> =
            bounds.into_iter().filter_map(|(name, bound)| Some((name.to_owned(), shown(bound?)))).collect();
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::of(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn numbers_order_exactly_across_integers_and_floats() {
        let ascending = [
            "-1e300",
            "-9223372036854775808",
            "-2.5",
            "-2",
            "0",
            "1e-300",
            "1",
            "1.5",
            "2",
            "9007199254740992",
            "9007199254740993",
            "18446744073709551615",
            "1e300",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(number(a).cmp(&number(b)), i.cmp(&j), "{a} {b}");
            }
        }
        assert_eq!(number("2"), number("2.0"));
        assert_eq!(number("0"), number("-0.0"));
    }

    #[test]
    fn the_bounds_of_a_range_are_its_tightest_and_none_when_nothing_lies_between() {
        let [one, two] = [number("1"), number("2")];
        let range = NumberRange { gt: Some(one), gte: Some(one), lt: Some(two), lte: None };
        assert_eq!(range.bounds(), Some((Bound::Excluded(one), Bound::Excluded(two))));
        assert_eq!(NumberRange { gt: Some(two), lt: Some(one), ..Default::default() }.bounds(), None);
        assert_eq!(NumberRange { gt: Some(one), lt: Some(one), ..Default::default() }.bounds(), None);
        let point = NumberRange { gte: Some(one), lte: Some(one), ..Default::default() };
        assert_eq!(point.bounds(), Some((Bound::Included(one), Bound::Included(one))));
    }
}
