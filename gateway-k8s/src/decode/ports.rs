//! Validation of the port numbers of a Service, which has no schema here.

use super::kind::{Kind, KindId};
use super::plain_scalar::Plain;
use super::tree::{Node, Place, Value};

/// A port number out of range.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct BadPort {
    /// Path of the field.
    pub(crate) path: String,
    /// Position of the number.
    pub(crate) place: Place,
}

/// Returns the first `port` of a Service that is an integer outside 1 to 65535.
pub(crate) fn check(kind: &Kind, object: &Node) -> Option<BadPort> {
    if kind.id != KindId::Service {
        return None;
    }
    find(object.field("spec")?, "spec")
}

fn find(node: &Node, path: &str) -> Option<BadPort> {
    match &node.value {
        Value::Scalar(..) => None,
        Value::List(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| find(item, &format!("{path}[{index}]")))
        }
        Value::Map(entries) => entries.iter().find_map(|(key, value)| {
            let path = format!("{path}.{}", key.text);
            if key.text == "port" && is_bad(value) {
                return Some(BadPort {
                    path,
                    place: value.place,
                });
            }
            find(value, &path)
        }),
    }
}

fn is_bad(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(text, true) => match Plain::of(text) {
            Plain::Unsigned(port) => !(1..=65535).contains(&port),
            Plain::Signed(_) => true,
            // The decoder rejects values of these types.
            Plain::Null | Plain::Bool(_) | Plain::Float(_) | Plain::Text => false,
        },
        Value::Scalar(_, false) | Value::List(_) | Value::Map(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::{Verdict, find as find_kind};
    use super::super::tree::parse;
    use super::*;

    fn bad(api: &str, kind: &str, text: &str) -> Option<String> {
        let Verdict::Read(kind) = find_kind(api, kind) else {
            panic!("{kind} is read");
        };
        check(&kind, &parse(text).expect("well-formed")).map(|bad| bad.path)
    }

    #[test]
    fn ports_are_numbers_from_1_to_65535() {
        let service = |text| bad("v1", "Service", text);

        assert_eq!(service("spec: {ports: [{port: 1}, {port: 65535}]}"), None);
        assert_eq!(
            service("spec: {ports: [{port: 80}, {port: 0}]}").as_deref(),
            Some("spec.ports[1].port")
        );
        assert!(service("spec: {ports: [{port: 65536}]}").is_some());
        assert!(service("spec: {ports: [{port: -1}]}").is_some());
        assert_eq!(service("spec: {selector: {port: \"0\"}}"), None);
        assert_eq!(bad("v1", "ConfigMap", "spec: {port: 0}"), None);
    }
}
