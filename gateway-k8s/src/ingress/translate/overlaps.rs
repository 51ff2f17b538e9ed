//! Verdicts on settings of an Ingress that have no effect, because the same setting of another Ingress takes
//! precedence.

use std::collections::{BTreeMap, BTreeSet};

use super::Translator;
use crate::ingress::input::Ingress;
use crate::ingress::servers::{Overlap, OverlapKind};
use crate::ingress::verdict::{Aspect, Finding};

const AFFECTED: &[Aspect] = &[
    Aspect::Status,
    Aspect::Calls,
    Aspect::Body,
    Aspect::ResponseHeaders,
];

impl Translator<'_> {
    /// Reports the settings that have no effect.
    pub(super) fn overlap_verdicts(&mut self) {
        let mut paths: BTreeMap<(usize, usize, String), BTreeSet<String>> = BTreeMap::new();
        for overlap in std::mem::take(&mut self.servers.overlaps) {
            let Overlap {
                ingress,
                winner,
                what,
            } = overlap;
            match (what, winner) {
                (OverlapKind::Path { host, path }, Some(winner)) => {
                    let at = (ingress, winner, host);
                    paths.entry(at).or_default().insert(path);
                }
                (OverlapKind::DefaultBackend, Some(winner)) => {
                    let what = "the default backend of all hosts without rules is";
                    let finding = self.lost(ingress, winner, what, "that of");
                    self.field_of(ingress, "spec.defaultBackend", finding);
                }
                (OverlapKind::AppRoot(host), Some(winner)) => {
                    self.without_effect(ingress, "app-root", &host, winner);
                }
                (OverlapKind::ClientCertificate(host), Some(winner)) => {
                    self.without_effect(ingress, "auth-tls-secret", &host, winner);
                }
                (OverlapKind::Canary, Some(winner)) => {
                    let name = &self.servers.ingresses[winner].ingress.key;
                    let text = format!(
                        "Ingress {name} is also a canary of this backend and takes precedence, because it counts as older: this Ingress receives no requests, in ingress-nginx and in the gateway"
                    );
                    self.replace_verdict(ingress, "canary", Finding::same(text));
                }
                (OverlapKind::CanaryWithoutMain(path), _) => {
                    let text = format!(
                        "no other Ingress has path `{path}` with the same host and path type and another Service: the canary receives no requests for it, in ingress-nginx and in the gateway"
                    );
                    self.replace_verdict(ingress, "canary", Finding::same(text));
                }
                (OverlapKind::Alias(name), _) => {
                    let text = format!(
                        ". `{name}` has no effect, in ingress-nginx and in the gateway: it is the host or an alias of another Ingress"
                    );
                    self.extend_verdict(ingress, "server-alias", &text);
                }
                (OverlapKind::Aliases(host), Some(winner)) => {
                    self.without_effect(ingress, "server-alias", &host, winner);
                }
                (OverlapKind::Host { host, alias }, _) => {
                    let text = format!(
                        "host `{host}` receives no requests, in ingress-nginx and in the gateway: the alias `{alias}` of another host takes precedence over wildcard hosts"
                    );
                    self.field_of(ingress, "spec.rules", Finding::same(text));
                }
                (OverlapKind::OtherName(name), _) => {
                    let text = format!(
                        "`{name}` is the host of another Ingress: it is not redirected, in ingress-nginx and in the gateway"
                    );
                    self.replace_verdict(ingress, "from-to-www-redirect", Finding::same(text));
                }
                (_, None) => {}
            }
        }
        for ((ingress, winner, host), paths) in paths {
            let names: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
            let (noun, verb) = match names.len() {
                1 => ("path", "belongs"),
                _ => ("paths", "belong"),
            };
            let host = match host.is_empty() {
                true => "all hosts without rules".to_owned(),
                false => format!("host `{host}`"),
            };
            let what = format!("{noun} {} of {host} {verb}", names.join(", "));
            let finding = self.lost(ingress, winner, &what, "to");
            self.field_of(ingress, "spec.rules", finding);
        }
    }

    /// The verdict on a path or default backend that belongs to another Ingress.
    fn lost(&self, ingress: usize, winner: usize, what: &str, relation: &str) -> Finding {
        let read = &self.servers.ingresses;
        let (own, other) = (read[ingress].ingress, read[winner].ingress);
        if ingress == winner {
            return Finding::same(format!(
                "{what} {relation} an earlier rule of the same Ingress, in ingress-nginx and in the gateway: remove one of the two"
            ));
        }
        let place = other.place();
        let other_name = format!("Ingress {} ({}:{})", other.key, place.file, place.line);
        match precedence(own, other) {
            Ok(why) => Finding::same(format!(
                "{what} {relation} {other_name}, {why}: requests do not reach this Ingress, in ingress-nginx and in the gateway"
            )),
            Err(why) => Finding::decision(
                format!(
                    "{what} {relation} {other_name}, {why}: requests do not reach this Ingress. Remove one of the two"
                ),
                AFFECTED,
            ),
        }
    }

    /// Adds to the verdict on `annotation` that the Ingress `winner` takes precedence for `host`.
    fn without_effect(&mut self, ingress: usize, annotation: &str, host: &str, winner: usize) {
        let name = &self.servers.ingresses[winner].ingress.key;
        let text = format!(
            ". The annotation has no effect on host `{host}`, in ingress-nginx and in the gateway: the annotation of Ingress {name}, which counts as older, applies"
        );
        self.extend_verdict(ingress, annotation, &text);
    }
}

/// The reason for which `winner` takes precedence over `own`. `Err`: the files do not determine which of the
/// two takes precedence in the cluster.
fn precedence(own: &Ingress, winner: &Ingress) -> Result<String, String> {
    if own.created.is_empty() || winner.created.is_empty() {
        return Err(
            "which counts as older. The files have no `creationTimestamp`; in the cluster the oldest Ingress takes precedence"
                .to_owned(),
        );
    }
    if own.created == winner.created {
        return Ok(format!(
            "which has the same creationTimestamp ({}) and a name that sorts later",
            own.created
        ));
    }
    Ok(format!(
        "which is older ({} before {})",
        winner.created, own.created
    ))
}
