//! Merges the desired status into the current one.
//!
//! A condition whose status is unchanged keeps its `lastTransitionTime`. Entries of other controllers keep
//! their content and position; outdated entries of this controller are removed. On objects of this
//! controller, conditions with domain-prefixed types (`example.com/Checked`) belong to other writers and are
//! kept.

use serde_json::{Map, Value, json};

use crate::kinds::StatusShape;

/// Maximum number of conditions of a Gateway or listener.
const MAX_CONDITIONS: usize = 8;
/// Maximum number of entries of `status.parents` and `status.ancestors`.
const MAX_PARENTS: usize = 32;
const MAX_ANCESTORS: usize = 16;

/// Merges `desired` into `current`. `None`: the result equals `current`. `now` is in RFC 3339.
pub(super) fn merge(
    shape: StatusShape,
    controller: &str,
    current: Option<&Value>,
    desired: Option<&Value>,
    now: &str,
) -> Option<Value> {
    let nothing = Value::Null;
    let current = current.unwrap_or(&nothing);
    let merged = match shape {
        StatusShape::None => return None,
        StatusShape::Whole => whole(current, desired?, now),
        StatusShape::LoadBalancer => {
            let mut merged = current.clone();
            merged["loadBalancer"] = desired?["loadBalancer"].clone();
            merged
        }
        StatusShape::Parents => {
            let list = List {
                field: "parents",
                reference: "parentRef",
                most: MAX_PARENTS,
            };
            list.merge(controller, current, desired, now)?
        }
        StatusShape::Ancestors => {
            let list = List {
                field: "ancestors",
                reference: "ancestorRef",
                most: MAX_ANCESTORS,
            };
            list.merge(controller, current, desired, now)?
        }
    };
    (merged != *current).then_some(merged)
}

/// The JSON merge patch (RFC 7386) from `current` to `merged`. Removed fields are `null`.
pub(super) fn patch(current: Option<&Value>, merged: &Value) -> Value {
    let mut fields = merged.as_object().cloned().unwrap_or_default();
    for field in current.and_then(Value::as_object).into_iter().flatten() {
        fields.entry(field.0).or_insert(Value::Null);
    }
    Value::Object(fields)
}

/// Merges a status that this controller owns as a whole.
fn whole(current: &Value, desired: &Value, now: &str) -> Value {
    let mut merged = desired.clone();
    since(&mut merged["conditions"], &current["conditions"], now);
    keep_foreign(&mut merged["conditions"], &current["conditions"]);
    for listener in merged["listeners"].as_array_mut().into_iter().flatten() {
        let before = current["listeners"].as_array().into_iter().flatten();
        let before = before
            .into_iter()
            .find(|before| before["name"] == listener["name"]);
        let before = before.map_or(&Value::Null, |before| &before["conditions"]);
        since(&mut listener["conditions"], before, now);
        keep_foreign(&mut listener["conditions"], before);
    }
    if let Value::Object(fields) = &mut merged {
        fields.retain(|_, value| !value.is_null());
    }
    merged
}

/// Sets `lastTransitionTime`.
fn since(conditions: &mut Value, before: &Value, now: &str) {
    let before = before.as_array().map_or(&[][..], Vec::as_slice);
    for condition in conditions.as_array_mut().into_iter().flatten() {
        let same = |other: &&Value| {
            other["type"] == condition["type"] && other["status"] == condition["status"]
        };
        let time = before
            .iter()
            .find(same)
            .map(|same| &same["lastTransitionTime"]);
        let time = time.and_then(Value::as_str).unwrap_or(now);
        condition["lastTransitionTime"] = time.into();
    }
}

/// Adds the conditions of `before` that belong to other writers: their types have a domain prefix.
fn keep_foreign(conditions: &mut Value, before: &Value) {
    let Value::Array(conditions) = conditions else {
        return;
    };
    let foreign = before.as_array().into_iter().flatten();
    let foreign = foreign.filter(|condition| {
        let kind = condition["type"].as_str().unwrap_or_default();
        kind.contains('/')
    });
    let room = MAX_CONDITIONS.saturating_sub(conditions.len());
    conditions.extend(foreign.take(room).cloned());
}

/// A list with one entry per parent or ancestor and controller.
struct List {
    field: &'static str,
    reference: &'static str,
    most: usize,
}

