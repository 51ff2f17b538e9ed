//! (to be written)

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use towergate_core::plan::Rule;
use towergate_core::policy::{Guard, Rejection, ResponseEdits};
use towergate_core::snapshot::Live;

use crate::Policy;

/// A local rate limit (to be written).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct LocalRateLimit {}

impl LocalRateLimit {
    /// The guard of this limit for `rule`.
    pub fn guard(&self, _rule: &Rule<Policy>, _live: &Live) -> Arc<dyn Guard> {
        Arc::new(self.clone())
    }
}

impl Guard for LocalRateLimit {
    fn check(&self, _head: &mut http::request::Parts) -> Result<ResponseEdits, Rejection> {
        Ok(Vec::new())
    }
}
