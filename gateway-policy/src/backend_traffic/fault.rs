//! `faultInjection`, `admissionControl` and `bandwidthLimit` of a BackendTrafficPolicy as they are
//! written.

use std::time::Duration;

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::{DurationText, Quantity};

string_enum! {
    /// What an amount of bytes is counted by.
    pub enum BandwidthUnit {
        Second = "Second",
        Minute = "Minute",
        Hour = "Hour",
    }

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
    /// Faults put in on purpose.
    pub struct FaultInjection, rules {
        /// Requests wait.
        delay: Delay = "delay",
        /// Requests fail.
        abort: Abort = "abort",
    }

    /// Requests wait.
    pub struct Delay {
        /// So long.
        fixed_delay: DurationText = "fixedDelay" [Required],
        /// So many of them.
        percentage: f64 = "percentage",
    }

    /// Requests fail.
    pub struct Abort, rules {
        /// With this status.
        http_status: i64 = "httpStatus" [Range(200, 600)],
        /// With this status of gRPC.
        grpc_status: i64 = "grpcStatus" [Range(0, 16)],
        /// So many of them.
        percentage: f64 = "percentage",
    }

    /// Rejection of requests while too many fail.
    pub struct AdmissionControl, rules {
        /// How far back failures count.
        sampling_window: DurationText = "samplingWindow",
        /// Below this share of successes.
        min_success_rate: i64 = "minSuccessRate" [Range(1, 100)],
        /// How steeply.
        rejection_aggression: i64 = "rejectionAggression" [Range(1, 2147483647)],
        /// Only from so many requests a second on.
        min_request_rate: i64 = "minRequestRate" [Range(0, 2147483647)],
        /// Never more than this share.
        max_rejection_percent: i64 = "maxRejectionPercent" [Range(0, 100)],
        /// What a success is.
        success_criteria: SuccessCriteria = "successCriteria",
    }

    /// What a success is.
    pub struct SuccessCriteria {
        /// Of HTTP.
        http: HttpSuccess = "http",
        /// Of gRPC.
        grpc: GrpcSuccess = "grpc",
    }

    /// What a success of HTTP is.
    pub struct HttpSuccess {
        /// These statuses.
        status_codes: Vec<i64> = "statusCodes" [Range(100, 599)],
    }

    /// What a success of gRPC is.
    pub struct GrpcSuccess {
        /// These statuses.
        status_codes: Vec<GrpcCode> = "statusCodes",
    }

    /// Throughput limits.
    pub struct BandwidthLimit, rules {
        /// To the backend.
        request: Bandwidth = "request",
        /// From the backend.
        response: ResponseBandwidth = "response",
    }

    /// A throughput limit.
    pub struct Bandwidth {
        /// The limit.
        limit: BandwidthRate = "limit" [Required],
    }

    /// A throughput limit of responses.
    pub struct ResponseBandwidth {
        /// The limit.
        limit: BandwidthRate = "limit" [Required],
        /// Trailers that tell the delay.
        response_trailers: ResponseTrailers = "responseTrailers",
    }

    /// Bytes per time.
    pub struct BandwidthRate {
        /// Bytes.
        value: Quantity = "value" [Required],
        /// Time.
        unit: BandwidthUnit = "unit" [Required],
    }

    /// Trailers that tell the delay.
    pub struct ResponseTrailers {
        /// What their names begin with.
        prefix: String = "prefix" [Pattern("^[^\\r\\n\\x00]*$")],
    }
}

impl FaultInjection {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.delay.is_some() || self.abort.is_some(),
            "Delay and abort faults are set at least one.",
        );
    }
}

impl Abort {
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

impl BandwidthLimit {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.request.is_some() || self.response.is_some(),
            "at least one of request or response must be specified",
        );
    }
}
