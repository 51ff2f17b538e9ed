//! Rewrites (Gateway API `HTTPURLRewriteFilter`).

use serde::{Deserialize, Serialize};

use super::PathEdit;

/// Changes what the backend sees.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Rewrite {
    /// The `Host`.
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<PathEdit>,
}
