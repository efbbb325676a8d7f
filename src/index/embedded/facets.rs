//! Counting the values of a key, from the filter index alone; only long texts are read from the database.

use super::{core::Core, memory::postings::Tally, quantized::nibbles::CHUNK_SLOTS, storage::database::corrupt};
use crate::{
    domain::{FieldPath, Filter, TopK},
    error::Result,
    index::{
        Facet,
        terms::{is_shortened, shorten},
    },
};

impl Core {
    pub(super) fn facets(&self, key: &FieldPath, filter: Option<&Filter>, limit: TopK) -> Result<Vec<Facet>> {
        let (view, tallies) =
            self.view_and(filter, |memory, allowed| memory.facets(key.as_str(), allowed, limit.get()))?;
        let facet = |Tally { value, count, slot }| {
            if !is_shortened(&value) {
                return Ok(Facet { value, count });
            }
            let item = view.chunks[slot as usize / CHUNK_SLOTS].rows[slot as usize % CHUNK_SLOTS].key;
            let record = item.map(|item| view.reader.record(item)).transpose()?.flatten();
            let texts = record.map(|record| key.values(&record.metadata)).unwrap_or_default();
            let text = texts.into_iter().find(|text| shorten(text.clone()) == value);
            let text = text.ok_or_else(|| corrupt(format!("no item has {value} at {key}")))?;
            Ok(Facet { value: text, count })
        };
        tallies.into_iter().map(facet).collect()
    }
}
