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
        assert_eq!(Filter::try_from(json!({"must": theirs})).unwrap(), parse(&ours), "one condition without a list");
    }
}

#[test]
fn except_null_and_empty_are_told_apart() {
    let item = json!({"label": "cat", "tags": ["a", "b"], "none": null, "nulls": [null, 1], "list": [], "o": {"n": 1}});
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
