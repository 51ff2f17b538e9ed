//! The sections of a BackendTrafficPolicy that are enforced by policies on requests.

use super::compression::compression;
use super::extensions::TrafficExtensions;
use super::replacement::replacement;
use super::route_context::RouteContext;
use super::{
    AdmissionControl, BandwidthLimit, Compression, FaultInjection, RateLimit, RequestBuffer,
    ResponseOverride,
};
use super::{body_limit, global_limit, local_limit};
use crate::field_path::FieldPath;
use crate::{FieldError, Policy};

/// The sections that become policies. `rateLimit` becomes up to two policies, every other section at most
/// one.
pub(super) struct RequestSections {
    pub(super) rate_limit: Option<RateLimit>,
    /// `compressor`. It takes precedence over the deprecated field `compression`.
    pub(super) compressor: Option<Vec<Compression>>,
    pub(super) old_compressor: Option<Vec<Compression>>,
    pub(super) response_override: Option<Vec<ResponseOverride>>,
    pub(super) request_buffer: Option<RequestBuffer>,
    pub(super) fault_injection: Option<FaultInjection>,
    pub(super) bandwidth_limit: Option<BandwidthLimit>,
    pub(super) admission_control: Option<AdmissionControl>,
}

impl RequestSections {
    /// The policies of the sections and of the annotations. `at` is the path of the spec.
    ///
    /// # Errors
    /// The first field whose value is invalid.
    pub(super) fn policies(
        &self,
        at: FieldPath<'_>,
        context: RouteContext<'_>,
    ) -> Result<Vec<Policy>, FieldError> {
        let mut policies = Vec::new();
        let extensions = TrafficExtensions::parse(context.annotations)?;
        let written = self.rate_limit.as_ref();
        written.map_or(Ok(()), RateLimit::check_type)?;
        let mut limit = local_limit::rate_limit(written, context)?;
        extensions.apply(limit.as_mut())?;
        policies.extend(limit.map(Policy::LocalRateLimit));
        let limit = global_limit::global_limit(written, context)?;
        policies.extend(limit.map(Policy::GlobalRateLimit));
        policies.extend(self.compression(at)?);
        let replaced = self.response_override.as_deref().unwrap_or_default();
        let replaced = replacement(at.field("responseOverride"), replaced, context.references)?;
        policies.extend(replaced.map(Policy::ResponseOverride));
        if let Some(buffer) = &self.request_buffer {
            let buffer = body_limit::buffering(at.field("requestBuffer"), buffer)?;
            policies.push(Policy::RequestBuffer(buffer));
        }
        policies.extend(extensions.body_limit.map(Policy::RequestBodyLimit));
        if let Some(fault) = &self.fault_injection {
            policies.push(Policy::Fault(fault.policy(at.field("faultInjection"))?));
        }
        if let Some(limit) = &self.bandwidth_limit {
            let limit = limit.policy(at.field("bandwidthLimit"))?;
            policies.push(Policy::BandwidthLimit(limit));
        }
        if let Some(control) = &self.admission_control {
            let control = control.policy(at.field("admissionControl"))?;
            policies.push(Policy::AdmissionControl(control));
        }
        extensions.place(&mut policies);
        Ok(policies)
    }

    fn compression(&self, at: FieldPath<'_>) -> Result<Option<Policy>, FieldError> {
        let (field, list) = match &self.compressor {
            Some(list) => ("compressor", &**list),
            None => (
                "compression",
                self.old_compressor.as_deref().unwrap_or_default(),
            ),
        };
        Ok(compression(at.field(field), list)?.map(Policy::Compression))
    }
}
