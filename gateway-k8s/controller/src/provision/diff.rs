//! Compares an object with its desired state. Pure functions.
//!
//! The API server adds fields, so an object is up to date if it contains all desired fields. Removing a
//! desired field changes the hash in the annotation of the object. The API server omits some empty values,
//! which are not compared if the object lacks them.

use serde_json::Value;

use super::kind::Kind;
use super::metadata::{APPLIED, CONTROLLER, Manifest};
use super::{name, quantity};

/// The next step for an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Keep the object: it is up to date.
    Keep,
    /// Apply the desired object.
    Apply,
    /// Delete the object and apply the desired one: an immutable field differs.
    Replace,
    /// Leave the object unchanged: it belongs to another owner.
    LeaveToOthers,
}

/// Adds two annotations: the controller, and the hash of the object. They take precedence over annotations of
/// the Gateway.
pub(super) fn stamp(mut manifest: Manifest, controller: &str) -> Manifest {
    let annotations = &mut manifest.body["metadata"]["annotations"];
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove(APPLIED);
    }
    annotations[CONTROLLER] = controller.into();
    let mut hashed = manifest.body.clone();
    if let Some(body) = hashed.as_object_mut() {
        body.remove("data"); // The hash must not depend on a private key.
    }
    let hash = name::hash(&hashed.to_string());
    manifest.body["metadata"]["annotations"][APPLIED] = format!("{hash:016x}").into();
    manifest
}

/// The next step that changes `live` to `wanted`, a stamped object.
pub(super) fn step(live: &Value, wanted: &Manifest) -> Step {
    if owner(live) != owner(&wanted.body) || maker(live) != maker(&wanted.body) {
        return Step::LeaveToOthers;
    }
    if is_fixed(wanted.kind, live, &wanted.body) {
        return Step::Replace;
    }
    if has(live, &wanted.body) {
        return Step::Keep;
    }
    Step::Apply
}

/// The uid of the Gateway that owns an object.
pub(super) fn owner(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["kind"] == "Gateway")?;
    owner["uid"].as_str()
}

/// The `controllerName` of the controller that created an object. A cluster may run several Towergate
/// controllers.
pub(super) fn maker(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][CONTROLLER].as_str()
}

/// Whether a differing field requires deletion of the object: the field is immutable, or its change leaves
/// stale objects. For example, the cluster keeps the EndpointSlices of a Service that loses its selector.
fn is_fixed(kind: Kind, live: &Value, wanted: &Value) -> bool {
    let selector = |object: &Value| object["spec"]["selector"].clone();
    match kind {
        Kind::Deployment | Kind::DaemonSet => selector(live) != selector(wanted),
        Kind::Service => !selector(live).is_null() && selector(wanted).is_null(),
        _ => false,
    }
}

/// Whether `live` contains all fields of `wanted`.
fn has(live: &Value, wanted: &Value) -> bool {
    has_by(live, wanted, Value::eq)
}

/// Fields that the API server omits if they are false, because its types do not distinguish false from
/// absent. It keeps other fields, such as `automountServiceAccountToken` and `allowPrivilegeEscalation`.
const OMITTED_IF_FALSE: [&str; 9] = [
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "paused",
    "publishNotReadyAddresses",
    "readOnly",
    "stdin",
    "stdinOnce",
    "tty",
];

