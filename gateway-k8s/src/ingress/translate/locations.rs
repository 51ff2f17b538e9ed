//! Locations: the rules of each path of a host.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::drafts::{Draft, RouteDraft};
use super::local_replies::RedirectAddress;
use super::matches::{encoded, path_match};
use super::patterns::pattern;
use super::policies::{PolicyScope, RoutePolicies};
use super::redirects::redirect_target;
use super::routes::{Listeners, TranslatedRule};
use super::{ANSWER, Translator};
use crate::ingress::annotations::global_snippets;
use crate::ingress::servers::{Location, Server, listed_paths};
use crate::ingress::settings::{BackendProtocol, IngressSettings};
use crate::ingress::verdict::{Aspect, Finding};
use crate::objects::ObjectKey;

/// Paths that are exempt from redirects to HTTPS and from authentication.
const ACME: &str = "/.well-known/acme-challenge";

/// Aspects that differ if the gateway replaces backslashes.
const BACKSLASH: &[Aspect] = &[
    Aspect::Status,
    Aspect::Calls,
    Aspect::RequestPath,
    Aspect::Body,
    Aspect::ResponseHeaders,
];

/// The Ingress of a location.
pub(super) struct LocationSource {
    /// Index of the Ingress.
    pub(super) ingress: usize,
    pub(super) key: ObjectKey,
    /// The settings of the Ingress, as they apply to the host.
    pub(super) settings: Arc<IngressSettings>,
    pub(super) comments: BTreeSet<String>,
}

impl LocationSource {
    fn draft<'a>(&'a self, drafts: &'a mut Vec<RouteDraft>) -> Draft<'a> {
        Draft {
            namespace: &self.key.namespace,
            ingress: &self.key.name,
            comments: &self.comments,
            drafts,
        }
    }
}

