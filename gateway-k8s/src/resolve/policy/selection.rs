//! Objects that the `targetSelectors` of a policy select.
//!
//! A selector selects objects of one kind by their labels, in the namespace of the policy or in others. A
//! policy applies to an object of another namespace only if a ReferenceGrant permits it.

use std::collections::BTreeMap;

use towergate_policy::common::{LabelExpression, NamespaceFrom, TargetKind, TargetSelector};

use super::super::grant::{From, To};
use super::super::object_index::ObjectIndex;
use super::super::selector::Selector;
use crate::api::meta::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use crate::api::{ENVOY_GROUP, GATEWAY_GROUP};
use crate::objects::EVERY_NAMESPACE;

/// Whether a selector selects an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Selected {
    /// The kind, the labels or the namespace differ.
    No,
    /// The object is selected, but no ReferenceGrant permits the policy to apply to it.
    NotGranted,
    /// The policy applies to the object.
    Yes,
}

/// A selector of a policy.
#[derive(Debug)]
pub(crate) struct Selection<'p, 'a> {
    index: &'p ObjectIndex<'a>,
    policy_kind: &'static str,
    policy: &'p ObjectMeta,
    selector: &'p TargetSelector,
    /// `None`: the labels cannot be read.
    labels: Option<Selector>,
    /// `None`: no policy can target the kind.
    kind: Option<TargetKind>,
}

impl<'p, 'a> Selection<'p, 'a> {
    /// The selector of a policy of kind `policy_kind`.
    pub(crate) fn new(
        index: &'p ObjectIndex<'a>,
        policy_kind: &'static str,
        policy: &'p ObjectMeta,
        selector: &'p TargetSelector,
    ) -> Self {
        let group = selector.group.as_deref().unwrap_or(GATEWAY_GROUP);
        let kind = selector.kind.as_deref().and_then(TargetKind::from_name);
        let labels = label_selector(
            selector.match_labels.clone(),
            selector.match_expressions.as_deref(),
        );
        Self {
            index,
            policy_kind,
            policy,
            selector,
            labels: Selector::parse(&labels).ok(),
            kind: kind.filter(|_| group == GATEWAY_GROUP),
        }
    }

    /// The kind of the targets, if the selector can be read.
    pub(crate) fn target_kind(&self) -> Option<TargetKind> {
        self.kind.filter(|_| self.labels.is_some())
    }

    /// Whether the selector can be read.
    pub(crate) fn is_readable(&self) -> bool {
        self.target_kind().is_some()
    }

    /// Whether the selector selects an object. The parts that cannot be read select everything.
    pub(crate) fn select(&self, kind: TargetKind, meta: &ObjectMeta) -> Selected {
        let labels = self.labels.as_ref();
        let matches = labels.is_none_or(|labels| labels.takes(&meta.labels));
        let is_kind = self.kind.is_none_or(|wanted| kind == wanted);
        if !matches || !is_kind || !self.has_namespace(&meta.namespace) {
            return Selected::No;
        }
        let from = From {
            group: ENVOY_GROUP,
            kind: self.policy_kind,
            namespace: &self.policy.namespace,
        };
        let to = To {
            group: GATEWAY_GROUP,
            kind: kind.name(),
            namespace: &meta.namespace,
            name: &meta.name,
        };
        match self.policy.namespace == EVERY_NAMESPACE || self.index.grants.permit(from, to) {
            true => Selected::Yes,
            false => Selected::NotGranted,
        }
    }

    /// Whether the selector includes a namespace.
    fn has_namespace(&self, namespace: &str) -> bool {
        let namespaces = self.selector.namespaces.as_ref();
        match namespaces.and_then(|namespaces| namespaces.from.as_ref()) {
            None | Some(NamespaceFrom::Same) => {
                self.policy.namespace == namespace || self.policy.namespace == EVERY_NAMESPACE
            }
            // With an unknown value, the policy is invalid and must fail closed wherever it may apply.
            Some(NamespaceFrom::All | NamespaceFrom::Other(_)) => true,
            Some(NamespaceFrom::Selector) => {
                let written = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
                let written = written.map(|written| {
                    let expressions = written.match_expressions.as_deref();
                    label_selector(written.match_labels.clone(), expressions)
                });
                let selector = written.and_then(|written| Selector::parse(&written).ok());
                selector.is_none_or(|selector| selector.takes(&self.index.labels(namespace)))
            }
        }
    }
}

fn label_selector(
    labels: Option<BTreeMap<String, String>>,
    expressions: Option<&[LabelExpression]>,
) -> LabelSelector {
    let expressions = expressions.unwrap_or_default().iter();
    LabelSelector {
        match_labels: labels.unwrap_or_default(),
        match_expressions: expressions
            .map(|written| LabelSelectorRequirement {
                key: written.key.clone().unwrap_or_default(),
                operator: written
                    .operator
                    .as_ref()
                    .map(|word| word.as_str().to_owned())
                    .unwrap_or_default(),
                values: written.values.clone().unwrap_or_default(),
            })
            .collect(),
    }
}
