//! Route filters. They modify a request or a response, or reply to the request.
//!
//! A filter is a value with a pure function. Filters run after policies, so authorization policies check the
//! request before a filter rewrites it.

pub mod cors;
mod credential;
mod direct_response;
pub mod header;
mod origin;
mod path;
pub mod redirect;
mod redirect_layer;
mod redirect_status;
mod regex_rewrite;
pub mod rewrite;

pub use cors::{Allowed, Cors, CorsLayer};
pub use credential::{CredentialHeader, SecretHeaderValue};
pub use direct_response::DirectResponse;
pub use header::{HeaderEdit, HeaderEdits};
pub use origin::{HostPattern, InvalidOrigin, OriginPattern, OriginText, WebScheme};
pub use redirect::{Redirect, RedirectFacts};
pub use redirect_layer::{RedirectLayer, RedirectService};
pub use redirect_status::{InvalidRedirectStatus, RedirectStatus};
pub use regex_rewrite::{
    HostRewrite, RegexReplacement, RegexRewrite, Substitution, SubstitutionError,
};
pub use rewrite::Rewrite;

use serde::{Deserialize, Serialize};

/// Replacement of a path (Gateway API `HTTPPathModifier`).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum PathEdit {
    /// Replaces the whole path.
    Full(String),
    /// Replaces the prefix that the rule matched.
    Prefix(String),
}

/// Error of a filter that cannot be applied to a request. The rule fails closed with 500.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The filter replaces a prefix, but the rule has no prefix match, or the path does not start with the
    /// prefix.
    #[error("no prefix to replace")]
    NoPrefix,
    /// A configured value contains characters that are invalid in a URL or header field.
    #[error("the filter contains an invalid string")]
    InvalidText,
}
