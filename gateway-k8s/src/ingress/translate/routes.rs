//! Routes: the locations of each host as rules, grouped by the policies that apply to them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Translator;
use super::drafts::RouteDraft;
use super::patterns::set_expressions;
use super::policies::Annotations;
use super::redirects::Redirects;
use crate::ingress::servers::Server;

/// Largest number of rules of a route (Gateway API).
pub(super) const MAX_RULES: usize = 16;
/// Largest number of matches of a rule.
pub(super) const MAX_MATCHES: usize = 64;
/// Largest number of matches of all rules of a route.
const MAX_ROUTE_MATCHES: usize = 127;
/// Largest number of hostnames of a route.
const MAX_HOSTNAMES: usize = 16;

/// Listeners of a route.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Listeners {
    /// HTTP and HTTPS.
    Both,
    /// HTTPS only, because HTTP redirects.
    Https,
    /// HTTP only, because TLS is passed through.
    Http,
}

/// A rule with one path.
#[derive(Clone, Debug)]
pub(super) struct TranslatedRule {
    pub(super) matches: Vec<Value>,
    pub(super) filters: Vec<Value>,
    pub(super) backends: Vec<Value>,
    /// `sessionPersistence` of the rule.
    pub(super) session: Option<Value>,
}

impl TranslatedRule {
    pub(super) fn redirect(matching: Value, redirect: Value) -> Self {
        Self {
            matches: vec![matching],
            filters: vec![json!({"type": "RequestRedirect", "requestRedirect": redirect})],
            backends: Vec::new(),
            session: None,
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
        if let Some(session) = &self.session {
            rule["sessionPersistence"] = session.clone();
        }
        rule
    }
}

/// A policy, and the routes that it targets.
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
        let mut written: Vec<Server> = servers
            .iter()
            .map(|server| self.prefix_form(server))
            .collect();
        written.iter_mut().for_each(set_expressions);
        for at in 0..written.len() {
            let apart = self.aliases_apart(&mut written[at]);
            written.extend(apart);
        }
        for server in &written {
            let mut drafts = Vec::new();
            for location in &server.locations {
                self.location(server, location, &mut drafts);
            }
            self.snippet_locations(server, &mut drafts);
            self.no_path(server, &mut drafts);
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
        self.form_verdicts(&written);
    }

    /// Comments of an object that is derived from an Ingress.
    pub(super) fn comments(&self, ingress: usize) -> BTreeSet<String> {
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

    /// Writes the routes of a host and adds their policies to `policies`.
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
            let base = self.host_slugs.of(&server.host);
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
            let specs = chunks(groups).into_iter().flat_map(|rules| {
                let rules: Vec<Value> = match draft.kind {
                    "GRPCRoute" => rules
                        .iter()
                        .map(|rule| json!({"backendRefs": rule.backends}))
                        .collect(),
                    _ => rules.iter().map(TranslatedRule::json).collect(),
                };
                of_hostnames(json!({"parentRefs": parents, "rules": rules}), &hostnames)
            });
            for spec in specs {
                let key = self.output.free_name(draft.kind, &draft.namespace, &name);
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
                        // Each Ingress counts requests separately, so policies with rate limits are not
                        // shared.
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
        let mut sections = Vec::new();
        if listeners != Listeners::Https {
            sections.push("http".to_owned());
        }
        if listeners != Listeners::Http {
            sections.extend(self.https_sections(server));
        }
        sections
    }
}

/// One `spec` for each portion of at most [`MAX_HOSTNAMES`] hostnames. If `hostnames` is empty, one `spec`
/// for all hosts.
pub(super) fn of_hostnames(spec: Value, hostnames: &[String]) -> Vec<Value> {
    if hostnames.is_empty() {
        return vec![spec];
    }
    let portions = hostnames.chunks(MAX_HOSTNAMES);
    portions
        .map(|hostnames| {
            let mut spec = spec.clone();
            spec["hostnames"] = json!(hostnames);
            spec
        })
        .collect()
}

/// Largest number of characters of the value of a header match (Gateway API).
const MAX_HEADER_VALUE: usize = 4096;

/// The match of `Host` for a host with a wildcard. In ingress-nginx the wildcard matches one label, in
/// Gateway API one or more. The wildcard of an alias matches one or more labels in both. `None`: the host has
/// no wildcard, or has so many aliases that the value would be too long.
pub(super) fn one_label(server: &Server) -> Option<Value> {
    let parent = server
        .host
        .strip_prefix("*.")
        .filter(|_| !server.is_alias)?;
    let escaped = |name: &str| name.replace('.', "\\.");
    let mut names = vec![format!("[^.]+\\.{}", escaped(parent))];
    names.extend(
        server
            .aliases
            .iter()
            .map(|alias| match alias.strip_prefix("*.") {
                Some(parent) => format!(".+\\.{}", escaped(parent)),
                None => escaped(alias),
            }),
    );
    let names = match &names[..] {
        [name] => name.clone(),
        names => format!("(?:{})", names.join("|")),
    };
    let value = format!("(?i){names}(:[0-9]+)?");
    (value.len() <= MAX_HEADER_VALUE)
        .then(|| json!({"name": "Host", "type": "RegularExpression", "value": value}))
}

/// Adds a match of a header field to a match of a rule.
pub(super) fn add_header_match(matching: &mut Value, header: &Value) {
    match matching["headers"].as_array_mut() {
        Some(headers) => headers.push(header.clone()),
        None => matching["headers"] = json!([header]),
    }
}

/// Splits the rules of a host into portions, one for each route. Rules that differ only in their path are
/// merged.
fn chunks(groups: Vec<Vec<TranslatedRule>>) -> Vec<Vec<TranslatedRule>> {
    let mut merged: Vec<Vec<TranslatedRule>> = Vec::new();
    for group in groups {
        if let [rule] = &group[..] {
            let equal = merged.iter_mut().find_map(|known| match &mut known[..] {
                [known]
                    if known.filters == rule.filters
                        && known.backends == rule.backends
                        && known.session == rule.session
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
        let last = routes.last().map(Vec::as_slice).unwrap_or_default();
        let matches = |rules: &[TranslatedRule]| -> usize {
            rules.iter().map(|rule| rule.matches.len()).sum()
        };
        let is_full = last.len() + group.len() > MAX_RULES
            || matches(last) + matches(&group) > MAX_ROUTE_MATCHES;
        if is_full && !last.is_empty() {
            routes.push(Vec::new());
        }
        if let Some(route) = routes.last_mut() {
            route.extend(group);
        }
    }
    routes
}
