//! Targets of policies: Gateways, ListenerSets, listeners, routes, rules.
//!
//! A target that cannot be read must fail closed. A reference with an unknown kind or group is treated as a
//! reference to every object with its name. A selector selects everything that its readable parts select. If
//! a reference cannot be read, or has an unknown kind and no object has its name, everything in the policy's
//! namespace fails closed.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use towergate_core::plan::RouteKind;
use towergate_policy::SchemaViolation;
use towergate_policy::common::{TargetKind, TargetRef, TargetSelector, Targets};

use super::super::creation_time::CreationTime;
use super::super::gateway::{Gateways, merges_gateways};
use super::super::indexed::{GatewayIndex, ListenerSetIndex, RouteIndex};
use super::super::object_index::ObjectIndex;
use super::super::route::{Backends, Routes};
use super::context::PolicyObjects;
use super::selection::{Selected, Selection};
use crate::api::GATEWAY_GROUP;
use crate::api::meta::ObjectMeta;
use crate::decode::nearest;
use crate::objects::{EVERY_NAMESPACE, Object, ObjectKey};

/// A target of a policy. Listeners and rules are identified by name; the name is possibly unknown.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum PolicyTarget {
    Gateway(GatewayIndex),
    /// A ListenerSet of a Gateway.
    Set(GatewayIndex, ListenerSetIndex),
    /// A listener of a Gateway or ListenerSet, by name.
    Listener(GatewayIndex, Option<ListenerSetIndex>, String),
    Route(RouteIndex),
    /// A rule of a route, by name.
    Rule(RouteIndex, String),
}

impl PolicyTarget {
    /// The listener or rule named `section` in this target; `None`: the whole target.
    fn within(self, section: Option<&str>) -> Self {
        let Some(name) = section.map(str::to_owned) else {
            return self;
        };
        match self {
            Self::Gateway(at) => Self::Listener(at, None, name),
            Self::Set(at, set) => Self::Listener(at, Some(set), name),
            Self::Route(at) => Self::Rule(at, name),
            section @ (Self::Listener(..) | Self::Rule(..)) => section,
        }
    }

    /// Whether the target is part of a Gateway or ListenerSet.
    pub(super) fn is_part_of(&self, whole: &Self) -> bool {
        match (self, whole) {
            (Self::Set(of, _) | Self::Listener(of, ..), Self::Gateway(gateway)) => of == gateway,
            (Self::Listener(of, set, _), Self::Set(gateway, whole)) => {
                of == gateway && *set == Some(*whole)
            }
            _ => false,
        }
    }
}

/// The targets of a policy.
#[derive(Debug)]
pub(super) struct FoundTargets {
    /// Targets, in order of precedence.
    pub(super) places: Vec<PolicyTarget>,
    /// Possible further targets of the policy, because some of its targets cannot be read.
    pub(super) closes: Vec<PolicyTarget>,
    /// Whether `closes` contains all objects in the namespace of the policy.
    pub(super) whole_namespace: bool,
}

/// An object that can be a target.
struct Candidate<'t> {
    kind: TargetKind,
    meta: &'t ObjectMeta,
    place: PolicyTarget,
    /// Class of a Gateway.
    class: Option<&'t str>,
}

/// All possible targets.
#[derive(Debug)]
pub(super) struct TargetIndex<'p, 'a> {
    pub(super) index: &'p ObjectIndex<'a>,
    backends: &'p RefCell<Backends<'a>>,
    pub(super) gateways: &'p Gateways<'a>,
    pub(super) routes: &'p Routes<'a>,
    route_at: HashMap<(RouteKind, ObjectKey), RouteIndex>,
}

impl<'p, 'a> TargetIndex<'p, 'a> {
    pub(super) fn new(
        index: &'p ObjectIndex<'a>,
        backends: &'p RefCell<Backends<'a>>,
        gateways: &'p Gateways<'a>,
        routes: &'p Routes<'a>,
    ) -> Self {
        let routes_at = routes.indexed();
        let route_at =
            routes_at.map(|(at, state)| ((state.route.route_kind(), state.route.key()), at));
        Self {
            index,
            backends,
            gateways,
            routes,
            route_at: route_at.collect(),
        }
    }

