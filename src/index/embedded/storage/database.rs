//! The redb file: opening, one transaction at a time, and what happens when the disk fails.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use redb::{DatabaseError, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction};

use crate::error::{Error, ErrorKind, Result};

/// The version of the layout of tables and rows that this build reads and writes.
const SCHEMA: u64 = 2;
/// The version before [`SCHEMA`], which has no log; a log is made when it is first written.
const SCHEMA_WITHOUT_LOG: u64 = 1;

const FILE: &str = "index.redb";
/// The name of a database that is being made.
const NEW_FILE: &str = "index.redb.new";

/// Numbers of the whole database.
const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
const SCHEMA_KEY: &str = "schema";
/// Counts the transactions; tells after a failed commit whether it is in the file.
const SEQUENCE_KEY: &str = "sequence";

/// The database as of one commit. Reading it never blocks and is never blocked.
pub(crate) type Snapshot = Arc<ReadTransaction>;

/// What a write transaction comes to.
pub(crate) enum Outcome<T> {
    Commit(T),
    /// Nothing was changed, so nothing has to be written.
    Discard(T),
}

/// A value and, if anything was written, the snapshot that holds it, for [`Database::publish`].
pub(crate) struct Written<T> {
    pub(crate) value: T,
    pub(crate) snapshot: Option<Snapshot>,
}

#[derive(Debug)]
struct Open {
    database: redb::Database,
    /// The published snapshot; none until the first one is published after a commit that failed but arrived: memory has to follow first.
    snapshot: Option<Snapshot>,
    /// The last transaction that memory has followed or is about to.
    sequence: u64,
}

/// The database file.
///
/// redb refuses all work after one failed write until its file is opened anew, so that is what happens here: the
/// transaction that failed is gone, everything before it stays readable. If the file cannot be opened either, each
/// later operation tries again.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    cache_bytes: usize,
    open: RwLock<Result<Open, u64>>,
}

impl Database {
    /// Opens or makes the database under a folder.
    pub(crate) fn open(folder: &Path, cache_bytes: usize) -> Result<Self> {
        let failed = |error: io::Error| {
            Error::unavailable(format!("the index folder {} cannot be made", folder.display())).with_source(error)
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let path = folder.join(FILE);
        let open = match fs::metadata(&path) {
            Ok(file) if file.len() == 0 => {
                let shown = path.display();
                let text = format!(
                    "the index database {shown} is empty: it holds no index, and latentd leaves none like that; put it \
                     back from a backup, or remove the file to begin anew"
                );
                return Err(Error::unavailable(text));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let open = make_file(&path, cache_bytes)?;
                // Without this, a crash of the machine could forget that the file or its folder was made.
                sync_folder(folder).and_then(|()| folder.parent().map_or(Ok(()), sync_folder)).map_err(failed)?;
                open
            }
            // Opening tells what is wrong with it.
            Ok(_) | Err(_) => open_file(&path, cache_bytes)?,
        };
        Ok(Self { path, cache_bytes, open: RwLock::new(Ok(open)) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The state that was published last.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        self.ensure_open()?;
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().ok().and_then(|open| open.snapshot.clone()).ok_or_else(closed)
    }

    /// Whether the file is open, which it is unless a write has failed and opening it anew has failed too.
    pub(crate) fn is_open(&self) -> bool {
        self.open.read().unwrap_or_else(PoisonError::into_inner).is_ok()
    }

    fn ensure_open(&self) -> Result<()> {
        if self.is_open() { Ok(()) } else { self.reopen() }
    }

    /// Runs one transaction to the disk. The caller makes sure that there is one at a time, lets memory follow, and
    /// publishes the snapshot.
    ///
    /// # Errors
    /// The transaction is gone, unless the error is `unavailable`: then it may be on the disk.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&WriteTransaction) -> Result<Outcome<T>>) -> Result<Written<T>> {
        self.ensure_open()?;
        let result = self.transact(work);
        if result.as_ref().is_err_and(needs_reopening) {
            let sequence = self.sequence();
            *self.open.write().unwrap_or_else(PoisonError::into_inner) = Err(sequence);
            if let Err(error) = self.reopen() {
                tracing::error!(error = error.chain(), "the index database could not be opened again");
            }
        }
        result
    }

    fn transact<T>(&self, work: impl FnOnce(&WriteTransaction) -> Result<Outcome<T>>) -> Result<Written<T>> {
        let transaction = match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Ok(open) => open.database.begin_write().map_err(failure)?,
            Err(_) => return Err(closed()),
        };
        let value = match work(&transaction)? {
            Outcome::Discard(value) => return Ok(Written { value, snapshot: None }),
            Outcome::Commit(value) => value,
        };
        let sequence = self.sequence() + 1;
        transaction.open_table(META).map_err(failure)?.insert(SEQUENCE_KEY, sequence).map_err(failure)?;
        let committed = transaction.commit().map_err(failure).and_then(|()| self.latest());
        let snapshot = match committed {
            Ok(snapshot) => snapshot,
            Err(error) => self.find_after_failure(sequence, &error)?,
        };
        if let Ok(open) = self.open.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            open.sequence = sequence;
        }
        Ok(Written { value, snapshot: Some(snapshot) })
    }

