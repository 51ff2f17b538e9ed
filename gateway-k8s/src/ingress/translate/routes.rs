//! Routes: the locations of each host as rules, grouped by the policies that apply to them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::local_replies::RedirectAddress;
use super::matches::{path_match, pattern};
use super::policies::{Annotations, PolicyScope, RoutePolicies};
use super::redirects::{Redirects, redirect_target};
use super::{ANSWER, Translator, slug};
use crate::ingress::servers::{Location, Server, listed_paths};
use crate::ingress::settings::{BackendProtocol, IngressSettings, SnippetAction};
use crate::ingress::verdict::Finding;

/// Largest number of rules of a route (Gateway API).
pub(super) const MAX_RULES: usize = 16;
/// Largest number of matches of a rule.
pub(super) const MAX_MATCHES: usize = 64;
/// Paths that are exempt from redirects to HTTPS and from authentication.
const ACME: &str = "/.well-known/acme-challenge";

/// Listeners of a route.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Listeners {
    /// HTTP and HTTPS.
    Both,
    /// HTTPS only: HTTP redirects.
    Https,
    /// HTTP only: TLS is passed through.
    Http,
}

/// A rule with one path.
#[derive(Clone, Debug)]
pub(super) struct TranslatedRule {
    pub(super) matches: Vec<Value>,
    pub(super) filters: Vec<Value>,
    pub(super) backends: Vec<Value>,
}

