//! Diagnostics for objects that are not decoded: their kind, and the parts of other objects that fail closed.

use super::document_cache::Item;
use super::kind::{self, Kind, Verdict};
use super::tree::{Node, Place};
use super::{Diagnostic, Reader, Severity, head_fault, remains};
use crate::api::meta::ObjectMeta;
use crate::finding::FindingCode;
use crate::objects::{ObjectKey, Origin};
use crate::validate;

/// Name of the settings in the findings of [`Reader::settings_of_ingress_nginx`].
pub(super) const SETTINGS: &str = "settings of ingress-nginx";

impl Reader {
    /// Reports a ConfigMap of ingress-nginx.
    pub(super) fn settings_of_ingress_nginx(
        &mut self,
        meta: &ObjectMeta,
        origin: &Origin,
        place: Place,
    ) {
        let label = meta.labels.get("app.kubernetes.io/name");
        if meta.name != "ingress-nginx-controller"
            && label.is_none_or(|label| label != "ingress-nginx")
        {
            return;
        }
        let help = "translate it with `towergate migrate`, or remove the object";
        let mut found = self.not_translated(help).placed(origin, place);
        "ConfigMap".clone_into(&mut found.kind);
        self.items
            .push(Item::PassedOver(SETTINGS.to_owned(), Box::new(found)));
    }

    /// A finding about objects of ingress-nginx, which have no effect until they are translated.
    fn not_translated(&self, help: &str) -> Diagnostic {
        let mut found = Diagnostic::warning(FindingCode::NotTranslated, "", help);
        if self.strict {
            found.severity = Severity::Error;
        }
        found
    }

    /// Reports a document that is not an object.
    pub(super) fn no_object(
        &mut self,
        node: &Node,
        origin: &Origin,
        api_version: &str,
        name: &str,
    ) {
        if let Some(kind) = remains::probable_policy(api_version, name, node) {
            let field = if name.is_empty() {
                "kind"
            } else {
                "apiVersion"
            };
            let fault = head_fault(field, format!("{field} is missing"));
            self.keep_targets(kind, api_version, node, origin, fault);
        }
        let diagnostic = if api_version.is_empty() && name.is_empty() {
            let message = "not a Kubernetes object: `apiVersion` and `kind` are missing";
            let help = "move the file out of the folder if it is not a manifest";
            Diagnostic::warning(FindingCode::NotAnObject, message, help)
        } else {
            let (message, help) = (
                "an object needs both `apiVersion` and `kind`",
                "add the missing field; until then the object is not in force",
            );
            Diagnostic::error(FindingCode::MissingKind, message, help)
        };
        self.refuse(diagnostic.placed(origin, node.place));
    }

