//! The policies of each target, and the one in force for a rule on a listener.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use towergate_policy::FieldError;
use towergate_policy::backend_traffic::ANNOTATION_PREFIX;
use towergate_policy::check::FieldRemarks;
use towergate_policy::common::Targets;

use super::super::indexed::{GatewayIndex, ListenerSetIndex, RouteIndex};
use super::context::{PolicyContext, PolicyObjects};
use super::target::PolicyTarget;
use super::{TARGETS_UNREADABLE, Unusable, admitted};
use crate::objects::{Object, ObjectKey};

/// Spec of a policy that can target routes.
pub(crate) trait RoutePolicySpec: Debug + Clone {
    /// Kind of the policy.
    const KIND: &'static str;
    /// The enforced settings.
    type Effect;

    /// Targets of the policy.
    fn targets(&self) -> Targets<'_>;
    /// Fields that are set and require a warning.
    fn remarks(&self) -> FieldRemarks;
    /// Whether the policy is merged into its parent.
    fn merges(&self) -> bool;
    /// The policy merged over its parent, which is in `namespace`.
    ///
    /// # Errors
    /// The result is invalid.
    fn merged(&self, parent: &Self, namespace: &str) -> Result<Self, FieldError>;
    /// Why valid policies of the kind have no effect; `None` if they have an effect.
    fn without_effect() -> Option<&'static str> {
        None
    }
    /// Whether the enforced settings differ between listeners.
    fn counts_by_listener(&self) -> bool {
        false
    }
    /// Values of the plan that the policy sets.
    fn effect(&self, context: &PolicyContext<'_, '_>) -> Result<Self::Effect, Unusable>;
}

/// Policies of one kind, by target.
#[derive(Debug)]
pub(crate) struct Attached<'a, S> {
    pub(super) places: HashMap<PolicyTarget, &'a Object<S>>,
    /// Targets that fail closed because of a policy whose targets cannot be read.
    pub(super) closed: HashMap<PolicyTarget, &'a Object<S>>,
}

impl<S> Default for Attached<'_, S> {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            closed: HashMap::new(),
        }
    }
}

/// A policy in force, with the policy into which it is merged.
#[derive(Debug)]
pub(crate) struct InForce<'a, S> {
    pub(crate) policy: &'a Object<S>,
    pub(crate) parent: Option<&'a Object<S>>,
    /// Whether the targets of the policy cannot be read. Every place that it may target then fails closed.
    pub(super) closed: bool,
}

impl<S> Clone for InForce<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for InForce<'_, S> {}

impl<'a, S: RoutePolicySpec> InForce<'a, S> {
    /// A policy that is not merged into another.
    pub(super) fn alone(policy: &'a Object<S>) -> Self {
        Self {
            policy,
            parent: None,
            closed: false,
        }
    }

    /// A policy whose targets cannot be read.
    fn closing(policy: &'a Object<S>) -> Self {
        Self {
            policy,
            parent: None,
            closed: true,
        }
    }

    /// Names of the policies, for comparison.
    pub(crate) fn key(&self) -> (ObjectKey, Option<ObjectKey>, bool) {
        (self.policy.key(), self.parent.map(Object::key), self.closed)
    }

