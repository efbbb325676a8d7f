//! The threads for work that takes processor time, so that the async threads never do it.
//!
//! There is one kind of pool, [`CpuPool`], built on rayon. The server makes one for what requests compute: decoding,
//! resizing and encoding of images, large JSON, hashing, and (at [`Priority::Background`]) the statistics of whole
//! collections. The embedded index makes another for its reads, with as many threads as `index.read_threads` says, so
//! that a queue of searches and a queue of images do not stand in each other's way. Nothing here bounds a queue: work
//! is admitted by a limiter of `admission` before it comes here.

mod cancelled;
mod lane;
mod pool;

pub use cancelled::Cancelled;
pub(crate) use lane::panic_message;
pub use pool::{CpuPool, PoolOptions, Priority};
