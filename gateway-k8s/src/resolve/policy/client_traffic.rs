//! ClientTrafficPolicy: connections and requests of clients on listeners.
//!
//! The policy of a listener replaces that of its ListenerSet, which replaces that of the Gateway. HTTP
//! listeners on one port share connections, so none of them can have its own policy.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use towergate_core::plan::TcpSettings;
use towergate_policy::ClientTrafficPolicySpec;
use towergate_policy::check::FieldRemarks;
use towergate_policy::client_traffic::{
    ListenerConfig, ListenerContext, ValidationRefs, apply_annotations,
};
use towergate_policy::common::ObjectRef;
use towergate_tls::{ClientAuth, NamePattern, Revocation};

use super::super::ca_bundle::{self, CaBundle, InvalidCaReference};
use super::super::gateway::{ListenerProtocol, ListenerState};
use super::super::grant::{From, To};
use super::super::indexed::{GatewayIndex, ListenerIndex, ListenerPlace, ListenerSetIndex};
use super::super::object_index::{ObjectIndex, by_age};
use super::super::port::bound;
use super::super::report::{Report, Subject};
use super::ancestors::{accept, ancestor, refuse, warn};
use super::target::{PolicyTarget, TargetIndex, section_field};
use super::{TARGETS_UNREADABLE, Unusable, admitted, note, report_unreadable, report_unusable};
use crate::api::ENVOY_GROUP;
use crate::api::reference::ParentReference;
use crate::objects::Object;
use crate::status::{ConditionType, PolicyReason, PolicyStatus, StatusKey, Statuses};

const KIND: &str = "ClientTrafficPolicy";

/// Field that requires a single hostname.
const DEFAULT_HOST: &str = "spec.http1.http10.useDefaultHost";

/// Finds the data to which a reference points.
type FindText = fn(&ObjectIndex<'_>, From<'_>, To<'_>) -> Result<String, InvalidCaReference>;

/// Settings of a listener, or the error that makes it fail closed.
pub(crate) type ClientEffect = Result<ListenerConfig, Unusable>;

/// ClientTrafficPolicies by listener.
#[derive(Debug, Default)]
pub(crate) struct ClientTraffic<'a> {
    listeners: HashMap<ListenerPlace, Held<'a>>,
}

/// The policy of a listener.
#[derive(Debug)]
struct Held<'a> {
    policy: &'a Object<ClientTrafficPolicySpec>,
    effect: ClientEffect,
    /// Settings of the port. An invalid policy also sets them: its PROXY protocol setting is readable, and
    /// without it clients would not receive an HTTP response.
    tcp: TcpSettings,
}

impl<'a> ClientTraffic<'a> {
    /// The policy of a listener.
    pub(crate) fn policy(
        &self,
        gateway: GatewayIndex,
        listener: ListenerIndex,
    ) -> Option<&'a Object<ClientTrafficPolicySpec>> {
        let held = self.listeners.get(&(gateway, listener));
        held.map(|held| held.policy)
    }

    /// The settings of a listener; `None` without a policy.
    pub(crate) fn find(
        &self,
        gateway: GatewayIndex,
        listener: ListenerIndex,
    ) -> Option<&ClientEffect> {
        let held = self.listeners.get(&(gateway, listener));
        held.map(|held| &held.effect)
    }

    /// The settings of the port of a listener.
    pub(crate) fn tcp(&self, gateway: GatewayIndex, listener: ListenerIndex) -> TcpSettings {
        let held = self.listeners.get(&(gateway, listener));
        held.map(|held| held.tcp.clone()).unwrap_or_default()
    }
}

