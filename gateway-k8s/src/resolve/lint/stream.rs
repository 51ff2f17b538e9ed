//! Finds request settings in policies that target TLSRoutes, TCPRoutes or UDPRoutes, where they have no effect.

use towergate_policy::BackendTrafficPolicySpec;

use super::super::object_index::ObjectIndex;
use super::super::report::{Report, Subject};
use crate::finding::FindingCode;

/// Reports settings for requests in policies of TLSRoutes, TCPRoutes and UDPRoutes.
pub(super) fn check(index: &ObjectIndex<'_>, report: &mut Report) {
    for policy in index.objects.backend_traffic_policies.values() {
        let targets = policy.spec.targets();
        let mut kinds = targets.refs().filter_map(|target| target.target_kind());
        let Some(kind) = kinds.find(|kind| !kind.carries_requests()) else {
            continue;
        };
        for (field, given) in of_requests(&policy.spec) {
            if given {
                report.warn(
                    FindingCode::SettingWithoutEffect,
                    &Subject::new("BackendTrafficPolicy", policy),
                    field,
                    format!(
                        "the field applies to requests and has no effect on a {}",
                        kind.name()
                    ),
                    "remove the field",
                );
            }
        }
    }
}

/// Settings for requests, and whether each is present.
fn of_requests(spec: &BackendTrafficPolicySpec) -> [(&'static str, bool); 13] {
    let timeout = spec.timeout.as_ref();
    [
        ("spec.retry", spec.retry.is_some()),
        ("spec.rateLimit", spec.rate_limit.is_some()),
        ("spec.http2", spec.http2.is_some()),
        ("spec.httpUpgrade", spec.http_upgrade.is_some()),
        (
            "spec.timeout.http",
            timeout.is_some_and(|timeout| timeout.http.is_some()),
        ),
        ("spec.compression", spec.compression.is_some()),
        ("spec.compressor", spec.compressor.is_some()),
        ("spec.requestBuffer", spec.request_buffer.is_some()),
        ("spec.responseOverride", spec.response_override.is_some()),
        ("spec.faultInjection", spec.fault_injection.is_some()),
        ("spec.bandwidthLimit", spec.bandwidth_limit.is_some()),
        ("spec.admissionControl", spec.admission_control.is_some()),
        (
            "spec.useClientProtocol",
            spec.use_client_protocol == Some(true),
        ),
    ]
}
