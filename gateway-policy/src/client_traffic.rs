//! (to be written)

use serde::{Deserialize, Serialize};

/// `spec` of a ClientTrafficPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientTrafficPolicySpec {}
