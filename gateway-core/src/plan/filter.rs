//! Filters of rules and backendRefs (Gateway API `HTTPRouteFilter`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Backend;
use crate::filter::cors::Cors;
use crate::filter::header::HeaderEdits;
use crate::filter::redirect::Redirect;
use crate::filter::rewrite::Rewrite;
use crate::filter::{CredentialHeader, DirectResponse, RegexRewrite};

/// A filter of a rule or of a backendRef (Gateway API `HTTPRouteFilter`).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum Filter {
    /// Edits the request's headers.
    RequestHeaders(HeaderEdits),
    /// Edits the response's headers.
    ResponseHeaders(HeaderEdits),
    /// Replies with a redirect.
    Redirect(Redirect),
    /// Rewrites the host or the path of the forwarded request.
    Rewrite(Rewrite),
    /// Rewrites the host or the path of the forwarded request by regular expression, header field or
    /// endpoint.
    RegexRewrite(RegexRewrite),
    /// Replies with a fixed response.
    DirectResponse(DirectResponse),
    /// Sends a copy of the request to another backend.
    Mirror(Mirror),
    /// Adds a credential to requests. This filter is supported only in a backendRef; a rule adds credentials
    /// by a policy.
    Credential(CredentialHeader),
    /// Replies to CORS preflights and adds the CORS fields to responses.
    Cors(Cors),
}

/// Mirrors a fraction of the requests to a backend.
///
/// [`traffic::mirror`](crate::traffic::mirror) sends the copies.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Mirror {
    /// Backend that receives the copies.
    pub backend: Arc<Backend>,
    /// Fraction of the requests that is mirrored.
    pub fraction: Fraction,
}

/// A fraction of all requests (Gateway API `Fraction`): `numerator` divided by `denominator`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Fraction {
    /// Numerator. If it is not less than the denominator, the fraction is 1.
    pub numerator: u32,
    /// Denominator. 0 is treated as 1.
    pub denominator: u32,
}

impl Fraction {
    /// Every request.
    pub const ALL: Self = Self {
        numerator: 1,
        denominator: 1,
    };

    /// Decides at random whether a request is selected.
    pub fn pick(self) -> bool {
        let all = self.denominator.max(1);
        self.numerator >= all || fastrand::u32(..all) < self.numerator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(numerator: u32, denominator: u32) -> usize {
        let fraction = Fraction {
            numerator,
            denominator,
        };
        (0..10_000).filter(|_| fraction.pick()).count()
    }

    #[test]
    fn all_and_none_are_exact() {
        assert_eq!(picked(1, 1), 10_000);
        assert_eq!(picked(100, 100), 10_000);
        assert_eq!(picked(7, 3), 10_000);
        assert_eq!(picked(1, 0), 10_000);
        assert_eq!(picked(0, 100), 0);
        assert_eq!(picked(0, 0), 0);
    }

    /// The tolerance is ten standard deviations.
    #[test]
    fn requests_are_selected_in_the_given_proportion() {
        fastrand::seed(7);
        for (numerator, denominator, expected) in [(20, 100, 2000), (25, 50, 5000), (35, 100, 3500)]
        {
            assert!(picked(numerator, denominator).abs_diff(expected) < 500);
        }
    }
}