/// Whether the API server omits a field with this value. Empty objects are kept: they have a meaning, such as
/// the type of a volume.
fn is_omitted(key: &str, wanted: &Value) -> bool {
    match wanted {
        Value::Null => true,
        Value::Bool(false) => OMITTED_IF_FALSE.contains(&key),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Compares recursively. `same` compares scalar values.
fn has_by(live: &Value, wanted: &Value, same: fn(&Value, &Value) -> bool) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            // The API server normalises quantities: "1000m" becomes "1".
            let has_quantities = match key.as_str() {
                "resources" => wanted.is_object(),
                "metrics" => wanted.is_array(),
                _ => false,
            };
            let same = match has_quantities {
                true => quantity::same,
                false => same,
            };
            match live.get(key) {
                Some(live) => has_by(live, wanted, same),
                None => is_omitted(key, wanted),
            }
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            let mut pairs = live.iter().zip(wanted);
            live.len() == wanted.len() && pairs.all(|(live, wanted)| has_by(live, wanted, same))
        }
        (live, wanted) => same(live, wanted),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::gateway;
    use super::*;

    const CONTROLLER_NAME: &str = "towergate.dev/gateway-controller";

    fn service(spec: Value) -> Manifest {
        let gateway = gateway("shared");
        let name = "shared-eg".to_owned();
        stamp(
            Manifest::new(Kind::Service, &gateway, name, json!({ "spec": spec })),
            CONTROLLER_NAME,
        )
    }

    #[test]
    fn what_the_api_server_adds_makes_no_difference() {
        let wanted = service(json!({ "ports": [{ "port": 80 }] }));
        let mut live = wanted.body.clone();
        live["spec"]["clusterIP"] = "10.0.0.1".into();
        live["spec"]["ports"][0]["nodePort"] = 30000.into();
        live["metadata"]["uid"] = "u".into();

        assert_eq!(step(&live, &wanted), Step::Keep);
    }

    #[test]
    fn values_that_the_api_server_omits_make_no_difference() {
        let pod = |fields: Value| service(json!({ "template": { "spec": fields } }));
        let live_without = |wanted: &Manifest| {
            let mut live = wanted.body.clone();
            live["spec"]["template"]["spec"] = json!({});
            live
        };

        for omitted in [
            json!({ "hostNetwork": false }),
            json!({ "tolerations": [] }),
            json!({ "priorityClassName": null }),
        ] {
            let wanted = pod(omitted);
            assert_eq!(step(&live_without(&wanted), &wanted), Step::Keep);
        }
        for kept in [
            json!({ "hostNetwork": true }),
            json!({ "automountServiceAccountToken": false }),
            json!({ "emptyDir": {} }),
        ] {
            let wanted = pod(kept);
            assert_eq!(step(&live_without(&wanted), &wanted), Step::Apply);
        }
    }

    #[test]
    fn what_others_change_is_put_right() {
        let wanted = service(json!({ "ports": [{ "port": 80 }] }));
        let mut live = wanted.body.clone();
        live["spec"]["ports"][0]["port"] = 81.into();

        assert_eq!(step(&live, &wanted), Step::Apply);
    }

    #[test]
    fn what_is_said_no_longer_is_taken_back() {
        let before = service(json!({ "ports": [], "loadBalancerIP": "192.0.2.1" }));
        let wanted = service(json!({ "ports": [] }));

        assert_eq!(step(&before.body, &wanted), Step::Apply);
    }

    #[test]
    fn an_object_of_somebody_else_is_left_alone() {
        let wanted = service(json!({ "ports": [] }));
        let mut others = wanted.body.clone();
        others["metadata"]["ownerReferences"][0]["uid"] = "of-another".into();
        let nobodys = json!({ "metadata": { "name": "shared-eg" } });

        assert_eq!(step(&others, &wanted), Step::LeaveToOthers);
        assert_eq!(step(&nobodys, &wanted), Step::LeaveToOthers);
    }

    #[test]
    fn an_object_of_another_controller_is_left_alone_whatever_the_gateway_says() {
        let mut gateway = gateway("shared");
        gateway.annotations = [CONTROLLER, APPLIED]
            .map(|key| (key.to_owned(), "example.com/other".to_owned()))
            .into();
        let service = || Manifest::new(Kind::Service, &gateway, "s".to_owned(), json!({}));
        let [ours, theirs] =
            [CONTROLLER_NAME, "example.com/other"].map(|controller| stamp(service(), controller));

        assert_eq!(step(&ours.body, &ours), Step::Keep);
        assert_eq!(step(&theirs.body, &ours), Step::LeaveToOthers);
        assert_eq!(maker(&ours.body), Some(CONTROLLER_NAME));
        assert_ne!(
            ours.body["metadata"]["annotations"][APPLIED],
            "example.com/other"
        );
    }

    #[test]
    fn quantities_are_the_same_in_the_words_of_the_api_server() {
        let of = |resources: Value, label: &str| {
            let resources = json!({ "resources": resources, "labels": { "resources": label } });
            service(json!({ "containers": [resources] }))
        };
        let asked =
            json!({ "limits": { "cpu": "1000m", "memory": "0.5Gi" }, "requests": { "cpu": 2 } });
        let kept =
            json!({ "limits": { "cpu": "1", "memory": "512Mi" }, "requests": { "cpu": "2" } });
        let less =
            json!({ "limits": { "cpu": "1", "memory": "511Mi" }, "requests": { "cpu": "2" } });
        let wanted = of(asked, "1");
        let live = |resources: Value, label: &str| {
            let mut live = wanted.body.clone();
            live["spec"] = of(resources, label).body["spec"].clone();
            live
        };

        assert_eq!(step(&live(kept.clone(), "1"), &wanted), Step::Keep);
        assert_eq!(step(&live(less, "1"), &wanted), Step::Apply);
        assert_eq!(step(&live(kept, "1000m"), &wanted), Step::Apply);
    }

    #[test]
    fn a_service_that_loses_its_selector_is_made_anew() {
        let before = service(json!({ "selector": { "a": "b" } }));
        let wanted = service(json!({ "ports": [] }));

        assert_eq!(step(&before.body, &wanted), Step::Replace);
        assert_eq!(step(&wanted.body, &before), Step::Apply);
    }

    #[test]
    fn no_hash_tells_of_a_secrets_content() {
        let secret = |data: &str| {
            let rest = json!({ "data": { "tls.key": data } });
            let secret = Manifest::new(Kind::Secret, &gateway("shared"), "s".to_owned(), rest);
            stamp(secret, CONTROLLER_NAME).body["metadata"]["annotations"][APPLIED].clone()
        };

        assert_eq!(secret("a"), secret("b"));
    }
}
