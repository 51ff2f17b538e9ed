//! `admissionControl`: rejection of requests while the success rate is low.

use std::time::Duration;

use crate::FieldError;
use crate::admission::AdmissionRule;
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::DurationText;
use crate::field_path::FieldPath;
use crate::parse::{duration, number, percent, status};

string_enum! {
    /// A status of gRPC.
    pub enum GrpcCode {
        Ok = "Ok",
        Cancelled = "Cancelled",
        Unknown = "Unknown",
        InvalidArgument = "InvalidArgument",
        DeadlineExceeded = "DeadlineExceeded",
        NotFound = "NotFound",
        AlreadyExists = "AlreadyExists",
        PermissionDenied = "PermissionDenied",
        ResourceExhausted = "ResourceExhausted",
        FailedPrecondition = "FailedPrecondition",
        Aborted = "Aborted",
        OutOfRange = "OutOfRange",
        Unimplemented = "Unimplemented",
        Internal = "Internal",
        Unavailable = "Unavailable",
        DataLoss = "DataLoss",
        Unauthenticated = "Unauthenticated",
    }
}

api_struct! {
    /// Rejection of requests while the success rate is low.
    pub struct AdmissionControl, rules {
        /// Time over which the success rate is measured, at least 1 second. Default: 30 seconds.
        sampling_window: DurationText = "samplingWindow",
        /// Success rate in percent below which requests are rejected. Default: 95.
        min_success_rate: i64 = "minSuccessRate" [Range(1, 100)],
        /// Steepness of the rejection probability. 1 is linear. Default: 1.
        rejection_aggression: i64 = "rejectionAggression" [Range(1, 2147483647)],
        /// Requests per second below which none is rejected. Default: 0.
        min_request_rate: i64 = "minRequestRate" [Range(0, 2147483647)],
        /// Maximum percentage of rejected requests. Default: 80.
        max_rejection_percent: i64 = "maxRejectionPercent" [Range(0, 100)],
        /// Responses that count as success.
        success_criteria: SuccessCriteria = "successCriteria",
    }

    /// Responses that count as success.
    pub struct SuccessCriteria {
        /// HTTP responses that count as success. Default: statuses below 500.
        http: HttpSuccess = "http",
        /// gRPC responses that count as success. Default: those of Envoy.
        grpc: GrpcSuccess = "grpc",
    }

    /// HTTP responses that count as success.
    pub struct HttpSuccess {
        /// Statuses.
        status_codes: Vec<i64> = "statusCodes" [Range(100, 599)],
    }

    /// gRPC responses that count as success.
    pub struct GrpcSuccess {
        /// Statuses.
        status_codes: Vec<GrpcCode> = "statusCodes",
    }
}

impl AdmissionControl {
    /// Converts this section of the spec. `at` is the path of the section, for errors.
    pub(super) fn policy(&self, at: FieldPath<'_>) -> Result<AdmissionRule, FieldError> {
        let window_at = at.field("samplingWindow");
        let window = duration(window_at, self.sampling_window.as_ref())?;
        let window = window.unwrap_or(Duration::from_secs(30));
        if window < Duration::from_secs(1) {
            return Err(FieldError::invalid(window_at, "must be at least 1s"));
        }
        let rate_at = at.field("minSuccessRate");
        let min_success_rate = percent(rate_at, self.min_success_rate)?.unwrap_or(95);
        if min_success_rate == 0 {
            return Err(FieldError::invalid(rate_at, "must be between 1 and 100"));
        }
        let aggression = number(at.field("rejectionAggression"), self.rejection_aggression)?;
        let request_rate = number(at.field("minRequestRate"), self.min_request_rate)?;
        let max_rejection = percent(at.field("maxRejectionPercent"), self.max_rejection_percent)?;
        let success = at.field("successCriteria");
        let criteria = self.success_criteria.clone().unwrap_or_default();
        let http = criteria.http.and_then(|http| http.status_codes);
        let grpc = criteria.grpc.and_then(|grpc| grpc.status_codes);
        Ok(AdmissionRule {
            window,
            min_success_rate,
            aggression: aggression.unwrap_or(1).max(1),
            min_request_rate: request_rate.unwrap_or(0),
            max_rejection: max_rejection.unwrap_or(80),
            http_success: http
                .filter(|codes| !codes.is_empty())
                .map(|codes| {
                    let at = success.field("http");
                    let codes = codes.into_iter();
                    codes
                        .map(|code| status(at.field("statusCodes"), code))
                        .collect()
                })
                .transpose()?,
            grpc_success: grpc
                .filter(|codes| !codes.is_empty())
                .map(|codes| {
                    let at = success.field("grpc");
                    let codes = codes.iter();
                    codes
                        .map(|code| code.number(at.field("statusCodes")))
                        .collect()
                })
                .transpose()?,
        })
    }

    fn rules(&self, report: &mut Report) {
        let within = |value: Option<i64>, low| value.is_none_or(|v| (low..=100).contains(&v));
        report.rule(
            within(self.min_success_rate, 1),
            "minSuccessRate must be between 1 and 100",
        );
        report.rule(
            within(self.max_rejection_percent, 0),
            "maxRejectionPercent must be between 0 and 100",
        );
        let window = self.sampling_window.as_ref().and_then(DurationText::parse);
        report.rule(
            window.is_none_or(|window| window >= Duration::from_secs(1)),
            "samplingWindow must be at least 1s",
        );
    }
}

impl GrpcCode {
    /// The number of the gRPC status.
    fn number(&self, at: FieldPath<'_>) -> Result<u16, FieldError> {
        Ok(match self {
            Self::Ok => 0,
            Self::Cancelled => 1,
            Self::Unknown => 2,
            Self::InvalidArgument => 3,
            Self::DeadlineExceeded => 4,
            Self::NotFound => 5,
            Self::AlreadyExists => 6,
            Self::PermissionDenied => 7,
            Self::ResourceExhausted => 8,
            Self::FailedPrecondition => 9,
            Self::Aborted => 10,
            Self::OutOfRange => 11,
            Self::Unimplemented => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::DataLoss => 15,
            Self::Unauthenticated => 16,
            Self::Other(value) => return Err(FieldError::unknown_value(at, value)),
        })
    }
}