impl Translator<'_> {
    /// The rules of a location, in the order of nginx: redirects, then guards, then the backend.
    pub(super) fn location(
        &mut self,
        server: &Server,
        location: &Location,
        drafts: &mut Vec<RouteDraft>,
    ) {
        let Some(ingress) = location.ingress else {
            self.root_redirect(server, drafts);
            self.fallback(location, drafts);
            return;
        };
        let source = LocationSource {
            ingress,
            key: self.servers.ingresses[ingress].ingress.key.clone(),
            settings: self.resolved_settings(server, (location, ingress)),
            comments: self.comments(ingress),
        };
        self.namespaces.insert(source.key.namespace.clone());
        if !location.path.starts_with('/') && !server.regex {
            let text = format!(
                "path `{}` does not begin with `/`; it is not served",
                location.path
            );
            self.field_of(ingress, "spec.rules", Finding::decision(text, ANSWER));
            return;
        }
        self.check_pattern(server, location, ingress);
        self.check_backslash(server, location, ingress);
        let mut draft = source.draft(drafts);
        if server.refused {
            let filter = self.status_filter(&source.key.namespace, 403, &source.comments);
            let matching = json!({"path": path_match(location, server.regex)});
            let rule = TranslatedRule::local(matching, filter);
            draft.add(Listeners::Both, vec![rule]);
            return;
        }
        // In nginx, redirects precede guards, so the rules of redirects have no policies.
        if let Some(rule) = slash_redirect(server, location) {
            draft.add(Listeners::Both, vec![rule]);
        }
        if self.location_redirects(server, location, &source, &mut draft) {
            return;
        }
        if location.backend.is_some() || is_guarded(&source.settings) {
            self.guarded_rules(server, location, &source, &mut draft);
        }
    }

    /// Adds the redirects of `app-root`, `permanent-redirect` and `temporal-redirect`. Returns whether the
    /// location only redirects.
    fn location_redirects(
        &mut self,
        server: &Server,
        location: &Location,
        source: &LocationSource,
        draft: &mut Draft<'_>,
    ) -> bool {
        let namespace = &source.key.namespace;
        let matching = json!({"path": path_match(location, server.regex)});
        let mut rules = Vec::new();
        if location.path == "/"
            && let Some(root) = &server.app_root
        {
            let exact = json!({"path": {"type": "Exact", "value": "/"}});
            let to = (RedirectAddress::Path(root), 302);
            rules.extend(self.redirect_rules(namespace, &exact, to, &source.comments));
        }
        let redirect = source
            .settings
            .redirect
            .as_ref()
            .filter(|_| !location.catch_all || !server.host.is_empty());
        match redirect {
            Some(redirect) if redirect.keeps_query => {
                let target = redirect_target(&redirect.to, redirect.code);
                let rule = TranslatedRule::redirect(matching, target);
                rules.push((Listeners::Both, rule));
            }
            Some(redirect) => {
                let address = match redirect.to.starts_with('/') {
                    true => RedirectAddress::Path(&redirect.to),
                    false => RedirectAddress::Absolute(&redirect.to),
                };
                let to = (address, redirect.code);
                rules.extend(self.redirect_rules(namespace, &matching, to, &source.comments));
            }
            None => {}
        }
        for (listeners, rule) in rules {
            draft.add(listeners, vec![rule]);
        }
        redirect.is_some()
    }

    /// Adds the rules that forward to the backend, with the policies that guard it.
    fn guarded_rules(
        &mut self,
        server: &Server,
        location: &Location,
        source: &LocationSource,
        draft: &mut Draft<'_>,
    ) {
        let settings = &source.settings;
        let exempt = !location.catch_all && location.path.starts_with(ACME);
        let redirects = self.redirects(server, location);
        let scope = PolicyScope {
            auth: !(exempt || self.is_open(&location.path)),
            own_backend: !location.catch_all,
            https_only: redirects,
        };
        // A denied path needs no policies, because its rule always returns an error.
        let policies = match settings.denied {
            Some(_) => RoutePolicies::default(),
            None => self.policies(source, scope, &location.path),
        };
        let rules = match &location.backend {
            Some(backend) => self.backend_rules(server, location, backend, source),
            // The guards of the host's oldest Ingress apply before the rule returns 404.
            None => {
                let status = settings.denied_status().unwrap_or(404);
                let filter = self.status_filter(&source.key.namespace, status, &source.comments);
                let matching = json!({"path": path_match(location, server.regex)});
                vec![TranslatedRule::local(matching, filter)]
            }
        };
        let listeners = match (server.passthrough, redirects) {
            (Some(_), _) => Listeners::Http,
            (None, true) => Listeners::Https,
            (None, false) => Listeners::Both,
        };
        let kind = match self.is_grpc(server, location, settings) {
            true => "GRPCRoute",
            false => "HTTPRoute",
        };
        draft.add_with(listeners, kind, policies, rules);
    }

    /// Redirects of snippets, which precede the redirect to HTTPS and have no policies.
    pub(super) fn snippet_locations(&mut self, server: &Server, drafts: &mut Vec<RouteDraft>) {
        let mut ingresses: Vec<usize> = server.locations.iter().filter_map(|l| l.ingress).collect();
        ingresses.sort_unstable();
        ingresses.dedup();
        for ingress in ingresses {
            let read = self.servers.ingresses[ingress].clone();
            let comments = self.comments(ingress);
            let of_server = read.settings.of_server.as_deref();
            let of_server = of_server
                .into_iter()
                .flat_map(|settings| &settings.locations);
            for location in read.settings.locations.iter().chain(of_server) {
                let path = match (location.regex, location.exact) {
                    (true, _) => {
                        json!({"type": "RegularExpression", "value": format!(".*(?:{}).*", location.path)})
                    }
                    (false, true) => json!({"type": "Exact", "value": encoded(&location.path)}),
                    (false, false) => {
                        json!({"type": "PathPrefix", "value": encoded(&location.path)})
                    }
                };
                let matching = json!({"path": path});
                let redirect = &location.redirect;
                let target = redirect_target(&redirect.to, redirect.code);
                let rule = TranslatedRule::redirect(matching, target);
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

    /// Adds a rule that returns 404 to a host without other rules. Without this rule, requests for the host
    /// would reach a less specific host.
    pub(super) fn no_path(&mut self, server: &Server, drafts: &mut Vec<RouteDraft>) {
        if !drafts.is_empty() || server.host.is_empty() {
            return;
        }
        let namespace = self.options.gateway.namespace.clone();
        let comments = BTreeSet::from([format!("Host {} has no path", server.host)]);
        let filter = self.status_filter(&namespace, 404, &comments);
        let matching = json!({"path": {"type": "PathPrefix", "value": "/"}});
        Draft {
            namespace: &namespace,
            ingress: "no-path",
            comments: &comments,
            drafts,
        }
        .add(
            Listeners::Both,
            vec![TranslatedRule::local(matching, filter)],
        );
    }

    /// Adds the redirect to `app-root` for a rule that has neither a host nor the path `/`.
    fn root_redirect(&mut self, server: &Server, drafts: &mut Vec<RouteDraft>) {
        let Some(root) = &server.app_root else {
            return;
        };
        let namespace = self.options.gateway.namespace.clone();
        let comments = BTreeSet::from(["app-root of a rule without a host".to_owned()]);
        let exact = json!({"path": {"type": "Exact", "value": "/"}});
        let to = (RedirectAddress::Path(root), 302);
        for (listeners, rule) in self.redirect_rules(&namespace, &exact, to, &comments) {
            Draft {
                namespace: &namespace,
                ingress: "default-backend",
                comments: &comments,
                drafts,
            }
            .add(listeners, vec![rule]);
        }
    }

    /// Adds the controller's default backend, for requests to hosts without rules.
    fn fallback(&mut self, location: &Location, drafts: &mut Vec<RouteDraft>) {
        let Some(backend) = &location.backend else {
            return;
        };
        let namespace = backend.service.namespace.clone();
        let port = self.manifests.services.get(&backend.service);
        let port = port
            .and_then(|service| service.ports.first())
            .map_or(80, |port| port.port);
        let mut rule = TranslatedRule {
            matches: vec![json!({"path": {"type": "PathPrefix", "value": "/"}})],
            filters: Vec::new(),
            backends: vec![json!({"name": backend.service.name, "port": port})],
            session: None,
        };
        let comments = BTreeSet::from(["--default-backend-service".to_owned()]);
        let global = global_snippets::without_ingress(self.config, self.manifests);
        if global.denied.is_some() {
            // A rule without backends returns 500.
            rule.backends.clear();
        }
        let scope = PolicyScope {
            auth: true,
            own_backend: false,
            https_only: false,
        };
        let policies = RoutePolicies {
            security: self.security(&global, &backend.service, scope, &comments),
            ..RoutePolicies::default()
        };
        Draft {
            namespace: &namespace,
            ingress: "default-backend",
            comments: &comments,
            drafts,
        }
        .add_with(Listeners::Both, "HTTPRoute", policies, vec![rule]);
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
                "path `{}` is not a regular expression of Gateway API ({reason}): its requests receive 500. Write it without look-around and back-references",
                location.path
            );
            self.field_of(ingress, "spec.rules", Finding::impossible(text, ANSWER));
        }
    }

    /// Reports a path with a backslash, which the gateway replaces by a slash in requests.
    fn check_backslash(&mut self, server: &Server, location: &Location, ingress: usize) {
        if server.regex || !location.path.contains('\\') {
            return;
        }
        let text = format!(
            "path `{}`: the gateway replaces backslashes by slashes, so the path also matches requests with slashes, and the backend receives slashes. If the path is a regular expression, set `use-regex`",
            location.path
        );
        self.field_of(ingress, "spec.rules", Finding::decision(text, BACKSLASH));
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

    /// Whether the host serves only gRPC on the path `/`, so that a GRPCRoute can replace the rule.
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
}

/// The redirect from a path without the final slash to the location with it, as in nginx.
fn slash_redirect(server: &Server, location: &Location) -> Option<TranslatedRule> {
    let bare = location.path.strip_suffix('/')?;
    let has_own = server.locations.iter().any(|other| other.path == bare);
    if bare.is_empty() || server.regex || has_own {
        return None;
    }
    let redirect = json!({
        "path": {"type": "ReplaceFullPath", "replaceFullPath": location.path},
        "statusCode": 301,
    });
    let exact = json!({"path": {"type": "Exact", "value": bare}});
    Some(TranslatedRule::redirect(exact, redirect))
}

/// Whether settings affect even requests that reach no backend.
fn is_guarded(settings: &IngressSettings) -> bool {
    settings.basic_auth.is_some()
        || settings.external_auth.is_some()
        || settings.cors.is_some()
        || settings.has_source_ranges()
        || !settings.deny_rules.is_empty()
        || settings.limits.per_second + settings.limits.per_minute > 0
        || settings.match_subject.is_some()
        || settings.denied.is_some()
}
