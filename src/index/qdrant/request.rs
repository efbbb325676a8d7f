//! The pieces that requests are put together from.

use qdrant_client::qdrant::{
    Condition, Direction, FieldCondition, HasIdCondition, IsEmptyCondition, Match, OrderBy, PayloadIncludeSelector,
    PointId, PointsIdsList, PointsSelector, ScrollPoints, StartFrom, WithPayloadSelector, WithVectorsSelector,
    WriteOrdering, WriteOrderingType, condition::ConditionOneOf, r#match::MatchValue, point_id::PointIdOptions,
    points_selector::PointsSelectorOneOf, start_from, with_payload_selector, with_vectors_selector,
};
use uuid::Uuid;

use super::payload::WRITTEN;
use crate::domain::ItemId;

/// The namespace of item ids, drawn once. Never change it: every id in every cluster is derived from it.
const NAMESPACE: Uuid = Uuid::from_u128(0x0e2f_4c1d_93ab_4d57_b7a6_61f2_3c58_9e04);

/// The id of an item's point.
pub(super) fn uuid_of(id: &ItemId) -> Uuid {
    Uuid::new_v5(&NAMESPACE, id.as_str().as_bytes())
}

/// The id of the point of any text, as [`uuid_of`] makes it.
pub(super) fn uuid_of_text(text: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, text.as_bytes())
}

pub(super) fn point(id: Uuid) -> PointId {
    PointId { point_id_options: Some(PointIdOptions::Uuid(id.to_string())) }
}

/// The UUID of a point; none for points that are not ours.
pub(super) fn uuid_of_point(point: Option<&PointId>) -> Option<Uuid> {
    match point?.point_id_options.as_ref()? {
        PointIdOptions::Uuid(text) => text.parse().ok(),
        PointIdOptions::Num(_) => None,
    }
}

pub(super) fn has_id(ids: &[Uuid]) -> Condition {
    let has_id = ids.iter().map(|id| point(*id)).collect();
    Condition { condition_one_of: Some(ConditionOneOf::HasId(HasIdCondition { has_id })) }
}

pub(super) fn field(key: String, value: MatchValue) -> Condition {
    let r#match = Some(Match { match_value: Some(value) });
    Condition {
        condition_one_of: Some(ConditionOneOf::Field(FieldCondition { key, r#match, ..FieldCondition::default() })),
    }
}

/// Holds where the payload lacks a field.
pub(super) fn is_empty(key: &str) -> Condition {
    Condition { condition_one_of: Some(ConditionOneOf::IsEmpty(IsEmptyCondition { key: key.to_owned() })) }
}

/// Only these fields of the payload.
pub(super) fn only(fields: &[&str]) -> Option<WithPayloadSelector> {
    let fields = fields.iter().map(|&field| field.to_owned()).collect();
    let include = PayloadIncludeSelector { fields };
    Some(WithPayloadSelector { selector_options: Some(with_payload_selector::SelectorOptions::Include(include)) })
}

pub(super) fn vectors(wanted: bool) -> Option<WithVectorsSelector> {
    Some(WithVectorsSelector { selector_options: Some(with_vectors_selector::SelectorOptions::Enable(wanted)) })
}

pub(super) fn these(ids: &[Uuid]) -> Option<PointsSelector> {
    let ids = ids.iter().map(|id| point(*id)).collect();
    Some(PointsSelector { points_selector_one_of: Some(PointsSelectorOneOf::Points(PointsIdsList { ids })) })
}

pub(super) fn matching(filter: qdrant_client::qdrant::Filter) -> Option<PointsSelector> {
    Some(PointsSelector { points_selector_one_of: Some(PointsSelectorOneOf::Filter(filter)) })
}

pub(super) fn ascending(key: &str, from: Option<i64>) -> Option<OrderBy> {
    let start_from = from.map(|from| StartFrom { value: Some(start_from::Value::Integer(from)) });
    Some(OrderBy { key: key.to_owned(), direction: Some(Direction::Asc.into()), start_from })
}

pub(super) fn descending(key: &str) -> Option<OrderBy> {
    Some(OrderBy { key: key.to_owned(), direction: Some(Direction::Desc.into()), start_from: None })
}

/// The stamp of the last write into a Qdrant collection.
pub(super) fn newest(collection_name: String) -> ScrollPoints {
    ScrollPoints {
        collection_name,
        limit: Some(1),
        order_by: descending(WRITTEN),
        with_payload: only(&[WRITTEN]),
        with_vectors: vectors(false),
        ..ScrollPoints::default()
    }
}

/// Writes of a point go through one of its replicas, so that all replicas apply them in one order; if that one dies,
/// another takes over, which the strong ordering would not allow.
pub(super) fn in_order() -> Option<WriteOrdering> {
    Some(WriteOrdering { r#type: WriteOrderingType::Medium.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_point_of_an_id_is_the_same_for_ever() {
        let uuid = uuid_of(&"cat-1".parse().unwrap());
        assert_eq!(uuid.get_version_num(), 5);
        assert_eq!(uuid, uuid_of_text("cat-1"));
        assert_eq!(uuid_of_point(Some(&point(uuid))), Some(uuid));
        assert_eq!(uuid.to_string(), "9ac708b1-2331-5957-aef9-e3694e1b725f");
    }
}
