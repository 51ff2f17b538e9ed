//! `faultInjection`: delays and failures of requests for tests.

use crate::FieldError;
use crate::api_struct::api_struct;
use crate::check::Report;
use crate::common::DurationText;
use crate::fault::{FaultRule, FaultStatus, RequestShare};
use crate::field_path::FieldPath;
use crate::parse::{duration, number, status};

api_struct! {
    /// Injection of faults.
    pub struct FaultInjection, rules {
        /// Delay of requests.
        delay: Delay = "delay",
        /// Failure of requests.
        abort: Abort = "abort",
    }

    /// Delay of requests.
    pub struct Delay {
        /// Duration of the delay.
        fixed_delay: DurationText = "fixedDelay" [Required],
        /// Percentage of requests that are delayed. Default: 100.
        percentage: f64 = "percentage" [DefaultNumber(100)],
    }

    /// Failure of requests. Either `httpStatus` or `grpcStatus` must be set.
    pub struct Abort, rules {
        /// Status of the response.
        http_status: i64 = "httpStatus" [Range(200, 600)],
        /// gRPC status of the response.
        grpc_status: i64 = "grpcStatus" [Range(0, 16)],
        /// Percentage of requests that fail. Default: 100.
        percentage: f64 = "percentage" [DefaultNumber(100)],
    }
}

impl FaultInjection {
    /// Converts this section of the spec. `at` is the path of the section, for errors.
    pub(super) fn policy(&self, at: FieldPath<'_>) -> Result<FaultRule, FieldError> {
        let delay = (self.delay.as_ref()).map(|delay| delay.delay(at.field("delay")));
        let abort = (self.abort.as_ref()).map(|abort| abort.abort(at.field("abort")));
        let rule = FaultRule {
            delay: delay.transpose()?,
            abort: abort.transpose()?,
        };
        if rule.delay.is_none() && rule.abort.is_none() {
            return Err(FieldError::invalid(at, "neither delay nor abort is set"));
        }
        Ok(rule)
    }

    fn rules(&self, report: &mut Report) {
        report.rule(
            self.delay.is_some() || self.abort.is_some(),
            "Delay and abort faults are set at least one.",
        );
    }
}

impl Delay {
    fn delay(&self, at: FieldPath<'_>) -> Result<(std::time::Duration, RequestShare), FieldError> {
        let field = at.field("fixedDelay");
        let delay = duration(field, self.fixed_delay.as_ref())?;
        let delay = delay.ok_or_else(|| FieldError::invalid(field, "Required value"))?;
        Ok((delay, share(at, self.percentage)?))
    }
}

/// Converts `percentage`. Default: 100.
fn share(at: FieldPath<'_>, percentage: Option<f64>) -> Result<RequestShare, FieldError> {
    let percent = percentage.unwrap_or(100.0);
    let error = || FieldError::invalid(at.field("percentage"), "must be between 0 and 100");
    RequestShare::percent(percent).ok_or_else(error)
}

impl Abort {
    fn abort(&self, at: FieldPath<'_>) -> Result<(FaultStatus, RequestShare), FieldError> {
        let grpc = number::<u16>(at.field("grpcStatus"), self.grpc_status)?;
        let status = match (self.http_status, grpc) {
            (Some(code), None) => FaultStatus::Http(response_status(at.field("httpStatus"), code)?),
            (None, Some(code)) => FaultStatus::Grpc(code),
            _ => {
                let message = "exactly one of httpStatus and grpcStatus must be set";
                return Err(FieldError::invalid(at, message));
            }
        };
        Ok((status, share(at, self.percentage)?))
    }

    fn rules(&self, report: &mut Report) {
        report.rule(
            self.http_status.is_none() || self.grpc_status.is_none(),
            "httpStatus and grpcStatus cannot be simultaneously defined.",
        );
        report.rule(
            self.http_status.is_some() || self.grpc_status.is_some(),
            "httpStatus and grpcStatus are set at least one.",
        );
    }
}

/// Converts the status of a response. A status 1xx is invalid.
fn response_status(at: FieldPath<'_>, code: i64) -> Result<u16, FieldError> {
    match status(at, code)? {
        informational @ ..200 => Err(FieldError::invalid(
            at,
            format_args!("{informational} is not the status of a complete response"),
        )),
        code => Ok(code),
    }
}
