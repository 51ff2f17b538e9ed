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
//! assert!(!report.has_unexplained());
//! assert!(report.text().contains("1 request compared, 0 different, 1 not compared"));
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::annotations::global_snippets::OF_CONFIG_MAP;
use super::model::{IngressNginx, ModelAnswer, ModelRequest};
use super::proof::Observed;
use super::report::counted;
use super::settings::BackendProtocol;
use super::verdict::{Aspect, ExampleExchange, MigrationOutcome, MigrationVerdict};

/// Settings whose verdict can explain a difference of a proof, because they affect the response to a single
/// request.
const EXPLAINING: [&str; 33] = [
    "app-root",
    "auth-secret",
    "auth-cache-duration",
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
    "use-port-in-redirects",
    "use-regex",
    "whitelist-source-range",
];

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
}

/// The result of a proof.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProofReport {
    /// Title of the comparison.
    pub title: String,
    /// Number of requests that were compared. Requests without a response of one side do not count.
    pub compared: usize,
    /// Number of requests that were not compared, by reason.
    pub not_compared: BTreeMap<&'static str, usize>,
    /// Services that the manifests do not contain and the proof assumes to exist.
    pub assumed_services: Vec<String>,
    /// The differences. Those with the smallest requests precede the others.
    pub differences: Vec<Difference>,
    /// Requests to which a gateway gave no response. They make the proof fail.
    pub unanswered: Vec<Difference>,
}

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

    /// Whether the proof fails: no verdict describes one of the differences, or a gateway gave no response.
    pub fn has_failed(&self) -> bool {
        self.has_unexplained() || !self.unanswered.is_empty()
    }

    /// Whether no verdict describes one of the differences.
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

    /// A summary in one line: how many requests were compared, and how many differ.
    pub fn summary(&self) -> String {
        let explained = self.differences.iter();
        let explained = explained.filter(|one| !one.explained_by.is_empty()).count();
        let explained = match explained {
            0 => String::new(),
            number => format!(" ({number} explained by verdicts)"),
        };
        format!(
            "{} compared, {} different{explained}, {} not compared",
            counted(self.compared, "request", "requests"),
            self.differences.len(),
            self.not_compared.values().sum::<usize>() + self.unanswered.len()
        )
    }

    /// The proof as text.
    pub fn text(&self) -> String {
        let mut text = format!("\n{}: {}\n", self.title, self.summary());
        for (reason, number) in &self.not_compared {
            let _ = writeln!(text, "  not compared: {number}, because {reason}");
        }
        if !self.unanswered.is_empty() {
            let number = self.unanswered.len();
            let _ = writeln!(text, "  not compared: {number}, because {NO_RESPONSE}");
        }
        if !self.assumed_services.is_empty() {
            let _ = writeln!(
                text,
                "  assumed to exist, because the files lack them: {}",
                self.assumed_services.join(", ")
            );
        }
        let unanswered = self.unanswered.iter().take(LISTED_UNANSWERED);
        for difference in self.differences.iter().chain(unanswered) {
            let Difference {
                request,
                expected,
                found,
                explained_by,
            } = difference;
            let _ = writeln!(
                text,
                "  {request}\n    ingress-nginx: {expected}\n    towergate: {found}"
            );
            if !explained_by.is_empty() {
                let _ = writeln!(text, "    explained by: {}", explained_by.join(", "));
            }
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
    if settings.backend.protocol != BackendProtocol::Http {
        return Some("the backend does not use plain HTTP");
    }
    if settings.external_auth.is_some() {
        return Some("an authentication server decides");
    }
    match expected {
        ModelAnswer::Proxy { asks: true, .. } => Some("an authentication server decides"),
        ModelAnswer::Reply { status, .. } if settings.error_codes.contains(status) => {
            Some("a Service returns the error page")
        }
        ModelAnswer::Proxy { .. } | ModelAnswer::Reply { .. } => None,
    }
}

/// Sets the settings whose verdicts describe a difference, and uses its request as an example of these
/// verdicts. If a backend receives a request that ingress-nginx rejects, no verdict explains the difference.
pub fn explain(
    nginx: &IngressNginx<'_>,
    verdicts: &mut [MigrationVerdict],
    request: &ModelRequest,
    (expected, found): (&ModelAnswer, &Observed),
    difference: &mut Difference,
) {
    if let (ModelAnswer::Reply { status: 503, .. }, 500, false) =
        (expected, found.status, nginx.has_backend(request))
    {
        difference.explained_by.push("error responses".to_owned());
    }
    if is_weaker(expected, found) {
        return;
    }
    let Some(ingress) = nginx.ingress_of(request) else {
        return;
    };
    let object = format!("Ingress {ingress}");
    let aspects = aspects(expected, found);
    let related = verdicts.iter_mut().filter(|verdict| {
        let name = verdict.setting.rsplit('/').next().unwrap_or_default();
        verdict.object == object
            && verdict.outcome != MigrationOutcome::Same
            && EXPLAINING.contains(&name)
            && aspects
                .iter()
                .all(|aspect| verdict.affects.contains(aspect))
    });
    for verdict in related {
        let scheme = if request.https { "https" } else { "http" };
        let host = request.header("host").unwrap_or_default();
        let example = ExampleExchange {
            method: request.method.clone(),
            url: format!("{scheme}://{host}{}", request.target),
            with: String::new(),
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

/// Whether a backend receives a request that ingress-nginx rejects. No verdict permits that, because a
/// translation must not protect less.
fn is_weaker(expected: &ModelAnswer, found: &Observed) -> bool {
    let rejected = matches!(
        expected,
        ModelAnswer::Reply {
            status: 401 | 403,
            ..
        }
    );
    rejected && found.backend.is_some()
}

/// The parts of the exchange that differ.
fn aspects(expected: &ModelAnswer, found: &Observed) -> Vec<Aspect> {
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
