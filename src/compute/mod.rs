//! The threads for work that takes processor time, so that the async threads never do it.

mod pool;

pub use pool::CpuPool;
pub(crate) use pool::panic_message;