impl List {
    /// Merges the desired entries. `None`: there is no list and no entry to add.
    fn merge(
        &self,
        controller: &str,
        current: &Value,
        desired: Option<&Value>,
        now: &str,
    ) -> Option<Value> {
        let entries = |status: &Value| status[self.field].as_array().cloned().unwrap_or_default();
        let mut ours = desired.map(entries).unwrap_or_default();
        let before = entries(current);
        if ours.is_empty() && before.is_empty() {
            return None;
        }
        let mut merged = Vec::with_capacity(before.len());
        for entry in before {
            if entry["controllerName"] != controller {
                merged.push(entry);
                continue;
            }
            let of = identity(&entry[self.reference]);
            let same = |ours: &Value| identity(&ours[self.reference]) == of;
            if let Some(at) = ours.iter().position(same) {
                let mut ours = ours.remove(at);
                since(&mut ours["conditions"], &entry["conditions"], now);
                merged.push(ours);
            }
        }
        for mut entry in ours {
            if merged.len() >= self.most {
                break;
            }
            since(&mut entry["conditions"], &Value::Null, now);
            merged.push(entry);
        }
        let mut status = match current {
            Value::Object(fields) => fields.clone(),
            _ => Map::new(),
        };
        status.insert(self.field.to_owned(), json!(merged));
        Some(Value::Object(status))
    }
}

