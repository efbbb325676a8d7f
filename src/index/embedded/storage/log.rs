//! The log of a collection: which keys had their vector written or removed, and in what order.
//!
//! A graph that was saved after operation n fits the database as soon as it forgets the nodes of every key that the
//! log names after n. The number of the last operation is kept always; entries are kept only while there is a graph to
//! save, and only those after the last save. So the log tells by itself whether it reaches back far enough: if an
//! entry is missing after n, the graph of n is of no use.

use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{ReadableTable, TableDefinition, TableError, WriteTransaction};

use super::{database::failure, rows::Tables, snapshot::Snapshot};
use crate::error::Result;

/// Number of a collection → its last operation.
const LAST: TableDefinition<'static, u32, u64> = TableDefinition::new("log_last");

/// Entries that one transaction takes out at most, beside as many as it adds, so that none becomes long.
const TRIMMED: usize = 4096;

/// What of the log is wanted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    #[default]
    Nothing,
    /// The entries after this operation.
    After(u64),
}

/// What a collection's writes keep of the log from now on.
///
/// A write decides at its beginning and reaches memory at its end. When a graph is begun in between, memory does not
/// have the write's operations yet and the log never will: a graph saved as of that moment would find a gap behind it
/// after a crash. So a graph may be saved only while no such write is under way.
#[derive(Debug, Default)]
pub(crate) struct LogKeeping(Mutex<KeepingState>);

#[derive(Debug, Default)]
struct KeepingState {
    keep: Keep,
    unlogged_write: bool,
}

impl LogKeeping {
    fn lock(&self) -> MutexGuard<'_, KeepingState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides what the writes that begin from now on keep.
    pub(crate) fn keep(&self, keep: Keep) {
        self.lock().keep = keep;
    }

    /// Begins a write; the guard has to live until memory has followed the write or the write has failed. One write
    /// of a collection is under way at a time.
    pub(crate) fn begin_write(&self) -> LoggedWrite<'_> {
        let mut state = self.lock();
        state.unlogged_write = state.keep == Keep::Nothing;
        LoggedWrite { keeping: self, keep: state.keep }
    }

    /// Whether a write is under way whose operations the log will not have.
    pub(crate) fn has_unlogged_write(&self) -> bool {
        self.lock().unlogged_write
    }
}

/// A write that is under way, and what of the log the write keeps.
#[derive(Debug)]
pub(crate) struct LoggedWrite<'a> {
    keeping: &'a LogKeeping,
    pub(crate) keep: Keep,
}

impl Drop for LoggedWrite<'_> {
    fn drop(&mut self) {
        self.keeping.lock().unlogged_write = false;
    }
}

/// One operation on the vector of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) key: u64,
    /// Whether the vector was written; else the item is gone.
    pub(crate) written: bool,
}

/// Counts operations and, if wanted, appends them; takes out what is wanted no more. Returns the number of the last.
pub(crate) fn append(
    transaction: &WriteTransaction,
    tables: &Tables,
    operations: &[Operation],
    keep: Keep,
) -> Result<u64> {
    let mut lasts = transaction.open_table(LAST).map_err(failure)?;
    let before = lasts.get(tables.number()).map_err(failure)?.map_or(0, |last| last.value());
    let last = before + operations.len() as u64;
    lasts.insert(tables.number(), last).map_err(failure)?;
    let mut log = transaction.open_table(tables.log()).map_err(failure)?;
    let unwanted = match keep {
        Keep::Nothing => u64::MAX,
        Keep::After(saved) => {
            for (number, operation) in (before + 1..).zip(operations) {
                log.insert(number, (operation.key, operation.written)).map_err(failure)?;
            }
            saved
        }
    };
    for _ in 0..TRIMMED + operations.len() {
        let first = log.first().map_err(failure)?.map(|(number, _)| number.value());
        if first.is_none_or(|first| first > unwanted) {
            break;
        }
        log.pop_first().map_err(failure)?;
    }
    Ok(last)
}

