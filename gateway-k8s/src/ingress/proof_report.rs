//! The result of a proof: the number of compared requests, the reasons for omitted requests, and the
//! differences.
//!
//! ```
//! use towergate_k8s::ingress::proof_report::ProofReport;
//!
//! let mut report = ProofReport::new("Proof");
//! report.compared = 1;
//! report.skip("an authentication server decides");
//!
//! assert!(!report.has_failed());
//! assert!(report.text().contains("1 request compared: 1 equal, 0 different; 1 not compared"));
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Serialize;

use super::annotations::global_snippets::OF_CONFIG_MAP;
use super::known_differences::{ERROR_RESPONSES, HEALTH_CHECKS};
use super::model::{IngressNginx, ModelAnswer, ModelEffects, ModelRequest};
use super::proof::{Observed, decision};
use super::report::counted;
use super::settings::BackendProtocol;
use super::verdict::{Aspect, ExampleExchange, MigrationOutcome, MigrationVerdict, SettingKind};

/// Settings whose verdict can explain a difference of a proof, because they affect the response to a single
/// request.
const EXPLAINING: [&str; 37] = [
    "app-root",
    "auth-secret",
    "auth-cache-duration",
    "auth-request-redirect",
    "auth-signin",
    "auth-snippet",
    "auth-tls-match-cn",
    "auth-tls-secret",
    "auth-type",
    "auth-url",
    "backend-protocol",
    "canary",
    "configuration-snippet",
    "custom-headers",
    "custom-http-errors",
    "default-backend",
    "denylist-source-range",
    "enable-cors",
    "force-ssl-redirect",
    "from-to-www-redirect",
    "allowlist-source-range",
    "permanent-redirect",
    "proxy-ssl-secret",
    "relative-redirects",
    "rewrite-target",
    "satisfy",
    "server-alias",
    "server-snippet",
    "spec.defaultBackend",
    "spec.rules",
    "ssl-passthrough",
    "ssl-redirect",
    "temporal-redirect",
    "upstream-vhost",
    "use-port-in-redirects",
    "use-regex",
    "whitelist-source-range",
];

/// Annotations whose effect is visible in the requests of a proof. Snippets are not listed here.
const SHOWN: [&str; 42] = [
    "allowlist-source-range",
    "app-root",
    "auth-secret",
    "auth-secret-type",
    "auth-signin",
    "auth-signin-redirect-param",
    "auth-type",
    "auth-url",
    "backend-protocol",
    "canary",
    "canary-by-cookie",
    "canary-by-header",
    "canary-by-header-pattern",
    "canary-by-header-value",
    "canary-weight",
    "canary-weight-total",
    "configuration-snippet",
    "custom-headers",
    "default-backend",
    "denylist-source-range",
    "enable-cors",
    "enable-global-auth",
    "force-ssl-redirect",
    "from-to-www-redirect",
    "permanent-redirect",
    "permanent-redirect-code",
    "preserve-trailing-slash",
    "relative-redirects",
    "rewrite-target",
    "satisfy",
    "server-alias",
    "server-snippet",
    "spec.defaultBackend",
    "spec.ingressClassName",
    "spec.rules",
    "spec.tls",
    "ssl-redirect",
    "temporal-redirect",
    "temporal-redirect-code",
    "upstream-vhost",
    "use-regex",
    "whitelist-source-range",
];

/// End of the names of snippets.
const SNIPPET: &str = "-snippet";

/// A request to which ingress-nginx and the data plane respond differently.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The request, on one line.
    pub request: String,
    /// The response of ingress-nginx.
    #[serde(rename = "ingressNginx")]
    pub expected: String,
    /// The response of the data plane.
    #[serde(rename = "towergate")]
    pub found: String,
    /// Settings whose verdicts describe the difference. Empty: no verdict describes it.
    pub explained_by: Vec<String>,
    /// Parts of the exchange that differ.
    #[serde(skip)]
    pub aspects: Vec<Aspect>,
}

