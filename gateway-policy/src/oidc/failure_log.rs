//! Log lines about logins that fail at the provider.
//!
//! A client only receives `OAuth flow failed.`, so the cause is logged. Any client can repeat a failing
//! login, so each policy and kind of failure is logged at most once per minute. Errors that the request alone
//! causes, such as a callback without a state, are only in the access log.

use std::borrow::Cow;
use std::time::Duration;

use towergate_core::conn::LogThrottle;

use super::{IdTokenError, OidcError};

/// Time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(60);

/// A kind of failure. The discriminant of a variant is the index of its throttle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LoginFailure {
    Unavailable,
    Provider,
    TokenEndpoint,
    IdToken,
    Session,
}

/// The log lines of one policy.
#[derive(Debug)]
pub(super) struct FailureLog {
    /// `namespace/name` of the policy.
    policy: String,
    throttles: [LogThrottle; LoginFailure::COUNT],
}

impl LoginFailure {
    const COUNT: usize = 5;

    /// The kind of `error`; `None`: the request caused it.
    fn of(error: &OidcError) -> Option<Self> {
        match error {
            OidcError::Unavailable(_) => Some(Self::Unavailable),
            OidcError::Provider(_) => Some(Self::Provider),
            OidcError::TokenStatus { .. }
            | OidcError::TokenBody
            | OidcError::NoAccessToken
            | OidcError::NoLifetime => Some(Self::TokenEndpoint),
            OidcError::IdToken(_) => Some(Self::IdToken),
            OidcError::TokenTooLong | OidcError::Seal => Some(Self::Session),
            OidcError::RedirectDenied(_)
            | OidcError::NoHost
            | OidcError::Issuer
            | OidcError::NoCode
            | OidcError::StateNotJson(_)
            | OidcError::StateIncomplete
            | OidcError::Csrf
            | OidcError::StateUrl
            | OidcError::Verifier => None,
        }
    }

    /// Advice for the log line: the settings to check.
    const fn advice(self) -> &'static str {
        match self {
            Self::Unavailable => {
                "check `provider.issuer`, `provider.backendRefs` and the connection to them"
            }
            Self::Provider => "check the client and its scopes at the provider",
            Self::TokenEndpoint => {
                "check `clientID`, `clientSecret` and the redirect URL at the provider"
            }
            Self::IdToken => {
                "check `provider.issuer`, `clientID` and the clocks of provider and gateway"
            }
            Self::Session => "ask the provider for shorter tokens",
        }
    }
}

impl FailureLog {
    /// The log of the policy with this `namespace/name`.
    pub(super) fn new(policy: &str) -> Self {
        Self {
            policy: policy.to_owned(),
            throttles: [const { LogThrottle::new(INTERVAL) }; LoginFailure::COUNT],
        }
    }

    /// Logs `error`. An error that the request caused is not logged, and an error of each kind is logged at
    /// most once per minute. `fault` returns the reason why a document of the provider is missing.
    pub(super) fn record(&self, error: &OidcError, fault: impl FnOnce() -> Option<String>) {
        let Some(kind) = LoginFailure::of(error) else {
            return;
        };
        if !self.throttles[kind as usize].allows() {
            return;
        }
        let cause: Cow<'_, str> = match error {
            OidcError::Unavailable(cause) if !cause.is_empty() => cause.into(),
            OidcError::Unavailable(_) | OidcError::IdToken(IdTokenError::NoKeys) => {
                fault().unwrap_or_default().into()
            }
            _ => "".into(),
        };
        let separator = if cause.is_empty() { "" } else { ": " };
        tracing::warn!(
            policy = self.policy,
            error = %format_args!("{error}{separator}{cause}"),
            advice = kind.advice(),
            "OpenID Connect login failed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_failure_is_logged_once_a_minute_per_policy() {
        let (one, two) = (FailureLog::new("team/one"), FailureLog::new("team/two"));
        let mut asked = 0;
        let down = OidcError::Unavailable(String::new());

        for log in [&one, &one, &two, &one] {
            log.record(&down, || {
                asked += 1;
                None
            });
        }
        one.record(&IdTokenError::NoKeys.into(), || {
            asked += 1;
            None
        });

        assert_eq!(asked, 3, "the cause is looked up for a line only");
    }

    #[test]
    fn errors_of_requests_are_not_failures_of_the_provider() {
        for error in [OidcError::Csrf, OidcError::NoCode, OidcError::NoHost] {
            assert_eq!(LoginFailure::of(&error), None, "{error}");
        }
    }
}
