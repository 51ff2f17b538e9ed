//! Annotations of a BackendTrafficPolicy: behaviour for which its spec has no field.
//!
//! A policy is invalid, and its targets return 500, if an annotation has an invalid value, belongs to a
//! section that the policy does not set, or has an unknown name with the prefix [`ANNOTATION_PREFIX`].

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::common::Quantity;
use crate::rate_limit::{Limit, LocalRateLimit};
use crate::request_body_limit::RequestBodyLimit;
use crate::{FieldError, Policy};

/// Prefix of the annotations of policies. An unknown annotation with this prefix makes its policy invalid.
pub const ANNOTATION_PREFIX: &str = "towergate.dev/";

/// Annotation of a BackendTrafficPolicy: the maximum size of request bodies, such as `8Mi`. Larger requests
/// receive 413; bodies are not buffered. `0`: no limit, even if the policy's parent sets one.
pub const MAX_REQUEST_BODY: &str = "towergate.dev/max-request-body";

/// Annotation of a BackendTrafficPolicy: further settings of `rateLimit.local`, [`RateLimitExtension`] as JSON.
pub const LOCAL_RATE_LIMIT: &str = "towergate.dev/local-rate-limit";

/// Annotation of a BackendTrafficPolicy. `true`: `rateLimit.local` and [`MAX_REQUEST_BODY`] are evaluated
/// before authentication, as in nginx. Default: after authentication.
pub const LIMITS_BEFORE_AUTHENTICATION: &str = "towergate.dev/limits-before-authentication";

/// Settings of `rateLimit.local` for which the spec has no field: the value of [`LOCAL_RATE_LIMIT`].
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimitExtension {
    /// Size of the burst in periods, as in `limit_req` of nginx: the burst is the requests of this number of
    /// periods plus one request. Default: the requests of one period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_periods: Option<u32>,
    /// Networks whose clients have no limit. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<IpNet>,
}

/// The annotations of a BackendTrafficPolicy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct TrafficExtensions {
    /// The limit of [`MAX_REQUEST_BODY`].
    pub(super) body_limit: Option<RequestBodyLimit>,
    rate_limit: Option<RateLimitExtension>,
    before_authentication: bool,
}

fn invalid(name: &str, reason: impl std::fmt::Display) -> FieldError {
    FieldError::invalid("metadata.annotations", format_args!("{name}: {reason}"))
}

impl TrafficExtensions {
    /// Reads the annotations of a policy.
    pub(super) fn parse(annotations: &BTreeMap<String, String>) -> Result<Self, FieldError> {
        let mut extensions = Self::default();
        for (name, value) in annotations {
            if name == MAX_REQUEST_BODY {
                let quantity = Quantity::Text(value.clone());
                let bytes = quantity.bytes().ok_or_else(|| {
                    invalid(name, format_args!("{value:?} is not a number of bytes"))
                })?;
                extensions.body_limit = (bytes > 0).then_some(RequestBodyLimit { bytes });
            } else if name == LOCAL_RATE_LIMIT {
                let settings = serde_json::from_str(value);
                extensions.rate_limit = Some(settings.map_err(|error| invalid(name, error))?);
            } else if name == LIMITS_BEFORE_AUTHENTICATION {
                let flag = value.parse::<bool>();
                extensions.before_authentication = flag.map_err(|error| invalid(name, error))?;
            } else if name.starts_with(ANNOTATION_PREFIX) {
                return Err(FieldError::invalid(
                    "metadata.annotations",
                    format_args!(
                        "{name} is not an annotation of policies; did you mean {MAX_REQUEST_BODY}, {LOCAL_RATE_LIMIT} or {LIMITS_BEFORE_AUTHENTICATION}?"
                    ),
                ));
            }
        }
        Ok(extensions)
    }

    /// Moves the limits in `policies` before authentication, if [`LIMITS_BEFORE_AUTHENTICATION`] is set.
    pub(super) fn place(&self, policies: &mut [Policy]) {
        if self.before_authentication {
            Policy::move_early(policies, |policy| {
                matches!(
                    policy,
                    Policy::LocalRateLimit(_) | Policy::RequestBodyLimit(_)
                )
            });
        }
    }

