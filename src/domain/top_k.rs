use crate::error::{Error, Result};

/// How many items an answer holds at most: 1 to 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopK(usize);

impl TopK {
    pub const MAX: usize = 1000;

    pub fn new(limit: usize) -> Result<Self> {
        if (1..=Self::MAX).contains(&limit) {
            Ok(Self(limit))
        } else {
            Err(Error::invalid_request(format!("limit is 1 to {}, not {limit}", Self::MAX)))
        }
    }

    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}
