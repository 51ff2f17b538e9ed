//! `faultInjection`: delays and failures of requests for tests.

use crate::api_struct::api_struct;
use crate::check::Report;
use crate::common::DurationText;

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
        percentage: f64 = "percentage",
    }

    /// Failure of requests. Either `httpStatus` or `grpcStatus` must be set.
    pub struct Abort, rules {
        /// Status of the response.
        http_status: i64 = "httpStatus" [Range(200, 600)],
        /// gRPC status of the response.
        grpc_status: i64 = "grpcStatus" [Range(0, 16)],
        /// Percentage of requests that fail. Default: 100.
        percentage: f64 = "percentage",
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
