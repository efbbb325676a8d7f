//! Whether something can be worked with, published by whoever finds out and read without a wait.

use arc_swap::ArcSwapOption;

/// Why an index or a store is not ready, or that it is. Reading takes no lock and asks nobody.
#[derive(Debug, Default)]
pub struct Readiness {
    /// None: ready.
    reason: ArcSwapOption<String>,
}

impl Readiness {
    /// Not ready until somebody has found out.
    #[must_use]
    pub fn unknown(reason: &str) -> Self {
        Self { reason: ArcSwapOption::from_pointee(reason.to_owned()) }
    }

    /// Ready, or why not, as it was found out last.
    ///
    /// # Errors
    /// The reason.
    pub fn get(&self) -> Result<(), String> {
        match &*self.reason.load() {
            Some(reason) => Err(reason.as_ref().clone()),
            None => Ok(()),
        }
    }

    /// Publishes what was found out.
    pub fn set(&self, state: Result<(), String>) {
        self.reason.store(state.err().map(std::sync::Arc::new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_out_last_is_told() {
        let readiness = Readiness::unknown("nobody has asked yet");
        assert_eq!(readiness.get().unwrap_err(), "nobody has asked yet");
        readiness.set(Ok(()));
        assert_eq!(readiness.get(), Ok(()));
        readiness.set(Err("gone".to_owned()));
        assert_eq!(readiness.get().unwrap_err(), "gone");
        assert_eq!(Readiness::default().get(), Ok(()));
    }
}
