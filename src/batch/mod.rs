//! From many requests to few runs: admission, queue, workers.
//!
//! A batch is what gathered while the workers were busy; there is no timer, so an idle server adds no delay. One
//! semaphore is the only bound, and its permit travels inside the job ([`Ticket`]), so the queue cannot overflow. A
//! request's items are admitted whole or not at all, and only if their estimated wait fits the deadline. How large a
//! batch may be is measured for each graph while it is idle, unless somebody has said it.

mod admission;
mod job;
mod permits;
mod queue;
mod tuning;
mod watchdog;
mod worker;

#[cfg(test)]
mod tests;

pub use admission::Ticket;
pub use job::{Answer, Pending, Row};
pub use permits::RunPermits;
pub use queue::{GraphQueue, Opener, QueueOptions, Sessions, Workers};
pub use watchdog::Watchdog;
