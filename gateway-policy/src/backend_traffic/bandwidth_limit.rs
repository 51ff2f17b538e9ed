//! `bandwidthLimit`: limits of throughput.

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;
use crate::common::Quantity;

string_enum! {
    /// The unit of time of a throughput.
    pub enum BandwidthUnit {
        Second = "Second",
        Minute = "Minute",
        Hour = "Hour",
    }
}

api_struct! {
    /// Limits of throughput.
    pub struct BandwidthLimit, rules {
        /// Limit of requests.
        request: Bandwidth = "request",
        /// Limit of responses.
        response: ResponseBandwidth = "response",
    }

    /// A limit of throughput.
    pub struct Bandwidth {
        /// Maximum throughput.
        limit: BandwidthRate = "limit" [Required],
    }

    /// A limit of the throughput of responses.
    pub struct ResponseBandwidth {
        /// Maximum throughput.
        limit: BandwidthRate = "limit" [Required],
        /// Trailers that report the delay. Default: none.
        response_trailers: ResponseTrailers = "responseTrailers",
    }

    /// A number of bytes per unit of time.
    pub struct BandwidthRate {
        /// Number of bytes.
        value: Quantity = "value" [Required],
        /// Unit of time.
        unit: BandwidthUnit = "unit" [Required],
    }

    /// Trailers that report the delay.
    pub struct ResponseTrailers {
        /// Prefix of their names. Default: none.
        prefix: String = "prefix" [Pattern("^[^\\r\\n\\x00]*$")],
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
