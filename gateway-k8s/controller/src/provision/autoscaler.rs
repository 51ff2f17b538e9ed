//! The HorizontalPodAutoscaler of the data planes of a Gateway.

use serde_json::json;
use towergate_policy::envoy_proxy::EnvoyHpa;

use super::desired::GatewayToRun;
use super::kind::Kind;
use super::metadata::Manifest;
use super::patch;

/// Renders the autoscaler of the Deployment `deployment`.
pub(super) fn render(
    gateway: &GatewayToRun,
    name: &str,
    deployment: &str,
    hpa: &EnvoyHpa,
) -> Manifest {
    let mut spec = json!({
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": deployment },
        "maxReplicas": hpa.max_replicas,
    });
    if let Some(lowest) = hpa.min_replicas {
        spec["minReplicas"] = lowest.into();
    }
    let metrics = hpa.metrics.clone().filter(|metrics| !metrics.is_empty());
    spec["metrics"] = metrics.map_or_else(
        || {
            json!([{
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": { "type": "Utilization", "averageUtilization": 80 },
                },
            }])
        },
        Into::into,
    );
    if let Some(behavior) = &hpa.behavior {
        spec["behavior"] = behavior.clone();
    }
    let name = hpa.name.as_deref().unwrap_or(name).to_owned();
    let rest = json!({ "spec": spec });
    let manifest = Manifest::new(Kind::HorizontalPodAutoscaler, gateway, name, rest);
    patch::apply(manifest, hpa.patch.as_ref())
}
