//! Timeouts and retries of a rule. They take precedence over a BackendTrafficPolicy.

use std::time::Duration;

use towergate_core::plan::{Retry, RetryOn, StreamIdle, Traffic};
use towergate_policy::common::DurationText;

use crate::api::http_route::{HttpRouteRetry, HttpRouteTimeouts};

/// Settings of a rule. Outer `None`: not set; inner `None`: no limit.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct RuleTraffic {
    request: Option<Option<Duration>>,
    attempt: Option<Option<Duration>>,
    retry: Option<Retry>,
}

impl RuleTraffic {
    /// Resolves the settings of a rule.
    ///
    /// # Errors
    ///
    /// If a value is invalid.
    pub(super) fn resolve(
        timeouts: Option<&HttpRouteTimeouts>,
        retry: Option<&HttpRouteRetry>,
    ) -> Result<Self, String> {
        let time = |name: &str, text: Option<&String>| {
            text.map(|text| {
                let parsed = DurationText(text.to_owned()).parse();
                let parsed = parsed.ok_or_else(|| format!("{name} {text:?} is not a duration"))?;
                Ok::<_, String>(Some(parsed).filter(|time| !time.is_zero()))
            })
            .transpose()
        };
        let request = time(
            "timeouts.request",
            timeouts.and_then(|t| t.request.as_ref()),
        )?;
        let attempt = time(
            "timeouts.backendRequest",
            timeouts.and_then(|t| t.backend_request.as_ref()),
        )?;
        if let (Some(Some(request)), Some(Some(attempt))) = (request, attempt)
            && attempt > request
        {
            return Err(
                "timeouts.backendRequest must not be longer than timeouts.request".to_owned(),
            );
        }
        Ok(Self {
            request,
            attempt,
            retry: retry.map(self::retry).transpose()?,
        })
    }

    /// Applies the settings to `traffic`.
    pub(crate) fn apply(&self, traffic: &mut Traffic) {
        if let Some(retry) = &self.retry {
            traffic.retry = Some(retry.clone());
        }
        let before = traffic.request_timeout.take();
        let own = match (self.request, self.attempt) {
            (Some(request), _) => Some(request),
            // Without a request timeout, the timeout of the only attempt is the limit.
            (None, Some(attempt)) if self.retry.is_none() => Some(attempt),
            _ => None,
        };
        traffic.request_timeout = own.unwrap_or(before);
        if own.is_some() && traffic.stream_idle == StreamIdle::Listener {
            traffic.stream_idle = StreamIdle::Request;
        }
        if let Some(attempt) = self.attempt {
            traffic.attempt_timeout = attempt;
            if let Some(retry) = &mut traffic.retry {
                retry.attempt_timeout = attempt;
            }
        }
    }
}

fn retry(written: &HttpRouteRetry) -> Result<Retry, String> {
    let mut statuses = Vec::new();
    for code in &written.codes {
        let status = u16::try_from(*code)
            .ok()
            .filter(|code| (400..=599).contains(code));
        statuses
            .push(status.ok_or_else(|| format!("retry.codes: {code} is not between 400 and 599"))?);
    }
    let attempts = written.attempts.map(u32::try_from).transpose();
    let backoff = written.backoff.as_deref().map(|text| {
        DurationText(text.to_owned())
            .parse()
            .ok_or_else(|| format!("retry.backoff {text:?} is not a duration"))
    });
    let defaults = Retry::default();
    if statuses.is_empty() {
        statuses.clone_from(&defaults.on.statuses);
    }
    let backoff = backoff.transpose()?.unwrap_or(defaults.base_interval);
    Ok(Retry {
        retries: attempts
            .map_err(|_| "retry.attempts is negative".to_owned())?
            .unwrap_or(defaults.retries),
        attempts_per_priority: None,
        on: RetryOn {
            // Resets of idempotent requests are retried regardless of `codes` (GEP-1731).
            idempotent_reset: true,
            statuses,
            ..defaults.on
        },
        base_interval: backoff,
        // `HTTPRouteRetry.backoff` is the minimum interval (Gateway API).
        min_interval: backoff,
        max_interval: None,
        attempt_timeout: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn traffic(timeouts: serde_json::Value, retry: serde_json::Value) -> Result<Traffic, String> {
        let timeouts: Option<HttpRouteTimeouts> = serde_json::from_value(timeouts).unwrap();
        let retry: Option<HttpRouteRetry> = serde_json::from_value(retry).unwrap();
        let mut traffic = Traffic::default();
        RuleTraffic::resolve(timeouts.as_ref(), retry.as_ref())?.apply(&mut traffic);
        Ok(traffic)
    }

    #[test]
    fn a_limit_of_zero_is_no_limit() {
        let traffic = traffic(json!({ "request": "0s" }), json!(null)).unwrap();

        assert_eq!(traffic.request_timeout, None);
        assert_eq!(traffic.stream_idle, StreamIdle::Request);
    }

    #[test]
    fn the_limit_of_the_only_attempt_is_the_limit_of_the_request() {
        let alone = traffic(json!({ "backendRequest": "1m" }), json!(null)).unwrap();
        let retried = traffic(json!({ "backendRequest": "1s" }), json!({})).unwrap();

        assert_eq!(alone.request_timeout, Some(Duration::from_secs(60)));
        assert_eq!(retried.request_timeout, Traffic::default().request_timeout);
        assert_eq!(retried.attempt_timeout, Some(Duration::from_secs(1)));
        assert_eq!(
            retried.retry.unwrap().attempt_timeout,
            Some(Duration::from_secs(1))
        );
    }

    #[test]
    fn codes_replace_the_default_status_and_not_the_connection_errors() {
        let any = traffic(json!(null), json!({})).unwrap().retry.unwrap();
        let codes = traffic(json!(null), json!({ "codes": [500], "attempts": 1 }));
        let codes = codes.unwrap().retry.unwrap();

        assert_eq!(
            (any.retries, any.on.idempotent_reset, any.on.statuses),
            (2, true, vec![503])
        );
        assert_eq!(any.min_interval, Duration::from_millis(25));
        assert_eq!(
            (codes.retries, codes.on.idempotent_reset, codes.on.statuses),
            (1, true, vec![500])
        );
    }

    #[test]
    fn values_out_of_range_are_errors() {
        assert!(traffic(json!({ "request": "1" }), json!(null)).is_err());
        assert!(
            traffic(
                json!({ "request": "1s", "backendRequest": "2s" }),
                json!(null)
            )
            .is_err()
        );
        assert!(traffic(json!(null), json!({ "codes": [200] })).is_err());
        assert!(traffic(json!(null), json!({ "attempts": -1 })).is_err());
    }
}
