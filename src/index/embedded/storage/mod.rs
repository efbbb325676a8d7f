//! The database and what lies in it: one file, its tables and rows, the log of operations, the images to delete,
//! and the space that is kept for deleting.
//!
//! This room imports no other of the engine's.

pub(crate) mod database;
pub(crate) mod deletions;
pub(crate) mod log;
mod reserve;
pub(crate) mod rows;
pub(crate) mod snapshot;
