//! Policies of routes (BackendTrafficPolicy, SecurityPolicy): who is first at each place, and what is in
//! force for a rule on a listener.
//!
//! From the most to the least specific: rule, route, listener, Gateway. A policy of a rule or route that
//! has a `mergeType` is merged into that of the listener or else of the Gateway.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use towergate_policy::Invalid;
use towergate_policy::common::{Deprecated, Targets};

use super::super::report::{Report, Subject};
use super::super::world::{World, by_age};
use super::ancestors::{accept, ancestor, refuse, warn};
use super::target::{Places, Target};
use super::{Unusable, admitted, note, tell};
use crate::api::reference::ParentReference;
use crate::objects::{Object, ObjectKey, Store};
use crate::status::{PolicyStatus, StatusKey, Statuses};

/// A policy that is attached to routes.
pub(crate) trait RouteSpec: Debug + Clone {
    /// The kind of the policy.
    const KIND: &'static str;
    /// What is in force.
    type Effect;

    /// What the policy is attached to.
    fn targets(&self) -> Targets<'_>;
    /// What an API server would refuse.
    fn faults(&self) -> Vec<Invalid>;
    /// Deprecated fields that are given.
    fn old_fields(&self) -> Vec<Deprecated>;
    /// Whether the policy is merged into its parent.
    fn merges(&self) -> bool;
    /// The policy put over its parent.
    fn merged(&self, parent: &Self) -> Self;
    /// What is in force. `policy` is its name, `headers` whether `x-ratelimit-*` are sent.
    fn effect(&self, policy: &str, headers: bool) -> Result<Self::Effect, Unusable>;
}

/// Policies of one kind, by place.
#[derive(Debug)]
pub(crate) struct Attached<'a, S> {
    places: HashMap<Target, &'a Object<S>>,
}

impl<S> Default for Attached<'_, S> {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
        }
    }
}

/// A policy that is in force, with the one that it is merged into.
#[derive(Debug)]
pub(crate) struct InForce<'a, S> {
    pub(crate) policy: &'a Object<S>,
    pub(crate) parent: Option<&'a Object<S>>,
}

impl<S> Clone for InForce<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for InForce<'_, S> {}

impl<S: RouteSpec> InForce<'_, S> {
    /// Names of the policies, for comparison.
    pub(crate) fn key(&self) -> (ObjectKey, Option<ObjectKey>) {
        (self.policy.key(), self.parent.map(Object::key))
    }

    /// What is in force.
    pub(crate) fn effect(&self, headers: bool) -> Result<S::Effect, Unusable> {
        let spec = &self.policy.spec;
        admitted(&faults(self.policy))?;
        let name = self.policy.key().to_string();
        match self.parent {
            Some(parent) => {
                admitted(&faults(parent))?;
                spec.merged(&parent.spec).effect(&name, headers)
            }
            None => spec.effect(&name, headers),
        }
    }
}

impl<'a, S: RouteSpec> Attached<'a, S> {
    /// What is in force for a rule of a route on a listener of a Gateway.
    pub(crate) fn find(
        &self,
        route: usize,
        rule: Option<&str>,
        gateway: usize,
        listener: &str,
    ) -> Option<InForce<'a, S>> {
        let of_rule = rule.and_then(|name| self.places.get(&Target::Rule(route, name.to_owned())));
        let own = of_rule.or_else(|| self.places.get(&Target::Route(route)));
        let parent = || {
            let of_listener = self
                .places
                .get(&Target::Listener(gateway, listener.to_owned()));
            of_listener
                .or_else(|| self.places.get(&Target::Gateway(gateway)))
                .copied()
        };
        match own.copied() {
            Some(policy) => Some(InForce {
                policy,
                parent: policy.spec.merges().then(parent).flatten(),
            }),
            None => parent().map(|policy| InForce {
                policy,
                parent: None,
            }),
        }
    }

    /// The policy of a place of a Gateway into which one of a route is merged, and its place.
    fn parent(&self, gateway: usize, listener: &str) -> Option<(&'a Object<S>, Target)> {
        let places = [
            Target::Listener(gateway, listener.to_owned()),
            Target::Gateway(gateway),
        ];
        places
            .into_iter()
            .find_map(|place| Some((*self.places.get(&place)?, place)))
    }

    /// Whether there are no policies.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// Attaches all policies of a kind and states how they stand.
pub(super) fn attach<'a, S: RouteSpec>(
    places: &Places<'_, 'a>,
    store: &'a Store<S>,
    report: &mut Report,
    statuses: &mut Statuses,
) -> Attached<'a, S> {
    let policies = by_age(store.values());
    let mut stages: [Vec<(usize, Target)>; 4] = Default::default();
    for (at, policy) in policies.iter().enumerate() {
        for target in places.find(S::KIND, &policy.meta, policy.spec.targets()) {
            let stage = match target {
                Target::Rule(..) => 0,
                Target::Route(_) => 1,
                Target::Listener(..) => 2,
                Target::Gateway(_) => 3,
            };
            stages[stage].push((at, target));
        }
    }
    let mut run = Run {
        places,
        policies,
        attached: Attached::default(),
        statuses: BTreeMap::new(),
        overrides: HashMap::new(),
        merged: HashMap::new(),
        report,
    };
    run.claim(stages.iter().flatten());
    let [rules, routes, listeners, gateways] = stages;
    for (at, target) in rules.iter().chain(&routes) {
        run.state_route(*at, target);
    }
    for (at, target) in listeners.iter().chain(&gateways) {
        run.state_gateway(*at, target);
    }
    run.finish(places.world, statuses)
}