    /// The database as of the last commit.
    fn latest(&self) -> Result<Snapshot> {
        match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Ok(open) => Ok(Arc::new(open.database.begin_read().map_err(failure)?)),
            Err(_) => Err(closed()),
        }
    }

    /// A commit may fail after it has reached the disk. Opens the file anew, and if the transaction of this sequence
    /// number is in it, it was written after all. Readers see it once it is published.
    ///
    /// # Errors
    /// `failed` if the transaction is gone, and `unavailable` if the file cannot be opened to see.
    fn find_after_failure(&self, sequence: u64, failed: &Error) -> Result<Snapshot> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // The old one has to go first, it holds the lock of the file.
        *open = Err(sequence - 1);
        let mut opened = open_file(&self.path, self.cache_bytes).map_err(|error| {
            tracing::error!(error = error.chain(), "the index database could not be opened again");
            Error::unavailable("whether the write has arrived is not known; read to find out")
                .with_source(failed.chain())
        })?;
        if opened.sequence != sequence {
            *open = Ok(opened);
            // Without its typed cause, since all that reopening can do is done.
            return Err(failed.duplicate());
        }
        let arrived = opened.snapshot.take();
        *open = Ok(opened);
        arrived.ok_or_else(closed)
    }

    /// Lets readers see a snapshot.
    pub(crate) fn publish(&self, snapshot: Snapshot) {
        if let Ok(open) = self.open.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            open.snapshot = Some(snapshot);
        }
    }

    /// The number of the last transaction.
    pub(crate) fn sequence(&self) -> u64 {
        match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Ok(open) => open.sequence,
            Err(sequence) => *sequence,
        }
    }

    fn reopen(&self) -> Result<()> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let Err(sequence) = *open else { return Ok(()) };
        let opened = open_file(&self.path, self.cache_bytes)?;
        if opened.sequence != sequence {
            // The commit that failed is in the file after all, but memory has not followed it.
            return Err(Error::unavailable("the index went out of step with its database; restart the server"));
        }
        *open = Ok(opened);
        Ok(())
    }
}

fn closed() -> Error {
    Error::unavailable("the index database is closed after a failed write; try again")
}

/// Whether redb refuses further work after this error.
fn needs_reopening(error: &Error) -> bool {
    use redb::Error::{Corrupted, DatabaseClosed, Io, PreviousIo};
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<redb::Error>());
    matches!(cause, Some(Io(_) | PreviousIo | DatabaseClosed | Corrupted(_)))
}

/// An error of redb's as ours: a full disk, an interruption by reopening, or something that broke.
pub(crate) fn failure(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    let ours = match &error {
        redb::Error::Io(io) if has_no_room(io.kind()) => {
            Error::new(ErrorKind::StorageFull, "the disk of the index is full; nothing of the request was stored")
        }
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => closed(),
        _ => Error::internal("the index database failed"),
    };
    ours.with_source(error)
}

