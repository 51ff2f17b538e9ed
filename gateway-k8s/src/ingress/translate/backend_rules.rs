//! Rules that lead to a backend, with their filters.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Translator;
use super::matches::{Taker, canary_matches, path_match, rewrite};
use super::routes::TranslatedRule;
use crate::ingress::servers::{BackendPort, Location, Server};
use crate::ingress::settings::{ClientCert, IngressSettings};

impl Translator<'_> {
    /// The rules that lead to the backend of a location.
    pub(super) fn backend_rules(
        &mut self,
        server: &Server,
        location: &Location,
        backend: &BackendPort,
        ingress: usize,
        comments: &BTreeSet<String>,
    ) -> Vec<TranslatedRule> {
        let settings = Arc::clone(&self.servers.ingresses[ingress].settings);
        let path = path_match(location, server.regex);
        if let Some(status) = settings.denied_status() {
            let namespace = self.servers.ingresses[ingress]
                .ingress
                .key
                .namespace
                .clone();
            let filter = self.status_filter(&namespace, status, comments);
            return vec![TranslatedRule::local(json!({"path": path}), filter)];
        }
        let filters = self.filters(server, location, ingress, &settings, comments);
        let plain = IngressSettings {
            backend: Default::default(),
            ..(*settings).clone()
        };
        // The protocol of the Ingress does not apply to the default backend of a host.
        let of = if location.catch_all {
            &plain
        } else {
            &*settings
        };
        if self.is_grpc(server, location, &settings) {
            let number = self.backend_ref(backend, ingress, &plain, comments);
            return vec![TranslatedRule {
                matches: Vec::new(),
                filters,
                backends: vec![number],
            }];
        }
        let main = self.backend_ref(backend, ingress, of, comments);
        let rule = |headers: Option<Value>, backends: Vec<Value>| {
            let mut matching = json!({"path": path});
            if let Some(header) = headers {
                matching["headers"] = json!([header]);
            }
            TranslatedRule {
                matches: vec![matching],
                filters: filters.clone(),
                backends,
            }
        };
        let Some(canary) = &location.canary else {
            return vec![rule(None, vec![main])];
        };
        let mut of_canary = (*settings).clone();
        of_canary.backend.ca_secret = None;
        let taken = self.backend_ref(&canary.backend, canary.ingress, &of_canary, comments);
        let mut rules = Vec::new();
        for (header, taker) in canary_matches(canary) {
            let backend = match taker {
                Taker::Canary => taken.clone(),
                Taker::Main => main.clone(),
            };
            rules.push(rule(Some(header), vec![backend]));
        }
        let (weight, total) = (canary.canary.weight, canary.canary.total);
        let backends = match weight {
            0 => vec![main],
            _ if weight >= total => vec![taken],
            _ => {
                let (mut main, mut taken) = (main, taken);
                main["weight"] = (total - weight).into();
                taken["weight"] = weight.into();
                vec![main, taken]
            }
        };
        rules.push(rule(None, backends));
        rules
    }

    /// Filters of a rule that leads to a backend.
    fn filters(
        &mut self,
        server: &Server,
        location: &Location,
        ingress: usize,
        settings: &IngressSettings,
        comments: &BTreeSet<String>,
    ) -> Vec<Value> {
        let mut filters = Vec::new();
        let mut set: Vec<Value> = settings
            .request_headers
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        if let Some(prefix) = &settings.forwarded_prefix {
            set.push(json!({"name": "X-Forwarded-Prefix", "value": prefix}));
        }
        if self.config.replaces_forwarded_for() {
            let client = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%";
            for name in ["X-Forwarded-For", "X-Real-IP"] {
                set.push(json!({"name": name, "value": client}));
            }
        }
        let client = server.client_cert.and_then(|ingress| {
            let settings = &self.servers.ingresses[ingress].settings;
            settings.client_cert.clone()
        });
        let certificate = client.as_ref().map(client_certificate_fields);
        let certificate = certificate.unwrap_or_default();
        set.extend(certificate.iter().filter_map(|(name, value)| {
            let value = (*value)?;
            Some(json!({"name": name, "value": value}))
        }));
        let mut edits = serde_json::Map::new();
        if !set.is_empty() {
            edits.insert("set".to_owned(), json!(set));
        }
        let mut removed = settings.removed_request_headers.clone();
        if settings.backend.vhost.is_some() {
            // The rewrite of the host adds it.
            removed.push("X-Forwarded-Host".to_owned());
        }
        removed.extend(certificate.iter().map(|(name, _)| (*name).to_owned()));
        if settings.basic_auth.is_some() {
            // The backend must not receive the password.
            removed.push("Authorization".to_owned());
        }
        if !removed.is_empty() {
            edits.insert("remove".to_owned(), json!(removed));
        }
        if !edits.is_empty() {
            filters.push(json!({"type": "RequestHeaderModifier", "requestHeaderModifier": edits}));
        }
        let mut change = serde_json::Map::new();
        if !settings.response_headers.is_empty() {
            let set: Vec<Value> = settings
                .response_headers
                .iter()
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            change.insert("set".to_owned(), json!(set));
        }
        if !settings.hidden_headers.is_empty() {
            change.insert("remove".to_owned(), json!(settings.hidden_headers));
        }
        if !change.is_empty() {
            filters
                .push(json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": change}));
        }
        let mut rewriting = serde_json::Map::new();
        if let Some(host) = &settings.backend.vhost {
            rewriting.insert("hostname".to_owned(), host.clone().into());
        }
        let target = settings
            .rewrite
            .as_ref()
            .filter(|to| **to != location.path && server.regex);
        if let Some(to) = location
            .replaces_prefix
            .as_ref()
            .filter(|to| **to != location.path)
        {
            let path = json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": to});
            rewriting.insert("path".to_owned(), path);
        }
        let mut extension = None;
        if let Some(target) = target {
            if target.contains('$') {
                let (pattern, substitution) = rewrite(&location.path, target);
                extension = Some(self.rewrite_filter(ingress, &pattern, &substitution, comments));
            } else {
                let path = json!({"type": "ReplaceFullPath", "replaceFullPath": target});
                rewriting.insert("path".to_owned(), path);
            }
        }
        if !rewriting.is_empty() {
            filters.push(json!({"type": "URLRewrite", "urlRewrite": rewriting}));
        }
        if let Some(mirror) = &settings.mirror {
            let namespace = self.servers.ingresses[ingress].ingress.key.clone();
            let kind = (
                "gateway.networking.k8s.io",
                "HTTPRoute",
                namespace.namespace.as_str(),
            );
            let name = format!("{}-mirror", namespace.name);
            let backend = self.url_backend(mirror, kind, &name, comments);
            filters
                .push(json!({"type": "RequestMirror", "requestMirror": {"backendRef": backend}}));
        }
        filters.extend(extension);
        filters
    }

    /// An HTTPRouteFilter that rewrites by regular expression, and the reference to it.
    fn rewrite_filter(
        &mut self,
        ingress: usize,
        pattern: &str,
        substitution: &str,
        comments: &BTreeSet<String>,
    ) -> Value {
        let spec = json!({"urlRewrite": {"path": {
            "type": "ReplaceRegexMatch",
            "replaceRegexMatch": {"pattern": pattern, "substitution": substitution},
        }}});
        let ingress = self.servers.ingresses[ingress].ingress.key.clone();
        let name = format!("{}-rewrite", ingress.name);
        self.route_filter(&ingress.namespace, &name, spec, comments)
    }
}

/// Header fields about the client certificate, with the values that the backend receives. The client's own are removed.
fn client_certificate_fields(client: &ClientCert) -> Vec<(&'static str, Option<&'static str>)> {
    let whole = client
        .passes_certificate
        .then_some("%DOWNSTREAM_PEER_CERT%");
    vec![
        ("ssl-client-subject-dn", Some("%DOWNSTREAM_PEER_SUBJECT%")),
        ("ssl-client-issuer-dn", Some("%DOWNSTREAM_PEER_ISSUER%")),
        ("ssl-client-cert", whole),
    ]
}