/// What may be attached below a place.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Child {
    Route(usize),
    Listener(String),
}

struct Run<'r, 'p, 'a, S> {
    places: &'r Places<'p, 'a>,
    policies: Vec<&'a Object<S>>,
    attached: Attached<'a, S>,
    statuses: BTreeMap<usize, PolicyStatus>,
    /// Below a Gateway (and listener): what has a policy of its own.
    overrides: HashMap<Target, BTreeSet<Child>>,
    /// Below a place: what is merged into its policy.
    merged: HashMap<Target, BTreeSet<Child>>,
    report: &'r mut Report,
}

impl<'a, S: RouteSpec> Run<'_, '_, 'a, S> {
    /// The first at each place that exists has it.
    fn claim<'t>(&mut self, targets: impl Iterator<Item = &'t (usize, Target)>) {
        for (at, target) in targets {
            if self.exists(target) {
                self.attached
                    .places
                    .entry(target.clone())
                    .or_insert(self.policies[*at]);
            }
        }
    }

    fn exists(&self, target: &Target) -> bool {
        match target {
            Target::Gateway(_) | Target::Route(_) => true,
            Target::Listener(gateway, name) => {
                let listeners = &self.places.gateways.list[*gateway].listeners;
                listeners.iter().any(|listener| listener.spec.name == *name)
            }
            Target::Rule(route, name) => {
                let names = self.places.routes[*route].route.rule_names();
                names.contains(&Some(name.as_str()))
            }
        }
    }

    /// Whether the policy has the place; if not, why.
    fn holds(&self, at: usize, target: &Target) -> Result<(), (&'static str, String)> {
        match self.attached.places.get(target) {
            None => Err((
                "TargetNotFound",
                "The target has no section of this name.".to_owned(),
            )),
            Some(policy) if policy.key() == self.policies[at].key() => Ok(()),
            Some(policy) => Err((
                "Conflicted",
                format!("{} {} is older and has the target.", S::KIND, policy.key()),
            )),
        }
    }

    fn refuse(
        &mut self,
        at: usize,
        ancestors: &[ParentReference],
        reason: &'static str,
        fault: &Unusable,
    ) {
        let subject = Subject::new(S::KIND, self.policies[at]);
        tell(self.report, &subject, reason, fault);
        let status = self.statuses.entry(at).or_default();
        refuse(status, ancestors, reason, &fault.message);
    }

    fn state_route(&mut self, at: usize, target: &Target) {
        let (Target::Route(route) | Target::Rule(route, _)) = *target else {
            return;
        };
        let state = &self.places.routes[route];
        let mut ancestors = Vec::new();
        for attachment in &state.attachments {
            let gateway = self.places.gateways.list[attachment.gateway].object.key();
            let section = attachment.parent.section_name.as_deref();
            ancestors.push(ancestor(&gateway, section));
            let below = match section {
                Some(name) => Target::Listener(attachment.gateway, name.to_owned()),
                None => Target::Gateway(attachment.gateway),
            };
            self.overrides
                .entry(below)
                .or_default()
                .insert(Child::Route(route));
        }
        if let Err((reason, message)) = self.holds(at, target) {
            return self.refuse(at, &ancestors, reason, &Unusable::target(message));
        }
        let policy = self.policies[at];
        if policy.spec.merges() {
            self.merge(at, route);
        } else if let Err(fault) = (InForce {
            policy,
            parent: None,
        })
        .effect(true)
        {
            self.refuse(at, &ancestors, "Invalid", &fault);
        }
        let status = self.statuses.entry(at).or_default();
        accept(status, &ancestors);
        warn(status, &ancestors, &policy.spec.old_fields());
        if matches!(target, Target::Route(_)) {
            self.state_overridden_rules(at, route, &ancestors);
        }
    }

    /// Merges the policy of a route into that of each listener which takes the route.
    fn merge(&mut self, at: usize, route: usize) {
        let policy = self.policies[at];
        for attachment in &self.places.routes[route].attachments {
            let gateway = &self.places.gateways.list[attachment.gateway];
            for (listener, _) in &attachment.listeners {
                let name = &gateway.listeners[*listener].spec.name;
                let ancestors = [ancestor(&gateway.object.key(), Some(name))];
                let parent = self.attached.parent(attachment.gateway, name);
                let in_force = InForce {
                    policy,
                    parent: parent.as_ref().map(|(parent, _)| *parent),
                };
                if let Err(fault) = in_force.effect(true) {
                    self.refuse(at, &ancestors, "Invalid", &fault);
                    continue;
                }
                let Some((parent, place)) = parent else {
                    continue;
                };
                self.merged
                    .entry(place)
                    .or_default()
                    .insert(Child::Route(route));
                let message = format!("Merged with policy {}.", parent.key());
                let status = self.statuses.entry(at).or_default();
                status
                    .conditions(&ancestors[0])
                    .set("Merged", true, "Merged", message);
            }
        }
    }

    fn state_overridden_rules(&mut self, at: usize, route: usize, ancestors: &[ParentReference]) {
        let names = self.places.routes[route]
            .route
            .rule_names()
            .into_iter()
            .flatten();
        let mut rules: Vec<_> = names
            .filter(|name| {
                let place = Target::Rule(route, (*name).to_owned());
                self.attached.places.contains_key(&place)
            })
            .collect();
        rules.sort_unstable();
        if rules.is_empty() {
            return;
        }
        let message = format!(
            "These rules have a policy of their own: {}.",
            rules.join(", ")
        );
        let status = self.statuses.entry(at).or_default();
        for ancestor in ancestors {
            status
                .conditions(ancestor)
                .set("Overridden", true, "Overridden", &*message);
        }
    }

    fn state_gateway(&mut self, at: usize, target: &Target) {
        let (gateway, section) = match target {
            Target::Gateway(gateway) => (*gateway, None),
            Target::Listener(gateway, name) => (*gateway, Some(name.as_str())),
            Target::Route(_) | Target::Rule(..) => return,
        };
        let key = self.places.gateways.list[gateway].object.key();
        let ancestors = [ancestor(&key, section)];
        if let Err((reason, message)) = self.holds(at, target) {
            return self.refuse(at, &ancestors, reason, &Unusable::target(message));
        }
        if let Some(name) = section {
            let below = self.overrides.entry(Target::Gateway(gateway)).or_default();
            below.insert(Child::Listener(name.to_owned()));
        }
        let policy = self.policies[at];
        if let Err(fault) = (InForce {
            policy,
            parent: None,
        })
        .effect(true)
        {
            self.refuse(at, &ancestors, "Invalid", &fault);
        }
        let merged = self.merged.get(target).cloned().unwrap_or_default();
        let overridden: BTreeSet<_> = self.below(target).difference(&merged).cloned().collect();
        let (merged, overridden) = (self.names(&merged), self.names(&overridden));
        let status = self.statuses.entry(at).or_default();
        accept(status, &ancestors);
        warn(status, &ancestors, &policy.spec.old_fields());
        let conditions = status.conditions(&ancestors[0]);
        if !merged.is_empty() {
            let message = format!("These are merged into the policy: {merged}.");
            conditions.set("Merged", true, "Merged", message);
        }
        if !overridden.is_empty() {
            let message = format!("These have a policy of their own: {overridden}.");
            conditions.set("Overridden", true, "Overridden", message);
        }
    }

    /// What has a policy of its own below a place: of a Gateway also what is below its listeners, of a
    /// listener also the routes that name the whole Gateway.
    fn below(&self, target: &Target) -> BTreeSet<Child> {
        let mut below = self.overrides.get(target).cloned().unwrap_or_default();
        match target {
            Target::Gateway(gateway) => {
                let listeners = self
                    .overrides
                    .iter()
                    .filter(|(place, _)| matches!(place, Target::Listener(of, _) if of == gateway));
                below.extend(listeners.flat_map(|(_, children)| children.iter().cloned()));
            }
            Target::Listener(gateway, _) => {
                let whole = self
                    .overrides
                    .get(&Target::Gateway(*gateway))
                    .into_iter()
                    .flatten();
                below.extend(
                    whole
                        .filter(|child| matches!(child, Child::Route(_)))
                        .cloned(),
                );
            }
            Target::Route(_) | Target::Rule(..) => {}
        }
        below
    }

    fn names(&self, children: &BTreeSet<Child>) -> String {
        let names = children.iter().map(|child| match child {
            Child::Listener(name) => format!("listener {name}"),
            Child::Route(at) => {
                let route = self.places.routes[*at].route;
                format!("{} {}", route.kind(), route.key())
            }
        });
        let mut names: Vec<_> = names.collect();
        names.sort();
        names.join(", ")
    }

    fn finish(self, world: &World<'_>, statuses: &mut Statuses) -> Attached<'a, S> {
        for (at, status) in self.statuses {
            let policy = self.policies[at];
            let key = StatusKey::new(S::KIND, policy.key());
            note(world, statuses, key, policy.meta.generation, status);
        }
        self.attached
    }
}

/// What could not be read of a policy, and what an API server would refuse.
fn faults<S: RouteSpec>(policy: &Object<S>) -> Vec<Invalid> {
    let mut faults = policy.misread.clone();
    faults.extend(policy.spec.faults());
    faults
}
