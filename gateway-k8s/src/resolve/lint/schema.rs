//! Policies that an API server would refuse. Files have no API server in front of them.

use towergate_policy::SchemaViolation;

use super::super::report::{Report, Subject};
use super::super::world::World;

/// Reports each field of a policy that is against its schema.
pub(super) fn check(world: &World<'_>, report: &mut Report) {
    let objects = world.objects;
    for policy in objects.client_traffic_policies.values() {
        let subject = Subject::new("ClientTrafficPolicy", policy);
        fields(&subject, &policy.spec.validate(), report);
    }
    for policy in objects.backend_traffic_policies.values() {
        let subject = Subject::new("BackendTrafficPolicy", policy);
        fields(&subject, &policy.spec.validate(), report);
    }
    for policy in objects.security_policies.values() {
        let subject = Subject::new("SecurityPolicy", policy);
        fields(&subject, &policy.spec.validate(), report);
    }
}

fn fields(subject: &Subject<'_>, faults: &[SchemaViolation], report: &mut Report) {
    for fault in faults {
        let (code, help) = if fault.field == "spec.clientIPDetection" {
            (
                "client-ip-ambiguous",
                "Keep one of the ways to find the client and remove the others.".to_owned(),
            )
        } else {
            let example = fault
                .example()
                .map(|example| format!(" (such as \"{example}\")"));
            (
                "policy-field",
                format!(
                    "Correct{} or remove the field: until then what the policy covers answers 500.",
                    example.unwrap_or_default()
                ),
            )
        };
        report.error(code, subject, &*fault.field, fault.to_string(), help);
    }
}
