//! The space that is kept for deleting, so that deleting works where adding no longer can.
//!
//! redb never writes over a page that somebody may still read, so a transaction that deletes needs pages too. There are
//! two ways for it to find none, and a remedy for each:
//!
//! - The disk is full. A file of bytes beside the database is removed then, and the transaction takes what it held.
//! - The database file may not grow any further, by a limit on the size of files. Every transaction that adds therefore
//!   makes sure that free blocks of pages are left in the file.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use redb::{TableDefinition, WriteTransaction};

use super::database::failure;
use crate::error::{Error, ErrorKind, Result};

const FILE: &str = "index.reserve";
/// The size of the file for a small database.
const BYTES: u64 = 4 << 20;
/// The file has one byte for so many of the database: dropping a collection lists its pages, 8 bytes for each of 4 KiB.
const SHARE: u64 = 256;
/// The size of the file for the largest databases.
const MOST_BYTES: u64 = 256 << 20;
/// With less than this in the file, nothing is added.
const LEAST_BYTES: u64 = 512 << 10;
/// Bytes written at once.
const CHUNK: usize = 64 << 10;

/// Free blocks that a transaction which adds leaves in the database file, and the bytes of a value that fills one of
/// redb's with its head. Many small ones are found where free pages are scattered.
const FREE_BLOCKS: u8 = 16;
const BLOCK_BYTES: usize = (16 << 10) - 256;
/// A table that is empty at the end of every transaction.
const PROBE: TableDefinition<'static, u8, &'static [u8]> = TableDefinition::new("free_blocks");

/// Makes sure that free blocks are left in the database file after this transaction: values are inserted, for which the
/// file grows if it has to, and taken out again.
pub(super) fn ensure_free_blocks(transaction: &WriteTransaction) -> Result<()> {
    let mut table = transaction.open_table(PROBE).map_err(failure)?;
    for block in 0..FREE_BLOCKS {
        table.insert_reserve(block, BLOCK_BYTES).map(drop).map_err(failure)?;
    }
    for block in 0..FREE_BLOCKS {
        table.remove(block).map(drop).map_err(failure)?;
    }
    Ok(())
}

/// The file of bytes beside a database.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    database: PathBuf,
    is_there: AtomicBool,
}

impl Reserve {
    /// Finds or makes the reserve of a database in this folder. A disk without space for it is told in the log.
    pub(super) fn open(folder: &Path, database: &Path) -> Self {
        let path = folder.join(FILE);
        let is_there = fs::metadata(&path).is_ok_and(|file| file.len() >= LEAST_BYTES);
        let reserve = Self { path, database: database.to_owned(), is_there: AtomicBool::new(is_there) };
        if let Err(error) = reserve.put_back() {
            tracing::warn!(reason = error.chain(), "no space can be kept for deleting");
        }
        reserve
    }

    /// Makes the file if it is not there, as large as the disk allows.
    ///
    /// # Errors
    /// `storage_full` if the disk has too little space for it, and those of writing it.
    pub(super) fn put_back(&self) -> Result<()> {
        if self.is_there.load(Ordering::Acquire) {
            return Ok(());
        }
        let database = fs::metadata(&self.database).map_or(0, |file| file.len());
        let kept = fill(&self.path, (database / SHARE).clamp(BYTES, MOST_BYTES));
        if matches!(kept, Ok(bytes) if bytes >= LEAST_BYTES) {
            self.is_there.store(true, Ordering::Release);
            return Ok(());
        }
        // What was written of it would only take space from others; that it cannot be removed changes nothing.
        let _ = fs::remove_file(&self.path);
        match kept {
            Ok(_) => Err(Error::new(
                ErrorKind::StorageFull,
                "the disk of the index is full: only deleting works until it has more space; nothing of the request was stored",
            )),
            Err(error) => Err(failure(redb::Error::Io(error))),
        }
    }

    /// Removes the file, so that its space is free; whether there was one.
    pub(super) fn release(&self) -> bool {
        if !self.is_there.swap(false, Ordering::AcqRel) {
            return false;
        }
        match fs::remove_file(&self.path) {
            Ok(()) => {
                tracing::warn!("the disk of the index is full: the space that is kept for deleting is used");
                true
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::error!(reason, "the space that is kept for deleting could not be released");
                false
            }
        }
    }
}

/// Writes bytes that no file system compresses away; returns how many of those wanted there was space for.
fn fill(path: &Path, wanted: u64) -> io::Result<u64> {
    let mut file = fs::File::create(path)?;
    let mut bytes = blake3::Hasher::new().finalize_xof();
    let mut chunk = vec![0; CHUNK];
    let mut written = 0;
    while written < wanted {
        bytes.fill(&mut chunk);
        match file.write_all(&chunk) {
            Ok(()) => written += CHUNK as u64,
            Err(error) if super::database::has_no_room(error.kind()) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_made_once_released_once_and_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let size = || fs::metadata(&file).ok().map(|file| file.len());
        let reserve = Reserve::open(folder.path(), &folder.path().join("none"));
        assert_eq!(size(), Some(BYTES));
        let written = fs::metadata(&file).unwrap().modified().unwrap();
        drop(Reserve::open(folder.path(), &folder.path().join("none")));
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written, "it is found the next time");
        assert!(reserve.release() && size().is_none());
        assert!(!reserve.release(), "there is nothing left to release");
        reserve.put_back().unwrap();
        assert_eq!(size(), Some(BYTES));
    }

    #[test]
    fn a_reserve_that_cannot_be_made_is_an_error_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FILE)).unwrap();
        let reserve = Reserve::open(folder.path(), &folder.path().join("none"));
        assert_eq!(reserve.put_back().unwrap_err().kind(), ErrorKind::Internal);
        assert!(!reserve.release());
    }
}
