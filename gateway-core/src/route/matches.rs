//! Matches of a route's rules, as plain data.

use http::{HeaderName, Method};
use serde::{Deserialize, Serialize};

use crate::text::{Text, TextMatch};

/// Conditions on a request. All of them must hold.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// Path condition. Default: the prefix `/`.
    pub path: PathMatch,
    /// Method; `None`: any.
    pub method: Option<Text<Method>>,
    /// Header conditions. A condition holds if at least one field line with the name matches.
    pub headers: Vec<NameMatch<Text<HeaderName>>>,
    /// Query parameter conditions, compared without percent-decoding. Only the first parameter of a name
    /// counts.
    pub query: Vec<NameMatch<String>>,
    /// Cookie conditions. Only the first cookie of a name counts; quotes around its value are
    /// ignored.
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

/// Path condition. Compares the normalised path, case-sensitively and without the query.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The first path segments. `/a/` equals `/a`; `/` matches every path.
    Prefix(String),
    /// The whole path, by regular expression; anchored as in [`TextMatch::regex`].
    Regex(Text<regex::Regex>),
    /// A gRPC service or method, or both.
    Grpc(GrpcMethodMatch),
}

/// Gateway API `GRPCMethodMatch`. At least one field is set.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct GrpcMethodMatch {
    /// Service: the first path segment. `None`: any.
    pub service: Option<TextMatch>,
    /// Method: the second path segment. `None`: any.
    pub method: Option<TextMatch>,
}

/// Condition on a named value.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct NameMatch<N> {
    /// Name of the header or query parameter.
    pub name: N,
    /// Condition on the value.
    pub value: TextMatch,
}
