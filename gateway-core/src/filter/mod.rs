//! Filters of routes: what changes a request on its way, or answers it.
//!
//! A filter is a value with a pure function. Filters run after policies, so that no rewrite changes
//! what authorization saw.

pub mod header;
pub mod redirect;
pub mod rewrite;

pub use header::{HeaderEdit, HeaderEdits};
pub use redirect::Redirect;
pub use rewrite::Rewrite;

use serde::{Deserialize, Serialize};

/// A filter of a rule or of a backendRef (Gateway API `HTTPRouteFilter`).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum Filter {
    /// Edits the request's headers.
    RequestHeaders(HeaderEdits),
    /// Edits the response's headers.
    ResponseHeaders(HeaderEdits),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Changes the host or the path that the backend sees.
    Rewrite(Rewrite),
}

/// A change of a path (Gateway API `HTTPPathModifier`).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum PathEdit {
    /// The whole path.
    Full(String),
    /// The prefix that the rule matched.
    Prefix(String),
}
