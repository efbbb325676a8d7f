//! The queue of stored images to delete, in the tables of the database.
//!
//! An image that a write has let go of is an entry of its own. A collection that is dropped keeps its items, of which
//! nobody reads anything but the images they name: so dropping takes as long for a hundred thousand images as for one.

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, TableError, WriteTransaction};

use super::{
    database::failure,
    rows::{self, Tables},
    snapshot::Snapshot,
};
use crate::{
    error::Result,
    index::deletion::{BatchPlace, DeletionBatch},
    threads::yield_to_others,
};

/// Number of an entry → the key of an image in the store.
const ENTRIES: TableDefinition<'static, u64, &'static str> = TableDefinition::new("pending_deletions");
/// Numbers of the dropped collections whose items are still there.
const DROPPED: TableDefinition<'static, u32, ()> = TableDefinition::new("dropped_collections");

/// Images of one batch, at most: as many as S3 deletes by one request.
const BATCH_IMAGES: usize = 1000;
/// Items of a dropped collection that are looked through for one batch, at most.
const BATCH_ITEMS: usize = 10_000;

/// Puts images into the queue.
pub(crate) fn append(transaction: &WriteTransaction, keys: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
    let mut entries = transaction.open_table(ENTRIES).map_err(failure)?;
    // A batch is under way until its entries are taken out, so no number of a batch is given twice.
    let mut number = entries.last().map_err(failure)?.map_or(0, |(last, _)| last.value());
    for key in keys {
        number += 1;
        entries.insert(number, key.as_ref()).map_err(failure)?;
    }
    Ok(())
}

/// Puts the images that the items of a collection name into the queue, with the items; nothing if there are none.
pub(crate) fn drop_items(transaction: &WriteTransaction, tables: &Tables) -> Result<()> {
    let is_empty = transaction.open_table(tables.items()).map_err(failure)?.is_empty().map_err(failure)?;
    if is_empty {
        transaction.delete_table(tables.items()).map_err(failure)?;
    } else {
        transaction.open_table(DROPPED).map_err(failure)?.insert(tables.number(), ()).map_err(failure)?;
    }
    Ok(())
}

/// How many images wait, items of dropped collections included that may name none.
pub(crate) fn count(snapshot: &Snapshot) -> Result<u64> {
    let mut count = opened(snapshot.open_table(ENTRIES))?.map_or(Ok(0), |table| table.len()).map_err(failure)?;
    for number in dropped(snapshot, usize::MAX)? {
        let items = opened(snapshot.open_table(Tables::new(number).items()))?;
        count += items.map_or(Ok(0), |table| table.len()).map_err(failure)?;
    }
    Ok(count)
}

/// A table, none if nothing was ever written into it.
fn opened<T>(table: Result<T, TableError>) -> Result<Option<T>> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(failure(error)),
    }
}

/// The numbers of the first dropped collections.
fn dropped(snapshot: &Snapshot, limit: usize) -> Result<Vec<u32>> {
    let Some(table) = opened(snapshot.open_table(DROPPED))? else { return Ok(Vec::new()) };
    let numbers = table.iter().map_err(failure)?.take(limit);
    numbers.map(|row| row.map(|(number, _)| number.value()).map_err(failure)).collect()
}

/// The next images to delete; none while the queue is empty.
pub(crate) fn next(snapshot: &Snapshot) -> Result<Option<DeletionBatch>> {
    let mut keys = Vec::new();
    let mut through = 0;
    if let Some(entries) = opened(snapshot.open_table(ENTRIES))? {
        for row in entries.iter().map_err(failure)?.take(BATCH_IMAGES) {
            let (number, key) = row.map_err(failure)?;
            through = number.value();
            keys.push(key.value().to_owned());
        }
    }
    if !keys.is_empty() {
        return Ok(Some(DeletionBatch { keys, place: BatchPlace::Entries { through } }));
    }
    let Some(collection) = dropped(snapshot, 1)?.pop() else { return Ok(None) };
    if let Some(items) = opened(snapshot.open_table(Tables::new(collection).items()))? {
        for row in items.iter().map_err(failure)?.take(BATCH_ITEMS) {
            let (key, record) = row.map_err(failure)?;
            through = key.value();
            keys.extend(rows::image_of(record.value())?.map(|image| image.key));
            if keys.len() == BATCH_IMAGES {
                break;
            }
        }
    }
    Ok(Some(DeletionBatch { keys, place: BatchPlace::DroppedItems { collection, through } }))
}

/// Takes a batch out; what of it is left goes to the end.
pub(crate) fn finish(transaction: &WriteTransaction, place: BatchPlace, left: &[String]) -> Result<()> {
    match place {
        BatchPlace::Entries { through } => {
            let mut entries = transaction.open_table(ENTRIES).map_err(failure)?;
            while entries.first().map_err(failure)?.is_some_and(|(number, _)| number.value() <= through) {
                yield_to_others();
                entries.pop_first().map_err(failure)?;
            }
        }
        BatchPlace::DroppedItems { collection, through } => {
            let tables = Tables::new(collection);
            let mut items = transaction.open_table(tables.items()).map_err(failure)?;
            while items.first().map_err(failure)?.is_some_and(|(key, _)| key.value() <= through) {
                yield_to_others();
                items.pop_first().map_err(failure)?;
            }
            if items.is_empty().map_err(failure)? {
                drop(items);
                transaction.delete_table(tables.items()).map_err(failure)?;
                transaction.open_table(DROPPED).map_err(failure)?.remove(collection).map_err(failure)?;
            }
        }
    }
    if left.is_empty() { Ok(()) } else { append(transaction, left) }
}