    /// Objects that policies may refer to.
    pub(super) fn objects(&self) -> PolicyObjects<'p, 'a> {
        PolicyObjects {
            index: self.index,
            backends: self.backends,
        }
    }

    /// The targets of a policy that belong to this controller: first the targets that its selectors select,
    /// the oldest first, then the targets that its references name.
    pub(super) fn find<S>(
        &self,
        kind: &'static str,
        policy: &Object<S>,
        targets: Targets<'_>,
    ) -> FoundTargets {
        let mut selected = Vec::new();
        let mut closes = Vec::new();
        let mut whole_namespace = has_unreadable_targets(&policy.unreadable_fields, targets);
        for selector in targets.selectors {
            let mut found = Vec::new();
            match self.select(kind, &policy.meta, selector, &mut found) {
                true => selected.extend(found),
                false => closes.extend(found.into_iter().map(|(_, place)| place)),
            }
        }
        selected.sort();
        let mut places: Vec<_> = selected.into_iter().map(|(_, place)| place).collect();
        for target in targets.refs() {
            let named = self.named(policy, target);
            whole_namespace |= named.is_none();
            places.extend(named.into_iter().flatten());
        }
        if whole_namespace {
            closes.extend(self.of_namespace(&policy.meta.namespace));
        }
        let mut seen = HashSet::new();
        places.retain(|place| seen.insert(place.clone()));
        FoundTargets {
            places,
            closes,
            whole_namespace,
        }
    }

    /// The objects that a reference names; `None` if the reference cannot be read.
    fn named<S>(&self, policy: &Object<S>, target: &TargetRef) -> Option<Vec<PolicyTarget>> {
        let group = target.group.as_deref().unwrap_or(GATEWAY_GROUP);
        let name = target.name.as_deref().unwrap_or_default();
        let namespace = policy.meta.namespace.as_str();
        let section = target
            .section_name
            .as_deref()
            .filter(|name| !name.is_empty());
        let kind = target.target_kind().filter(|_| group == GATEWAY_GROUP);
        if let Some(kind) = kind
            && !name.is_empty()
            && namespace != EVERY_NAMESPACE
        {
            let key = ObjectKey::new(namespace, name);
            return Some(self.place(kind, &key, section).into_iter().collect());
        }
        // An EnvoyPatchPolicy may target all Gateways of a class that merges them.
        let is_class = target.kind.as_deref() == Some("GatewayClass");
        let of_class = is_class && merges_gateways(self.index.objects, name);
        let same_name = self.all().filter(|object| {
            let same_kind = kind.is_none_or(|kind| object.kind == kind);
            let same = object.meta.name == name && same_kind && is_in(object.meta, namespace);
            same || of_class && object.class == Some(name)
        });
        let places: Vec<_> = same_name
            .map(|object| object.place.within(section))
            .collect();
        // A GatewayClass without Gateways belongs to another controller.
        (!places.is_empty() || is_class).then_some(places)
    }

    /// Every object in a namespace that can be a target.
    fn of_namespace(&self, namespace: &str) -> Vec<PolicyTarget> {
        let all = self.all().filter(|object| is_in(object.meta, namespace));
        all.map(|object| object.place).collect()
    }