/// Attaches all policies and sets their statuses.
pub(super) fn attach<'a>(
    places: &TargetIndex<'_, 'a>,
    report: &mut Report,
    statuses: &mut Statuses,
) -> ClientTraffic<'a> {
    let policies = by_age(places.index.objects.client_traffic_policies.values());
    let mut sections = Vec::new();
    let mut sets = Vec::new();
    let mut gateways = Vec::new();
    let mut unreadable = Vec::new();
    for (at, policy) in policies.iter().enumerate() {
        let found = places.find(KIND, policy, policy.spec.targets());
        if found.whole_namespace || !found.closes.is_empty() {
            unreadable.push((at, found.closes, found.whole_namespace));
        }
        for target in found.places {
            match target {
                PolicyTarget::Listener(gateway, set, name) => {
                    sections.push((at, gateway, set, name))
                }
                PolicyTarget::Set(gateway, set) => sets.push((at, gateway, Some(set))),
                PolicyTarget::Gateway(gateway) => gateways.push((at, gateway, None)),
                PolicyTarget::Route(_) | PolicyTarget::Rule(..) => {}
            }
        }
    }
    let mut run = ListenerAttacher {
        hosts: hosts(places),
        places,
        policies,
        claims: ClientTraffic::default(),
        whole: HashMap::new(),
        statuses: BTreeMap::new(),
        report,
    };
    for (at, gateway, set, name) in sections {
        run.section(at, gateway, set, &name);
    }
    for (at, gateway, set) in sets.into_iter().chain(gateways) {
        run.whole(at, gateway, set);
    }
    for (at, closed, whole_namespace) in unreadable {
        run.close(at, closed, whole_namespace);
    }
    for (at, status) in run.statuses {
        let policy = run.policies[at];
        let key = StatusKey::new(KIND, policy.key());
        note(places.index, statuses, key, policy.meta.generation, status);
    }
    run.claims
}

struct ListenerAttacher<'r, 'p, 'a> {
    places: &'r TargetIndex<'p, 'a>,
    policies: Vec<&'a Object<ClientTrafficPolicySpec>>,
    claims: ClientTraffic<'a>,
    /// The policy of each whole Gateway or ListenerSet.
    whole: HashMap<(GatewayIndex, Option<ListenerSetIndex>), usize>,
    /// For each listener: its hostname, or else those of its routes, in order.
    hosts: HashMap<ListenerPlace, BTreeSet<String>>,
    statuses: BTreeMap<usize, PolicyStatus>,
    report: &'r mut Report,
}

impl<'a> ListenerAttacher<'_, '_, 'a> {
    fn section(
        &mut self,
        at: usize,
        gateway: GatewayIndex,
        set: Option<ListenerSetIndex>,
        name: &str,
    ) {
        let state = &self.places.gateways.list[gateway];
        let ancestors = [ancestor(state, set, Some(name))];
        if !state.has_listener(set, name) {
            let field = section_field(self.policies[at].spec.targets(), state.target_of(set), name);
            let fault = state.no_listener(set, name);
            let fault = Unusable::section(field, fault);
            return self.refuse(at, &ancestors, PolicyReason::TargetNotFound, &fault);
        }
        let named =
            |listener: &ListenerState<'_>| listener.set == set && listener.spec.name == name;
        let mut listeners = state.listeners.indexed();
        let Some((listener, _)) = listeners.find(|(_, listener)| named(listener)) else {
            // The Gateway does not accept the ListenerSet. The status of the ListenerSet reports that.
            return self.conclude(at, &ancestors);
        };
        if let Some(held) = self.claims.listeners.get(&(gateway, listener)) {
            let holder = held.policy;
            if holder.key() != self.policies[at].key() {
                let message = format!(
                    "{KIND} {} is older and targets the same listener",
                    holder.key()
                );
                self.refuse(
                    at,
                    &ancestors,
                    PolicyReason::Conflicted,
                    &Unusable::target(message),
                );
            }
            return;
        }
        let shared = self.sharing(gateway, listener);
        // Listeners of ListenerSets must not invalidate a policy of a listener of the Gateway.
        let shared = shared
            .iter()
            .filter(|other| set.is_some() || other.set.is_none());
        let shared = shared.map(|other| &*other.spec.name).collect();
        let effect = self.effect_unless_shared(at, (gateway, listener), set, shared);
        self.take(at, (gateway, listener), set, effect, &ancestors);
        self.conclude(at, &ancestors);
    }

