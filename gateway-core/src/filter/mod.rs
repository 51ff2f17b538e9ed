//! Filters of routes: what changes a request on its way, or answers it.
//!
//! A filter is a value with a pure function. Filters run after policies, so that no rewrite changes
//! what authorization saw.

pub mod cors;
pub mod header;
mod origin;
mod path;
pub mod redirect;
mod redirect_layer;
pub mod rewrite;

pub use cors::{Allowed, Cors, CorsLayer};
pub use header::{HeaderEdit, HeaderEdits};
pub use origin::{HostPattern, InvalidOrigin, OriginPattern, WebScheme};
pub use redirect::{Redirect, RedirectFacts};
pub use redirect_layer::{RedirectLayer, RedirectService};
pub use rewrite::Rewrite;

use serde::{Deserialize, Serialize};

/// A change of a path (Gateway API `HTTPPathModifier`).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum PathEdit {
    /// The whole path.
    Full(String),
    /// The prefix that the rule matched.
    Prefix(String),
}

/// A filter cannot be applied to this request, so the rule fails closed (500).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The rule replaces a prefix, but did not match by one.
    #[error("no prefix to replace")]
    NoPrefix,
    /// A configured text cannot stand where it is put.
    #[error("a text of the filter is invalid")]
    InvalidText,
    /// The status is not one of a redirect.
    #[error("not the status of a redirect")]
    InvalidStatus,
}
