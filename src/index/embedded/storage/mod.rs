//! The database and what lies in it: one file, its tables and rows, the log of operations, the images to delete.
//!
//! This room imports no other of the engine's.

pub(crate) mod database;
pub(crate) mod deletions;
pub(crate) mod log;
pub(crate) mod rows;
