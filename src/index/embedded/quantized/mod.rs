//! Vectors as codes of eight bits, and what codes prove about scores.
//!
//! This room imports no other of the engine's.

pub(crate) mod bounds;
pub(crate) mod codes;
pub(crate) mod kernel;
pub(crate) mod nibbles;
