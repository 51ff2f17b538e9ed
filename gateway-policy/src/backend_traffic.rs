//! (to be written)

use serde::{Deserialize, Serialize};

/// `spec` of a BackendTrafficPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackendTrafficPolicySpec {}
