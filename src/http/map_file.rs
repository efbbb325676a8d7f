//! A map as one binary file, which a page hands to its graphics card as it is. The route's documentation says what
//! stands where.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use crate::{
    domain::Scalar,
    error::{Error, Result},
    service::CollectionMap,
};

/// The code of a point without a value.
const NO_CATEGORY: u32 = u32::MAX;
/// More different numbers than this are a scale and no categories.
const MOST_NUMBERS: usize = 32;

/// The header of the file.
#[derive(Serialize)]
struct Head<'a, H> {
    #[serde(flatten)]
    head: &'a H,
    points: usize,
    column: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    categories: Option<Vec<Value>>,
}

/// What the points are told apart by.
enum Column {
    None,
    Categories { codes: Vec<u32>, values: Vec<Value> },
    Numbers(Vec<f32>),
}

/// The file of a map with this head.
///
/// # Errors
/// `internal` when the head cannot be written or the ids are longer than 4 GiB.
pub(super) fn map_file(head: &impl Serialize, map: &CollectionMap) -> Result<Vec<u8>> {
    let column = Column::of(map);
    let (name, values) = match column {
        Column::None => ("none", None),
        Column::Categories { .. } => ("categories", Some(column.values())),
        Column::Numbers(_) => ("numbers", None),
    };
    let head = Head { head, points: map.points.len(), column: name, categories: values };
    let mut json =
        serde_json::to_vec(&head).map_err(|error| Error::internal("a map has no head").with_source(error))?;
    json.resize(json.len().next_multiple_of(4), b' ');
    let length = u32::try_from(json.len()).map_err(|_| Error::internal("the head of a map is too long"))?;
    let mut file = Vec::with_capacity(json.len() + map.points.len() * 32);
    file.extend(length.to_le_bytes());
    file.append(&mut json);
    file.extend(map.points.iter().flat_map(|point| (point.x as f32).to_le_bytes()));
    file.extend(map.points.iter().flat_map(|point| (point.y as f32).to_le_bytes()));
    match &column {
        Column::None => {}
        Column::Categories { codes, .. } => file.extend(codes.iter().flat_map(|code| code.to_le_bytes())),
        Column::Numbers(numbers) => file.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
    }
    let mut end: usize = 0;
    for point in &map.points {
        end += point.id.as_str().len();
        let end = u32::try_from(end).map_err(|_| Error::internal("the ids of a map are too long"))?;
        file.extend(end.to_le_bytes());
    }
    map.points.iter().for_each(|point| file.extend(point.id.as_str().as_bytes()));
    Ok(file)
}

impl Column {
    fn of(map: &CollectionMap) -> Self {
        let mut counts: HashMap<&Scalar, u64> = HashMap::new();
        map.points.iter().filter_map(|point| point.value.as_ref()).for_each(|value| {
            *counts.entry(value).or_default() += 1;
        });
        if counts.is_empty() {
            return Self::None;
        }
        let numeric = counts.keys().all(|value| matches!(value, Scalar::Number(_)));
        if numeric && counts.len() > MOST_NUMBERS {
            let number = |value: &Scalar| value.to_value().as_f64().map_or(f32::NAN, |number| number as f32);
            let numbers = map.points.iter().map(|point| point.value.as_ref().map_or(f32::NAN, number));
            return Self::Numbers(numbers.collect());
        }
        let mut values: Vec<(&Scalar, u64)> = counts.into_iter().collect();
        values.sort_unstable_by(|(a, many), (b, few)| few.cmp(many).then_with(|| a.cmp(b)));
        let codes: HashMap<&Scalar, u32> = values.iter().zip(0..).map(|((value, _), code)| (*value, code)).collect();
        let code = |value: Option<&Scalar>| value.and_then(|value| codes.get(value).copied()).unwrap_or(NO_CATEGORY);
        Self::Categories {
            codes: map.points.iter().map(|point| code(point.value.as_ref())).collect(),
            values: values.into_iter().map(|(value, _)| value.to_value()).collect(),
        }
    }

    /// The categories, the most frequent first.
    fn values(&self) -> Vec<Value> {
        match self {
            Self::Categories { values, .. } => values.clone(),
            Self::None | Self::Numbers(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::service::MapPoint;

    fn map(values: &[Value]) -> CollectionMap {
        let point = |(at, value): (usize, &Value)| MapPoint {
            id: format!("é{at}").parse().unwrap(),
            x: at as f64,
            y: -0.5 * at as f64,
            value: Scalar::of(value),
        };
        let points = values.iter().enumerate().map(point).collect();
        CollectionMap { count: 9, most: 5, explained: None, points }
    }

    /// The header and the words behind it, then the ids.
    fn read(values: &[Value]) -> (Value, Vec<[u8; 4]>, String) {
        let file = map_file(&json!({"count": 9}), &map(values)).unwrap();
        let (length, rest) = file.split_first_chunk::<4>().unwrap();
        let (head, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        assert_eq!(head.len() % 4, 0);
        let head: Value = serde_json::from_slice(head).unwrap();
        let arrays = if head["column"] == "none" { 3 } else { 4 };
        let (words, ids) = rest.split_at(arrays * 4 * values.len());
        let words = words.as_chunks::<4>().0.to_vec();
        (head, words, String::from_utf8(ids.to_vec()).unwrap())
    }

    #[test]
    fn categories_come_by_their_number_and_ids_by_their_ends() {
        let (head, words, ids) = read(&[json!("dog"), json!("cat"), Value::Null, json!("dog")]);
        assert_eq!(head, json!({"count": 9, "points": 4, "column": "categories", "categories": ["dog", "cat"]}));
        assert_eq!(words[..4].iter().map(|word| f32::from_le_bytes(*word)).collect::<Vec<_>>(), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(
            words[4..8].iter().map(|word| f32::from_le_bytes(*word)).collect::<Vec<_>>(),
            [0.0, -0.5, -1.0, -1.5]
        );
        let codes: Vec<u32> = words[8..12].iter().map(|word| u32::from_le_bytes(*word)).collect();
        assert_eq!(codes, [0, 1, NO_CATEGORY, 0]);
        let ends: Vec<u32> = words[12..].iter().map(|word| u32::from_le_bytes(*word)).collect();
        assert_eq!((ends, ids.as_str()), (vec![3, 6, 9, 12], "é0é1é2é3"));
    }

    #[test]
    fn many_numbers_are_a_scale_and_few_are_categories() {
        let scale: Vec<Value> = (0..40).map(|at| json!(at)).chain([Value::Null]).collect();
        let (head, words, _) = read(&scale);
        assert_eq!((&head["column"], head.get("categories")), (&json!("numbers"), None));
        let last = words[2 * 41..3 * 41].iter().map(|word| f32::from_le_bytes(*word)).collect::<Vec<_>>();
        assert!(last[39] == 39.0 && last[40].is_nan());
        let (head, ..) = read(&[json!(2), json!(1), json!(2.0)]);
        assert_eq!(head["categories"], json!([2, 1]));
        assert_eq!(read(&[Value::Null]).0["column"], "none");
    }
}