/// A full disk, a quota, or a limit on the size of a file.
const fn has_no_room(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// A row that does not read as what was written.
pub(crate) fn corrupt(what: impl Into<String>) -> Error {
    Error::internal(format!("the index database is corrupt: {}", what.into()))
}

/// Makes a database of no collections. It gets its name once it is whole: a crash meanwhile leaves no file that looks
/// like a database which has lost everything.
fn make_file(path: &Path, cache_bytes: usize) -> Result<Open> {
    let new = path.with_file_name(NEW_FILE);
    let make = || redb::Builder::new().set_cache_size(cache_bytes).create(&new);
    let made = match make() {
        Err(error) if !is_in_use(&error) && new.exists() => {
            // what a crash has left
            fs::remove_file(&new).map_err(|error| failure(redb::Error::Io(error)))?;
            make()
        }
        made => made,
    };
    let opened = read_file(made.map_err(|error| cannot_open(&new, error))?, &new)?;
    if path.exists() {
        // Another process was first. It has its lock, or has ended.
        drop(opened);
        return open_file(path, cache_bytes);
    }
    let renamed = fs::rename(&new, path);
    renamed.map_err(|error| {
        Error::unavailable(format!("the index database {} cannot be made", path.display())).with_source(error)
    })?;
    Ok(opened)
}

fn open_file(path: &Path, cache_bytes: usize) -> Result<Open> {
    let opened = redb::Builder::new().set_cache_size(cache_bytes).open(path);
    read_file(opened.map_err(|error| cannot_open(path, error))?, path)
}

const fn is_in_use(error: &DatabaseError) -> bool {
    matches!(error, DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)
}

fn cannot_open(path: &Path, error: DatabaseError) -> Error {
    let shown = path.display();
    let ours = match &error {
        error if is_in_use(error) => Error::unavailable(format!(
            "the index database {shown} is in use by another process, such as a server on this data folder; stop it first"
        )),
        DatabaseError::UpgradeRequired(_) => {
            Error::unavailable(format!("the index database {shown} has a file format that this build does not read"))
        }
        _ => {
            return match failure(error) {
                full if full.kind() == ErrorKind::StorageFull => full,
                other => Error::unavailable(format!("the index database {shown} cannot be opened")).with_source(other),
            };
        }
    };
    ours.with_source(error)
}

/// The state of a database file that was just opened, in the schema of this build.
fn read_file(database: redb::Database, path: &Path) -> Result<Open> {
    let snapshot = database.begin_read().map_err(failure)?;
    let stored = match snapshot.open_table(META) {
        Ok(table) => {
            let number = |key| Ok::<_, Error>(table.get(key).map_err(failure)?.map(|value| value.value()));
            number(SCHEMA_KEY)?
                .map(|schema| Ok::<_, Error>((schema, number(SEQUENCE_KEY)?.unwrap_or(0))))
                .transpose()?
        }
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(failure(error)),
    };
    match stored {
        Some((SCHEMA_WITHOUT_LOG, sequence)) => {
            drop(snapshot);
            upgrade(database, sequence)
        }
        Some((SCHEMA, sequence)) => Ok(Open { database, snapshot: Some(Arc::new(snapshot)), sequence }),
        Some((schema, _)) => Err(Error::unavailable(format!(
            "the index database {} has schema version {schema}, this build reads {SCHEMA}; run the latentd that wrote it or a newer one",
            path.display()
        ))),
        None => initialize(database),
    }
}

fn initialize(database: redb::Database) -> Result<Open> {
    let transaction = database.begin_write().map_err(failure)?;
    {
        let mut meta = transaction.open_table(META).map_err(failure)?;
        meta.insert(SCHEMA_KEY, SCHEMA).map_err(failure)?;
        meta.insert(SEQUENCE_KEY, 0).map_err(failure)?;
        crate::index::embedded::storage::rows::create_catalogue(&transaction)?;
    }
    transaction.commit().map_err(failure)?;
    let snapshot = Arc::new(database.begin_read().map_err(failure)?);
    Ok(Open { database, snapshot: Some(snapshot), sequence: 0 })
}

/// Lets no older build write into the database from now on: it would keep no log.
fn upgrade(database: redb::Database, sequence: u64) -> Result<Open> {
    let transaction = database.begin_write().map_err(failure)?;
    transaction.open_table(META).map_err(failure)?.insert(SCHEMA_KEY, SCHEMA).map_err(failure)?;
    transaction.commit().map_err(failure)?;
    let snapshot = Arc::new(database.begin_read().map_err(failure)?);
    Ok(Open { database, snapshot: Some(snapshot), sequence })
}

#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::File::open(folder)?.sync_all()
}