    /// Applies the settings of [`LOCAL_RATE_LIMIT`] to `limit`.
    pub(super) fn apply(&self, limit: Option<&mut LocalRateLimit>) -> Result<(), FieldError> {
        let Some(settings) = &self.rate_limit else {
            return Ok(());
        };
        let limit =
            limit.ok_or_else(|| invalid(LOCAL_RATE_LIMIT, "the policy has no rateLimit.local"))?;
        limit.exempt.clone_from(&settings.exempt);
        if let Some(periods) = settings.burst_periods {
            let rules = limit.rules.iter_mut().map(|rule| &mut rule.limit);
            for limit in rules.chain(&mut limit.default) {
                allow_burst(limit, periods);
            }
        }
        Ok(())
    }
}

/// Sets the burst of a limit to the requests of `periods` periods plus one request. The rate of the limit
/// stays the same.
fn allow_burst(limit: &mut Limit, periods: u32) {
    if limit.requests == 0 {
        return;
    }
    let size = limit.requests.saturating_mul(periods).saturating_add(1);
    let period = limit.period.as_nanos() * u128::from(size) / u128::from(limit.requests);
    limit.period = Duration::from_nanos(u64::try_from(period).unwrap_or(u64::MAX));
    limit.requests = size;
}

#[cfg(test)]
mod tests {
    use towergate_core::policy::{RoutePolicy, Stage};

    use super::*;

    fn annotations(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_burst_enlarges_the_bucket_and_keeps_the_rate() {
        for (requests, periods, size, seconds) in [(1, 5, 6, 6), (2, 5, 11, 330), (10, 0, 1, 6)] {
            let period = Duration::from_secs(if requests == 1 { 1 } else { 60 });
            let mut limit = Limit::new(requests, period);

            allow_burst(&mut limit, periods);

            assert_eq!(limit.requests, size);
            assert_eq!(limit.period, Duration::from_secs(seconds));
        }
    }

    #[test]
    fn settings_of_a_limit_need_a_limit() {
        let value = r#"{"burstPeriods": 5, "exempt": ["10.0.0.0/8"]}"#;
        let extensions = TrafficExtensions::parse(&annotations(LOCAL_RATE_LIMIT, value)).unwrap();
        let mut limit = LocalRateLimit::of(Limit::new(1, Duration::from_secs(1)));

        assert!(extensions.apply(None).is_err());
        extensions.apply(Some(&mut limit)).unwrap();

        assert_eq!(limit.default.unwrap().requests, 6);
        assert_eq!(limit.exempt, ["10.0.0.0/8".parse().unwrap()]);
    }

    #[test]
    fn limits_can_be_placed_before_authentication() {
        let own = annotations(LIMITS_BEFORE_AUTHENTICATION, "true");
        let extensions = TrafficExtensions::parse(&own).unwrap();
        let mut policies = [
            Policy::RequestBodyLimit(RequestBodyLimit { bytes: 1 }),
            Policy::LocalRateLimit(LocalRateLimit::default()),
            Policy::Cors(Default::default()),
        ];

        extensions.place(&mut policies);

        let stages = policies.map(|policy| policy.stage());
        assert_eq!(
            stages,
            [Stage::EarlyBodyLimit, Stage::EarlyRateLimit, Stage::Cors]
        );
        assert!(Stage::EarlyRateLimit < Stage::ExternalAuth && Stage::Cors < Stage::EarlyBodyLimit);
    }

    #[test]
    fn an_unknown_or_invalid_annotation_is_an_error() {
        for (name, value) in [
            (MAX_REQUEST_BODY, "much"),
            (LIMITS_BEFORE_AUTHENTICATION, "yes"),
            (LOCAL_RATE_LIMIT, "5"),
            (LOCAL_RATE_LIMIT, r#"{"burst": 5}"#),
            (LOCAL_RATE_LIMIT, r#"{"exempt": ["ten"]}"#),
            ("towergate.dev/rate", "5"),
        ] {
            let result = TrafficExtensions::parse(&annotations(name, value));
            assert!(result.is_err(), "{name}: {value}");
        }
    }
}
