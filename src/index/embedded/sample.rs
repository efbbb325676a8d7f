//! Items drawn without preference.

use rand::{SeedableRng as _, seq::index};
use rand_chacha::ChaCha8Rng;

use super::{core::Core, search::scan::Scope};
use crate::{domain::Metadata, error::Result, index::StoredItem};

/// The same collection gives the same items.
const SEED: u64 = 0x5eed;

impl Core {
    pub(super) fn sample(&self, limit: usize, with_metadata: bool) -> Result<Vec<StoredItem>> {
        let view = self.view(None)?;
        let mut keys = Scope { chunks: &view.chunks, allowed: None, excluded: None }.keys();
        keys.sort_unstable();
        if keys.len() > limit {
            let mut places = index::sample(&mut ChaCha8Rng::seed_from_u64(SEED), keys.len(), limit).into_vec();
            places.sort_unstable();
            keys = places.into_iter().map(|place| keys[place]).collect();
        }
        let mut items = Vec::with_capacity(keys.len());
        for key in keys {
            let (Some(vector), Some(record)) = (self.vector(&view.reader, key)?, view.reader.record(key)?) else {
                continue;
            };
            let metadata = if with_metadata { record.metadata } else { Metadata::new() };
            items.push(StoredItem { id: record.id, vector, metadata, image: record.image });
        }
        Ok(items)
    }
}
