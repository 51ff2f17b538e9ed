//! The conditions of a route's rules, as plain data.

use http::{HeaderName, Method};
use serde::{Deserialize, Serialize};

use crate::text::{Text, TextMatch};

/// What a request must be like; all parts must hold.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// The path.
    pub path: PathMatch,
    /// The method.
    pub method: Option<Text<Method>>,
    /// Header lines; a match holds if any one line of the name fits.
    pub headers: Vec<NameMatch<Text<HeaderName>>>,
    /// Query parameters, undecoded; the first of a name counts.
    pub query: Vec<NameMatch<String>>,
}

impl Default for Match {
    fn default() -> Self {
        Self {
            path: PathMatch::Prefix("/".to_owned()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        }
    }
}

/// How a path is compared (without the query, case-sensitive, normalised).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The path's first elements. `/a/` is `/a`; `/` takes everything.
    Prefix(String),
    /// The whole path matches; anchored as in [`TextMatch::regex`].
    Regex(Text<regex::Regex>),
    /// A gRPC service and method.
    Grpc(GrpcMethodMatch),
}

/// `GRPCMethodMatch`: at least one of both is given.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct GrpcMethodMatch {
    /// The first element of the path.
    pub service: Option<TextMatch>,
    /// The second element of the path.
    pub method: Option<TextMatch>,
}

/// A named value and what it must be like.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct NameMatch<N> {
    /// The name.
    pub name: N,
    /// What the value must be like.
    pub value: TextMatch,
}
