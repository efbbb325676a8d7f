//! Admission: whether work may enter, decided before any of it is done.
//!
//! Every kind of work that can queue (graph runs, decoding, index reads, writes, background jobs) has a [`Limiter`]: it
//! counts what was admitted and not yet finished, estimates how long that takes to drain, and refuses what would not be
//! done before its deadline, with the time to come back. Bytes that are held for a while (request bodies, decoded
//! pixels) have a [`Budget`].
//!
//! Both hand out permits that own what they count. A permit travels with the work or the bytes and gives its share back
//! when it is dropped, so nothing can end without its share and nothing can hold one too long.

mod budget;
mod estimate;
mod limiter;

pub(crate) use budget::{Budget, BudgetOptions, BytesPermit, SharedPermit};
pub(crate) use estimate::Estimate;
pub use limiter::Permit;
pub(crate) use limiter::{Limiter, LimiterOptions};