impl TranslatedRule {
    pub(super) fn redirect(matching: Value, redirect: Value) -> Self {
        Self {
            matches: vec![matching],
            filters: vec![json!({"type": "RequestRedirect", "requestRedirect": redirect})],
            backends: Vec::new(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let mut rule = json!({"matches": self.matches});
        if !self.filters.is_empty() {
            rule["filters"] = json!(self.filters);
        }
        if !self.backends.is_empty() {
            rule["backendRefs"] = json!(self.backends);
        }
        rule
    }
}

/// Rules of a host with equal namespace, listeners and policies.
#[derive(Debug)]
struct RouteDraft {
    namespace: String,
    listeners: Listeners,
    kind: &'static str,
    policies: RoutePolicies,
    /// Name of the first Ingress.
    ingress: String,
    /// The rules of each location, which stay together: their order decides between equal matches.
    groups: Vec<Vec<TranslatedRule>>,
    comments: BTreeSet<String>,
}

/// A policy and its targets.
struct PolicyDraft {
    name: String,
    annotations: Annotations,
    spec: Value,
    targets: Vec<Value>,
    comments: BTreeSet<String>,
}

impl Translator<'_> {
    /// Writes the routes and policies of all hosts.
    pub(crate) fn routes(&mut self) {
        let servers = std::mem::take(&mut self.servers.servers);
        let mut redirects = Redirects::default();
        let mut policies: BTreeMap<(String, &'static str, String), PolicyDraft> = BTreeMap::new();
        for server in &servers {
            let server = &self.prefix_form(server);
            let mut drafts = Vec::new();
            for location in &server.locations {
                self.location(server, location, &mut drafts);
            }
            self.snippet_locations(server, &mut drafts);
            self.redirect_to_https(server, &mut redirects);
            self.write_routes(server, drafts, &mut policies);
            self.redirect_other_name(server, &mut redirects);
        }
        self.write_redirects(redirects);
        for ((namespace, kind, _), draft) in policies {
            let key = self.output.free_name(kind, &namespace, &draft.name);
            let mut spec = draft.spec;
            spec["targetRefs"] = json!(draft.targets);
            self.output.add(kind, &key, spec, &draft.comments);
            for (name, value) in &draft.annotations {
                self.output.annotate(kind, &key, name, value);
            }
        }
        self.servers.servers = servers;
    }

    /// Comments of an object that is derived from an Ingress.
    fn comments(&self, ingress: usize) -> BTreeSet<String> {
        let ingress = self.servers.ingresses[ingress].ingress;
        let prefix = format!("{}/", self.config.prefix());
        let names: Vec<&str> = ingress
            .annotations
            .keys()
            .filter_map(|name| name.strip_prefix(&prefix))
            .collect();
        let of = match names.is_empty() {
            true => String::new(),
            false => format!(": {}", names.join(", ")),
        };
        let place = ingress.place();
        BTreeSet::from([format!(
            "Ingress {} ({}:{}){of}",
            ingress.key, place.file, place.line
        )])
    }

    /// The rules of a location.
    fn location(&mut self, server: &Server, location: &Location, drafts: &mut Vec<RouteDraft>) {
        let Some(ingress) = location.ingress else {
            self.fallback(location, drafts);
            return;
        };
        let read = self.servers.ingresses[ingress].clone();
        let settings = &read.settings;
        let comments = self.comments(ingress);
        let namespace = read.ingress.key.namespace.clone();
        self.namespaces.insert(namespace.clone());
        if !location.path.starts_with('/') && !server.regex {
            let text = format!(
                "path `{}` does not begin with `/`; it is not served",
                location.path
            );
            self.field_of(ingress, "spec.rules", Finding::decision(text, ANSWER));
            return;
        }
        self.check_pattern(server, location, ingress);
        let exempt = !location.catch_all && location.path.starts_with(ACME);
        let matching = json!({"path": path_match(location, server.regex)});
        if server.refused {
            let filter = self.status_filter(&namespace, 403, &comments);
            let mut draft = Draft {
                namespace: &namespace,
                ingress: &read.ingress.key.name,
                comments: &comments,
                drafts,
            };
            draft.add(
                Listeners::Both,
                vec![TranslatedRule::local(matching, filter)],
            );
            return;
        }
        // Redirects of nginx precede its guards, so these rules have no policies.
        let mut plain = Vec::new();
        if location.path == "/"
            && let Some(root) = &server.app_root
        {
            let exact = json!({"path": {"type": "Exact", "value": "/"}});
            let address = RedirectAddress::Path(root);
            plain.extend(self.redirect_rules(&namespace, &exact, (address, 302), &comments));
        }
        let redirect = settings
            .redirect
            .as_ref()
            .filter(|_| !location.catch_all || !server.host.is_empty());
        if let Some(redirect) = redirect.filter(|redirect| redirect.keeps_query) {
            let target = redirect_target(&redirect.to, redirect.code);
            let rule = TranslatedRule::redirect(matching.clone(), target);
            plain.push((Listeners::Both, rule));
        } else if let Some(redirect) = redirect {
            let address = match redirect.to.starts_with('/') {
                true => RedirectAddress::Path(&redirect.to),
                false => RedirectAddress::Absolute(&redirect.to),
            };
            let to = (address, redirect.code);
            plain.extend(self.redirect_rules(&namespace, &matching, to, &comments));
        }
        let mut draft = Draft {
            namespace: &namespace,
            ingress: &read.ingress.key.name,
            comments: &comments,
            drafts,
        };
        for (listeners, rule) in plain {
            draft.add(listeners, vec![rule]);
        }
        if redirect.is_some() {
            return;
        }
        if let Some(bare) = location.path.strip_suffix('/')
            && !bare.is_empty()
            && !server.regex
            && !server.locations.iter().any(|other| other.path == bare)
        {
            let redirect = json!({
                "path": {"type": "ReplaceFullPath", "replaceFullPath": location.path},
                "statusCode": 301,
            });
            let exact = json!({"path": {"type": "Exact", "value": bare}});
            draft.add(
                Listeners::Both,
                vec![TranslatedRule::redirect(exact, redirect)],
            );
        }
        if location.backend.is_none() && !is_guarded(settings) {
            return;
        }
        let scope = PolicyScope {
            auth: !(exempt || self.is_open(&location.path)),
            own_backend: !location.catch_all,
            https_only: self.redirects(server, location),
        };
        // A denied path returns 500 before any policy applies.
        let policies = match settings.denied {
            Some(_) => RoutePolicies::default(),
            None => self.policies(ingress, scope, &location.path, &comments),
        };
        let rules = match &location.backend {
            Some(backend) => self.backend_rules(server, location, backend, ingress, &comments),
            // The guards of the host's oldest Ingress apply before the 404.
            None => {
                let status = settings.denied_status().unwrap_or(404);
                let filter = self.status_filter(&namespace, status, &comments);
                vec![TranslatedRule::local(matching, filter)]
            }
        };
        let redirects = self.redirects(server, location);
        let listeners = match (server.passthrough, redirects) {
            (Some(_), _) => Listeners::Http,
            (None, true) => Listeners::Https,
            (None, false) => Listeners::Both,
        };
        let kind = match self.is_grpc(server, location, settings) {
            true => "GRPCRoute",
            false => "HTTPRoute",
        };
        Draft {
            namespace: &namespace,
            ingress: &read.ingress.key.name,
            comments: &comments,
            drafts,
        }
        .add_with(listeners, kind, policies, rules);
    }

    /// Locations of `server-snippet`, which precede the redirect to HTTPS and have no policies.
    fn snippet_locations(&mut self, server: &Server, drafts: &mut Vec<RouteDraft>) {
        let mut ingresses: Vec<usize> = server.locations.iter().filter_map(|l| l.ingress).collect();
        ingresses.sort_unstable();
        ingresses.dedup();
        for ingress in ingresses {
            let read = self.servers.ingresses[ingress].clone();
            let comments = self.comments(ingress);
            for location in &read.settings.locations {
                let path = match (location.regex, location.exact) {
                    (true, _) => {
                        json!({"type": "RegularExpression", "value": format!(".*(?:{}).*", location.path)})
                    }
                    (false, true) => json!({"type": "Exact", "value": location.path}),
                    (false, false) => json!({"type": "PathPrefix", "value": location.path}),
                };
                let matching = json!({"path": path});
                let rule = match &location.action {
                    SnippetAction::Redirect(redirect) => TranslatedRule::redirect(
                        matching,
                        redirect_target(&redirect.to, redirect.code),
                    ),
                    // A rule without backends returns 500.
                    SnippetAction::Reject => TranslatedRule {
                        matches: vec![matching],
                        filters: Vec::new(),
                        backends: Vec::new(),
                    },
                };
                Draft {
                    namespace: &read.ingress.key.namespace,
                    ingress: &read.ingress.key.name,
                    comments: &comments,
                    drafts,
                }
                .add(Listeners::Both, vec![rule]);
            }
        }
    }

    /// The controller's default backend, for requests to hosts without rules.
    fn fallback(&mut self, location: &Location, drafts: &mut Vec<RouteDraft>) {
        let Some(backend) = &location.backend else {
            return;
        };
        let namespace = backend.service.namespace.clone();
        let port = self.manifests.services.get(&backend.service);
        let port = port
            .and_then(|service| service.ports.first())
            .map_or(80, |port| port.port);
        let rule = TranslatedRule {
            matches: vec![json!({"path": {"type": "PathPrefix", "value": "/"}})],
            filters: Vec::new(),
            backends: vec![json!({"name": backend.service.name, "port": port})],
        };
        let comments = BTreeSet::from(["--default-backend-service".to_owned()]);
        Draft {
            namespace: &namespace,
            ingress: "default-backend",
            comments: &comments,
            drafts,
        }
        .add(Listeners::Both, vec![rule]);
        self.namespaces.insert(namespace);
    }

    /// Reports a pattern that the gateway cannot compile.
    fn check_pattern(&mut self, server: &Server, location: &Location, ingress: usize) {
        if !server.regex {
            return;
        }
        if let Err(error) = regex::Regex::new(&pattern(&location.path)) {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim().to_owned();
            let text = format!(
                "path `{}` is no regular expression of Gateway API ({reason}): its requests are answered 500. Write it without look-around and back-references",
                location.path
            );
            self.field_of(ingress, "spec.rules", Finding::impossible(text, ANSWER));
        }
    }

    /// Whether requests over plain HTTP are redirected.
    pub(crate) fn redirects(&self, server: &Server, location: &Location) -> bool {
        let open = listed_paths(self.config, "no-tls-redirect-locations", ACME);
        let exempt = !location.catch_all
            && open
                .iter()
                .any(|prefix| location.path.starts_with(prefix.as_str()));
        self.servers.redirects_to_https(server, location) && !exempt && !server.refused
    }

    /// Whether a path needs no external authentication (`no-auth-locations`).
    fn is_open(&self, path: &str) -> bool {
        let open = listed_paths(self.config, "no-auth-locations", ACME);
        open.iter().any(|prefix| path.starts_with(prefix.as_str()))
    }

    /// Whether the host serves only gRPC below `/`, as a GRPCRoute does.
    pub(super) fn is_grpc(
        &self,
        server: &Server,
        location: &Location,
        settings: &IngressSettings,
    ) -> bool {
        let own: Vec<&Location> = server.locations.iter().filter(|l| !l.catch_all).collect();
        settings.backend.protocol == BackendProtocol::Grpc
            && settings.denied.is_none()
            && !server.regex
            && location.path == "/"
            && location.canary.is_none()
            && own.len() == 1
    }

    /// Writes the routes of a host and notes their policies.
    fn write_routes(
        &mut self,
        server: &Server,
        drafts: Vec<RouteDraft>,
        policies: &mut BTreeMap<(String, &'static str, String), PolicyDraft>,
    ) {
        let mut hostnames = vec![server.host.clone()];
        hostnames.extend(server.aliases.iter().cloned());
        hostnames.retain(|host| !host.is_empty());
        for (index, draft) in drafts.into_iter().enumerate() {
            let base = slug(&server.host);
            let name = match index {
                0 => base,
                _ => format!("{base}-{}", draft.ingress),
            };
            let sections = self.sections(server, draft.listeners);
            let parents: Vec<Value> = sections
                .iter()
                .map(|section| self.parent(Some(section)))
                .collect();
            let mut groups = draft.groups;
            if let Some(host) = one_label(server) {
                let rules = groups.iter_mut().flatten();
                for matching in rules.flat_map(|rule| &mut rule.matches) {
                    add_header_match(matching, &host);
                }
            }
            for rules in chunks(groups) {
                let key = self.output.free_name(draft.kind, &draft.namespace, &name);
                let rules: Vec<Value> = match draft.kind {
                    "GRPCRoute" => rules
                        .iter()
                        .map(|rule| json!({"backendRefs": rule.backends}))
                        .collect(),
                    _ => rules.iter().map(TranslatedRule::json).collect(),
                };
                let mut spec = json!({"parentRefs": parents, "rules": rules});
                if !hostnames.is_empty() {
                    spec["hostnames"] = json!(hostnames);
                }
                self.output.add(draft.kind, &key, spec, &draft.comments);
                let target = json!({
                    "group": "gateway.networking.k8s.io",
                    "kind": draft.kind,
                    "name": key.name,
                });
                let own = &draft.policies;
                for (kind, policy, annotations) in [
                    (
                        "BackendTrafficPolicy",
                        &own.traffic,
                        &own.traffic_annotations,
                    ),
                    ("SecurityPolicy", &own.security, &own.security_annotations),
                ] {
                    let Some(spec) = policy else { continue };
                    let mut text = format!("{spec}{annotations:?}");
                    if own.has_rate_limit() {
                        // Each Ingress counts separately.
                        text.push_str(&draft.ingress);
                    }
                    let at = (draft.namespace.clone(), kind, text);
                    let entry = policies.entry(at).or_insert_with(|| PolicyDraft {
                        name: draft.ingress.clone(),
                        annotations: annotations.clone(),
                        spec: spec.clone(),
                        targets: Vec::new(),
                        comments: BTreeSet::new(),
                    });
                    entry.targets.push(target.clone());
                    entry.comments.extend(draft.comments.iter().cloned());
                }
            }
        }
    }

    /// Listeners of a route by name.
    fn sections(&self, server: &Server, listeners: Listeners) -> Vec<String> {
        let https = match server.client_cert {
            Some(_) => format!("https-{}", slug(&server.host)),
            None => "https".to_owned(),
        };
        let mut sections = Vec::new();
        if listeners != Listeners::Https {
            sections.push("http".to_owned());
        }
        if listeners != Listeners::Http {
            sections.push(https);
        }
        sections
    }
}

/// The match of `Host` for a host with a wildcard, which stands for one label in ingress-nginx and for several in
/// Gateway API. `None`: another host, or one with further names.
pub(super) fn one_label(server: &Server) -> Option<Value> {
    let parent = server.host.strip_prefix("*.")?;
    let parent = parent.replace('.', "\\.");
    server.aliases.is_empty().then(|| {
        let value = format!("(?i)[^.]+\\.{parent}(:[0-9]+)?");
        json!({"name": "Host", "type": "RegularExpression", "value": value})
    })
}

/// Adds a match of a header field to a match of a rule.
pub(super) fn add_header_match(matching: &mut Value, header: &Value) {
    match matching["headers"].as_array_mut() {
        Some(headers) => headers.push(header.clone()),
        None => matching["headers"] = json!([header]),
    }
}

/// Whether settings affect requests that no backend receives.
fn is_guarded(settings: &IngressSettings) -> bool {
    settings.basic_auth.is_some()
        || settings.external_auth.is_some()
        || settings.cors.is_some()
        || !settings.allow.is_empty()
        || !settings.deny.is_empty()
        || settings.limits.per_second + settings.limits.per_minute > 0
        || settings.denied.is_some()
}

/// The group of rules to which a location's rules are added.
struct Draft<'a> {
    namespace: &'a str,
    ingress: &'a str,
    comments: &'a BTreeSet<String>,
    drafts: &'a mut Vec<RouteDraft>,
}

impl Draft<'_> {
    /// Adds rules without policies.
    fn add(&mut self, listeners: Listeners, rules: Vec<TranslatedRule>) {
        self.add_with(listeners, "HTTPRoute", RoutePolicies::default(), rules);
    }

    fn add_with(
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

/// Rules in portions of one route each. Rules that differ only in their path are merged.
fn chunks(groups: Vec<Vec<TranslatedRule>>) -> Vec<Vec<TranslatedRule>> {
    let mut merged: Vec<Vec<TranslatedRule>> = Vec::new();
    for group in groups {
        if let [rule] = &group[..] {
            let equal = merged.iter_mut().find_map(|known| match &mut known[..] {
                [known]
                    if known.filters == rule.filters
                        && known.backends == rule.backends
                        && known.matches.len() < MAX_MATCHES =>
                {
                    Some(known)
                }
                _ => None,
            });
            if let Some(known) = equal {
                known.matches.extend(rule.matches.iter().cloned());
                continue;
            }
        }
        merged.push(group);
    }
    let mut routes: Vec<Vec<TranslatedRule>> = vec![Vec::new()];
    for group in merged {
        let last = routes.last().map_or(0, Vec::len);
        if last + group.len() > MAX_RULES && last > 0 {
            routes.push(Vec::new());
        }
        if let Some(route) = routes.last_mut() {
            route.extend(group);
        }
    }
    routes
}
