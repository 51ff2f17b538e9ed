//! The rules of a host before they are written as routes.

use std::collections::BTreeSet;

use super::policies::RoutePolicies;
use super::routes::{Listeners, TranslatedRule};

/// Rules of a host with equal namespace, listeners and policies.
#[derive(Debug)]
pub(super) struct RouteDraft {
    pub(super) namespace: String,
    pub(super) listeners: Listeners,
    pub(super) kind: &'static str,
    pub(super) policies: RoutePolicies,
    /// Name of the first Ingress.
    pub(super) ingress: String,
    /// The rules of each location. The rules of a location stay together, because the first of several rules
    /// with equal matches applies.
    pub(super) groups: Vec<Vec<TranslatedRule>>,
    pub(super) comments: BTreeSet<String>,
}

/// The group of rules to which a location's rules are added.
pub(super) struct Draft<'a> {
    pub(super) namespace: &'a str,
    pub(super) ingress: &'a str,
    pub(super) comments: &'a BTreeSet<String>,
    pub(super) drafts: &'a mut Vec<RouteDraft>,
}

impl Draft<'_> {
    /// Adds rules without policies.
    pub(super) fn add(&mut self, listeners: Listeners, rules: Vec<TranslatedRule>) {
        self.add_with(listeners, "HTTPRoute", RoutePolicies::default(), rules);
    }

    pub(super) fn add_with(
        &mut self,
        listeners: Listeners,
        kind: &'static str,
        policies: RoutePolicies,
        rules: Vec<TranslatedRule>,
    ) {
        let fingerprint = policies.fingerprint();
        let limited = policies.has_rate_limit();
        let known = self.drafts.iter_mut().find(|draft| {
            (!limited || draft.ingress == self.ingress)
                && draft.namespace == self.namespace
                && draft.listeners == listeners
                && draft.kind == kind
                && draft.policies.fingerprint() == fingerprint
        });
        match known {
            Some(draft) => {
                draft.groups.push(rules);
                draft.comments.extend(self.comments.iter().cloned());
            }
            None => self.drafts.push(RouteDraft {
                namespace: self.namespace.to_owned(),
                listeners,
                kind,
                policies,
                ingress: self.ingress.to_owned(),
                groups: vec![rules],
                comments: self.comments.clone(),
            }),
        }
    }
}
