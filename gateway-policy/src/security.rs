//! (to be written)

use serde::{Deserialize, Serialize};

/// `spec` of a SecurityPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecurityPolicySpec {}
