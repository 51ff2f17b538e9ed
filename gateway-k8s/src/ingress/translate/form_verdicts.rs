//! Verdicts that depend on the type of path matches on a host. The type is known only when the routes are
//! written.

use std::collections::{BTreeMap, BTreeSet};

use super::Translator;
use super::prefixes::PREFIXES;
use crate::ingress::servers::{BackendPort, Server};
use crate::ingress::settings::{BackendProtocol, IngressSettings};
use crate::ingress::verdict::{Aspect, Finding};

/// Hosts of an Ingress by the type of their path matches.
#[derive(Clone, Debug, Default)]
struct Forms {
    prefixes: BTreeSet<String>,
    patterns: BTreeSet<String>,
    /// Whether some path differs from the target of its rewrite.
    rewrites: bool,
    /// Whether a GRPCRoute forwards all paths to the Service.
    grpc_route: bool,
    /// Whether a Backend for gRPC is written.
    grpc_backend: bool,
}

impl Translator<'_> {
    /// Corrects the verdicts on `use-regex`, `rewrite-target`, `backend-protocol: GRPC`, `affinity` and
    /// `server-alias`. These verdicts depend on `servers`: the hosts with the path matches of the generated
    /// routes.
    pub(super) fn form_verdicts(&mut self, servers: &[Server]) {
        for (ingress, forms) in self.forms(servers) {
            let settings = self.servers.ingresses[ingress].settings.clone();
            if settings.denied.is_some() {
                continue;
            }
            self.path_verdicts(ingress, &settings, &forms);
            if forms.grpc_route && !forms.grpc_backend {
                let text = "a GRPCRoute, whose backend receives HTTP/2 without TLS; errors of the gateway are gRPC statuses. The backend receives the host as `:authority`, where ingress-nginx sends `Host`";
                let affects = &[
                    Aspect::Status,
                    Aspect::Body,
                    Aspect::ResponseHeaders,
                    Aspect::Calls,
                    Aspect::RequestHeaders,
                ];
                self.replace_verdict(ingress, "backend-protocol", Finding::differs(text, affects));
            }
        }
        self.affinity_verdicts(servers);
        self.alias_verdicts(servers);
    }

    fn forms(&self, servers: &[Server]) -> BTreeMap<usize, Forms> {
        let mut all: BTreeMap<usize, Forms> = BTreeMap::new();
        for (written, original) in servers.iter().zip(&self.servers.servers) {
            for location in &written.locations {
                let Some(ingress) = location.ingress else {
                    continue;
                };
                let settings = &self.servers.ingresses[ingress].settings;
                let forms = all.entry(ingress).or_default();
                let host = written.host.clone();
                if written.regex {
                    forms.patterns.insert(host);
                } else if original.regex {
                    forms.prefixes.insert(host);
                }
                let target = settings.rewrite.as_ref();
                forms.rewrites |= location.replaces_prefix.is_some()
                    || target.is_some_and(|target| *target != location.path);
                if settings.backend.protocol == BackendProtocol::Grpc && !location.catch_all {
                    let route = self.is_grpc(written, location, settings);
                    forms.grpc_route |= route;
                    forms.grpc_backend |= !route;
                }
            }
        }
        all
    }

    fn path_verdicts(&mut self, ingress: usize, settings: &IngressSettings, forms: &Forms) {
        if forms.prefixes.is_empty() {
            if settings.rewrite.is_some() && !forms.rewrites {
                let text = "the target is the path itself: the setting has no effect, in ingress-nginx and in the gateway";
                self.replace_verdict(ingress, "rewrite-target", Finding::same(text));
            }
            return;
        }
        let others = match forms.patterns.is_empty() {
            true => String::new(),
            false => format!(
                ". The paths of {} stay case-insensitive regular expressions",
                hosts(&forms.patterns)
            ),
        };
        if settings.rewrite.is_some() {
            let text = format!(
                "filter `URLRewrite` with `ReplacePrefixMatch`, because the patterns of {} only remove a prefix: see `spec.rules`{others}",
                hosts(&forms.prefixes)
            );
            self.replace_verdict(ingress, "rewrite-target", Finding::differs(text, PREFIXES));
        }
        if self.has_annotation(ingress, "use-regex") {
            let text = format!(
                "paths of type PathPrefix, because the patterns of {} only remove a prefix: see `spec.rules`{others}",
                hosts(&forms.prefixes)
            );
            self.replace_verdict(ingress, "use-regex", Finding::differs(text, PREFIXES));
        }
    }

    /// Extends the verdicts on `affinity`. In ingress-nginx, sessions belong to a Service; in the gateway,
    /// sessions belong to the routes of an Ingress.
    fn affinity_verdicts(&mut self, servers: &[Server]) {
        let mut users: BTreeMap<&BackendPort, BTreeSet<usize>> = BTreeMap::new();
        for location in servers.iter().flat_map(|server| &server.locations) {
            if let (Some(ingress), Some(backend)) = (location.ingress, &location.backend) {
                users.entry(backend).or_default().insert(ingress);
            }
        }
        let settings = |ingress: &usize| &self.servers.ingresses[*ingress].settings;
        let mut shared: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for ingresses in users.values() {
            let (with, without): (Vec<usize>, Vec<usize>) = ingresses
                .iter()
                .copied()
                .filter(|ingress| settings(ingress).denied.is_none())
                .partition(|ingress| settings(ingress).affinity.is_some());
            for ingress in with {
                shared.entry(ingress).or_default().extend(&without);
            }
        }
        for (ingress, others) in shared {
            let names: Vec<String> = others
                .iter()
                .map(|other| self.servers.ingresses[*other].ingress.key.to_string())
                .collect();
            if !names.is_empty() {
                let text = format!(
                    ". It applies to the paths of this Ingress only; ingress-nginx also sends requests with the cookie to the same endpoint on the paths of {}, which has the same Service",
                    names.join(", ")
                );
                self.extend_verdict(ingress, "affinity", &text);
            }
        }
    }

    fn has_annotation(&self, ingress: usize, name: &str) -> bool {
        let name = format!("{}/{name}", self.config.prefix());
        let ingress = self.servers.ingresses[ingress].ingress;
        ingress.annotations.contains_key(&name)
    }

    /// Appends `more` to the text of the verdict on an annotation.
    pub(super) fn extend_verdict(&mut self, ingress: usize, annotation: &str, more: &str) {
        if let Some(at) = self.annotation_verdict(ingress, annotation) {
            self.verdicts[at].text.push_str(more);
        }
    }
}

/// A list of hosts for the text of a verdict.
fn hosts(names: &BTreeSet<String>) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|name| match name.is_empty() {
            true => "requests without a host of its own".to_owned(),
            false => format!("host `{name}`"),
        })
        .collect();
    names.join(" and ")
}
