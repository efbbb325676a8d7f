//! The database as of one commit, with what reads of it have opened.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Arc, PoisonError, RwLock},
};

use redb::ReadTransaction;

use super::rows::{Reader, Tables};
use crate::error::Result;

/// The database as of one commit. Reading it never blocks and is never blocked.
pub(crate) type Snapshot = Arc<Committed>;

/// A read transaction. Opening the tables of a collection takes about as long as some rows of them, so they stay open as
/// long as the snapshot lives.
pub(crate) struct Committed {
    transaction: ReadTransaction,
    /// By the number of the collection.
    readers: RwLock<HashMap<u32, Arc<Reader>>>,
}

impl Committed {
    pub(crate) fn new(transaction: ReadTransaction) -> Snapshot {
        Arc::new(Self { transaction, readers: RwLock::default() })
    }

    /// What reads a collection.
    pub(crate) fn reader(&self, tables: &Tables) -> Result<Arc<Reader>> {
        if let Some(reader) = self.readers.read().unwrap_or_else(PoisonError::into_inner).get(&tables.number()) {
            return Ok(Arc::clone(reader));
        }
        let reader = Arc::new(Reader::open(&self.transaction, tables)?);
        let mut readers = self.readers.write().unwrap_or_else(PoisonError::into_inner);
        readers.insert(tables.number(), Arc::clone(&reader));
        Ok(reader)
    }
}

impl Deref for Committed {
    type Target = ReadTransaction;

    fn deref(&self) -> &ReadTransaction {
        &self.transaction
    }
}

impl std::fmt::Debug for Committed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committed").finish_non_exhaustive()
    }
}