/// The result of a proof.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProofReport {
    /// Title of the comparison.
    pub title: String,
    /// Number of requests that were compared. Requests to which one side gave no response are not counted.
    pub compared: usize,
    /// Number of requests that were not compared, by reason.
    pub not_compared: BTreeMap<&'static str, usize>,
    /// Services that the manifests do not contain and the proof assumes to exist.
    pub assumed_services: Vec<String>,
    /// Number of Ingresses that receive requests of the proof. `None`: unknown.
    pub ingresses: Option<usize>,
    /// Ingresses without a compared request, each with the reason.
    pub unproved_ingresses: BTreeMap<String, &'static str>,
    /// Settings whose effect no request of the proof shows, with the objects that have them.
    pub settings_not_shown: BTreeMap<String, BTreeSet<String>>,
    /// The differences. After [`sort`](Self::sort), those without an explanation precede the others.
    pub differences: Vec<Difference>,
    /// Requests to which a gateway gave no response. They make the proof fail.
    pub unanswered: Vec<Difference>,
}

/// Largest number of differences with the same explanation that the text and HTML reports list.
const LISTED_DESCRIBED: usize = 3;

/// Why requests without a response are not compared.
pub(crate) const NO_RESPONSE: &str = "a gateway gave no response";

/// Maximum number of requests without a response that the text and HTML reports list.
pub(crate) const LISTED_UNANSWERED: usize = 3;

