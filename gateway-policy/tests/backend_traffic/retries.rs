//! Retries.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Value, json};
use towergate_core::plan::{RetryBudget, RetryOn};

use super::traffic;

#[test]
fn an_empty_retry_has_the_defaults_of_envoy_gateway() {
    let retry = traffic(json!({"retry": {}})).retry.unwrap();

    assert_eq!(retry.retries, 2);
    assert_eq!(retry.base_interval, Duration::from_millis(25));
    assert_eq!(retry.max_interval, None);
    assert_eq!(retry.attempts_per_priority, None);
    assert_eq!(retry.attempt_timeout, None);
    assert_eq!(
        retry.on,
        RetryOn {
            connect_failure: true,
            refused_stream: true,
            statuses: vec![503],
            grpc_statuses: vec![1, 14],
            ..RetryOn::default()
        }
    );
}

#[test]
fn each_trigger_is_converted() {
    let events = |trigger: &str| {
        let fields = json!({"retry": {"retryOn": {
            "triggers": [trigger],
            "httpStatusCodes": [500, 502],
        }}});
        traffic(fields).retry.unwrap().on
    };
    let none = RetryOn::default;
    let grpc = |status| RetryOn {
        grpc_statuses: vec![status],
        ..none()
    };

    for (trigger, expected) in [
        (
            "5xx",
            RetryOn {
                server_error: true,
                ..none()
            },
        ),
        (
            "gateway-error",
            RetryOn {
                gateway_error: true,
                ..none()
            },
        ),
        (
            "reset",
            RetryOn {
                reset: true,
                ..none()
            },
        ),
        (
            "reset-before-request",
            RetryOn {
                connect_failure: true,
                ..none()
            },
        ),
        (
            "connect-failure",
            RetryOn {
                connect_failure: true,
                ..none()
            },
        ),
        (
            "retriable-4xx",
            RetryOn {
                conflict: true,
                ..none()
            },
        ),
        (
            "refused-stream",
            RetryOn {
                refused_stream: true,
                ..none()
            },
        ),
        (
            "retriable-status-codes",
            RetryOn {
                statuses: vec![500, 502],
                ..none()
            },
        ),
        ("cancelled", grpc(1)),
        ("deadline-exceeded", grpc(4)),
        ("resource-exhausted", grpc(8)),
        ("internal", grpc(13)),
        ("unavailable", grpc(14)),
    ] {
        assert_eq!(events(trigger), expected, "{trigger}");
    }
}

#[test]
fn status_codes_without_triggers_replace_503() {
    let fields = json!({"retry": {"retryOn": {"httpStatusCodes": [429]}}});

    let on = traffic(fields).retry.unwrap().on;

    assert_eq!(on.statuses, [429]);
    assert!(on.connect_failure);
}

#[test]
fn retries_move_to_the_next_priority_only_after_a_positive_number_of_attempts() {
    for (number, expected) in [(0, None), (1, NonZeroU32::new(1)), (5, NonZeroU32::new(5))] {
        let traffic = traffic(json!({"retry": {"numAttemptsPerPriority": number}}));

        assert_eq!(traffic.retry.unwrap().attempts_per_priority, expected);
    }
}

#[test]
fn a_retry_budget_has_the_defaults_of_envoy() {
    let budget = |fields: Value| {
        let traffic = traffic(json!({"circuitBreaker": {"retryBudget": fields}}));
        traffic.breaker.retry_budget.unwrap()
    };

    assert_eq!(
        budget(json!({"percent": {"numerator": 25}})),
        RetryBudget {
            numerator: 25,
            denominator: 100,
            min_retries: 3,
        }
    );
    assert_eq!(
        budget(json!({"percent": {"numerator": 1, "denominator": 8}, "minRetryConcurrency": 0})),
        RetryBudget {
            numerator: 1,
            denominator: 8,
            min_retries: 0,
        }
    );
}
