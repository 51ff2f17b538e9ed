//! Whether an object is as it should be: pure.
//!
//! The API server adds fields of its own, so an object is as it should be if it has all that we say. What
//! we said before and say no longer shows in a hash of what was applied.

use serde_json::Value;

use super::kind::Kind;
use super::metadata::{APPLIED, Manifest};

/// What is to be done about an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Nothing: it is as it should be.
    Keep,
    /// Apply it.
    Apply,
    /// It cannot be changed into what it should be: it must go first.
    Replace,
    /// Nothing: it is not ours.
    LeaveToOthers,
}

/// Adds the hash by which a later version of the object is told from this one.
pub(super) fn stamp(manifest: Manifest) -> Manifest {
    let mut hashed = manifest.body.clone();
    if let Some(body) = hashed.as_object_mut() {
        body.remove("data"); // Nothing of a key leaves a Secret, not even a hash.
    }
    let hash = hashed
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    manifest.annotate(&[(APPLIED.to_owned(), format!("{hash:016x}"))].into())
}

/// What is to be done for `wanted`, a stamped object, where `live` is.
pub(super) fn step(live: &Value, wanted: &Manifest) -> Step {
    if owner(live) != owner(&wanted.body) {
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

/// The identity of the Gateway that an object says to be owned by.
pub(super) fn owner(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["kind"] == "Gateway")?;
    owner["uid"].as_str()
}

/// Whether fields differ that cannot be changed, or that leave something behind: EndpointSlices of a
/// Service that loses its selector would stay and go stale.
fn is_fixed(kind: Kind, live: &Value, wanted: &Value) -> bool {
    let selector = |object: &Value| object["spec"]["selector"].clone();
    match kind {
        Kind::Deployment => selector(live) != selector(wanted),
        Kind::Service => !selector(live).is_null() && selector(wanted).is_null(),
        _ => false,
    }
}

/// Whether `live` has everything that `wanted` says.
fn has(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| live.get(key).is_some_and(|live| has(live, wanted))),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len()
                && live
                    .iter()
                    .zip(wanted)
                    .all(|(live, wanted)| has(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::gateway;
    use super::*;

    fn service(spec: Value) -> Manifest {
        let gateway = gateway("shared");
        let name = "shared-eg".to_owned();
        stamp(Manifest::new(
            Kind::Service,
            &gateway,
            name,
            json!({ "spec": spec }),
        ))
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
            stamp(secret).body["metadata"]["annotations"][APPLIED].clone()
        };

        assert_eq!(secret("a"), secret("b"));
    }
}
