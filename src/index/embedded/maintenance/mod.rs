//! What lets the graphs follow the writes: one background thread that builds, extends, rebuilds, saves and checks them.
//!
//! This room imports every other of the engine's, and the engine starts it.
//!
//! - [`worker`]: the thread; [`steps`]: what it does for a collection, a bounded step at a time;
//! - [`recall`]: the check of the graph against the exact scan, and what it takes to find enough;
//! - [`restore`]: what makes a saved graph fit the database and its log.

mod recall;
mod restore;
mod steps;
pub(crate) mod worker;

#[cfg(test)]
mod tests;
