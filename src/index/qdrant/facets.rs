//! Counting the values of a key.

use std::collections::BTreeMap;

use qdrant_client::qdrant::{FacetCounts, Filter as QdrantFilter, ScrollPoints, facet_value, r#match::MatchValue};

use super::{
    collection::QdrantCollection,
    fields::{self, TERMS},
    filter::{and, except, translate},
    payload::{METADATA, metadata_of, terms_of},
    request::{field, is_empty, only, vectors},
};
use crate::{
    domain::{FieldPath, Filter, Scalar, TopK},
    error::{Error, Result},
    index::{
        Facet,
        terms::{is_shortened, shorten},
    },
};

/// Different values that are counted. Each shard counts so many of its own, so that only beyond it counts may be low.
const MOST_VALUES: u64 = 1 << 16;
/// Items in one answer where values are counted here.
const PAGE: u32 = 1000;

impl QdrantCollection {
    pub(super) async fn count_values(
        &self,
        key: &FieldPath,
        filter: Option<Filter>,
        limit: TopK,
    ) -> Result<Vec<Facet>> {
        let path = fields::terms_path(key.as_str());
        let filter = translate(filter.as_ref());
        let asked = self.patiently(|| self.known.is_indexed(&self.shared, &self.entry.physical, &path));
        let counts = match asked.await? {
            Some(true) => self.counted_there(&path, filter).await?,
            // a field is indexed before anything is written into it
            Some(false) => Vec::new(),
            None => self.counted_here(&path, filter).await?,
        };
        let mut counts: Vec<(Scalar, String, u64)> =
            counts.into_iter().filter_map(|(text, count)| Some((fields::value(&text)?, text, count))).collect();
        // of equal counts the lesser value comes first
        counts.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
        counts.truncate(limit.get());
        let mut facets = Vec::with_capacity(counts.len());
        for (value, text, count) in counts {
            let value = if is_hash(&value) { self.unshortened(key, &path, text).await? } else { Some(value) };
            // an item that was deleted meanwhile took its text along
            facets.extend(value.map(|value| Facet { value, count }));
        }
        Ok(facets)
    }

    async fn counted_there(&self, path: &str, filter: Option<QdrantFilter>) -> Result<Vec<(String, u64)>> {
        let request = FacetCounts {
            collection_name: self.physical(),
            key: path.to_owned(),
            filter,
            limit: Some(MOST_VALUES),
            exact: Some(true),
            ..FacetCounts::default()
        };
        let answer = self.call(|node| {
            let request = request.clone();
            async move { node.points().facet(request).await }
        });
        // values that no item has any more are told with a count of 0
        let hits = answer.await?.hits.into_iter().filter(|hit| hit.count > 0);
        let text = |value: facet_value::Variant| match value {
            facet_value::Variant::StringValue(text) => Some(text),
            _ => None,
        };
        Ok(hits.filter_map(|hit| Some((text(hit.value?.variant?)?, hit.count))).collect())
    }

    /// Counts a field that is not indexed, by reading it of every item.
    async fn counted_here(&self, path: &str, filter: Option<QdrantFilter>) -> Result<Vec<(String, u64)>> {
        let name = path.strip_prefix(TERMS).and_then(|rest| rest.strip_prefix('.')).unwrap_or(path);
        let filter = except(filter, is_empty(path));
        let (mut counts, mut offset) = (BTreeMap::<String, u64>::new(), None);
        loop {
            let request = ScrollPoints {
                collection_name: self.physical(),
                filter: Some(filter.clone()),
                limit: Some(PAGE),
                offset,
                with_payload: only(&[path]),
                with_vectors: vectors(false),
                ..ScrollPoints::default()
            };
            let answer = self.call(|node| {
                let request = request.clone();
                async move { node.points().scroll(request).await }
            });
            let answer = answer.await?;
            for text in answer.result.iter().flat_map(|point| terms_of(&point.payload, name)) {
                *counts.entry(text.to_owned()).or_default() += 1;
            }
            offset = answer.next_page_offset;
            if offset.is_none() {
                return Ok(counts.into_iter().collect());
            }
        }
    }

    /// The text behind a hash, from an item that has it.
    async fn unshortened(&self, key: &FieldPath, path: &str, hash: String) -> Result<Option<Scalar>> {
        let value = fields::value(&hash);
        let request = ScrollPoints {
            collection_name: self.physical(),
            filter: Some(and(None, field(path.to_owned(), MatchValue::Keyword(hash)))),
            limit: Some(1),
            with_payload: only(&[METADATA]),
            with_vectors: vectors(false),
            ..ScrollPoints::default()
        };
        let answer = self.call(|node| {
            let request = request.clone();
            async move { node.points().scroll(request).await }
        });
        let Some(point) = answer.await?.result.into_iter().next() else { return Ok(None) };
        let texts = key.values(&metadata_of(&point.payload)?);
        let text = texts.into_iter().find(|text| Some(shorten(text.clone())) == value);
        text.map(Some).ok_or_else(|| Error::internal(format!("no item has the text behind a value at {key}")))
    }
}

/// Only hashes are longer than what is kept as it is.
fn is_hash(value: &Scalar) -> bool {
    is_shortened(value)
}