    /// Annotations that have an effect. Those of the policy take precedence over those of its
    /// parent.
    fn annotations(&self) -> BTreeMap<String, String> {
        let policies = self.parent.into_iter().chain([self.policy]);
        let all = policies.flat_map(|policy| &policy.meta.annotations);
        let known = all.filter(|(name, _)| name.starts_with(ANNOTATION_PREFIX));
        known
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Whether the enforced settings differ between listeners.
    pub(crate) fn counts_by_listener(&self) -> bool {
        let mut policies = self.parent.into_iter().chain([self.policy]);
        policies.any(|policy| policy.spec.counts_by_listener())
    }

    /// The enforced settings on any listener.
    pub(crate) fn effect(&self, objects: PolicyObjects<'_, '_>) -> Result<S::Effect, Unusable> {
        self.effect_on(objects, true, "")
    }

    /// The enforced settings on a listener. `rate_limit_headers`: the listener sends `x-ratelimit-*`. `listener`:
    /// its name, if the policy [counts by listener](Self::counts_by_listener).
    pub(crate) fn effect_on(
        &self,
        objects: PolicyObjects<'_, '_>,
        rate_limit_headers: bool,
        listener: &str,
    ) -> Result<S::Effect, Unusable> {
        let spec = &self.policy.spec;
        admitted(&self.policy.unreadable_fields)?;
        if self.closed {
            return Err(Unusable::target(TARGETS_UNREADABLE.to_owned()));
        }
        let name = self.policy.key().to_string();
        let context = PolicyContext {
            objects,
            kind: S::KIND,
            namespace: &self.policy.meta.namespace,
            policy: &name,
            rate_limit_headers,
            listener,
            annotations: self.annotations(),
        };
        match self.parent {
            Some(parent) => {
                admitted(&parent.unreadable_fields)?;
                let merged = spec.merged(&parent.spec, &parent.meta.namespace)?;
                merged.effect(&context)
            }
            None => spec.effect(&context),
        }
    }
}

/// A listener: its Gateway, its ListenerSet if any, and its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct On<'n> {
    pub(crate) gateway: GatewayIndex,
    pub(crate) set: Option<ListenerSetIndex>,
    pub(crate) listener: &'n str,
}

impl On<'_> {
    /// Targets whose policies apply to the listener, the most specific first.
    fn places(self) -> impl Iterator<Item = PolicyTarget> {
        let Self { gateway, set, .. } = self;
        let listener = PolicyTarget::Listener(gateway, set, self.listener.to_owned());
        let set = set.map(|set| PolicyTarget::Set(gateway, set));
        [Some(listener), set, Some(PolicyTarget::Gateway(gateway))]
            .into_iter()
            .flatten()
    }
}

impl<'a, S: RoutePolicySpec> Attached<'a, S> {
    /// The policy in force for a rule of a route on a listener.
    pub(crate) fn find(
        &self,
        route: RouteIndex,
        rule: Option<&str>,
        on: On<'_>,
    ) -> Option<InForce<'a, S>> {
        let of_rule =
            rule.and_then(|name| self.places.get(&PolicyTarget::Rule(route, name.to_owned())));
        let own = of_rule.or_else(|| self.places.get(&PolicyTarget::Route(route)));
        let closing = || {
            let route = self.closed.get(&PolicyTarget::Route(route));
            let inherits = own.is_none_or(|policy| policy.spec.merges());
            let above = || on.places().find_map(|place| self.closed.get(&place));
            route.or_else(|| inherits.then(above).flatten())
        };
        if !self.closed.is_empty()
            && let Some(policy) = closing()
        {
            return Some(InForce::closing(policy));
        }
        let parent = || self.parent(on).map(|(policy, _)| policy);
        match own.copied() {
            Some(policy) => Some(InForce {
                parent: policy.spec.merges().then(parent).flatten(),
                ..InForce::alone(policy)
            }),
            None => parent().map(InForce::alone),
        }
    }

    /// The policies of all targets that contain a rule of a route on a listener, the most specific first.
    pub(crate) fn candidates(
        &self,
        route: RouteIndex,
        rule: Option<&str>,
        on: On<'_>,
    ) -> impl Iterator<Item = &'a Object<S>> {
        let rule = rule.map(|name| PolicyTarget::Rule(route, name.to_owned()));
        let own = rule.into_iter().chain([PolicyTarget::Route(route)]);
        let places = own.chain(on.places());
        places.filter_map(|place| self.places.get(&place).copied())
    }

    /// The policy of a listener into which policies of routes are merged, and its target.
    pub(super) fn parent(&self, on: On<'_>) -> Option<(&'a Object<S>, PolicyTarget)> {
        on.places()
            .find_map(|place| Some((*self.places.get(&place)?, place)))
    }

    /// Whether there are no policies.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.closed.is_empty()
    }
}