    /// Attaches a policy to a whole Gateway, with its ListenerSets, or to a whole ListenerSet.
    fn whole(&mut self, at: usize, gateway: GatewayIndex, set: Option<ListenerSetIndex>) {
        let state = &self.places.gateways.list[gateway];
        let ancestors = [ancestor(state, set, None)];
        if let Some(holder) = self.whole.get(&(gateway, set)) {
            let holder = self.policies[*holder].key();
            if holder != self.policies[at].key() {
                let what = set.map_or("Gateway", |_| "ListenerSet");
                let message = format!("{KIND} {holder} is older and targets the same {what}");
                self.refuse(
                    at,
                    &ancestors,
                    PolicyReason::Conflicted,
                    &Unusable::target(message),
                );
            }
            return;
        }
        self.whole.insert((gateway, set), at);
        let mut own = Vec::new();
        let listeners = state.listeners.indexed();
        let listeners = listeners.filter(|(_, listener)| set.is_none() || listener.set == set);
        for (listener, listener_state) in listeners {
            if self.claims.listeners.contains_key(&(gateway, listener)) {
                own.push(listener_state.spec.name.as_str());
                continue;
            }
            let others = self.sharing(gateway, listener).into_iter();
            let others = others.filter(|other| set.is_some() && other.set != set);
            let others = others.map(|other| &*other.spec.name).collect();
            let effect = self.effect_unless_shared(at, (gateway, listener), set, others);
            self.take(at, (gateway, listener), set, effect, &ancestors);
        }
        if !own.is_empty() {
            own.sort_unstable();
            let message = format!("listeners with their own policy: {}", own.join(", "));
            let status = self.statuses.entry(at).or_default();
            status.conditions(&ancestors[0]).set(
                ConditionType::Overridden,
                true,
                PolicyReason::Overridden,
                message,
            );
        }
        self.conclude(at, &ancestors);
    }

    /// Handles a policy with unreadable targets: all listeners that may be targets fail closed.
    fn close(&mut self, at: usize, closed: Vec<PolicyTarget>, whole_namespace: bool) {
        let policy = self.policies[at];
        let subject = Subject::new(KIND, policy);
        let namespace = whole_namespace.then_some(&*policy.meta.namespace);
        report_unreadable(self.report, &subject, namespace);
        for target in closed {
            let (gateway, set) = match target {
                PolicyTarget::Gateway(gateway) => (gateway, None),
                PolicyTarget::Set(gateway, set) => (gateway, Some(set)),
                _ => continue,
            };
            let state = &self.places.gateways.list[gateway];
            let status = self.statuses.entry(at).or_default();
            refuse(
                status,
                &[ancestor(state, set, None)],
                PolicyReason::Invalid,
                TARGETS_UNREADABLE,
            );
            let listeners = state.listeners.indexed();
            for (listener, _) in listeners.filter(|(_, one)| set.is_none() || one.set == set) {
                let tcp = self.claims.tcp(gateway, listener);
                let held = Held {
                    policy,
                    effect: Err(Unusable::target(TARGETS_UNREADABLE.to_owned())),
                    tcp,
                };
                self.claims.listeners.insert((gateway, listener), held);
            }
        }
    }

    /// The settings of a listener. `set` is the ListenerSet that the policy targets; `others` share
    /// connections with the listener but not the policy.
    fn effect_unless_shared(
        &self,
        at: usize,
        place: ListenerPlace,
        set: Option<ListenerSetIndex>,
        others: Vec<&str>,
    ) -> ClientEffect {
        if self.imposes(at, place, set) {
            return Err(Unusable {
                field: "spec.proxyProtocol".to_owned(),
                message: "a PROXY header applies to the whole port, which other listeners used before the ListenerSet".to_owned(),
                inadmissible: false,
                help: None,
            });
        }
        if others.is_empty() {
            return self.effect(at, place);
        }
        // The message of Envoy Gateway, which users search for.
        Err(Unusable::target(format!(
            "ClientTrafficPolicy is being applied to multiple http (non https) listeners ({}) on the same port, which is not allowed",
            others.join(", ")
        )))
    }

    /// Whether the policy of a ListenerSet expects a PROXY header on a port that other listeners
    /// already use. A ListenerSet must not change connections of other listeners.
    fn imposes(
        &self,
        at: usize,
        (gateway, listener): ListenerPlace,
        set: Option<ListenerSetIndex>,
    ) -> bool {
        let listeners = &self.places.gateways.list[gateway].listeners;
        let socket = |listener: &ListenerState<'_>| bound(self.places.index, listener.spec.port);
        let port = socket(&listeners[listener]);
        let mut ready = listeners.iter().filter(|other| other.ready());
        let first = ready.find(|other| socket(other) == port);
        let expected = expected_header(&self.policies[at].spec);
        set.is_some()
            && expected.proxy_protocol.is_some()
            && first.is_some_and(|first| first.set != set)
    }

