//! `retry`: retries of requests.

use std::num::NonZeroU32;
use std::time::Duration;

use towergate_core::plan;

use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::common::DurationText;
use crate::field_path::FieldPath;
use crate::parse::{duration, number, positive_duration, status, timeout};

string_enum! {
    /// A condition on which a request is retried.
    pub enum RetryTrigger {
        ServerError = "5xx",
        GatewayError = "gateway-error",
        Reset = "reset",
        ResetBeforeRequest = "reset-before-request",
        ConnectFailure = "connect-failure",
        Retriable4xx = "retriable-4xx",
        RefusedStream = "refused-stream",
        RetriableStatusCodes = "retriable-status-codes",
        Cancelled = "cancelled",
        DeadlineExceeded = "deadline-exceeded",
        Internal = "internal",
        ResourceExhausted = "resource-exhausted",
        Unavailable = "unavailable",
    }
}

api_struct! {
    /// Retries of requests.
    pub struct Retry {
        /// Maximum number of retries of a request. Default: 2.
        num_retries: i64 = "numRetries" [Range(0, 2147483647), DefaultNumber(2)],
        /// Number of attempts before endpoints of the next priority are selected. 0 and default: retries do not
        /// change the priority.
        num_attempts_per_priority: i64 = "numAttemptsPerPriority",
        /// Conditions on which a request is retried.
        retry_on: RetryOn = "retryOn",
        /// Timeout of attempts and pauses between them.
        per_retry: PerRetry = "perRetry",
    }

    /// Conditions on which a request is retried.
    pub struct RetryOn {
        /// Conditions. Default: `connect-failure`, `refused-stream`, `unavailable`, `cancelled` and
        /// `retriable-status-codes`.
        triggers: Vec<RetryTrigger> = "triggers",
        /// Statuses of the trigger `retriable-status-codes`. Default: 503.
        http_status_codes: Vec<i64> = "httpStatusCodes" [Range(100, 599)],
    }

    /// Timeout of attempts and pauses between them.
    pub struct PerRetry {
        /// Time limit for the response's head, per attempt. Default: none.
        timeout: DurationText = "timeout",
        /// Exponential back-off between attempts.
        back_off: BackOff = "backOff",
    }

    /// Exponential back-off with jitter.
    pub struct BackOff {
        /// Base interval. Default: 25 milliseconds.
        base_interval: DurationText = "baseInterval",
        /// Maximum interval. Default: ten times the base interval.
        max_interval: DurationText = "maxInterval",
    }
}

impl Retry {
    /// Converts this section of the spec. `at` is the path of the section, for errors.
    pub(super) fn retry(&self, at: FieldPath<'_>) -> Result<plan::Retry, FieldError> {
        let Self {
            num_retries,
            num_attempts_per_priority,
            retry_on,
            per_retry,
        } = self.clone();
        let PerRetry {
            timeout: attempt,
            back_off,
        } = per_retry.unwrap_or_default();
        let BackOff {
            base_interval,
            max_interval,
        } = back_off.unwrap_or_default();
        let defaults = plan::Retry::default();
        let per_retry = at.field("perRetry");
        let back_off = per_retry.field("backOff");
        let base = positive_duration(back_off.field("baseInterval"), base_interval.as_ref())?;
        let base = base.unwrap_or(defaults.base_interval);
        let max = duration(back_off.field("maxInterval"), max_interval.as_ref())?;
        if max.is_some_and(|max| max < base) {
            return Err(FieldError::invalid(
                back_off.field("maxInterval"),
                "is less than baseInterval",
            ));
        }
        let retries = number(at.field("numRetries"), num_retries)?;
        let per_priority: Option<u32> = number(
            at.field("numAttemptsPerPriority"),
            num_attempts_per_priority,
        )?;
        Ok(plan::Retry {
            retries: retries.unwrap_or(defaults.retries),
            attempts_per_priority: per_priority.and_then(NonZeroU32::new),
            on: (retry_on.unwrap_or_default()).events(at.field("retryOn"), defaults.on)?,
            base_interval: base,
            min_interval: Duration::ZERO,
            max_interval: max,
            attempt_timeout: timeout(per_retry.field("timeout"), attempt.as_ref(), None)?,
        })
    }
}

impl RetryOn {
    /// Converts the section. An empty list means the default.
    fn events(
        &self,
        at: FieldPath<'_>,
        defaults: plan::RetryOn,
    ) -> Result<plan::RetryOn, FieldError> {
        let Self {
            triggers,
            http_status_codes,
        } = self;
        let statuses = match http_status_codes.as_deref() {
            None | Some([]) => defaults.statuses.clone(),
            Some(codes) => {
                let at = at.field("httpStatusCodes");
                let codes = codes.iter().enumerate();
                codes
                    .map(|(index, code)| status(at.item(index), *code))
                    .collect::<Result<_, _>>()?
            }
        };
        let triggers = match triggers.as_deref() {
            None | Some([]) => {
                return Ok(plan::RetryOn {
                    statuses,
                    ..defaults
                });
            }
            Some(triggers) => triggers,
        };
        let at = at.field("triggers");
        let mut events = plan::RetryOn::default();
        for (index, trigger) in triggers.iter().enumerate() {
            match trigger {
                RetryTrigger::ServerError => events.server_error = true,
                RetryTrigger::GatewayError => events.gateway_error = true,
                RetryTrigger::Reset => events.reset = true,
                // Before the request is sent, only the connection can fail.
                RetryTrigger::ResetBeforeRequest | RetryTrigger::ConnectFailure => {
                    events.connect_failure = true;
                }
                RetryTrigger::Retriable4xx => events.conflict = true,
                RetryTrigger::RefusedStream => events.refused_stream = true,
                RetryTrigger::RetriableStatusCodes => events.statuses.clone_from(&statuses),
                RetryTrigger::Cancelled => events.grpc_statuses.push(1),
                RetryTrigger::DeadlineExceeded => events.grpc_statuses.push(4),
                RetryTrigger::ResourceExhausted => events.grpc_statuses.push(8),
                RetryTrigger::Internal => events.grpc_statuses.push(13),
                RetryTrigger::Unavailable => events.grpc_statuses.push(14),
                RetryTrigger::Other(value) => {
                    return Err(FieldError::unknown_value(at.item(index), value));
                }
            }
        }
        events.grpc_statuses.sort_unstable();
        events.grpc_statuses.dedup();
        Ok(events)
    }
}
