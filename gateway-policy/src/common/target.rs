//! The targets of a policy.
//!
//! [`TargetRef`] and [`TargetSelector`] are the targets as written. [`Targets`] lists them in a fixed order
//! and checks the rules on target fields. These rules are the same for all policies.

use std::collections::BTreeMap;

use super::TargetKind;
use crate::api_struct::{api_struct, string_enum};
use crate::check::Report;

string_enum! {
    /// The namespaces that a selector covers.
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
    /// A reference to an object in the policy's namespace, or to a section of it.
    pub struct TargetRef {
        /// API group of the target: `gateway.networking.k8s.io`.
        group: String = "group" [Required, Length(0, 253)],
        /// Kind of the target.
        kind: String = "kind" [Required, Length(1, 63)],
        /// Name of the target.
        name: String = "name" [Required, Length(1, 253)],
        /// Name of a listener (Gateway, ListenerSet) or of a rule (route). Default: the whole object.
        section_name: String = "sectionName" [Length(1, 253)],
    }

    /// A selection of objects of one kind by their labels.
    pub struct TargetSelector {
        /// API group of the targets. Default: `gateway.networking.k8s.io`.
        group: String = "group" [DefaultText("gateway.networking.k8s.io")],
        /// Kind of the targets.
        kind: String = "kind" [Required],
        /// Labels with the values that targets must have.
        match_labels: BTreeMap<String, String> = "matchLabels",
        /// Further conditions on the labels of targets.
        match_expressions: Vec<LabelExpression> = "matchExpressions",
        /// Namespaces of the targets. Default: that of the policy.
        namespaces: SelectorNamespaces = "namespaces",
    }

    /// A condition on a label.
    pub struct LabelExpression {
        /// Key of the label.
        key: String = "key" [Required],
        /// Type of the comparison.
        operator: LabelOperator = "operator" [Required],
        /// Values to compare with, for `In` and `NotIn`.
        values: Vec<String> = "values",
    }

    /// The namespaces that a selector covers.
    pub struct SelectorNamespaces, rules {
        /// Set of namespaces. Default: `Same`.
        from: NamespaceFrom = "from" [DefaultText("Same")],
        /// Condition on the labels of namespaces. Required for `from: Selector`.
        selector: LabelSelector = "selector",
    }

    /// A condition on labels.
    pub struct LabelSelector {
        /// Labels with their required values.
        match_labels: BTreeMap<String, String> = "matchLabels",
        /// Further conditions on labels.
        match_expressions: Vec<LabelExpression> = "matchExpressions",
    }
}

impl TargetRef {
    /// Kind of the target; `None` if it is absent or policies cannot target it.
    pub fn target_kind(&self) -> Option<TargetKind> {
        self.kind.as_deref().and_then(TargetKind::from_name)
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

/// All targets of a policy.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// `targetRef` (deprecated).
    pub single: Option<&'a TargetRef>,
    /// `targetRefs`.
    pub list: &'a [TargetRef],
    /// `targetSelectors`.
    pub selectors: &'a [TargetSelector],
}

/// Implements `targets` for a spec with the three target fields.
macro_rules! impl_targets {
    ($spec:ident) => {
        impl $spec {
            /// The targets of the policy.
            pub fn targets(&self) -> $crate::common::Targets<'_> {
                $crate::common::Targets {
                    single: self.target_ref.as_ref(),
                    list: self.target_refs.as_deref().unwrap_or_default(),
                    selectors: self.target_selectors.as_deref().unwrap_or_default(),
                }
            }

            /// Violations that the API server would reject. Empty for a valid policy.
            pub fn validate(&self) -> Vec<$crate::SchemaViolation> {
                $crate::check::Report::of(self).violations
            }

            /// The fields that cause a warning, in valid and in invalid policies.
            pub fn remarks(&self) -> $crate::check::FieldRemarks {
                $crate::check::Report::of(self).into_remarks()
            }
        }
    };
}
pub(crate) use impl_targets;

impl<'a> Targets<'a> {
    /// All references by name: the deprecated `targetRef` first, then `targetRefs`.
    pub fn refs(&self) -> impl Iterator<Item = &'a TargetRef> + use<'a> {
        self.single.into_iter().chain(self.list)
    }

    /// The names of the kinds of all targets, as written.
    fn kind_names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let refs = self.refs().map(|target| target.kind.as_deref());
        let selectors = self.selectors.iter().map(|target| target.kind.as_deref());
        refs.chain(selectors).flatten()
    }

    /// The kinds of all targets; `None` for one that policies cannot target.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Option<TargetKind>> + use<'a> {
        self.kind_names().map(TargetKind::from_name)
    }

    /// Checks the rules between the target fields. `kinds` are the kinds that the policy may target.
    pub(crate) fn check(&self, kinds: &[TargetKind], report: &mut Report) {
        report.rule(
            self.single.is_some() == self.list.is_empty() || !self.selectors.is_empty(),
            "either targetRef or targetRefs must be used",
        );
        check_refs("targetRef", self.single, kinds, report);
        check_refs("targetRefs[*]", self.list, kinds, report);
    }

    /// Checks that `mergeType` is set only if all targets are routes.
    pub(crate) fn check_merge_type(&self, merges: bool, report: &mut Report) {
        report.rule(
            !merges || self.kind_names().all(|kind| kind.ends_with("Route")),
            "MergeType can only be set when targeting xRoute resources",
        );
    }
}

fn check_refs<'a>(
    field: &str,
    refs: impl IntoIterator<Item = &'a TargetRef>,
    kinds: &[TargetKind],
    report: &mut Report,
) {
    let (mut groups, mut known) = (true, true);
    for target in refs {
        groups &= target.group.as_deref().is_none_or(|group| group == GROUP);
        known &= target.kind.as_deref().is_none_or(|kind| {
            TargetKind::from_name(kind).is_some_and(|kind| kinds.contains(&kind))
        });
    }
    if !groups {
        report.violation(format!(
            "this policy can only have a {field}.group of {GROUP}"
        ));
    }
    if !known {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        let kinds = names.join("/");
        report.violation(format!(
            "this policy can only have a {field}.kind of {kinds}"
        ));
    }
}

const GROUP: &str = "gateway.networking.k8s.io";
