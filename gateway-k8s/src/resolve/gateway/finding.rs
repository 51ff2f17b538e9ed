//! Findings about listeners, by reason of their conditions.

use super::super::report::{Report, Subject};
use super::frontend;
use super::listener::ListenerState;
use crate::finding::FindingCode;
use crate::status::{ConditionType, ListenerReason};

/// How an error of a listener is reported.
struct ListenerFinding {
    code: FindingCode,
    /// Path of the field within the listener; empty if the error concerns the whole listener.
    field: &'static str,
    advice: &'static str,
}

impl ListenerFinding {
    /// The finding for a reason; `None` if the reason is not an error.
    fn of(reason: ListenerReason) -> Option<Self> {
        use ListenerReason as R;
        let (code, field) = match reason {
            R::InvalidCertificateRef | R::PartiallyInvalidCertificateRef => {
                (FindingCode::CertificateNotUsable, ".tls.certificateRefs")
            }
            R::RefNotPermitted => (FindingCode::ReferenceNotGranted, ".tls.certificateRefs"),
            R::HostnameConflict => (FindingCode::ListenerConflict, ".hostname"),
            R::ProtocolConflict => (FindingCode::ListenerConflict, ".port"),
            R::UnsupportedProtocol => (FindingCode::Unsupported, ".protocol"),
            R::UnsupportedTlsMode => (FindingCode::Unsupported, ".tls.mode"),
            R::InvalidRouteKinds => (FindingCode::ListenerInvalid, ".allowedRoutes.kinds"),
            R::Invalid
            | R::InvalidCaCertificateKind
            | R::InvalidCaCertificateRef
            | R::ListenersNotValid
            | R::NoValidCaCertificate
            | R::PortUnavailable
            | R::UnsupportedValue => (FindingCode::ListenerInvalid, ""),
            R::Accepted
            | R::NoConflicts
            | R::OverlappingCertificates
            | R::OverlappingHostnames
            | R::Programmed
            | R::ResolvedRefs => return None,
        };
        let advice = match reason {
            R::UnsupportedProtocol => "use protocol HTTP, HTTPS, TLS, TCP or UDP",
            R::UnsupportedTlsMode => "use tls.mode Terminate, or Passthrough with protocol TLS",
            _ => code.advice(),
        };
        Some(Self {
            code,
            field,
            advice,
        })
    }
}

/// Reports a listener with an error.
pub(super) fn report_listener(
    listener: &ListenerState<'_>,
    report: &mut Report,
    subject: &Subject<'_>,
) {
    if listener.reported {
        return;
    }
    // `Programmed` is derived from the other conditions, if there are any.
    let only_programmed = listener.only_programmed();
    for condition in listener.conditions.iter() {
        if frontend::is_reported(listener, condition.reason)
            || condition.kind == ConditionType::Programmed && !only_programmed
        {
            continue;
        }
        if let Some(found) = ListenerFinding::of(condition.reason) {
            let field = format!("spec.listeners[{}]{}", listener.at, found.field);
            let message = format!("listener {:?}: {}", listener.spec.name, condition.message);
            report.error(found.code, subject, field, message, found.advice);
        }
    }
}