    fn effect(&self, at: usize, place: ListenerPlace) -> ClientEffect {
        let policy = self.policies[at];
        admitted(&policy.unreadable_fields)?;
        let spec = &policy.spec;
        let hostname = only(self.hosts.get(&place));
        let mut refused = match spec.listener_settings(ListenerContext { hostname }) {
            Ok(mut converted) => {
                apply_annotations(&policy.meta.annotations, &mut converted)?;
                if let Some(refs) = &converted.tls.client_validation {
                    converted.tls.clients = Some(self.clients(at, place, refs)?);
                }
                return Ok(converted);
            }
            Err(refused) => refused,
        };
        if refused.field == DEFAULT_HOST {
            let found = self.hosts.get(&place).into_iter().flatten();
            let found: Vec<_> = found.map(String::as_str).collect();
            refused.message += &match found.as_slice() {
                [] => "; none found".to_owned(),
                found => format!("; found: {}", found.join(", ")),
            };
        }
        Err(refused.into())
    }

    /// Whether a revocation list has expired. The data plane checks this at each handshake too, as a list can expire
    /// later.
    fn has_expired_list(&self, auth: &ClientAuth) -> bool {
        let now = self.places.index.options.now;
        let now = now.and_then(|seconds| u64::try_from(seconds).ok());
        let expiry = auth.revocation.as_ref().map(Revocation::first_expiry);
        matches!((now, expiry), (Some(now), Some(Ok(expiry))) if expiry <= now)
    }

    /// Validation of client certificates on a listener. All CA references must be valid, as policies have
    /// no condition for partial validity.
    fn clients(
        &self,
        at: usize,
        (gateway, listener): ListenerPlace,
        refs: &ValidationRefs,
    ) -> Result<ClientAuth, Unusable> {
        const FIELD: &str = "spec.tls.clientValidation";
        let unusable = |field: String, message: String| Unusable {
            field,
            message,
            inadmissible: false,
            help: None,
        };
        let state = &self.places.gateways.list[gateway].listeners[listener];
        if state.clients.is_some() {
            let message =
                "clientValidation and spec.tls.frontend of the Gateway must not be used together";
            return Err(unusable(FIELD.to_owned(), message.to_owned()));
        }
        let own = self.policies[at].meta.namespace.as_str();
        let roots_pem = self.texts(own, &refs.authorities, ca_bundle::find);
        let roots_pem = roots_pem.map_err(|(at, message)| {
            unusable(format!("{FIELD}.caCertificateRefs[{at}]"), message)
        })?;
        let lists = refs.revocation.as_ref().map(|revocation| {
            let lists = self.texts(own, &revocation.lists, ca_bundle::find_revocation_lists);
            lists.map(|lists_pem| Revocation {
                lists_pem,
                only_leaf: revocation.only_leaf,
            })
        });
        let revocation = lists
            .transpose()
            .map_err(|(at, message)| unusable(format!("{FIELD}.crl.refs[{at}]"), message))?;
        let auth = ClientAuth {
            roots_pem,
            mode: refs.mode,
            conditions: refs.conditions.clone(),
            revocation,
            allow_expired: refs.allow_expired,
        };
        // `texts` has already checked the CA certificates themselves.
        if auth.revocation.is_some() || !auth.conditions.alt_names.is_empty() {
            let provider = self.places.index.options.provider.as_ref();
            let checked = auth.check_by(provider);
            checked.map_err(|error| unusable(FIELD.to_owned(), error.to_string()))?;
        }
        if self.has_expired_list(&auth) {
            let message = "a revocation list has expired (nextUpdate), so no client certificate of its issuer would be \
                           accepted; replace it";
            return Err(unusable(format!("{FIELD}.crl"), message.to_owned()));
        }
        Ok(auth)
    }

    /// The data that a policy of namespace `own` references, joined.
    ///
    /// # Errors
    /// Index and message of the first reference that is not usable.
    fn texts(
        &self,
        own: &str,
        references: &[ObjectRef],
        find: FindText,
    ) -> Result<String, (usize, String)> {
        let from = From {
            group: ENVOY_GROUP,
            kind: KIND,
            namespace: own,
        };
        let mut bundle = CaBundle::default();
        for (at, reference) in references.iter().enumerate() {
            let namespace = reference.namespace.as_deref();
            let to = To {
                group: reference.group.as_deref().unwrap_or_default(),
                kind: reference.kind.as_deref().unwrap_or("Secret"),
                namespace: namespace.filter(|name| !name.is_empty()).unwrap_or(own),
                name: reference.name.as_deref().unwrap_or_default(),
            };
            bundle.add(at, find(self.places.index, from, to));
        }
        match bundle.faults.into_iter().next() {
            None => Ok(bundle.pem),
            Some((at, fault)) => Err((at, fault.message)),
        }
    }

