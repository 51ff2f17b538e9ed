//! (to be written)

use serde::{Deserialize, Serialize};

/// (to be written)
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GrpcRouteSpec {}