impl ProofReport {
    /// A proof without requests.
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            ..Self::default()
        }
    }

    /// Counts a request that is not compared.
    pub fn skip(&mut self, reason: &'static str) {
        self.skip_all(reason, 1);
    }

    /// Counts requests that are not compared.
    pub fn skip_all(&mut self, reason: &'static str, number: usize) {
        if number > 0 {
            *self.not_compared.entry(reason).or_default() += number;
        }
    }

    /// Whether the proof fails: a difference is described by no verdict, a gateway gave no response, or no
    /// request was compared.
    pub fn has_failed(&self) -> bool {
        self.has_unexplained() || !self.unanswered.is_empty() || self.is_empty()
    }

    /// Whether the proof proves nothing: no request was compared, or the compared requests belong to no
    /// Ingress.
    pub fn is_empty(&self) -> bool {
        self.compared == 0 || self.ingresses == Some(self.unproved_ingresses.len())
    }

    /// Lists the settings whose effect no request shows, and snippets with directives that are not translated.
    pub fn list_settings_not_shown(&mut self, verdicts: &[MigrationVerdict]) {
        for verdict in verdicts {
            let name = verdict.setting.rsplit('/').next().unwrap_or_default();
            let is_partial =
                name.ends_with(SNIPPET) && verdict.outcome == MigrationOutcome::Impossible;
            let is_listed = match verdict.kind {
                SettingKind::Annotation => !SHOWN.contains(&name) || is_partial,
                SettingKind::ConfigKey => is_partial,
                SettingKind::Default | SettingKind::Flag | SettingKind::Field => false,
            };
            if is_listed {
                let objects = self.settings_not_shown.entry(name.to_owned());
                objects.or_default().insert(verdict.object.clone());
            }
        }
    }

    /// Whether there is a difference that no verdict describes.
    pub fn has_unexplained(&self) -> bool {
        let mut differences = self.differences.iter();
        differences.any(|difference| difference.explained_by.is_empty())
    }

    /// Sorts the differences: those without an explanation precede the others, then smaller requests precede
    /// larger ones.
    pub fn sort(&mut self) {
        self.differences.sort_by(|a, b| {
            let by_verdict = a
                .explained_by
                .len()
                .min(1)
                .cmp(&b.explained_by.len().min(1));
            let by_length = a.request.len().cmp(&b.request.len());
            by_verdict
                .then(by_length)
                .then_with(|| a.request.cmp(&b.request))
        });
    }

    /// One line: how many requests were compared, are equal, and differ.
    pub fn summary(&self) -> String {
        let different = self.differences.len();
        let unnamed = self.differences.iter();
        let unnamed = unnamed.filter(|one| one.explained_by.is_empty()).count();
        let described = match different {
            0 => String::new(),
            _ => format!(
                " ({} described by a verdict, {unnamed} by none)",
                different - unnamed
            ),
        };
        format!(
            "{} compared: {} equal, {different} different{described}; {} not compared",
            counted(self.compared, "request", "requests"),
            self.compared.saturating_sub(different),
            self.not_compared.values().sum::<usize>() + self.unanswered.len()
        )
    }

    /// What the proof does not cover, and why, one line for each reason.
    pub fn limits(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.is_empty() {
            let what = match self.compared {
                0 => "no request was compared",
                _ => "no request that an Ingress serves was compared",
            };
            lines.push(format!("nothing is proved: {what}"));
        }
        for (reason, number) in &self.not_compared {
            lines.push(format!("not compared: {number}, because {reason}"));
        }
        if !self.unanswered.is_empty() {
            let number = self.unanswered.len();
            lines.push(format!("not compared: {number}, because {NO_RESPONSE}"));
        }
        for (ingress, reason) in &self.unproved_ingresses {
            lines.push(format!(
                "no request of Ingress {ingress} was compared, because {reason}"
            ));
        }
        let not_shown = self.settings_not_shown.iter().map(|(name, objects)| {
            let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
            match &objects[..] {
                [object] => format!("{name} ({object})"),
                objects => format!("{name} ({} objects)", objects.len()),
            }
        });
        let not_shown: Vec<String> = not_shown.collect();
        if !not_shown.is_empty() {
            lines.push(format!(
                "settings whose effect no request shows: {}",
                not_shown.join(", ")
            ));
        }
        if !self.assumed_services.is_empty() {
            lines.push(format!(
                "assumed to exist, because the files lack them: {}",
                self.assumed_services.join(", ")
            ));
        }
        lines
    }

    /// The differences that the text and HTML reports list: all differences without an explanation, and the
    /// smallest ones of each explanation. Also returns the number of omitted differences by explanation.
    pub(crate) fn listed(&self) -> (Vec<&Difference>, BTreeMap<&[String], usize>) {
        let mut known: BTreeMap<&[String], usize> = BTreeMap::new();
        let mut listed = Vec::new();
        for difference in &self.differences {
            let names = &difference.explained_by[..];
            let number = known.entry(names).or_default();
            *number += 1;
            if names.is_empty() || *number <= LISTED_DESCRIBED {
                listed.push(difference);
            }
        }
        known.retain(|names, number| !names.is_empty() && *number > LISTED_DESCRIBED);
        known
            .values_mut()
            .for_each(|number| *number -= LISTED_DESCRIBED);
        (listed, known)
    }

    /// The proof as text.
    pub fn text(&self) -> String {
        let mut text = format!("\n{}: {}\n", self.title, self.summary());
        for line in self.limits() {
            let _ = writeln!(text, "  {line}");
        }
        let unanswered = self.unanswered.iter().take(LISTED_UNANSWERED);
        let (listed, more) = self.listed();
        for difference in listed.into_iter().chain(unanswered) {
            let Difference {
                request,
                expected,
                found,
                explained_by,
                aspects: _,
            } = difference;
            let _ = writeln!(
                text,
                "  {request}\n    ingress-nginx: {expected}\n    towergate: {found}"
            );
            if !explained_by.is_empty() {
                let _ = writeln!(text, "    described by: {}", explained_by.join(", "));
            }
        }
        for (names, number) in more {
            let requests = counted(number, "further request", "further requests");
            let _ = writeln!(text, "  {requests} described by: {}", names.join(", "));
        }
        text
    }
}

/// Why the two responses to a request cannot be compared: they depend on more than the request. `None`: the
/// responses can be compared.
pub fn not_comparable(
    nginx: &IngressNginx<'_>,
    request: &ModelRequest,
    expected: &ModelAnswer,
) -> Option<&'static str> {
    if nginx.needs_certificate(request) {
        return Some("the host verifies client certificates");
    }
    let settings = nginx.settings_of(request)?;
    let cause = settings.denied.as_deref().unwrap_or_default();
    if cause.starts_with(OF_CONFIG_MAP) {
        return Some("a key of the ConfigMap that is not translated closes the path");
    }
    if nginx.has_snippet_for(request) {
        return Some("a directive of a snippet replies to the path");
    }
    if settings.backend.protocol == BackendProtocol::Fcgi {
        return Some("the backend uses FastCGI");
    }
    match expected {
        ModelAnswer::Proxy { asks: true, .. } => Some("an authentication server decides"),
        ModelAnswer::Reply { status, .. } if settings.error_codes.contains(status) => {
            Some("a Service returns the error page")
        }
        ModelAnswer::Proxy { .. } | ModelAnswer::Reply { .. } => None,
    }
}

