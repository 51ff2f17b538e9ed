//! Unsupported fields of policies that are ignored.

use towergate_policy::check::FieldRemarks;

use super::super::object_index::ObjectIndex;
use super::super::policy::{applicable, without_effect};
use super::super::report::{Report, Subject};
use crate::finding::FindingCode;

/// Reports unsupported fields of policies that are ignored.
pub(super) fn check(index: &ObjectIndex<'_>, report: &mut Report) {
    let objects = index.objects;
    for policy in objects.client_traffic_policies.values() {
        let subject = Subject::new("ClientTrafficPolicy", policy);
        warn(&subject, policy.spec.remarks(), report);
    }
    for policy in objects.backend_traffic_policies.values() {
        let subject = Subject::new("BackendTrafficPolicy", policy);
        warn(&subject, applicable(policy.spec.remarks(), objects), report);
    }
    for policy in objects.security_policies.values() {
        let subject = Subject::new("SecurityPolicy", policy);
        warn(&subject, policy.spec.remarks(), report);
    }
}

fn warn(subject: &Subject<'_>, remarks: FieldRemarks, report: &mut Report) {
    for field in remarks.ignored {
        let message = without_effect(&field);
        // A remark about an ignored value has the form `field: value`. Only `field` is a path.
        let place = field.split(": ").next().unwrap_or_default().to_owned();
        let help = "the field protects nothing; remove it, or keep it for another gateway";
        report.warn(FindingCode::FieldIgnored, subject, place, message, help);
    }
}
