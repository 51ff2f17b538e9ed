//! Readers of annotations, one file per family.
//!
//! ```text
//! Ingress ──read──> IngressSettings + a finding for each annotation
//! ```
//!
//! A reader parses the values of its family as ingress-nginx does, including the effect of invalid values,
//! and records a verdict on each annotation.

mod access;
mod affinity;
pub(crate) mod backend;
pub(crate) mod blocked_clients;
mod canary;
mod client_cert;
mod cors;
mod directives;
mod effect;
pub(crate) mod errors;
pub(crate) mod external_auth;
pub(crate) mod global_snippets;
mod headers;
mod limits;
mod mirror;
mod paths;
pub(crate) mod proxy;
mod redirects;
mod snippet_conditions;
mod snippets;
pub(crate) mod waf;

use std::collections::{BTreeMap, BTreeSet};

use super::controller::ControllerConfig;
use super::input::{Ingress, Manifests};
use super::settings::IngressSettings;
use super::table::{self, Invalid, Risk};
use super::value;
use super::verdict::{Aspect, Finding, MigrationVerdict, SettingKind};
use crate::decode::nearest;

/// Reader of the annotations of one Ingress.
pub(crate) struct AnnotationReader<'a> {
    pub(crate) ingress: &'a Ingress,
    pub(crate) config: &'a ControllerConfig,
    pub(crate) manifests: &'a Manifests,
    pub(crate) settings: IngressSettings,
    /// Annotations of the controller by their name without the prefix.
    values: BTreeMap<&'a str, (&'a str, usize)>,
    findings: BTreeMap<String, Finding>,
    /// Annotations that make ingress-nginx ignore the Ingress or deny its requests.
    causes: BTreeSet<String>,
}

/// Reads the annotations of `ingress`.
pub(crate) fn read(
    ingress: &Ingress,
    config: &ControllerConfig,
    manifests: &Manifests,
) -> (IngressSettings, Vec<MigrationVerdict>) {
    let prefix = config.prefix();
    let values = ingress.annotations.iter().filter_map(|(name, written)| {
        let name = name.strip_prefix(prefix)?.strip_prefix('/')?;
        Some((name, (written.text.as_str(), written.line)))
    });
    let mut reader = AnnotationReader::empty(ingress, config, manifests);
    reader.values = values.collect();
    reader.risks();
    reader.forbidden_values();
    redirects::read(&mut reader);
    paths::read(&mut reader);
    access::read(&mut reader);
    external_auth::read(&mut reader);
    cors::read(&mut reader);
    backend::read(&mut reader);
    proxy::read(&mut reader);
    affinity::read(&mut reader);
    limits::read(&mut reader);
    canary::read(&mut reader);
    headers::read(&mut reader);
    mirror::read(&mut reader);
    errors::read(&mut reader);
    client_cert::read(&mut reader);
    waf::read(&mut reader);
    snippets::read(&mut reader);
    reader.finish()
}

impl<'a> AnnotationReader<'a> {
    /// A reader without annotations.
    fn empty(ingress: &'a Ingress, config: &'a ControllerConfig, manifests: &'a Manifests) -> Self {
        Self {
            ingress,
            config,
            manifests,
            settings: IngressSettings::default(),
            values: BTreeMap::new(),
            findings: BTreeMap::new(),
            causes: BTreeSet::new(),
        }
    }

