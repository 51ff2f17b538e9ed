//! Reads the observed state of a Gateway from its Service and its Deployment or DaemonSet. Pure functions.

use serde_json::Value;

/// The observed state of the objects of a Gateway.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Observed {
    /// Addresses of the Service of the Gateway: IP addresses or host names.
    pub(crate) addresses: Vec<String>,
    /// Whether at least one data plane is available.
    pub(crate) available: bool,
    /// Message of the Deployment condition that explains why no data plane is available.
    pub(crate) trouble: Option<String>,
}

impl Observed {
    /// Reads the state from the Service and the Deployment or DaemonSet of a Gateway.
    pub(super) fn of(service: Option<&Value>, deployment: Option<&Value>) -> Self {
        let pods = |field: &str| deployment.and_then(|found| found["status"][field].as_u64());
        // A DaemonSet has `numberAvailable`.
        let available = pods("availableReplicas").or_else(|| pods("numberAvailable"));
        let available = available.is_some_and(|number| number > 0);
        Self {
            addresses: service.map(addresses).unwrap_or_default(),
            available,
            trouble: deployment.filter(|_| !available).and_then(trouble),
        }
    }
}

/// The addresses of a Service: of its load balancer for type `LoadBalancer`, else its cluster IPs.
fn addresses(service: &Value) -> Vec<String> {
    let texts = |list: &Value, key: fn(&Value) -> Option<&str>| -> Vec<String> {
        let list = list.as_array().map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(key).map(str::to_owned).collect()
    };
    if service["spec"]["type"] == "LoadBalancer" {
        return texts(&service["status"]["loadBalancer"]["ingress"], |one| {
            one["ip"].as_str().or_else(|| one["hostname"].as_str())
        });
    }
    texts(&service["spec"]["clusterIPs"], |one| {
        one.as_str().filter(|address| *address != "None")
    })
}

/// The message of the most specific condition that explains why a Deployment has no available pods.
fn trouble(deployment: &Value) -> Option<String> {
    let conditions = deployment["status"]["conditions"].as_array()?;
    let of = |kind: &str, status: &str| {
        conditions
            .iter()
            .find(|one| one["type"] == kind && one["status"] == status)
    };
    let worst = of("ReplicaFailure", "True")
        .or_else(|| of("Progressing", "False"))
        .or_else(|| of("Available", "False"))?;
    worst["message"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_load_balancer_tells_addresses_or_names() {
        let service = json!({
            "spec": { "type": "LoadBalancer", "clusterIPs": ["10.0.0.1"] },
            "status": { "loadBalancer": { "ingress": [
                { "ip": "192.0.2.1" }, { "hostname": "lb.example.com" }, {},
            ] } },
        });

        let observed = Observed::of(Some(&service), None);

        assert_eq!(observed.addresses, ["192.0.2.1", "lb.example.com"]);
        assert!(!observed.available);
    }

    #[test]
    fn a_service_without_a_load_balancer_is_reached_by_its_own_address() {
        let of = |spec: Value| Observed::of(Some(&json!({ "spec": spec })), None).addresses;

        assert_eq!(
            of(json!({ "type": "ClusterIP", "clusterIPs": ["10.0.0.1"] })),
            ["10.0.0.1"]
        );
        assert!(of(json!({ "type": "ClusterIP", "clusterIPs": ["None"] })).is_empty());
        assert!(of(json!({ "type": "LoadBalancer", "clusterIPs": ["10.0.0.1"] })).is_empty());
    }

    #[test]
    fn one_pod_that_is_available_is_enough() {
        let deployment = |status: Value| json!({ "status": status });
        let some = deployment(json!({ "availableReplicas": 1, "unavailableReplicas": 1 }));
        let none = deployment(json!({ "conditions": [
            { "type": "Available", "status": "False", "message": "no minimum availability" },
            { "type": "ReplicaFailure", "status": "True", "message": "quota exceeded" },
        ] }));

        assert!(Observed::of(None, Some(&some)).available);
        let observed = Observed::of(None, Some(&none));
        assert!(!observed.available);
        assert_eq!(observed.trouble.as_deref(), Some("quota exceeded"));
    }
}