    fn take(
        &mut self,
        at: usize,
        place: ListenerPlace,
        set: Option<ListenerSetIndex>,
        effect: ClientEffect,
        ancestors: &[ParentReference],
    ) {
        if let Err(fault) = &effect {
            let fault = fault.clone();
            self.refuse(at, ancestors, PolicyReason::Invalid, &fault);
        }
        let policy = self.policies[at];
        let tcp = match &effect {
            Ok(converted) => converted.tcp.clone(),
            Err(_) if self.imposes(at, place, set) => TcpSettings::default(),
            Err(_) => expected_header(&policy.spec),
        };
        let held = Held {
            policy,
            effect,
            tcp,
        };
        self.claims.listeners.insert(place, held);
    }

    fn refuse(
        &mut self,
        at: usize,
        ancestors: &[ParentReference],
        reason: PolicyReason,
        fault: &Unusable,
    ) {
        let subject = Subject::new(KIND, self.policies[at]);
        report_unusable(self.report, &subject, reason, fault);
        let status = self.statuses.entry(at).or_default();
        refuse(status, ancestors, reason, &fault.condition_message(reason));
    }

    fn conclude(&mut self, at: usize, ancestors: &[ParentReference]) {
        let status = self.statuses.entry(at).or_default();
        accept(status, ancestors);
        let spec = &self.policies[at].spec;
        let remarks = spec.remarks();
        warn(
            status,
            ancestors,
            &remarks,
            unsupported_reason(spec, &remarks),
        );
    }

    /// The other HTTP listeners on the port of an HTTP listener; empty for a listener of another protocol.
    fn sharing(&self, gateway: GatewayIndex, listener: ListenerIndex) -> Vec<&ListenerState<'a>> {
        let listeners = &self.places.gateways.list[gateway].listeners;
        let this = &listeners[listener];
        if this.protocol != Some(ListenerProtocol::Http) || !this.ready() {
            return Vec::new();
        }
        let others = listeners.indexed().filter(|(at, other)| {
            *at != listener
                && other.ready()
                && other.protocol == Some(ListenerProtocol::Http)
                && other.spec.port == this.spec.port
        });
        others.map(|(_, other)| other).collect()
    }
}

/// Reason of the warning about unsupported fields. For client certificates over HTTP/3, Envoy Gateway has a
/// separate reason.
fn unsupported_reason(spec: &ClientTrafficPolicySpec, remarks: &FieldRemarks) -> PolicyReason {
    let validates = spec
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_validation.is_some());
    match &*remarks.ignored {
        [field] if field == "spec.http3" && validates => {
            PolicyReason::UnsupportedHttp3ClientValidation
        }
        _ => PolicyReason::UnsupportedField,
    }
}

/// Whether a policy expects a PROXY header, regardless of its other settings.
fn expected_header(spec: &ClientTrafficPolicySpec) -> TcpSettings {
    let only = ClientTrafficPolicySpec {
        proxy_protocol: spec.proxy_protocol.clone(),
        enable_proxy_protocol: spec.enable_proxy_protocol,
        ..Default::default()
    };
    let converted = only.listener_settings(ListenerContext::default());
    converted.map(|converted| converted.tcp).unwrap_or_default()
}

/// For each listener, the hostnames for requests without a host: its own, or else those of its
/// routes.
fn hosts(places: &TargetIndex<'_, '_>) -> HashMap<ListenerPlace, BTreeSet<String>> {
    let mut names: HashMap<ListenerPlace, BTreeSet<String>> = HashMap::new();
    for state in places.routes {
        for attachment in &state.attachments {
            for (listener, hosts) in &attachment.listeners {
                names
                    .entry((attachment.gateway, *listener))
                    .or_default()
                    .extend(hosts.iter().map(ToString::to_string));
            }
        }
    }
    for (gateway, state) in places.gateways.list.indexed() {
        for (listener, listener_state) in state.listeners.indexed() {
            if let NamePattern::Exact(name) = &listener_state.hostname {
                names.insert((gateway, listener), [name.clone()].into());
            }
        }
    }
    names
}

/// The only hostname in `names`. `None`: there are several hostnames, or the only hostname is a wildcard.
fn only(names: Option<&BTreeSet<String>>) -> Option<&str> {
    let names = names.filter(|names| names.len() == 1)?;
    names
        .first()
        .map(String::as_str)
        .filter(|name| !name.starts_with('*'))
}
