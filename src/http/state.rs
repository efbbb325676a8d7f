//! What every handler knows.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::middleware::BodyBudget;
use crate::service::Service;

/// The state of the router; clones share it.
#[derive(Clone)]
pub struct AppState {
    pub(super) service: Arc<Service>,
    pub(super) bodies: Arc<BodyBudget>,
    draining: Arc<AtomicBool>,
}

impl AppState {
    #[must_use]
    pub fn new(service: Arc<Service>) -> Self {
        let bodies = Arc::new(BodyBudget::new(
            service.limits().bodies_in_flight_bytes,
            service.metrics().body_bytes_in_flight.clone(),
        ));
        Self { service, bodies, draining: Arc::default() }
    }

    /// From now on `/readyz` says no and new work is `unavailable`; what has begun goes on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}
