//! The OpenAPI schemas of a filter, written by hand because parsing is.

use serde_json::json;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, Type, schema::AdditionalProperties,
    },
};

use super::{Condition, Filter};

fn list(items: impl Into<RefOr<Schema>>) -> ArrayBuilder {
    let items: RefOr<Schema> = items.into();
    ArrayBuilder::new().items(items)
}

fn typed(schema_type: Type) -> Object {
    ObjectBuilder::new().schema_type(schema_type).build()
}

fn closed() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

fn scalar() -> RefOr<Schema> {
    let texts = OneOfBuilder::new().item(typed(Type::String)).item(typed(Type::Number)).item(typed(Type::Boolean));
    RefOr::T(Schema::OneOf(texts.build()))
}

fn field(test: &str, schema: impl Into<RefOr<Schema>>) -> Object {
    closed()
        .property("key", ObjectBuilder::new().schema_type(Type::String).description(Some("a dotted path")).build())
        .required("key")
        .property(test, schema)
        .required(test)
        .build()
}

impl PartialSchema for Filter {
    fn schema() -> RefOr<Schema> {
        let conditions = || list(Ref::from_schema_name(Condition::name())).build();
        let count = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
        let min_should = closed()
            .property("conditions", conditions())
            .required("conditions")
            .property("min_count", count)
            .required("min_count")
            .build();
        closed()
            .description(Some(
                "items that pass every must, at least one should, no must_not, and min_count of min_should; an empty list \
                 does not constrain",
            ))
            .property("must", conditions())
            .property("should", conditions())
            .property("must_not", conditions())
            .examples([json!({
                "must": [{"key": "label", "match": {"value": "cat"}}, {"key": "price", "range": {"gte": 1, "lt": 9}}],
                "should": [{"key": "tags", "any": ["red", "blue"]}, {"has_id": ["a", "b"]}],
                "must_not": [{"must": [{"key": "camera.lens", "match": "50mm"}]}]
            })])
            .property("min_should", min_should)
            .into()
    }
}

impl ToSchema for Filter {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Condition::name().into_owned(), Condition::schema()));
        // A filter is also a condition, so its own schema has to be there by name even where it is inlined.
        schemas.push((Self::name().into_owned(), Self::schema()));
    }
}

impl PartialSchema for Condition {
    fn schema() -> RefOr<Schema> {
        let bounds = ["gt", "gte", "lt", "lte"];
        let bound = || {
            let date = ObjectBuilder::new().schema_type(Type::String).description(Some("a date of RFC 3339")).build();
            RefOr::T(Schema::OneOf(OneOfBuilder::new().item(typed(Type::Number)).item(date).build()))
        };
        let range = bounds.into_iter().fold(closed(), |range, name| range.property(name, bound()));
        let form = |name: &str, schema: RefOr<Schema>| closed().property(name, schema).required(name).build();
        let scalars = || RefOr::T(Schema::Array(list(scalar()).build()));
        let matches = OneOfBuilder::new()
            .item(scalar())
            .item(form("value", scalar()))
            .item(form("any", scalars()))
            .item(form("except", scalars()))
            .build();
        let named = |name: &str| {
            let key = ObjectBuilder::new().schema_type(Type::String).description(Some("a dotted path")).build();
            form(name, RefOr::T(Schema::Object(closed().property("key", key).required("key").build())))
        };
        let has_id = closed().property("has_id", list(typed(Type::String)).build()).required("has_id").build();
        OneOfBuilder::new()
            .item(field("match", RefOr::T(Schema::OneOf(matches))))
            .item(field("any", list(scalar()).build()))
            .item(field("range", range.build()))
            .item(has_id)
            .item(named("is_null"))
            .item(named("is_empty"))
            .item(Ref::from_schema_name(Filter::name()))
            .into()
    }
}

impl ToSchema for Condition {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_names_every_clause_and_condition() {
        let filter = serde_json::to_value(Filter::schema()).unwrap();
        for clause in ["must", "should", "must_not"] {
            assert_eq!(filter["properties"][clause]["items"]["$ref"], "#/components/schemas/Condition");
        }
        let mut named = Vec::new();
        <Filter as ToSchema>::schemas(&mut named);
        assert_eq!(named.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["Condition", "Filter"]);
        let condition = serde_json::to_value(Condition::schema()).unwrap();
        assert_eq!(condition["oneOf"].as_array().unwrap().len(), 7);
    }
}