    /// The value of an annotation. Empty values count as absent, as in the controller.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        debug_assert!(table::annotation(name).is_some(), "{name}");
        let (text, _) = *self.values.get(name)?;
        (!text.trim().is_empty()).then_some(text)
    }

    /// Line of the value of an annotation.
    pub(crate) fn line(&self, name: &str) -> usize {
        self.values.get(name).map_or(0, |(_, line)| *line)
    }

    /// Whether an annotation is present.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// Parses a boolean. An invalid value has the effect that the table of annotations states.
    pub(crate) fn bool(&mut self, name: &'static str) -> Option<bool> {
        let text = self.text(name)?.trim();
        let value = value::boolean(text);
        if value.is_none() {
            self.invalid(name, "the value is not a boolean: use `true` or `false`");
        }
        value
    }

    /// Parses a non-negative whole number.
    pub(crate) fn number(&mut self, name: &'static str) -> Option<u64> {
        let value = self.text(name)?.trim().parse().ok();
        if value.is_none() {
            self.invalid(name, "the value is not a whole number without a unit");
        }
        value
    }

    /// Parses a list of networks. `None`: the list is absent or invalid.
    pub(crate) fn networks(&mut self, name: &'static str) -> Option<Vec<String>> {
        match value::networks(self.text(name)?) {
            Ok(networks) => Some(networks),
            Err(entry) => {
                self.invalid(name, &format!("`{entry}` is not a network"));
                None
            }
        }
    }

    /// Records the verdict on an annotation, if it is present. The verdict on an annotation that closes paths
    /// is kept.
    pub(crate) fn found(&mut self, name: &str, finding: Finding) {
        if !self.causes.contains(name) {
            self.record(name, finding);
        }
    }

    fn record(&mut self, name: &str, finding: Finding) {
        if self.values.contains_key(name) {
            self.findings.insert(name.to_owned(), finding);
        }
    }

    /// Applies the effect of an invalid value.
    pub(crate) fn invalid(&mut self, name: &'static str, why: &str) {
        let invalid = table::annotation(name).map_or(Invalid::Ignored, |entry| entry.invalid);
        match invalid {
            Invalid::Ignored => {
                let text = format!(
                    "{why}; ingress-nginx ignores the annotation, and so does the translation"
                );
                self.found(name, Finding::same(text));
            }
            Invalid::DropsIngress => self.drop_ingress(name, why),
            Invalid::Denies => self.deny(name, why),
            Invalid::AuthOff => {
                // In this case, ingress-nginx serves the path without authentication. Users do not intend
                // this, so the paths return 500.
                self.causes.insert(name.to_owned());
                let text = format!(
                    "{why}; ingress-nginx then serves the path without authentication. The translation \
                     returns 500 until the value is corrected"
                );
                self.settings.denied = Some(name.to_owned());
                self.record(
                    name,
                    Finding::decision(
                        text,
                        &[
                            Aspect::Status,
                            Aspect::Body,
                            Aspect::Calls,
                            Aspect::ResponseHeaders,
                        ],
                    ),
                );
            }
        }
    }

    /// Ignores the whole Ingress, as ingress-nginx does.
    pub(crate) fn drop_ingress(&mut self, name: &str, why: &str) {
        self.causes.insert(name.to_owned());
        let text = format!(
            "{why}; ingress-nginx ignores the whole Ingress, and so does the translation: correct or remove \
             the annotation to serve it"
        );
        self.settings.dropped = Some(name.to_owned());
        self.record(name, Finding::decision(text, &[]));
    }

    /// Makes the locations of the Ingress return an error, as in ingress-nginx.
    pub(crate) fn deny(&mut self, name: &str, why: &str) {
        self.causes.insert(name.to_owned());
        let text = format!("{why}: the paths of the Ingress return 503, as in ingress-nginx");
        self.settings.denied = Some(name.to_owned());
        self.settings.nginx_denies = true;
        self.record(name, Finding::decision(text, &[]));
    }

    /// Ignores the Ingress if it has annotations above the allowed risk.
    fn risks(&mut self) {
        let level = self.config.risk_level();
        // Snippets have critical risk and a separate setting, which the reader of snippets checks.
        let over: Vec<&'static str> = self
            .values
            .keys()
            .filter_map(|name| table::annotation(name))
            .filter(|entry| entry.risk > level && entry.risk < Risk::Critical)
            .map(|entry| entry.name)
            .collect();
        for name in over {
            self.drop_ingress(name, "its risk is above `annotations-risk-level`");
        }
        let blocked = self.config.text("annotation-value-word-blocklist");
        let words = blocked.map(value::list).unwrap_or_default();
        let hits: Vec<(&str, String)> = self
            .values
            .iter()
            .filter_map(|(name, (text, _))| {
                let word = words.iter().find(|word| text.contains(word.as_str()))?;
                Some((*name, word.clone()))
            })
            .collect();
        for (name, word) in hits {
            self.drop_ingress(
                name,
                &format!("the value contains `{word}`, which the ConfigMap forbids"),
            );
        }
    }

    /// Ignores the Ingress if a value that no reader parses is invalid.
    fn forbidden_values(&mut self) {
        if self
            .text("client-body-buffer-size")
            .is_some_and(|text| value::size(text).is_none())
        {
            self.invalid("client-body-buffer-size", "the value is not a size");
        }
        let number = |text: &str| text.trim().parse::<u64>().is_ok();
        if self
            .text("limit-connections")
            .is_some_and(|text| !number(text))
        {
            self.invalid("limit-connections", "the value is not a whole number");
        }
        for name in [
            "auth-tls-error-page",
            "auth-tls-match-cn",
            "connection-proxy-header",
            "ssl-ciphers",
        ] {
            if self
                .text(name)
                .is_some_and(|text| text.contains([';', '{', '}']))
            {
                self.invalid(
                    name,
                    "the value contains characters that ingress-nginx rejects",
                );
            }
        }
    }

    /// Whether the manifests describe a whole cluster, so that an object that they do not contain
    /// does not exist.
    pub(crate) fn is_complete(&self) -> bool {
        !self.manifests.endpoint_owners.is_empty()
    }

    fn finish(self) -> (IngressSettings, Vec<MigrationVerdict>) {
        let prefix = self.config.prefix();
        let object = format!("Ingress {}", self.ingress.key);
        let mut verdicts = Vec::new();
        for (name, (text, line)) in &self.values {
            let finding = match (self.findings.get(*name), table::annotation(name)) {
                (Some(finding), _) if self.causes.contains(*name) => finding.clone(),
                (found, Some(entry)) => effect::none(&self, name)
                    .map(Finding::same)
                    .or_else(|| found.cloned())
                    .unwrap_or_else(|| entry.finding()),
                (_, None) => unknown(name),
            };
            verdicts.push(MigrationVerdict {
                object: object.clone(),
                kind: SettingKind::Annotation,
                setting: format!("{prefix}/{name}"),
                value: (*text).to_owned(),
                place: self.ingress.place_at(*line),
                outcome: finding.outcome,
                text: finding.text,
                affects: finding.affects,
                example: None,
            });
        }
        (self.settings, verdicts)
    }
}

fn unknown(name: &str) -> Finding {
    let known = match nearest(name, table::annotation_names()) {
        Some(nearest) => format!("; the most similar one is `{nearest}`"),
        None => String::new(),
    };
    let text = format!(
        "unknown: ingress-nginx 1.15 has no such annotation{known}. The annotation has no effect, in ingress-nginx and in the gateway"
    );
    Finding::decision(text, &[])
}