    /// Reports an object that is not decoded.
    pub(super) fn not_read(
        &mut self,
        verdict: Verdict,
        api_version: &str,
        name: &str,
        node: &Node,
        origin: &Origin,
    ) {
        let place = node.field("kind").map_or(node.place, |kind| kind.place);
        let object = node.field("metadata").map(|meta| {
            let text = |field| meta.field(field).and_then(|n| n.text()).unwrap_or_default();
            ObjectKey::new(text("namespace"), text("name"))
        });
        let mut diagnostic = match verdict {
            Verdict::WrongVersion(kind) => {
                let message = format!("{name} of `{api_version}` is not read");
                let fault = head_fault("apiVersion", message.clone());
                self.keep_targets(kind, api_version, node, origin, fault);
                let help = remains::advice(&kind, &format!("use {}", kind.api_versions()));
                Diagnostic::error(FindingCode::WrongVersion, message, help)
            }
            Verdict::UnsupportedPolicy(kind) => self.unsupported_policy(kind, node, origin),
            Verdict::Unsupported => {
                let message = format!("{name} is not supported: this object is not in force");
                let help = "remove the object; docs/differences.md lists what is supported";
                Diagnostic::warning(FindingCode::UnsupportedKind, message, help)
            }
            Verdict::Unknown(meant) => {
                let message = format!("`{api_version}` has no kind {name}");
                if let Some(policy) = meant.and_then(kind::policy) {
                    let fault = head_fault("kind", message.clone());
                    self.keep_targets(policy, api_version, node, origin, fault);
                    let help = format!(
                        "did you mean {} of {}? Until then the targets of the policy return 500",
                        policy.name,
                        policy.api_versions()
                    );
                    Diagnostic::error(FindingCode::UnknownKind, message, help)
                } else {
                    let message = format!("{message}: this object is not in force");
                    let help = match meant {
                        Some(meant) if meant == name => {
                            format!("did you mean {}?", kind::api_versions_of(meant))
                        }
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => "correct `apiVersion` or `kind`, or remove the object".to_owned(),
                    };
                    Diagnostic::warning(FindingCode::UnknownKind, message, help)
                }
            }
            Verdict::Read(_) | Verdict::List | Verdict::PassedOver => {
                let kind = format!("{name} ({api_version})");
                let of_kubernetes = ["networking.k8s.io/", "extensions/"];
                let is_ingress = name == "Ingress"
                    && of_kubernetes
                        .iter()
                        .any(|group| api_version.starts_with(group));
                let help =
                    "translate them with `towergate migrate`, or serve them with `--ingress-class`";
                let note = match is_ingress {
                    true => self.not_translated(help),
                    false => Diagnostic::note(FindingCode::PassedOver, ""),
                };
                let mut note = note.placed(origin, place);
                name.clone_into(&mut note.kind);
                if name == "Certificate" && api_version.starts_with("cert-manager.io/") {
                    self.items.extend(issued(node));
                }
                return self.items.push(Item::PassedOver(kind, Box::new(note)));
            }
        };
        name.clone_into(&mut diagnostic.kind);
        diagnostic.object = object;
        if self.strict {
            diagnostic.severity = Severity::Error;
        }
        self.refuse(diagnostic.placed(origin, place));
    }

    /// Adds the targets of an unsupported policy. Returns a warning if the policy is valid and sets `failOpen`, and
    /// so permits requests that it does not process, else an error.
    fn unsupported_policy(&mut self, kind: Kind, node: &Node, origin: &Origin) -> Diagnostic {
        let name = kind.name;
        let version = node.field("apiVersion").and_then(|version| version.text());
        let violations = || validate::violations(name, version.unwrap_or_default(), node);
        if remains::may_be_left_out(node) && violations().is_empty() {
            self.keep_targets(kind, "", node, origin, None);
            let message = format!(
                "{name} is not supported: requests pass without the policy, as failOpen permits"
            );
            let help = "remove the object; docs/differences.md lists what is supported";
            return Diagnostic::warning(FindingCode::UnsupportedKind, message, help);
        }
        let message = format!("{name} is not supported");
        self.keep_targets(kind, "", node, origin, head_fault("kind", message.clone()));
        let help = match kind.id {
            kind::KindId::ExtensionPolicy => {
                "remove the object, or set failOpen: true in all of its extProc and wasm"
            }
            _ => "remove the object",
        };
        let help = remains::advice(&kind, help);
        Diagnostic::error(FindingCode::UnsupportedKind, message, help)
    }
}

/// Returns the Secret that cert-manager creates for a Certificate.
fn issued(certificate: &Node) -> Option<Item> {
    let meta = certificate.field("metadata")?;
    let namespace = meta.field("namespace").and_then(|n| n.text());
    let namespace = namespace
        .filter(|name| !name.is_empty())
        .unwrap_or("default");
    let secret = certificate.field("spec")?.field("secretName")?.text()?;
    let name = meta.field("name")?.text()?;
    let [secret, by] = [secret, name].map(|name| ObjectKey::new(namespace, name));
    Some(Item::Issued(secret, by))
}
