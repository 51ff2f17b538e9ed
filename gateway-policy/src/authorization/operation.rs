//! Conditions on the method and path of a request.

use http::{Method, request};
use serde::{Deserialize, Serialize};
use towergate_core::plan::{Text, TextMatch};

/// Conditions on the method and path of a request. Both must match.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct OperationMatch {
    /// Methods. One of them must match. Empty: any.
    pub methods: Vec<Text<Method>>,
    /// The path; `None`: any.
    pub path: Option<OperationPath>,
}

/// A test of the path, without the query.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct OperationPath {
    /// How the path is compared.
    pub test: PathComparison,
    /// Whether the test is inverted.
    pub invert: bool,
}

/// How a path is compared. The path is normalised, and compared with regard to case.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum PathComparison {
    /// A prefix of the path as a string: as in Envoy, `/admin` also matches `/administrator`.
    Prefix(String),
    /// The whole path.
    Whole(TextMatch),
}

impl OperationMatch {
    pub(super) fn matches(&self, head: &request::Parts) -> bool {
        let method = self.methods.is_empty() || self.methods.iter().any(|own| **own == head.method);
        method
            && self
                .path
                .as_ref()
                .is_none_or(|path| path.matches(head.uri.path()))
    }
}

impl OperationPath {
    fn matches(&self, path: &str) -> bool {
        let holds = match &self.test {
            PathComparison::Prefix(own) => path.starts_with(own.as_str()),
            PathComparison::Whole(text) => text.matches(path),
        };
        holds != self.invert
    }
}