/// Other systems cannot open folders, nor do they need to.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path(), 1 << 20).unwrap();
        database
            .write(|transaction| {
                transaction.open_table(META).map_err(failure)?.insert(SCHEMA_KEY, SCHEMA + 1).map_err(failure)?;
                Ok(Outcome::Commit(()))
            })
            .map(drop)
            .unwrap();
        drop(database);
        let error = Database::open(folder.path(), 1 << 20).unwrap_err();
        assert!(error.message().contains("schema version 3, this build reads 2"), "{error}");
    }

    #[test]
    fn the_schema_before_the_log_is_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let schema = |database: &Database| {
            let snapshot = database.snapshot().unwrap();
            snapshot.open_table(META).unwrap().get(SCHEMA_KEY).unwrap().unwrap().value()
        };
        let database = Database::open(folder.path(), 1 << 20).unwrap();
        database
            .write(|transaction| {
                let mut meta = transaction.open_table(META).map_err(failure)?;
                meta.insert(SCHEMA_KEY, SCHEMA_WITHOUT_LOG).map_err(failure)?;
                Ok(Outcome::Commit(()))
            })
            .map(drop)
            .unwrap();
        drop(database);
        let database = Database::open(folder.path(), 1 << 20).unwrap();
        assert_eq!((schema(&database), database.sequence()), (SCHEMA, 1));
    }

    #[test]
    fn an_empty_file_is_no_new_database() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "").unwrap();
        let error = Database::open(folder.path(), 1 << 20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("index.redb is empty: "), "{error}");
        assert_eq!(fs::metadata(folder.path().join(FILE)).unwrap().len(), 0, "it is left as it is");
    }

    #[test]
    fn what_a_crash_leaves_of_a_new_database_is_no_hindrance() {
        for left in [&b""[..], b"the beginning of a database"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(NEW_FILE), left).unwrap();
            drop(Database::open(folder.path(), 1 << 20).unwrap());
            assert!(Database::open(folder.path(), 1 << 20).is_ok());
            assert!(!folder.path().join(NEW_FILE).exists());
        }
    }

    #[test]
    fn a_second_opener_is_told_that_the_database_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Database::open(folder.path(), 1 << 20).unwrap();
        let error = Database::open(folder.path(), 1 << 20).unwrap_err();
        assert!(
            error.message().contains("is in use by another process") && error.message().contains("stop it"),
            "{error}"
        );
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let io = |kind| failure(redb::Error::Io(io::Error::from(kind)));
        for full in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
            assert_eq!(io(full).kind(), ErrorKind::StorageFull);
        }
        assert_eq!(io(io::ErrorKind::PermissionDenied).kind(), ErrorKind::Internal);
        assert!(needs_reopening(&io(io::ErrorKind::StorageFull)));
    }

    #[test]
    fn after_a_failed_write_the_database_is_opened_again_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path(), 1 << 20).unwrap();
        let put = |number: u64, fail: bool| {
            database.write(|transaction| {
                transaction.open_table(META).map_err(failure)?.insert("test", number).map_err(failure)?;
                if fail { Err(failure(redb::Error::PreviousIo)) } else { Ok(Outcome::Commit(())) }
            })
        };
        put(1, false).map(|written| database.publish(written.snapshot.unwrap())).unwrap();
        assert_eq!(put(2, true).map(drop).unwrap_err().kind(), ErrorKind::Unavailable);
        let snapshot = database.snapshot().unwrap();
        assert_eq!(snapshot.open_table(META).unwrap().get("test").unwrap().unwrap().value(), 1);
        put(3, false).map(drop).unwrap();
    }
    fn disk_failed() -> Error {
        failure(redb::Error::Io(io::Error::from(io::ErrorKind::Other)))
    }

    fn put(database: &Database, number: u64) -> Result<Written<()>> {
        database.write(|transaction| {
            transaction.open_table(META).map_err(failure)?.insert("test", number).map_err(failure)?;
            Ok(Outcome::Commit(()))
        })
    }

    #[test]
    fn a_failed_commit_that_arrived_is_seen_only_once_it_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path(), 1 << 20).unwrap();
        let sequence = database.sequence() + 1;
        drop(put(&database, 1).unwrap());
        let snapshot = database.find_after_failure(sequence, &disk_failed()).unwrap();
        assert_eq!(database.snapshot().map(drop).unwrap_err().kind(), ErrorKind::Unavailable);
        database.publish(snapshot);
        let snapshot = database.snapshot().unwrap();
        assert_eq!(snapshot.open_table(META).unwrap().get("test").unwrap().unwrap().value(), 1);
        drop(snapshot);
        put(&database, 2).map(drop).unwrap();
    }

    #[test]
    fn a_failed_commit_that_is_gone_is_the_failure_itself() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path(), 1 << 20).unwrap();
        let error = database.find_after_failure(database.sequence() + 1, &disk_failed()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(database.snapshot().is_ok());
    }

    #[test]
    fn a_commit_whose_fate_nobody_can_tell_is_unavailable() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path(), 1 << 20).unwrap();
        fs::rename(database.path(), folder.path().join("elsewhere")).unwrap();
        fs::create_dir(database.path()).unwrap();
        let error = database.find_after_failure(database.sequence() + 1, &disk_failed()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error.message().contains("not known") && error.chain().contains("the index database failed"),
            "{error}"
        );
        fs::remove_dir(database.path()).unwrap();
        fs::rename(folder.path().join("elsewhere"), database.path()).unwrap();
        assert!(database.snapshot().is_ok(), "it is opened again when that is possible");
    }
}
