//! `bandwidthLimit`: limits of throughput.

use std::time::Duration;

use crate::FieldError;
use crate::api_struct::{api_struct, string_enum};
use crate::bandwidth::{DelayTrailers, Throughput, ThroughputLimit};
use crate::check::Report;
use crate::common::Quantity;
use crate::field_path::FieldPath;
use crate::parse::bytes;

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
        /// Prefix of the names of the trailers. Default: none.
        prefix: String = "prefix" [Pattern("^[^\\r\\n\\x00]*$")],
    }
}

impl BandwidthLimit {
    /// Converts this section of the spec. `at` is the path of the section, for errors.
    pub(super) fn policy(&self, at: FieldPath<'_>) -> Result<ThroughputLimit, FieldError> {
        let (of_request, of_response) = (at.field("request"), at.field("response"));
        let request = (self.request.as_ref()).map(|limit| rate(of_request, limit.limit.as_ref()));
        let response =
            (self.response.as_ref()).map(|limit| rate(of_response, limit.limit.as_ref()));
        let trailers = (self.response.as_ref()).and_then(|limit| limit.response_trailers.as_ref());
        let trailers = trailers.map(|trailers| {
            let prefix = trailers.prefix.as_deref().unwrap_or_default();
            DelayTrailers::with_prefix(prefix).ok_or_else(|| {
                let field = of_response.field("responseTrailers");
                FieldError::invalid(field.field("prefix"), "is not part of a header name")
            })
        });
        let limit = ThroughputLimit {
            request: request.transpose()?,
            response: response.transpose()?,
            trailers: trailers.transpose()?,
        };
        if limit.request.is_none() && limit.response.is_none() {
            return Err(FieldError::invalid(
                at,
                "neither request nor response is set",
            ));
        }
        Ok(limit)
    }

    fn rules(&self, report: &mut Report) {
        report.rule(
            self.request.is_some() || self.response.is_some(),
            "at least one of request or response must be specified",
        );
    }
}

fn rate(at: FieldPath<'_>, rate: Option<&BandwidthRate>) -> Result<Throughput, FieldError> {
    let at = at.field("limit");
    let missing = |field| FieldError::invalid(at.field(field), "Required value");
    let rate = rate.ok_or_else(|| FieldError::invalid(at, "Required value"))?;
    let bytes = bytes(at.field("value"), rate.value.as_ref(), 1, u64::MAX)?;
    let seconds = match &rate.unit {
        Some(BandwidthUnit::Second) => 1,
        Some(BandwidthUnit::Minute) => 60,
        Some(BandwidthUnit::Hour) => 3600,
        Some(BandwidthUnit::Other(value)) => {
            return Err(FieldError::unknown_value(at.field("unit"), value));
        }
        None => return Err(missing("unit")),
    };
    Ok(Throughput {
        bytes: bytes.ok_or_else(|| missing("value"))?,
        per: Duration::from_secs(seconds),
    })
}
