//! The redb file: opening, one transaction at a time, and what happens when the disk fails.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{DatabaseError, ReadableDatabase, TableDefinition, WriteTransaction};

use super::{
    reserve::{Reserve, ensure_free_blocks},
    snapshot::{Committed, Snapshot},
};
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

/// What a write transaction comes to.
pub(crate) enum Outcome<T> {
    Commit(T),
    /// Nothing was changed, so nothing has to be written.
    Discard(T),
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It may add, and so has to leave what deleting needs.
    Adding,
    /// It takes out, and may use what is kept for that.
    Removing,
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
    reserve: Reserve,
    /// Whether the last transaction that added found no space.
    is_full: AtomicBool,
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
        let reserve = Reserve::open(folder, &path);
        Ok(Self { path, cache_bytes, open: RwLock::new(Ok(open)), reserve, is_full: AtomicBool::new(false) })
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

    /// Runs one transaction that adds; see [`run`](Self::run).
    pub(crate) fn write<T>(&self, work: impl FnOnce(&WriteTransaction) -> Result<Outcome<T>>) -> Result<Written<T>> {
        self.run(Purpose::Adding, work)
    }

    /// Does what takes out by transactions for [`Purpose::Removing`]; where the disk is full, once more with the space
    /// that is kept for it.
    pub(crate) fn with_reserve<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        match work() {
            Err(error) if error.kind() == ErrorKind::StorageFull && self.reserve.release() => work(),
            outcome => outcome,
        }
    }

    /// Runs one transaction to the disk. The caller makes sure that there is one at a time, lets memory follow, and
    /// publishes the snapshot.
    ///
    /// # Errors
    /// The transaction is gone, unless the error is `unavailable`: then it may be on the disk.
    pub(crate) fn run<T>(
        &self,
        purpose: Purpose,
        work: impl FnOnce(&WriteTransaction) -> Result<Outcome<T>>,
    ) -> Result<Written<T>> {
        self.ensure_open()?;
        let result = self.make_room(purpose).and_then(|()| self.transact(purpose, work));
        if purpose == Purpose::Adding {
            let full = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::StorageFull);
            self.is_full.store(full, Ordering::Relaxed);
        }
        if result.as_ref().is_err_and(needs_reopening) {
            let sequence = self.sequence();
            *self.open.write().unwrap_or_else(PoisonError::into_inner) = Err(sequence);
            if let Err(error) = self.reopen() {
                tracing::error!(error = error.chain(), "the index database could not be opened again");
            }
        }
        result
    }

    /// Sees to it that what adds finds the pages that are free, and leaves the space that is kept for deleting.
    fn make_room(&self, purpose: Purpose) -> Result<()> {
        if purpose == Purpose::Removing {
            return Ok(());
        }
        if self.is_full.load(Ordering::Relaxed) {
            self.reclaim();
            self.reserve.back_database();
        }
        self.reserve.put_back()
    }

    /// Lets the pages be used again that former transactions have freed: redb gives them back in the commit after.
    fn reclaim(&self) {
        let empty = || self.run(Purpose::Removing, |_| Ok(Outcome::Commit(())));
        match self.with_reserve(empty) {
            Ok(written) => {
                if let Some(snapshot) = written.snapshot {
                    self.publish(snapshot);
                }
            }
            Err(error) => tracing::debug!(reason = error.chain(), "pages that were freed are not given back yet"),
        }
    }

    fn transact<T>(
        &self,
        purpose: Purpose,
        work: impl FnOnce(&WriteTransaction) -> Result<Outcome<T>>,
    ) -> Result<Written<T>> {
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
        if purpose == Purpose::Adding {
            ensure_free_blocks(&transaction)?;
        }
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
            Ok(open) => Ok(Committed::new(open.database.begin_read().map_err(failure)?)),
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
pub(super) const fn has_no_room(kind: io::ErrorKind) -> bool {
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
        error if is_in_use(error) => {
            // redb would say the same again in its own words.
            return Error::unavailable(format!(
                "the index database {shown} is in use by another process, such as a server on this data folder; stop it first"
            ));
        }
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
        Some((SCHEMA, sequence)) => Ok(Open { database, snapshot: Some(Committed::new(snapshot)), sequence }),
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
    let snapshot = Committed::new(database.begin_read().map_err(failure)?);
    Ok(Open { database, snapshot: Some(snapshot), sequence: 0 })
}

/// Lets no older build write into the database from now on: it would keep no log.
fn upgrade(database: redb::Database, sequence: u64) -> Result<Open> {
    let transaction = database.begin_write().map_err(failure)?;
    transaction.open_table(META).map_err(failure)?.insert(SCHEMA_KEY, SCHEMA).map_err(failure)?;
    transaction.commit().map_err(failure)?;
    let snapshot = Committed::new(database.begin_read().map_err(failure)?);
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
mod tests;
