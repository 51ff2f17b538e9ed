//! Conditions on the sender of a request.

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use towergate_core::plan::Text;

use super::location::is_at_one_of;
use super::{Access, LocationMatch, Subject};
use crate::jwt::{Claims, find_claim};

/// Conditions on the sender of a request. All parts that are set must match.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct PrincipalMatch {
    /// Networks. One of them must contain the client's address; `None`: any address.
    pub networks: Option<Vec<IpNet>>,
    /// Header fields, all of which must match.
    pub headers: Vec<HeaderMatch>,
    /// A verified token that the request must have. `None`: no token is required.
    pub token: Option<TokenMatch>,
    /// Locations. One of them must contain the client's address; `None`: any location.
    #[serde(default)]
    pub locations: Option<Vec<LocationMatch>>,
}

/// A condition on a header field: its name, and the values that match.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// Name of the header field.
    pub name: Text<HeaderName>,
    /// Values. One of them must match.
    pub values: Vec<String>,
}

/// A condition on a verified token of a provider.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct TokenMatch {
    /// The provider's [identity](crate::jwt::TokenProvider::identity).
    pub provider: String,
    /// Claims, all of which must match.
    pub claims: Vec<ClaimMatch>,
    /// Scopes, all of which the token must have.
    pub scopes: Vec<String>,
}

/// A condition on a claim: its name, and the values that match.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ClaimMatch {
    /// The claim's path, with dots between the members of nested objects.
    pub name: String,
    /// How the claim is compared.
    pub test: ClaimTest,
    /// Values, one of which must match.
    pub values: Vec<String>,
}

/// How a claim is compared.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum ClaimTest {
    /// The claim is a string that equals one of the values.
    #[default]
    String,
    /// The claim is a list that contains a string that equals one of the values.
    StringArray,
}

impl PrincipalMatch {
    /// Whether the sender of this request matches.
    pub(super) fn matches(&self, subject: &Subject<'_>, access: Access) -> bool {
        self.matches_address(subject, access)
            && self
                .headers
                .iter()
                .all(|own| own.matches(&subject.head.headers, access))
            && self.token.as_ref().is_none_or(|own| own.matches(subject))
            && self
                .locations
                .as_ref()
                .is_none_or(|own| is_at_one_of(own, subject, access))
    }

    /// Whether the client's address matches. An unknown address matches every rule that denies, and no rule
    /// that allows.
    fn matches_address(&self, subject: &Subject<'_>, access: Access) -> bool {
        let Some(networks) = &self.networks else {
            return true;
        };
        match subject.client.map(|address| address.to_canonical()) {
            Some(client) => networks.iter().any(|network| network.contains(&client)),
            None => access == Access::Deny,
        }
    }
}

impl HeaderMatch {
    /// A rule that allows compares all lines of the field together: as in Envoy, one matching line of several
    /// is not sufficient. A rule that denies matches if any line matches; otherwise a client could hide one
    /// line behind another.
    fn matches(&self, headers: &HeaderMap, access: Access) -> bool {
        let mut lines = headers.get_all(&*self.name).iter();
        let fits = |line: &http::HeaderValue| {
            let mut values = self.values.iter();
            values.any(|value| value.as_bytes() == line.as_bytes())
        };
        match access {
            Access::Allow => lines.next().is_some_and(fits) && lines.next().is_none(),
            Access::Deny => lines.any(fits),
        }
    }
}

impl TokenMatch {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let mut tokens = subject.tokens.of(&self.provider);
        tokens.any(|claims| {
            self.claims.iter().all(|own| own.matches(claims))
                && self.scopes.iter().all(|scope| has_scope(claims, scope))
        })
    }
}

impl ClaimMatch {
    fn matches(&self, claims: &Claims) -> bool {
        let fits = |value: &Value| {
            let text = value.as_str();
            text.is_some_and(|text| self.values.iter().any(|own| own == text))
        };
        match (self.test, find_claim(claims, &self.name)) {
            (ClaimTest::String, Some(value)) => fits(value),
            (ClaimTest::StringArray, Some(Value::Array(list))) => list.iter().any(fits),
            (ClaimTest::StringArray, Some(_)) | (_, None) => false,
        }
    }
}

/// Whether a token has a scope in `scope` or `scp`: space-separated words (RFC 8693, section 4.2),
/// or a list.
fn has_scope(claims: &Claims, scope: &str) -> bool {
    ["scope", "scp"]
        .into_iter()
        .any(|name| match claims.get(name) {
            Some(Value::String(text)) => text.split(' ').any(|word| word == scope),
            Some(Value::Array(list)) => list.iter().any(|word| word == scope),
            _ => false,
        })
}