/// The number of the last operation.
pub(crate) fn last(snapshot: &Snapshot, tables: &Tables) -> Result<u64> {
    match snapshot.open_table(LAST) {
        Ok(table) => Ok(table.get(tables.number()).map_err(failure)?.map_or(0, |last| last.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(failure(error)),
    }
}

/// Every operation after one, in their order; none if the log does not have them all.
pub(crate) fn after(snapshot: &Snapshot, tables: &Tables, number: u64) -> Result<Option<Vec<Operation>>> {
    let last = last(snapshot, tables)?;
    if number > last {
        return Ok(None);
    }
    let log = match snapshot.open_table(tables.log()) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok((number == last).then(Vec::new)),
        Err(error) => return Err(failure(error)),
    };
    let mut operations = Vec::new();
    for row in log.range(number + 1..).map_err(failure)? {
        let (_, operation) = row.map_err(failure)?;
        let (key, written) = operation.value();
        operations.push(Operation { key, written });
    }
    // Numbers are given without gaps, so the count tells whether one is missing.
    Ok((operations.len() as u64 == last - number).then_some(operations))
}

/// How many entries the log has.
#[cfg(test)]
pub(crate) fn length(snapshot: &Snapshot, tables: &Tables) -> Result<u64> {
    match snapshot.open_table(tables.log()) {
        Ok(table) => redb::ReadableTableMetadata::len(&table).map_err(failure),
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(failure(error)),
    }
}

/// Forgets a collection's log.
pub(crate) fn drop_log(transaction: &WriteTransaction, tables: &Tables) -> Result<()> {
    transaction.delete_table(tables.log()).map_err(failure)?;
    transaction.open_table(LAST).map_err(failure)?.remove(tables.number()).map_err(failure)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::database::{Database, Outcome},
        *,
    };

    fn database(folder: &tempfile::TempDir) -> Database {
        Database::open(folder.path(), 1 << 20).unwrap()
    }

    /// Appends operations on keys and returns the snapshot after them.
    fn write(database: &Database, keys: &[u64], keep: Keep) -> Snapshot {
        let operations: Vec<_> = keys.iter().map(|&key| Operation { key, written: key % 2 == 0 }).collect();
        let append = |transaction: &_| append(transaction, &Tables::new(7), &operations, keep).map(Outcome::Commit);
        database.write(append).unwrap().snapshot.unwrap()
    }

    fn keys_after(snapshot: &Snapshot, number: u64) -> Option<Vec<u64>> {
        let operations = after(snapshot, &Tables::new(7), number).unwrap()?;
        assert!(operations.iter().all(|operation| operation.written == (operation.key % 2 == 0)));
        Some(operations.iter().map(|operation| operation.key).collect())
    }

    #[test]
    fn a_collection_without_a_log_has_had_no_operation() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = database(&folder).snapshot().unwrap();
        assert_eq!(last(&snapshot, &Tables::new(7)).unwrap(), 0);
        assert_eq!((keys_after(&snapshot, 0), keys_after(&snapshot, 1)), (Some(vec![]), None));
    }

    #[test]
    fn operations_come_back_in_their_order_from_where_they_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder);
        write(&database, &[4, 9, 4], Keep::After(0));
        let snapshot = write(&database, &[2], Keep::After(0));
        assert_eq!(last(&snapshot, &Tables::new(7)).unwrap(), 4);
        assert_eq!(keys_after(&snapshot, 0), Some(vec![4, 9, 4, 2]));
        assert_eq!(keys_after(&snapshot, 3), Some(vec![2]));
        assert_eq!((keys_after(&snapshot, 4), keys_after(&snapshot, 5)), (Some(vec![]), None));
    }

    #[test]
    fn what_was_saved_is_taken_out_and_asked_for_in_vain() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder);
        write(&database, &[1, 2, 3], Keep::After(0));
        let snapshot = write(&database, &[4], Keep::After(2));
        assert_eq!((keys_after(&snapshot, 2), keys_after(&snapshot, 1)), (Some(vec![3, 4]), None));
        assert_eq!(length(&snapshot, &Tables::new(7)).unwrap(), 2);
    }

    #[test]
    fn operations_that_were_counted_but_not_kept_leave_a_gap_that_shows() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder);
        write(&database, &[1], Keep::After(0));
        write(&database, &[2], Keep::Nothing);
        let snapshot = write(&database, &[3], Keep::After(0));
        assert_eq!((keys_after(&snapshot, 0), keys_after(&snapshot, 1)), (None, None));
        assert_eq!(keys_after(&snapshot, 2), Some(vec![3]));
    }

    #[test]
    fn a_long_log_is_taken_out_in_several_transactions() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder);
        write(&database, &(0..10_000).collect::<Vec<_>>(), Keep::After(0));
        let lengths: Vec<u64> =
            (0..3).map(|_| length(&write(&database, &[1], Keep::After(10_000)), &Tables::new(7)).unwrap()).collect();
        assert_eq!(lengths, [5904, 1808, 3]);
    }
}