/// Sets the settings whose verdicts describe a difference, and uses the request of the difference as an
/// example of these verdicts. If a backend receives a request that ingress-nginx rejects, no verdict explains
/// the difference.
pub fn explain(
    nginx: &IngressNginx<'_>,
    verdicts: &mut [MigrationVerdict],
    request: &ModelRequest,
    (expected, effects, found): (&ModelAnswer, &ModelEffects, &Observed),
    difference: &mut Difference,
) {
    if let (ModelAnswer::Reply { status: 503, .. }, 500, false) =
        (expected, found.status, nginx.has_backend(request))
    {
        difference.explained_by.push(ERROR_RESPONSES.to_owned());
    }
    if nginx.is_health_check(request) {
        difference.explained_by.push(HEALTH_CHECKS.to_owned());
    }
    if is_weaker(request, expected, effects, found) {
        return;
    }
    let Some(ingress) = nginx.ingress_of(request) else {
        return;
    };
    let object = format!("Ingress {ingress}");
    let aspects = difference.aspects.clone();
    let settings = nginx.settings_of(request);
    // The setting that closes the path.
    let cause = settings.and_then(|settings| settings.denied.as_deref());
    let is_closed = found.status == 500 && found.backend.is_none();
    let related = verdicts.iter_mut().filter(|verdict| {
        let name = verdict.setting.rsplit('/').next().unwrap_or_default();
        verdict.object == object
            && verdict.outcome != MigrationOutcome::Same
            && (is_closed && cause == Some(name)
                || EXPLAINING.contains(&name)
                    && aspects
                        .iter()
                        .all(|aspect| verdict.affects.contains(aspect)))
    });
    for verdict in related {
        let scheme = if request.https { "https" } else { "http" };
        let host = request.header("host").unwrap_or_default();
        let example = ExampleExchange {
            method: request.method.clone(),
            url: format!("{scheme}://{host}{}", request.target),
            with: request.auth_status.map(decision).unwrap_or_default(),
            ingress_nginx: difference.expected.clone(),
            towergate: difference.found.clone(),
        };
        let shorter = verdict
            .example
            .as_ref()
            .is_none_or(|known| example.url.len() < known.url.len());
        if shorter && difference.request == example.request() {
            verdict.example = Some(example);
        }
        difference.explained_by.push(verdict.setting.clone());
    }
    difference.explained_by.sort();
    difference.explained_by.dedup();
}

/// Whether the translation is less protected: a backend receives a request although ingress-nginx rejects it
/// or first calls an authentication server. No verdict can explain this difference.
fn is_weaker(
    request: &ModelRequest,
    expected: &ModelAnswer,
    effects: &ModelEffects,
    found: &Observed,
) -> bool {
    let denied = request.auth_status.is_some_and(|status| status >= 300);
    let rejected = match expected {
        ModelAnswer::Reply { status, .. } => {
            matches!(status, 401 | 403) || denied && effects.auth_call.is_some()
        }
        ModelAnswer::Proxy { .. } => effects.auth_call.is_some() && found.auth_calls.is_empty(),
    };
    rejected && found.backend.is_some()
}

/// The parts of the exchange that differ.
pub(super) fn aspects(expected: &ModelAnswer, found: &Observed) -> Vec<Aspect> {
    match expected {
        ModelAnswer::Proxy { backends, .. } => match &found.backend {
            None => vec![Aspect::Status, Aspect::Calls],
            Some(backend) => {
                let mut ports = backends.iter();
                match ports.any(|port| port.service.to_string() == *backend) {
                    true => vec![Aspect::RequestPath],
                    false => vec![Aspect::Calls],
                }
            }
        },
        ModelAnswer::Reply { .. } if found.backend.is_some() => vec![Aspect::Status, Aspect::Calls],
        ModelAnswer::Reply { status, .. } if found.status != *status => vec![Aspect::Status],
        ModelAnswer::Reply { .. } => vec![Aspect::ResponseHeaders],
    }
}
