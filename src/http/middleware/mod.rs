//! What happens to every request around its handler, from the outside in:
//!
//! | file | idea |
//! | --- | --- |
//! | `observe` | request id, trace, span, timing, metrics, the access log; writes failures |
//! | `trace_context` | W3C `traceparent` |
//! | `gate` | draining, the key, the deadline, the accepted type: whether `/v1` works for this request and until when |
//! | `body` | the body, read once, within its limit and the budget of all bodies together |
//! | `body_buffer` | the memory that a body is put together in |

mod body;
mod body_buffer;
mod gate;
mod observe;
mod trace_context;

pub(super) use body::{BodyShare, body_budget};
pub(super) use gate::{gate, json_only};
pub(super) use observe::{observe, panicked};