    /// Every Gateway, ListenerSet and route.
    fn all(&self) -> impl Iterator<Item = Candidate<'_>> {
        let gateways = self.gateways.list.indexed();
        let gateways = gateways.map(|(at, state)| Candidate {
            kind: TargetKind::Gateway,
            meta: &state.object.meta,
            place: PolicyTarget::Gateway(at),
            class: Some(&state.object.spec.gateway_class_name),
        });
        let sets = self.gateways.list.indexed();
        let sets = sets.flat_map(|(at, state)| {
            let sets = state.sets.indexed();
            sets.map(move |(set, state)| Candidate {
                kind: TargetKind::ListenerSet,
                meta: &state.object.meta,
                place: PolicyTarget::Set(at, set),
                class: None,
            })
        });
        let routes = self.routes.indexed();
        let routes = routes.map(|(at, state)| Candidate {
            kind: TargetKind::Route(state.route.route_kind()),
            meta: state.route.meta(),
            place: PolicyTarget::Route(at),
            class: None,
        });
        gateways.chain(sets).chain(routes)
    }

    fn place(
        &self,
        kind: TargetKind,
        key: &ObjectKey,
        section: Option<&str>,
    ) -> Option<PolicyTarget> {
        let whole = match kind {
            TargetKind::Gateway => PolicyTarget::Gateway(self.gateways.find(key)?),
            TargetKind::ListenerSet => {
                let (at, set) = self.gateways.find_set(key)?;
                PolicyTarget::Set(at, set)
            }
            TargetKind::Route(kind) => {
                PolicyTarget::Route(*self.route_at.get(&(kind, key.clone()))?)
            }
        };
        Some(whole.within(section))
    }

    /// Adds the targets of a selector, with their age. Returns whether the selector can be read; if not,
    /// everything that its readable parts select is added.
    fn select(
        &self,
        kind: &'static str,
        policy: &ObjectMeta,
        selector: &TargetSelector,
        found: &mut Vec<(CreationTime, PolicyTarget)>,
    ) -> bool {
        let selection = Selection::new(self.index, kind, policy, selector);
        for Candidate {
            kind, meta, place, ..
        } in self.all()
        {
            if selection.select(kind, meta) == Selected::Yes {
                found.push((CreationTime::of(meta), place));
            }
        }
        selection.is_readable()
    }
}

/// The field in which a policy names the section `name` of `target`, which is a kind and a name.
pub(super) fn section_field(
    targets: Targets<'_>,
    target: (TargetKind, &str),
    name: &str,
) -> String {
    let (kind, object) = target;
    let at = targets.refs().position(|named| {
        named.section_name.as_deref() == Some(name)
            && named.target_kind() == Some(kind)
            && named.name.as_deref() == Some(object)
    });
    match at {
        Some(at) => format!("{}.sectionName", target_field(targets, at)),
        None => "spec.targetRefs".to_owned(),
    }
}

/// The field of the target reference at index `at`.
pub(crate) fn target_field(targets: Targets<'_>, at: usize) -> String {
    match targets.single {
        Some(_) if at == 0 => "spec.targetRef".to_owned(),
        Some(_) => format!("spec.targetRefs[{}]", at - 1),
        None => format!("spec.targetRefs[{at}]"),
    }
}

/// Whether an object is in the namespace of a policy.
fn is_in(meta: &ObjectMeta, namespace: &str) -> bool {
    namespace == EVERY_NAMESPACE || meta.namespace == namespace
}

/// Whether an invalid policy possibly has further targets, in fields that could not be decoded.
pub(super) fn has_unreadable_targets(
    unreadable_fields: &[SchemaViolation],
    targets: Targets<'_>,
) -> bool {
    const FIELDS: [&str; 3] = ["targetRef", "targetRefs", "targetSelectors"];
    if unreadable_fields.is_empty() {
        return false;
    }
    let none = targets.refs().next().is_none() && targets.selectors.is_empty();
    none || unreadable_fields.iter().any(|fault| {
        let field = fault.field.strip_prefix("spec.").unwrap_or_default();
        match field {
            "targetRef" => targets.single.is_none(),
            "targetRefs" => targets.list.is_empty(),
            "targetSelectors" => targets.selectors.is_empty(),
            // A field with a name similar to one of `FIELDS` is probably a misspelling of it.
            other => !other.contains(['.', '[']) && nearest(other, FIELDS).is_some(),
        }
    })
}
