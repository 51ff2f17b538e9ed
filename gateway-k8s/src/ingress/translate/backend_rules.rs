//! Rules that forward to a backend, with their filters.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Translator;
use super::locations::LocationSource;
use super::matches::{Taker, canary_matches, path_match};
use super::patterns::rewrite;
use super::routes::TranslatedRule;
use crate::ingress::servers::{BackendPort, CanaryBackend, Location, Server};
use crate::ingress::settings::{ClientCert, IngressSettings};
use crate::ingress::value::{UrlParts, duration, literal};

impl Translator<'_> {
    /// The rules that forward to the backend of a location.
    pub(super) fn backend_rules(
        &mut self,
        server: &Server,
        location: &Location,
        backend: &BackendPort,
        source: &LocationSource,
    ) -> Vec<TranslatedRule> {
        let (ingress, settings, comments) = (source.ingress, &source.settings, &source.comments);
        let path = path_match(location, server.regex);
        if let Some(status) = settings.denied_status() {
            let filter = self.status_filter(&source.key.namespace, status, comments);
            return vec![TranslatedRule::local(json!({"path": path}), filter)];
        }
        let filters = self.filters(server, location, source);
        let plain = IngressSettings {
            backend: Default::default(),
            ..(**settings).clone()
        };
        // The default backend of a host does not have the protocol of the Ingress.
        let of = if location.catch_all { &plain } else { settings };
        if self.is_grpc(server, location, settings) {
            let main = self.backend_ref(backend, ingress, &plain, comments);
            let fallback = self.fallback_ref(location, backend, source, settings);
            return vec![TranslatedRule {
                matches: Vec::new(),
                filters,
                backends: [main].into_iter().chain(fallback).collect(),
                session: None,
            }];
        }
        let main = self.backend_ref(backend, ingress, of, comments);
        let fallback = self.fallback_ref(location, backend, source, of);
        let main = MainBackend { main, fallback };
        let session = session_persistence(location, settings);
        let rule = |headers: Option<Value>, backends: Vec<Value>| {
            let mut matching = json!({"path": path});
            if let Some(header) = headers {
                matching["headers"] = json!([header]);
            }
            TranslatedRule {
                matches: vec![matching],
                filters: filters.clone(),
                backends,
                session: session.clone(),
            }
        };
        match &location.canary {
            None => vec![rule(None, main.refs())],
            Some(canary) => {
                let taken = self.backend_ref(&canary.backend, canary.ingress, settings, comments);
                canary_rules(canary, &main, &taken, rule)
            }
        }
    }

    /// Filters of a rule that forwards to a backend.
    fn filters(
        &mut self,
        server: &Server,
        location: &Location,
        source: &LocationSource,
    ) -> Vec<Value> {
        let settings = &source.settings;
        let mut filters: Vec<Value> = self
            .request_header_filter(server, settings)
            .into_iter()
            .collect();
        filters.extend(response_header_filter(settings));
        let (rewrite, extension) = self.rewrite_filters(server, location, source);
        filters.extend(rewrite);
        if let Some(target) = &settings.mirror {
            filters.push(self.mirror_filter(target, source));
        }
        filters.extend(extension);
        filters
    }

    /// Edits of the request's header fields.
    fn request_header_filter(&self, server: &Server, settings: &IngressSettings) -> Option<Value> {
        let mut set: Vec<Value> = named_values(&settings.request_headers);
        let mut removed = settings.removed_request_headers.clone();
        if let Some(prefix) = &settings.forwarded_prefix {
            set.push(json!({"name": "X-Forwarded-Prefix", "value": literal(prefix)}));
        }
        if self.config.replaces_forwarded_for() {
            let client = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%";
            for name in ["X-Forwarded-For", "X-Real-IP"] {
                set.push(json!({"name": name, "value": client}));
            }
        }
        let client = server.client_cert.and_then(|ingress| {
            let settings = &self.servers.ingresses[ingress].settings;
            settings.client_cert.as_ref()
        });
        let certificate = client.map(client_certificate_fields).unwrap_or_default();
        set.extend(certificate.iter().filter_map(|(name, value)| {
            let value = (*value)?;
            Some(json!({"name": name, "value": value}))
        }));
        if settings.backend.vhost.is_some() {
            // The gateway adds `X-Forwarded-Host` when it rewrites the host; ingress-nginx does not add this
            // field.
            removed.push("X-Forwarded-Host".to_owned());
        }
        removed.extend(certificate.iter().map(|(name, _)| (*name).to_owned()));
        if settings.basic_auth.is_some() {
            // The backend must not receive the password.
            removed.push("Authorization".to_owned());
        }
        let edits = header_edits(set, removed)?;
        Some(json!({"type": "RequestHeaderModifier", "requestHeaderModifier": edits}))
    }

    /// The filters that rewrite host and path: a URLRewrite, and a reference to an HTTPRouteFilter if the
    /// path is rewritten by a regular expression.
    fn rewrite_filters(
        &mut self,
        server: &Server,
        location: &Location,
        source: &LocationSource,
    ) -> (Option<Value>, Option<Value>) {
        let settings = &source.settings;
        let mut rewriting = Map::new();
        if let Some(host) = &settings.backend.vhost {
            rewriting.insert("hostname".to_owned(), host.clone().into());
        }
        let prefix = location.replaces_prefix.as_ref();
        if let Some(to) = prefix.filter(|to| **to != location.path) {
            let path = json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": to});
            rewriting.insert("path".to_owned(), path);
        }
        let target = settings.rewrite.as_ref();
        let mut extension = None;
        match target.filter(|to| **to != location.path && server.regex) {
            Some(target) if target.contains('$') => {
                let (pattern, substitution) = rewrite(&location.path, target);
                let (ingress, comments) = (source.ingress, &source.comments);
                extension = Some(self.rewrite_filter(ingress, &pattern, &substitution, comments));
            }
            Some(target) => {
                let path = json!({"type": "ReplaceFullPath", "replaceFullPath": target});
                rewriting.insert("path".to_owned(), path);
            }
            None => {}
        }
        let rewrite =
            (!rewriting.is_empty()).then(|| json!({"type": "URLRewrite", "urlRewrite": rewriting}));
        (rewrite, extension)
    }

    fn mirror_filter(&mut self, target: &UrlParts, source: &LocationSource) -> Value {
        let namespace = source.key.namespace.as_str();
        let kind = ("gateway.networking.k8s.io", "HTTPRoute", namespace);
        let name = format!("{}-mirror", source.key.name);
        let backend = self.url_backend(target, kind, &name, &source.comments);
        json!({"type": "RequestMirror", "requestMirror": {"backendRef": backend}})
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

/// Header fields about the client certificate, with the values that the backend receives. The client's own
/// fields with these names are removed.
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

/// References to the Service of a path, and to the fallback Service that receives requests while the Service
/// of the path has no endpoints.
struct MainBackend {
    main: Value,
    fallback: Option<Value>,
}

impl MainBackend {
    fn refs(&self) -> Vec<Value> {
        let main = std::iter::once(&self.main);
        main.chain(&self.fallback).cloned().collect()
    }
}

/// The rules of a location with a canary: rules for requests that a header field or a cookie selects, then a
/// rule with weights.
fn canary_rules(
    canary: &CanaryBackend,
    main: &MainBackend,
    taken: &Value,
    rule: impl Fn(Option<Value>, Vec<Value>) -> TranslatedRule,
) -> Vec<TranslatedRule> {
    let mut rules = Vec::new();
    for (header, taker) in canary_matches(canary) {
        let backends = match taker {
            Taker::Canary => vec![taken.clone()],
            Taker::Main => main.refs(),
        };
        rules.push(rule(Some(header), backends));
    }
    let (weight, total) = (canary.canary.weight, canary.canary.total);
    let backends = match weight {
        0 => main.refs(),
        _ if weight >= total => vec![taken.clone()],
        _ => {
            let (mut first, mut taken) = (main.main.clone(), taken.clone());
            first["weight"] = (total - weight).into();
            taken["weight"] = weight.into();
            let both = [first, taken].into_iter();
            both.chain(main.fallback.clone()).collect()
        }
    };
    rules.push(rule(None, backends));
    rules
}

/// `sessionPersistence` of a rule, for sessions that keep their endpoint when others are added.
fn session_persistence(location: &Location, settings: &IngressSettings) -> Option<Value> {
    let affinity = settings.affinity.as_ref()?;
    if !affinity.persistent || location.catch_all {
        return None;
    }
    let mut session = json!({"sessionName": affinity.name, "type": "Cookie"});
    if let Some(seconds) = affinity.max_age.filter(|seconds| *seconds > 0) {
        session["absoluteTimeout"] = duration(seconds).into();
        session["cookieConfig"] = json!({"lifetimeType": "Permanent"});
    }
    Some(session)
}

fn response_header_filter(settings: &IngressSettings) -> Option<Value> {
    let set = named_values(&settings.response_headers);
    let edits = header_edits(set, settings.hidden_headers.clone())?;
    Some(json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": edits}))
}

/// Header fields with literal values. A percent sign in a value is escaped, so that it does not begin a
/// command operator.
pub(super) fn named_values(fields: &[(String, String)]) -> Vec<Value> {
    let fields = fields.iter();
    fields
        .map(|(name, value)| json!({"name": name, "value": literal(value)}))
        .collect()
}

/// Edits of header fields. `None`: no field is set or removed.
fn header_edits(set: Vec<Value>, removed: Vec<String>) -> Option<Map<String, Value>> {
    let mut edits = Map::new();
    if !set.is_empty() {
        edits.insert("set".to_owned(), set.into());
    }
    if !removed.is_empty() {
        edits.insert("remove".to_owned(), removed.into());
    }
    (!edits.is_empty()).then_some(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_of_a_value_begins_no_operator() {
        let fields = [("X-A".to_owned(), "100% %REQ(a)%".to_owned())];

        let values = named_values(&fields);

        assert_eq!(
            values,
            [json!({"name": "X-A", "value": "100%% %%REQ(a)%%"})]
        );
    }
}
