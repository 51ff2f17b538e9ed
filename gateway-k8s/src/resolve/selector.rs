//! Label selectors.

use std::collections::BTreeMap;

use crate::api::meta::{LabelSelector, LabelSelectorRequirement};

/// A valid selector.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
}

impl Selector {
    /// Parses a selector.
    ///
    /// # Errors
    ///
    /// If an operator is unknown, or does not fit its values.
    pub(super) fn parse(written: &LabelSelector) -> Result<Self, String> {
        let exact = written
            .match_labels
            .iter()
            .map(|(key, value)| Ok(Requirement::In(key.clone(), vec![value.clone()])));
        let expressions = written.match_expressions.iter().map(requirement);
        exact.chain(expressions).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the labels meet every requirement.
    pub(super) fn takes(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::DoesNotExist(key) => !labels.contains_key(key),
        })
    }
}

fn requirement(written: &LabelSelectorRequirement) -> Result<Requirement, String> {
    let (key, values) = (written.key.clone(), written.values.clone());
    match (written.operator.as_str(), values.is_empty()) {
        ("In", false) => Ok(Requirement::In(key, values)),
        ("NotIn", false) => Ok(Requirement::NotIn(key, values)),
        ("Exists", true) => Ok(Requirement::Exists(key)),
        ("DoesNotExist", true) => Ok(Requirement::DoesNotExist(key)),
        ("In" | "NotIn", true) => Err(format!(
            "operator {} for label {key:?} requires values",
            written.operator
        )),
        ("Exists" | "DoesNotExist", false) => Err(format!(
            "operator {} for label {key:?} must not have values",
            written.operator
        )),
        (other, _) => Err(format!(
            "unknown operator {other:?}; use In, NotIn, Exists or DoesNotExist"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn takes(selector: serde_json::Value, labels: serde_json::Value) -> bool {
        let written = serde_json::from_value(selector).unwrap();
        let labels = serde_json::from_value(labels).unwrap();
        Selector::parse(&written).unwrap().takes(&labels)
    }

    #[test]
    fn every_requirement_must_hold() {
        let selector = json!({
            "matchLabels": { "a": "1" },
            "matchExpressions": [
                { "key": "b", "operator": "In", "values": ["x", "y"] },
                { "key": "c", "operator": "NotIn", "values": ["no"] },
                { "key": "d", "operator": "Exists" },
                { "key": "e", "operator": "DoesNotExist" },
            ],
        });

        assert!(takes(
            selector.clone(),
            json!({ "a": "1", "b": "y", "d": "" })
        ));
        assert!(!takes(
            selector.clone(),
            json!({ "a": "2", "b": "y", "d": "" })
        ));
        assert!(!takes(
            selector.clone(),
            json!({ "a": "1", "b": "z", "d": "" })
        ));
        assert!(!takes(
            selector.clone(),
            json!({ "a": "1", "b": "y", "c": "no", "d": "" })
        ));
        assert!(!takes(selector.clone(), json!({ "a": "1", "b": "y" })));
        assert!(!takes(
            selector,
            json!({ "a": "1", "b": "y", "d": "", "e": "" })
        ));
    }

    /// The cases of Kubernetes' documentation of set-based requirements.
    #[test]
    fn a_label_that_is_absent_meets_not_in_and_does_not_exist_only() {
        let requirement = |operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": "tier", "operator": operator, "values": values }] });
        for (operator, values, absent, front, empty) in [
            ("In", &["front", "cache"][..], false, true, false),
            ("NotIn", &["front", "cache"], true, false, true),
            ("Exists", &[], false, true, true),
            ("DoesNotExist", &[], true, false, false),
            ("In", &[""], false, false, true),
        ] {
            let selector = requirement(operator, values);
            let labels = [json!({}), json!({ "tier": "front" }), json!({ "tier": "" })];
            let found = labels.map(|labels| takes(selector.clone(), labels));
            assert_eq!(found, [absent, front, empty], "{operator} {values:?}");
        }
        assert!(!takes(json!({ "matchLabels": { "tier": "" } }), json!({})));
    }

    #[test]
    fn operators_that_do_not_fit_their_values_are_errors() {
        for (operator, values) in [
            ("In", &[][..]),
            ("NotIn", &[]),
            ("Exists", &["x"]),
            ("DoesNotExist", &["x"]),
            ("in", &["x"]),
            ("Gt", &["1"]),
            ("", &["x"]),
        ] {
            let written = json!({ "matchExpressions": [{ "key": "a", "operator": operator, "values": values }] });
            let written = serde_json::from_value(written).unwrap();
            assert!(Selector::parse(&written).is_err(), "{operator} {values:?}");
        }
    }

    #[test]
    fn an_empty_selector_matches_everything() {
        assert!(takes(json!({}), json!({})));
    }

    #[test]
    fn an_unknown_operator_is_an_error() {
        let written = serde_json::from_value(json!({
            "matchExpressions": [{ "key": "a", "operator": "Matches", "values": ["x"] }],
        }));

        assert!(Selector::parse(&written.unwrap()).is_err());
    }
}
