//! How long is measured, from the command line.

use std::time::Duration;

use clap::Args;

use crate::window::Window;

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Times {
    /// Seconds before the measured ones
    #[arg(long, default_value_t = 1.0)]
    warm: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

impl Times {
    pub(crate) fn window(self) -> Window {
        Window::after(Duration::from_secs_f64(self.warm), Duration::from_secs_f64(self.seconds))
    }
}
