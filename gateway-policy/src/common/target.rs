//! What a policy is attached to.

use std::collections::BTreeMap;

use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;

string_enum! {
    /// Whose namespaces a selector looks into.
    pub enum NamespaceFrom {
        Same = "Same",
        All = "All",
        Selector = "Selector",
    }

    /// How a label is compared.
    pub enum LabelOperator {
        In = "In",
        NotIn = "NotIn",
        Exists = "Exists",
        DoesNotExist = "DoesNotExist",
    }
}

api_struct! {
    /// An object in the policy's namespace, or a section of it.
    pub struct TargetRef {
        /// Its group.
        group: String = "group" [Required, Length(0, 253)],
        /// Its kind.
        kind: String = "kind" [Required, Length(1, 63)],
        /// Its name.
        name: String = "name" [Required, Length(1, 253)],
        /// A listener of a Gateway or ListenerSet, or a rule of a route.
        section_name: String = "sectionName" [Length(1, 253)],
    }

    /// All objects of a kind with certain labels.
    pub struct TargetSelector {
        /// Their group; that of Gateway API by default.
        group: String = "group",
        /// Their kind.
        kind: String = "kind" [Required],
        /// Labels that they have.
        match_labels: BTreeMap<String, String> = "matchLabels",
        /// What else holds for their labels.
        match_expressions: Vec<LabelExpression> = "matchExpressions",
        /// Where they are; in the policy's namespace by default.
        namespaces: SelectorNamespaces = "namespaces",
    }

    /// What holds for a label.
    pub struct LabelExpression {
        /// The label.
        key: String = "key" [Required],
        /// How it is compared.
        operator: LabelOperator = "operator" [Required],
        /// With what.
        values: Vec<String> = "values",
    }

    /// Namespaces of a selector.
    pub struct SelectorNamespaces, rules {
        /// Which; `Same` by default.
        from: NamespaceFrom = "from",
        /// Labels of the namespaces.
        selector: LabelSelector = "selector",
    }

    /// Labels.
    pub struct LabelSelector {
        /// Labels that must be there.
        match_labels: BTreeMap<String, String> = "matchLabels",
        /// What else holds for labels.
        match_expressions: Vec<LabelExpression> = "matchExpressions",
    }
}

impl SelectorNamespaces {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.from != Some(NamespaceFrom::Selector) || self.selector.is_some(),
            "selector must be specified when from is Selector",
        );
    }
}

/// The three fields by which a policy names its targets.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// `targetRef` (deprecated).
    pub single: Option<&'a TargetRef>,
    /// `targetRefs`.
    pub list: &'a [TargetRef],
    /// `targetSelectors`.
    pub selectors: &'a [TargetSelector],
}

impl<'a> Targets<'a> {
    /// All references, the deprecated one first.
    pub fn refs(&self) -> impl Iterator<Item = &'a TargetRef> + use<'a> {
        self.single.into_iter().chain(self.list)
    }

    /// The rules of all policies about their targets; `kinds` are those that the policy may have.
    pub(crate) fn check(&self, kinds: &[&str], report: &mut Report) {
        report.rule(
            self.single.is_some() == self.list.is_empty() || !self.selectors.is_empty(),
            "either targetRef or targetRefs must be used",
        );
        check_refs("targetRef", self.single, kinds, report);
        check_refs("targetRefs[*]", self.list, kinds, report);
    }
}

fn check_refs<'a>(
    field: &str,
    refs: impl IntoIterator<Item = &'a TargetRef>,
    kinds: &[&str],
    report: &mut Report,
) {
    let (mut groups, mut known) = (true, true);
    for target in refs {
        groups &= target.group.as_deref().is_none_or(|group| group == GROUP);
        known &= target
            .kind
            .as_deref()
            .is_none_or(|kind| kinds.contains(&kind));
    }
    if !groups {
        report.fault(format!(
            "this policy can only have a {field}.group of {GROUP}"
        ));
    }
    if !known {
        let kinds = kinds.join("/");
        report.fault(format!(
            "this policy can only have a {field}.kind of {kinds}"
        ));
    }
}

const GROUP: &str = "gateway.networking.k8s.io";
