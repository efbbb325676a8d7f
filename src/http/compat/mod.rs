//! Dialects of existing clients.

pub(super) mod openai;
