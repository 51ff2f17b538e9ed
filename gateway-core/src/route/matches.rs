//! Matches of a route's rules, as plain data.

use http::{HeaderName, Method};
use serde::{Deserialize, Serialize};

use crate::text::{Text, TextMatch};

/// Conditions on a request. All of them must hold.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// Path condition. Default: the prefix `/`.
    pub path: PathMatch,
    /// Method. `None`: any method.
    pub method: Option<Text<Method>>,
    /// Header conditions. A condition holds if at least one field line with the name matches.
    pub headers: Vec<NameMatch<Text<HeaderName>>>,
    /// Query parameter conditions. Values are compared without percent-decoding. Only the first parameter
    /// with a name counts.
    pub query: Vec<NameMatch<String>>,
    /// Cookie conditions. Only the first cookie with a name counts. Quotes around its value are ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<NameMatch<String>>,
}

impl Default for Match {
    fn default() -> Self {
        Self {
            path: PathMatch::Prefix("/".to_owned()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
            cookies: Vec::new(),
        }
    }
}

/// Path condition. The normalised path is compared, without the query. The comparison is case-sensitive.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The first path segments. `/a/` is equivalent to `/a`; `/` matches every path.
    Prefix(String),
    /// A regular expression that the whole path must match. It is anchored as in [`TextMatch::regex`].
    Regex(Text<regex::Regex>),
    /// A gRPC service or method, or both.
    Grpc(GrpcMethodMatch),
}

/// Condition on a gRPC method (Gateway API `GRPCMethodMatch`). At least one field is set.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct GrpcMethodMatch {
    /// Service: the first path segment. `None`: any service.
    pub service: Option<TextMatch>,
    /// Method: the second path segment. `None`: any method.
    pub method: Option<TextMatch>,
}

/// Condition on a named value.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct NameMatch<N> {
    /// Name of the header, query parameter or cookie.
    pub name: N,
    /// Condition on the value.
    pub value: TextMatch,
}
