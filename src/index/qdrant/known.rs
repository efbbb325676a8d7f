//! What a replica remembers of the Qdrant collections it works on. All of it can be forgotten.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Mutex as Turns;

use super::{
    Shared,
    failure::Failure,
    physical::{describe, index_field},
};

/// Fields that are indexed, of one collection: as many keys as anybody has, and not as many as a hostile caller
/// thinks up. Conditions on the keys beyond are answered all the same, by a look at every item's payload.
pub(super) const MOST_FIELDS: usize = 256;

/// By the name of the Qdrant collection.
#[derive(Default)]
pub(super) struct AllKnown(Mutex<HashMap<String, Arc<Known>>>);

impl AllKnown {
    pub(super) fn of(&self, physical: &str) -> Arc<Known> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(physical.to_owned()).or_default())
    }

    pub(super) fn forget(&self, physical: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(physical);
    }
}

/// Of one Qdrant collection.
#[derive(Default)]
pub(super) struct Known {
    /// Fields that are indexed; none while nobody has asked.
    fields: Mutex<Option<HashSet<String>>>,
    /// Writes of this process that changed something.
    writes: AtomicU64,
    /// Writes of this process take turns, since they read before they write.
    pub(super) turns: Arc<Turns<()>>,
}

impl Known {
    pub(super) fn count_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Whether a field is known to be indexed, and whether more could be.
    fn look(&self, path: &str) -> Option<(bool, bool)> {
        let fields = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        fields.as_ref().map(|fields| (fields.contains(path), fields.len() < MOST_FIELDS))
    }

    fn note(&self, paths: impl IntoIterator<Item = String>) {
        let mut fields = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        fields.get_or_insert_default().extend(paths);
    }

    /// Lets the fields be indexed that are not yet, before anything is written into them.
    pub(super) async fn index(&self, shared: &Shared, physical: &str, paths: &HashSet<String>) -> Result<(), Failure> {
        for path in paths {
            if self.look(path).is_some_and(|(indexed, room)| indexed || !room) {
                continue;
            }
            if self.look(path).is_none() {
                self.ask(shared, physical).await?;
            }
            if self.look(path) == Some((false, true)) {
                index_field(shared, physical, path).await?;
                self.note([path.clone()]);
            }
        }
        Ok(())
    }

    /// Whether a field is indexed; `None` if it is not, but may have values, because there were too many fields.
    pub(super) async fn is_indexed(
        &self,
        shared: &Shared,
        physical: &str,
        path: &str,
    ) -> Result<Option<bool>, Failure> {
        if self.look(path).is_none_or(|(indexed, _)| !indexed) {
            // another replica may have written it first
            self.ask(shared, physical).await?;
        }
        Ok(self.look(path).and_then(|(indexed, room)| if indexed || room { Some(indexed) } else { None }))
    }

    async fn ask(&self, shared: &Shared, physical: &str) -> Result<(), Failure> {
        let info = describe(shared, physical).await?;
        self.note(info.payload_schema.into_keys());
        Ok(())
    }
}
