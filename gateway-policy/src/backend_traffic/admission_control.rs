//! `admissionControl`: rejection of requests while the success rate is low.

use std::time::Duration;

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::DurationText;

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
