//! The space that is kept for deleting, so that deleting works where adding no longer can.
//!
//! redb never writes over a page that somebody may still read, so a transaction that deletes needs pages too. There are
//! two ways for it to find none, and a remedy for each:
//!
//! - The disk is full. A file of bytes beside the database is removed then, and the transaction takes what it held. For
//!   the same reason a full disk gives the database the blocks that its file has not taken yet, as far as they go: redb
//!   would write to them before it writes to pages that are free and have their blocks.
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

    /// Gives the database file the blocks that it has not taken yet out of this space, and keeps the rest.
    pub(super) fn back_database(&self) {
        let Ok(database) = fs::OpenOptions::new().write(true).open(&self.database) else { return };
        if !has_holes(&database) {
            return;
        }
        self.release();
        if let Err(error) = fill_holes(&database) {
            tracing::debug!(%error, "the file of the index keeps its holes");
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

/// Whether a file has fewer blocks than bytes.
#[cfg(target_os = "linux")]
fn has_holes(file: &fs::File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // `stat` counts in this unit whatever the file system.
    const UNIT: u64 = 512;
    file.metadata().is_ok_and(|file| file.blocks() * UNIT < file.len())
}

/// Gives a file all its blocks; what is in it stays as it is.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the call has no safe form; it takes a descriptor and numbers")]
fn fill_holes(file: &fs::File) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let length = i64::try_from(file.metadata()?.len()).unwrap_or(i64::MAX);
    // SAFETY: the descriptor is open as long as the file is borrowed, and no memory is handed over.
    match unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
const fn has_holes(_: &fs::File) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn fill_holes(_: &fs::File) -> io::Result<()> {
    Ok(())
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

    #[cfg(target_os = "linux")]
    #[test]
    fn holes_of_the_database_are_filled_and_its_bytes_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("database");
        fs::write(&path, "bytes").unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
        let reserve = Reserve::open(folder.path(), &path);
        assert!(has_holes(&fs::File::open(&path).unwrap()));
        reserve.back_database();
        assert!(!has_holes(&fs::File::open(&path).unwrap()));
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() == 1 << 20 && bytes.starts_with(b"bytes\0") && bytes[5..].iter().all(|byte| *byte == 0));
        reserve.put_back().unwrap();
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
