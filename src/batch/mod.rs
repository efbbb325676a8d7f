//! From many requests to few runs: the queue of each graph and the workers that empty it.
//!
//! A batch is what gathered while the workers were busy; there is no timer, so an idle server adds no delay. The
//! graph's limiter is the only bound of its queue, and an item's [`Permit`] travels
//! inside its message, so the queue cannot overflow. A request's items are admitted whole or not at all, and only if
//! their estimated wait fits the deadline. How large a batch may be is measured for each graph while the graph is idle,
//! unless the configuration or the manifest names it.
//!
//! | file | idea |
//! | --- | --- |
//! | `handle` | what callers hold: admit an item, have it computed, close the queue |
//! | `message` | an item on its way to a run, and the answer on its way back |
//! | `policy` | which messages make the next batch, and when another session is worth opening |
//! | `shared` | what handle and workers share: messages, idle sessions, who sleeps |
//! | `worker` | a thread's loop over its tasks; a worker is made unspawned, so that tests drive it by hand |
//! | `execution` | one run of a batch on a session, watched and measured |
//! | `inline` | the run of a lone item by the thread that asks |
//! | `tuning` | the search for the smallest batch that is nearly the fastest |
//! | `permits` | the cores of the process, shared by all runs |
//! | `watchdog` | ends runs that nobody waits for, and runs that hang |

mod execution;
mod handle;
mod inline;
mod message;
mod permits;
mod policy;
mod shared;
mod tuning;
mod watchdog;
mod worker;

#[cfg(test)]
mod tests;

pub use crate::{admission::Permit, runtime::Tensor};
pub use handle::{GraphQueue, Opener, QueueOptions, Sessions};
pub use message::{Answer, Pending};
pub use permits::RunPermits;
pub use tuning::BatchMeasurements;
pub(crate) use tuning::BatchSearch;
pub use watchdog::Watchdog;
pub use worker::{Worker, Workers};
