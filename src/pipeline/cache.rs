//! Vectors of images that come again, byte for byte.
//!
//! A vector is known by the BLAKE3 hash of the image's bytes and by the space key, which names everything that makes
//! it: the graph, the preprocessing and the options of the request. So nothing kept here can be out of date.
//!
//! The sum of bytes around the crate `lru` is our own: `moka` and `quick_cache` weigh entries too, but the one evicts on
//! its own time and the other by shards, so that neither keeps just the vectors used last within just the limit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::{
    domain::SpaceKey,
    image::Encoded,
    telemetry::{Metrics, metrics::ModelLabels},
};

/// What an entry takes beside its vector: its key, its place in the map and in the order of use.
const ENTRY_BYTES: u64 = 160;

/// Names one vector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    image: [u8; 32],
    space: SpaceKey,
}

impl CacheKey {
    /// The key of an image's vector in a space. It takes the hash of the file.
    pub(super) fn new(image: &Encoded, space: &SpaceKey) -> Self {
        Self { image: *image.hash().as_bytes(), space: space.clone() }
    }
}

/// The vectors used last, within a number of bytes.
pub(super) struct VectorCache {
    limit: u64,
    entries: Mutex<Entries>,
    metrics: Arc<Metrics>,
}

struct Entries {
    vectors: LruCache<CacheKey, Arc<[f32]>>,
    bytes: u64,
}

impl VectorCache {
    pub(super) fn new(limit: u64, metrics: Arc<Metrics>) -> Self {
        Self { limit, entries: Mutex::new(Entries { vectors: LruCache::unbounded(), bytes: 0 }), metrics }
    }

    /// Whether vectors are kept at all: where they are not, nothing need be hashed.
    pub(super) const fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// The vector of a key, which counts as used now.
    pub(super) fn get(&self, key: &CacheKey, model: &str) -> Option<Vec<f32>> {
        let found = self.lock().vectors.get(key).cloned();
        let counts = if found.is_some() { &self.metrics.cache_hits } else { &self.metrics.cache_misses };
        counts.get_or_create(&ModelLabels { model: model.to_owned() }).inc();
        found.map(|vector| vector.to_vec())
    }

    /// Keeps a vector; what has not been used for longest goes. One that is larger than the whole is not kept.
    pub(super) fn put(&self, key: CacheKey, vector: &[f32]) {
        let bytes = size(vector);
        if bytes > self.limit {
            return;
        }
        let vector: Arc<[f32]> = vector.into();
        let mut entries = self.lock();
        if let Some((_, replaced)) = entries.vectors.push(key, vector) {
            entries.bytes -= size(&replaced);
        }
        entries.bytes += bytes;
        while entries.bytes > self.limit {
            let Some((_, oldest)) = entries.vectors.pop_lru() else { break };
            entries.bytes -= size(&oldest);
        }
        self.metrics.cache_bytes.set(i64::try_from(entries.bytes).unwrap_or(i64::MAX));
    }

    /// Nothing that runs under this lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(vector: &[f32]) -> u64 {
    ENTRY_BYTES + size_of_val(vector) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(vectors: u64) -> VectorCache {
        VectorCache::new(vectors * size(&[0.0; 4]), Arc::default())
    }

    fn key(image: u8, space: &str) -> CacheKey {
        CacheKey::new(&Encoded::new(vec![image].into()), &space.parse().unwrap())
    }

    const SPACE: &str = "m@0123456789ab";

    #[test]
    fn what_was_used_last_is_kept_within_the_bytes() {
        let cache = cache(2);
        let keys: Vec<_> = (0..3).map(|image| key(image, SPACE)).collect();
        cache.put(keys[0].clone(), &[0.0; 4]);
        cache.put(keys[1].clone(), &[1.0; 4]);
        assert!(cache.get(&keys[0], "m").is_some());
        cache.put(keys[2].clone(), &[2.0; 4]);
        assert_eq!(cache.get(&keys[1], "m"), None);
        assert_eq!(cache.get(&keys[2], "m"), Some(vec![2.0; 4]));
        assert_eq!(cache.get(&keys[0], "m"), Some(vec![0.0; 4]));
        assert_eq!(cache.metrics.cache_bytes.get(), 2 * size(&[0.0; 4]) as i64);
        let text = cache.metrics.render();
        assert!(text.contains("latentd_cache_hits_total{model=\"m\"} 3"), "{text}");
        assert!(text.contains("latentd_cache_misses_total{model=\"m\"} 1"), "{text}");
    }

    #[test]
    fn another_space_is_another_vector_and_the_same_key_twice_takes_no_more_memory() {
        let cache = cache(3);
        cache.put(key(1, SPACE), &[1.0; 4]);
        cache.put(key(1, SPACE), &[1.0; 4]);
        assert_eq!(cache.get(&key(1, "m@0123456789ab;dim=2"), "m"), None);
        assert_eq!(cache.metrics.cache_bytes.get(), size(&[0.0; 4]) as i64);
    }

    #[test]
    fn without_memory_the_cache_is_off_and_what_is_too_large_is_not_kept() {
        assert!(!cache(0).is_on());
        let cache = cache(1);
        cache.put(key(1, SPACE), &[1.0; 5]);
        assert_eq!(cache.get(&key(1, SPACE), "m"), None);
    }
}
