//! Pure functions that decide whether a request is retried, and after which back-off, as in Envoy.

use std::time::Duration;

use http::{Method, response};

use crate::error::Error;
use crate::plan::{Retry, RetryOn};

/// Returns whether `error` of a request with `method` is retried. Errors caused by the client or by a limit are never retried.
pub(super) fn on_error(on: &RetryOn, method: &Method, error: &Error) -> bool {
    let any = on.reset || on.server_error || on.gateway_error;
    let any = any || (on.idempotent_reset && method.is_idempotent());
    match error {
        Error::Connect(..) | Error::ConnectTimeout(_) | Error::BackendTls(..) => {
            any || on.connect_failure
        }
        Error::Refused(_) => any || on.refused_stream,
        Error::Terminated(_)
        | Error::RemoteReset(_)
        | Error::Protocol(_)
        | Error::AttemptTimeout => any,
        Error::NoRoute
        | Error::Misdirected
        | Error::Failed(_)
        | Error::InvalidRewrite
        | Error::InvalidBackend
        | Error::InvalidShare
        | Error::NoEndpoint
        | Error::EmptyShare
        | Error::HostDenied
        | Error::ForwardingLoop
        | Error::HostNotResolved(_)
        | Error::Overflow
        | Error::Timeout
        | Error::RequestBody(_)
        | Error::RequestTimeout
        | Error::StreamIdle(_)
        | Error::StreamDuration(_)
        | Error::RequestDuration(_)
        | Error::NoHealthyEndpoint
        | Error::Retried { .. }
        | Error::UpgradeRefused => false,
    }
}

/// Returns whether a response is retried.
pub(super) fn on_response(on: &RetryOn, head: &response::Parts) -> bool {
    let status = head.status.as_u16();
    (on.server_error && head.status.is_server_error())
        || (on.gateway_error && matches!(status, 502..=504))
        || (on.conflict && status == 409)
        || on.statuses.contains(&status)
        || (!on.grpc_statuses.is_empty() && on_grpc_status(on, head))
}

fn on_grpc_status(on: &RetryOn, head: &response::Parts) -> bool {
    let status = head
        .headers
        .get("grpc-status")
        .and_then(|v| v.to_str().ok());
    let status = status.and_then(|status| status.trim().parse().ok());
    status.is_some_and(|status: u32| on.grpc_statuses.contains(&status))
}

/// Maximum back-off before the `n`-th retry, counted from 0; it doubles with each retry.
pub(super) fn ceiling(retry: &Retry, n: u32) -> Duration {
    let max = retry.max_interval.unwrap_or(retry.base_interval * 10);
    let factor = 1u32.checked_shl(n).unwrap_or(u32::MAX);
    retry.base_interval.saturating_mul(factor).min(max)
}

/// Back-off before the `n`-th retry: random up to its maximum (full jitter). If the rule sets a minimum, the
/// back-off is the minimum plus a random time of up to half of the maximum.
pub(super) fn back_off(retry: &Retry, n: u32) -> Duration {
    let mut ceiling = ceiling(retry, n);
    if !retry.min_interval.is_zero() {
        ceiling /= 2;
    }
    let jitter = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
    retry.min_interval + Duration::from_nanos(fastrand::u64(..=jitter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn retry(base: u64, max: Option<u64>) -> Retry {
        Retry {
            retries: 2,
            attempts_per_priority: None,
            on: RetryOn::default(),
            base_interval: Duration::from_millis(base),
            max_interval: max.map(Duration::from_millis),
            min_interval: Duration::ZERO,
            attempt_timeout: None,
        }
    }

    #[test]
    fn back_offs_double_up_to_ten_times_the_base() {
        let ceilings: Vec<_> = (0..40)
            .map(|n| ceiling(&retry(25, None), n).as_millis())
            .collect();

        assert_eq!(ceilings[..5], [25, 50, 100, 200, 250]);
        assert_eq!(ceilings[39], 250);
        assert_eq!(ceiling(&retry(25, Some(60)), 9).as_millis(), 60);
        assert!((0..1000).all(|_| back_off(&retry(25, None), 1) <= Duration::from_millis(50)));
    }

    #[test]
    fn no_back_off_is_below_the_minimum() {
        let rule = Retry {
            min_interval: Duration::from_millis(25),
            ..retry(25, None)
        };
        for (n, longest) in [(0, 37), (1, 50), (9, 150)] {
            let back_offs = (0..1000).map(|_| back_off(&rule, n).as_millis());
            let (least, most) = back_offs.fold((u128::MAX, 0), |(a, b), p| (a.min(p), b.max(p)));

            assert!(least >= 25 && most <= longest, "{n}: {least} to {most}");
        }
    }

    #[test]
    fn each_trigger_covers_the_same_errors_as_in_envoy() {
        let on = |edit: fn(&mut RetryOn)| {
            let mut on = RetryOn::default();
            edit(&mut on);
            on
        };
        let address = ([127, 0, 0, 1], 1).into();
        let connect = Error::ConnectTimeout(address);
        let closed = Error::Terminated(None);
        let refused = Error::Refused(None);
        let rows = [
            (on(|o| o.connect_failure = true), [true, false, false]),
            (on(|o| o.refused_stream = true), [false, false, true]),
            (on(|o| o.reset = true), [true, true, true]),
            (on(|o| o.idempotent_reset = true), [true, true, true]),
            (on(|o| o.server_error = true), [true, true, true]),
            (on(|o| o.gateway_error = true), [true, true, true]),
            (on(|o| o.conflict = true), [false, false, false]),
            (on(|o| o.statuses = vec![503]), [false, false, false]),
        ];
        for (on, expected) in rows {
            let found =
                [&connect, &closed, &refused].map(|error| on_error(&on, &Method::PUT, error));
            assert_eq!(found, expected, "{on:?}");
            for error in [
                Error::Overflow,
                Error::RequestBody("".into()),
                Error::Timeout,
            ] {
                assert!(!on_error(&on, &Method::PUT, &error));
            }
            let found =
                [&connect, &closed, &refused].map(|error| on_error(&on, &Method::POST, error));
            let expected = if on.idempotent_reset {
                [false; 3]
            } else {
                expected
            };
            assert_eq!(found, expected, "{on:?}");
        }
    }

    #[test]
    fn retriable_statuses_are_read_from_the_response_head() {
        let head = |status: u16, grpc: &str| {
            let response = Response::builder()
                .status(status)
                .header("grpc-status", grpc);
            response.body(()).unwrap().into_parts().0
        };
        let mut on = RetryOn {
            grpc_statuses: vec![14],
            ..Default::default()
        };
        assert!(on_response(&on, &head(200, "14")));
        assert!(!on_response(&on, &head(503, "0")));
        on.gateway_error = true;
        assert!(on_response(&on, &head(503, "0")));
        assert!(!on_response(&on, &head(500, "0")));
        on.server_error = true;
        assert!(on_response(&on, &head(500, "0")));
        on.conflict = true;
        assert!(on_response(&on, &head(409, "0")));
    }
}