/// The fields of a reference, with the defaults of the API server.
fn identity(reference: &Value) -> [&Value; 6] {
    const FIELDS: [&str; 6] = ["group", "kind", "namespace", "name", "sectionName", "port"];
    FIELDS.map(|field| &reference[field])
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "example.test/ours";
    const THEN: &str = "2026-01-01T00:00:00Z";
    const NOW: &str = "2026-02-02T00:00:00Z";

    fn condition(kind: &str, status: &str, generation: i64) -> Value {
        json!({
            "type": kind, "status": status, "reason": kind, "message": "",
            "observedGeneration": generation,
        })
    }

    fn at(mut condition: Value, time: &str) -> Value {
        condition["lastTransitionTime"] = time.into();
        condition
    }

    fn entry(controller: &str, parent: &str, conditions: Value) -> Value {
        json!({
            "controllerName": controller,
            "parentRef": {"group": "g", "kind": "Gateway", "name": parent},
            "conditions": conditions,
        })
    }

    fn whole(current: &Value, desired: &Value) -> Option<Value> {
        merge(StatusShape::Whole, OURS, Some(current), Some(desired), NOW)
    }

    fn parents(current: Value, desired: Option<Value>) -> Option<Value> {
        let status = |entries: Value| json!({ "parents": entries });
        let desired = desired.map(status);
        let current = status(current);
        let merged = merge(
            StatusShape::Parents,
            OURS,
            Some(&current),
            desired.as_ref(),
            NOW,
        );
        merged.map(|mut merged| merged["parents"].take())
    }

    #[test]
    fn a_condition_keeps_its_time_as_long_as_its_status() {
        let current = json!({"conditions": [
            at(condition("Accepted", "True", 1), THEN),
            at(condition("Programmed", "False", 1), THEN),
            at(condition("Stale", "True", 1), THEN),
        ]});
        let desired = json!({"conditions": [
            condition("Accepted", "True", 2),
            condition("Programmed", "True", 2),
        ]});

        let merged = whole(&current, &desired);

        let expected = json!({"conditions": [
            at(condition("Accepted", "True", 2), THEN),
            at(condition("Programmed", "True", 2), NOW),
        ]});
        assert_eq!(merged, Some(expected.clone()));
        assert_eq!(
            whole(&expected, &desired),
            None,
            "no change is left to write"
        );
    }

    #[test]
    fn conditions_of_other_domains_stay_as_they_are() {
        let foreign = || at(condition("example.com/Checked", "True", 1), THEN);
        let status = |own: Value, listener: Value| {
            json!({
                "conditions": [own, foreign()],
                "listeners": [{"name": "http", "conditions": [listener, foreign()]}],
            })
        };
        let accepted = |generation| condition("Accepted", "True", generation);
        let desired = json!({
            "conditions": [accepted(2)],
            "listeners": [{"name": "http", "conditions": [accepted(2)]}],
        });
        let current = status(at(accepted(1), THEN), at(accepted(1), THEN));

        let merged = whole(&current, &desired);

        let expected = status(at(accepted(2), THEN), at(accepted(2), THEN));
        assert_eq!(merged, Some(expected.clone()));
        assert_eq!(whole(&expected, &desired), None, "it settles");
    }

    #[test]
    fn a_status_never_gets_more_conditions_than_it_may_have() {
        let foreign = (0..9).map(|at| condition(&format!("example.com/{at}"), "True", 1));
        let current = json!({"conditions": foreign.collect::<Vec<_>>()});
        let desired = json!({"conditions": [condition("Accepted", "True", 2)]});

        let merged = whole(&current, &desired).expect("a change");

        let kept = merged["conditions"].as_array().expect("a list");
        assert_eq!(kept.len(), MAX_CONDITIONS);
        assert_eq!(kept[0]["type"], "Accepted");
    }

    #[test]
    fn placeholders_of_a_definition_are_written_over() {
        let placeholder = at(condition("Accepted", "Unknown", 0), "1970-01-01T00:00:00Z");
        let current = json!({ "conditions": [placeholder] });
        let desired = json!({"conditions": [condition("Accepted", "True", 1)]});

        let merged = whole(&current, &desired).expect("it is to be written");

        assert_eq!(
            merged["conditions"],
            json!([at(condition("Accepted", "True", 1), NOW)])
        );
    }

    #[test]
    fn listeners_are_compared_by_name() {
        let listener =
            |name: &str, condition: Value| json!({"name": name, "conditions": [condition]});
        let fine = || condition("Accepted", "True", 1);
        let current = json!({"conditions": [], "listeners": [listener("a", at(fine(), THEN))]});
        let desired =
            json!({"conditions": [], "listeners": [listener("b", fine()), listener("a", fine())]});

        let merged = whole(&current, &desired).expect("it is to be written");

        let expected = json!([
            listener("b", at(fine(), NOW)),
            listener("a", at(fine(), THEN))
        ]);
        assert_eq!(merged["listeners"], expected);
    }

    #[test]
    fn entries_of_others_stay_and_ours_come_and_go() {
        let fine = || condition("Accepted", "True", 1);
        let foreign = || entry("example.test/theirs", "a", json!([{"type": "Odd"}]));
        let ours = |name: &str, time: &str| entry(OURS, name, json!([at(fine(), time)]));
        let wanted = |name: &str| entry(OURS, name, json!([fine()]));
        let current = || json!([ours("gone", THEN), foreign(), ours("a", THEN)]);

        let merged = parents(current(), Some(json!([wanted("b"), wanted("a")])));

        assert_eq!(
            merged,
            Some(json!([foreign(), ours("a", THEN), ours("b", NOW)]))
        );
        assert_eq!(parents(current(), None), Some(json!([foreign()])));
        assert_eq!(parents(json!([foreign()]), None), None);
        // The order in which another writer lists its conditions is kept.
        let sorted = json!([ours("b", THEN), foreign(), ours("a", THEN)]);
        assert_eq!(
            parents(sorted, Some(json!([wanted("a"), wanted("b")]))),
            None
        );
    }

    #[test]
    fn a_route_that_is_not_ours_is_not_touched() {
        for current in [None, Some(json!({})), Some(json!({"parents": []}))] {
            let merged = merge(StatusShape::Parents, OURS, current.as_ref(), None, NOW);
            assert_eq!(merged, None, "{current:?}");
        }
        let nothing = json!({"ancestors": []});
        let merged = merge(StatusShape::Ancestors, OURS, None, Some(&nothing), NOW);
        assert_eq!(merged, None);
    }

    #[test]
    fn a_full_list_is_left_to_those_who_are_there() {
        let foreign: Vec<_> = (0..31)
            .map(|at| entry("x", &at.to_string(), json!([])))
            .collect();
        let wanted = json!([entry(OURS, "a", json!([])), entry(OURS, "b", json!([]))]);

        let merged = parents(json!(foreign), Some(wanted)).expect("there is room for one");

        assert_eq!(merged.as_array().map(Vec::len), Some(32));
        assert_eq!(
            parents(merged, Some(json!([entry(OURS, "a", json!([]))]))),
            None
        );
    }

    #[test]
    fn a_patch_names_what_goes() {
        let current = json!({"conditions": [], "attachedListenerSets": 1});
        let merged = json!({"conditions": [1]});

        let expected = json!({"conditions": [1], "attachedListenerSets": null});
        assert_eq!(patch(Some(&current), &merged), expected);
    }

    #[test]
    fn two_entries_of_ours_for_one_parent_become_one() {
        let one = || {
            entry(
                OURS,
                "a",
                json!([at(condition("Accepted", "True", 1), THEN)]),
            )
        };
        let wanted = json!([entry(OURS, "a", json!([condition("Accepted", "True", 1)]))]);

        assert_eq!(
            parents(json!([one(), one()]), Some(wanted)),
            Some(json!([one()]))
        );
    }
}
