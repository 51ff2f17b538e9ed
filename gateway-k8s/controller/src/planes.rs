//! What data planes are to serve.

use std::sync::Arc;

use towergate_core::plan::{Endpoints, Plan};
use towergate_policy::Policy;

/// The name of the data plane that serves every Gateway.
pub(crate) const SHARED: &str = "shared";

/// Brings plans to data planes.
pub(crate) trait Publish: Send {
    /// What the data plane `plane` is to serve from now on.
    fn publish(&self, plane: &str, plan: Arc<Plan<Policy>>, endpoints: Arc<Endpoints>);
}
