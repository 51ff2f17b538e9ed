//! Marks Gateways as not programmed if no data plane serves them yet, or if their data plane cannot serve
//! them.

use std::collections::BTreeMap;

use serde_json::Value;
use towergate_k8s::Statuses;

/// Sets `Programmed` to `False`. `waiting` contains Gateways that are not served yet, by `namespace/name`,
/// with the cause if known. `refused` contains Gateways that cannot be served, with the reason.
pub(super) fn mark(
    statuses: &mut Statuses,
    waiting: &BTreeMap<String, Option<String>>,
    refused: &BTreeMap<String, String>,
) {
    for (key, status) in &mut statuses.0 {
        if key.kind != "Gateway" {
            continue;
        }
        let name = key.object.to_string();
        let (reason, message) = match (refused.get(&name), waiting.get(&name)) {
            (Some(why), _) => (
                "Invalid",
                format!("A data plane cannot serve the Gateway: {why}"),
            ),
            (None, Some(Some(trouble))) => {
                ("Pending", format!("No data plane is ready: {trouble}"))
            }
            (None, Some(None)) => ("Pending", "No data plane is ready yet.".to_owned()),
            (None, None) => continue,
        };
        let conditions = status["conditions"].as_array_mut().into_iter().flatten();
        let programmed = |one: &&mut Value| one["type"] == "Programmed" && one["status"] == "True";
        if let Some(condition) = conditions.into_iter().find(programmed) {
            condition["status"] = "False".into();
            condition["reason"] = reason.into();
            condition["message"] = message.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use towergate_k8s::ObjectKey;
    use towergate_k8s::status::StatusKey;

    use super::*;

    #[test]
    fn only_gateways_that_would_be_programmed_are_marked() {
        let status = |status: &str| {
            json!({"conditions": [
                {"type": "Accepted", "status": "True", "reason": "Accepted"},
                {"type": "Programmed", "status": status, "reason": "Programmed", "message": ""},
            ]})
        };
        let key = |name: &str| StatusKey::new("Gateway", ObjectKey::new("d", name));
        let mut statuses = Statuses(
            [
                (key("a"), status("True")),
                (key("b"), status("True")),
                (key("c"), status("False")),
                (key("d"), status("True")),
            ]
            .into(),
        );
        let waiting = [
            ("d/a".to_owned(), Some("no room".to_owned())),
            ("d/c".to_owned(), None),
            ("d/d".to_owned(), None),
        ];
        let refused = [("d/d".to_owned(), "in use".to_owned())];

        mark(&mut statuses, &waiting.into(), &refused.into());

        let reason = |name: &str| statuses.0[&key(name)]["conditions"][1]["reason"].clone();
        assert_eq!(
            ["a", "b", "c", "d"].map(reason),
            ["Pending", "Programmed", "Programmed", "Invalid"]
        );
        let message = &statuses.0[&key("a")]["conditions"][1]["message"];
        assert_eq!(message, "No data plane is ready: no room");
    }
}
