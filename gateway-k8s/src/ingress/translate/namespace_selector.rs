//! Label selectors in text form, as `kubectl --selector` and the flag `--watch-namespace-selector` accept them.

use std::collections::BTreeMap;

/// Label that the API server sets on each Namespace to its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Requirements on the labels of a Namespace, separated by commas. All of them must be met.
#[derive(Debug)]
pub(super) struct NamespaceSelector<'s>(Vec<Requirement<'s>>);

/// Requirement on one label.
#[derive(Debug)]
struct Requirement<'s> {
    key: &'s str,
    /// Permitted values. `None`: the label must be present, with any value.
    values: Option<Vec<&'s str>>,
    /// Whether the requirement is inverted. An absent label meets an inverted requirement.
    inverted: bool,
}

impl<'s> NamespaceSelector<'s> {
    /// Parses `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a` and `!a`. `None`: the text has another
    /// form.
    pub(super) fn parse(text: &'s str) -> Option<Self> {
        let mut requirements = Vec::new();
        let mut rest = text;
        loop {
            // The commas of a list in parentheses do not separate requirements.
            let comma = rest.find(',').unwrap_or(rest.len());
            let end = match rest.find('(').filter(|open| *open < comma) {
                Some(open) => open + rest[open..].find(')')? + 1,
                None => comma,
            };
            let (one, after) = rest.split_at(end);
            requirements.push(Requirement::parse(one.trim())?);
            match after.trim_start() {
                "" => return Some(Self(requirements)),
                after => rest = after.strip_prefix(',')?,
            }
        }
    }

    /// Whether the selector selects the Namespace `name`. `labels`: the labels of its object. `None`: the result
    /// depends on labels, and there is no object.
    pub(super) fn selects(
        &self,
        name: &str,
        labels: Option<&BTreeMap<String, String>>,
    ) -> Option<bool> {
        let value = |key: &str| match key {
            NAME_LABEL => Some(name),
            _ => labels?.get(key).map(String::as_str),
        };
        let is_known = labels.is_some() || self.0.iter().all(|one| one.key == NAME_LABEL);
        is_known.then(|| self.0.iter().all(|one| one.is_met(value(one.key))))
    }
}

impl<'s> Requirement<'s> {
    fn parse(text: &'s str) -> Option<Self> {
        let (key, values, inverted) = if let Some(list) = text.strip_suffix(')') {
            let (head, values) = list.split_once('(')?;
            let (key, operator) = head.trim().split_once(char::is_whitespace)?;
            let inverted = match operator.trim() {
                "in" => false,
                "notin" => true,
                _ => return None,
            };
            (
                key,
                Some(values.split(',').map(str::trim).collect()),
                inverted,
            )
        } else if let Some((key, value)) = text.split_once("!=") {
            (key, Some(vec![value.trim()]), true)
        } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            (key, Some(vec![value.trim()]), false)
        } else if let Some(key) = text.strip_prefix('!') {
            (key, None, true)
        } else {
            (text, None, false)
        };
        let is_label = |text: &str| {
            let mut bytes = text.bytes();
            bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        };
        let key = key.trim();
        let values_are_labels = values.iter().flatten().all(|value| is_label(value));
        (!key.is_empty() && is_label(key) && values_are_labels).then_some(Self {
            key,
            values,
            inverted,
        })
    }

    /// Whether a label with this value meets the requirement. `None`: the label is absent.
    fn is_met(&self, value: Option<&str>) -> bool {
        let is_met = match (&self.values, value) {
            (Some(values), Some(value)) => values.contains(&value),
            (Some(_), None) => false,
            (None, value) => value.is_some(),
        };
        is_met != self.inverted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_select_as_in_kubectl() {
        let labels = BTreeMap::from(["a", "b"].map(|key| (key.to_owned(), "1".to_owned())));
        for (text, expected) in [
            ("a", true),
            ("c", false),
            ("!a", false),
            ("!c", true),
            ("a=1", true),
            ("a == 2", false),
            ("a!=1", false),
            ("a!=2, b", true),
            ("c!=1", true),
            ("a in (1, 2),b=1", true),
            ("a in (2,3)", false),
            ("a notin (2,3)", true),
            ("a notin (1),b", false),
            ("c notin (1)", true),
            ("kubernetes.io/metadata.name=x", true),
            ("kubernetes.io/metadata.name in (y,z)", false),
        ] {
            let selector = NamespaceSelector::parse(text).unwrap();

            assert_eq!(
                selector.selects("x", Some(&labels)),
                Some(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn text_of_another_form_is_not_a_selector() {
        for text in [
            "",
            "a,",
            ",a",
            "a of (b)",
            "a in (b",
            "a > 1",
            "a b",
            "=1",
            "a in (b) c",
        ] {
            assert!(NamespaceSelector::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn without_the_object_only_the_name_of_a_namespace_is_known() {
        let selects = |text| NamespaceSelector::parse(text).unwrap().selects("x", None);

        assert_eq!(selects("kubernetes.io/metadata.name=x"), Some(true));
        assert_eq!(selects("team!=a"), None);
    }
}
