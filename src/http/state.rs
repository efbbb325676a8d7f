//! What every handler knows.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::AbortHandle};
use uuid::Uuid;

use super::{caching::EntityTag, middleware::body_budget};
use crate::{admission::Budget, service::Service};

/// The state of the router; clones share it.
#[derive(Clone)]
pub struct AppState {
    pub(super) service: Arc<Service>,
    pub(super) bodies: Arc<Budget>,
    draining: Arc<watch::Sender<bool>>,
    /// Whether browsers get the Explorer at `/`.
    pub(super) has_page: bool,
    /// Names this run of the server: versions of collections count anew in each.
    run: Arc<str>,
}

impl AppState {
    #[must_use]
    pub fn new(service: Arc<Service>) -> Self {
        let limit = service.limits().bodies_in_flight_bytes;
        let bodies = body_budget(limit, service.metrics().body_bytes_in_flight.clone());
        let run = Uuid::new_v4().simple().to_string().into();
        Self { service, bodies, draining: Arc::new(watch::Sender::new(false)), has_page: true, run }
    }

    /// With the Explorer at `/` or without it.
    #[must_use]
    pub fn with_page(self, has_page: bool) -> Self {
        Self { has_page, ..self }
    }

    /// The tag of what these parts name in this run of the server.
    pub(super) fn tag(&self, parts: &[&str]) -> EntityTag {
        EntityTag::of(&[&[&*self.run], parts].concat())
    }

    /// The use cases behind the routes.
    #[must_use]
    pub fn service(&self) -> Arc<Service> {
        Arc::clone(&self.service)
    }

    /// From now on `/readyz` says no and new work is `unavailable`; what has begun goes on.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Looks at the health of every collection again and again, beside all requests; never if `every` is zero.
    pub fn watch_health(&self, every: Duration) -> Option<AbortHandle> {
        let service = Arc::clone(&self.service);
        (!every.is_zero()).then(|| tokio::spawn(async move { service.watch_health(every).await }).abort_handle())
    }

    /// Comes when the server drains, at once if it does already.
    pub(super) async fn until_draining(&self) {
        // The wait ends early only with the last sender, and this state holds one.
        let _ = self.draining.subscribe().wait_for(|draining| *draining).await;
    }
}
