//! Redirects (Gateway API `HTTPRequestRedirectFilter`).

use serde::{Deserialize, Serialize};

use super::PathEdit;

/// Sends the client elsewhere. What is `None` stays as the request has it.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host.
    pub hostname: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<PathEdit>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}
