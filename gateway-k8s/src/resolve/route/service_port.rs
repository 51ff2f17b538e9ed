//! The port of a Service that a backendRef names, and its protocol.

use towergate_core::plan::BackendProtocol;

use super::super::grant::{From, To};
use super::super::object_index::ObjectIndex;
use super::RouteRef;
use super::backend_error::{BackendError, fault};
use crate::api::GATEWAY_GROUP;
use crate::api::core::{ServicePort, ServiceSpec};
use crate::api::reference::BackendObjectReference;
use crate::objects::ObjectKey;
use crate::status::RouteReason;

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// Parses `protocol` of a port. Default: TCP. `None`: SCTP and unknown values.
    pub(super) fn parse(protocol: Option<&str>) -> Option<Self> {
        match protocol.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// The Service and port that a rule of `route` references.
pub(super) fn find<'w>(
    index: &ObjectIndex<'w>,
    route: RouteRef<'_>,
    written: &BackendObjectReference,
) -> Result<(ObjectKey, &'w ServicePort), BackendError> {
    find_from(index, from_route(route), route.transport(), written)
}

/// The referrer of a rule of `route`.
pub(super) fn from_route(route: RouteRef<'_>) -> From<'_> {
    From {
        group: GATEWAY_GROUP,
        kind: route.kind(),
        namespace: &route.meta().namespace,
    }
}

/// The Service and its port that an object names.
pub(super) fn find_from<'w>(
    index: &ObjectIndex<'w>,
    from: From<'_>,
    transport: Transport,
    written: &BackendObjectReference,
) -> Result<(ObjectKey, &'w ServicePort), BackendError> {
    check_kind(written)?;
    let namespace = written
        .namespace
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or(from.namespace);
    let key = ObjectKey::new(namespace, &*written.name);
    let to = To {
        group: "",
        kind: "Service",
        namespace,
        name: &written.name,
    };
    if !index.grants.permit(from, to) {
        let message = format!("no ReferenceGrant permits the reference to Service {key}");
        return fault(RouteReason::RefNotPermitted, message);
    }
    let Some(number) = written.port else {
        return fault(
            RouteReason::PortNotSpecified,
            format!("the reference to Service {key} has no port"),
        );
    };
    let port = service_port(index, &key, number, transport)?;
    Ok((key, port))
}

/// Rejects references to other kinds than Service.
fn check_kind(written: &BackendObjectReference) -> Result<(), BackendError> {
    let group = written.group.as_deref().unwrap_or_default();
    let kind = written.kind.as_deref().unwrap_or("Service");
    match (group, kind) {
        ("", "Service") => Ok(()),
        _ => {
            let message = format!(
                "{kind} of group {group:?} cannot be a backend; use a Service or a Backend"
            );
            fault(RouteReason::InvalidKind, message)
        }
    }
}

fn service_port<'w>(
    index: &ObjectIndex<'w>,
    key: &ObjectKey,
    number: i32,
    transport: Transport,
) -> Result<&'w ServicePort, BackendError> {
    let Some(service) = index.objects.services.get(key) else {
        return fault(
            RouteReason::BackendNotFound,
            format!("Service {key} not found"),
        );
    };
    if service.spec.kind.as_deref() == Some("ExternalName") {
        let message = external_name(key, &service.spec);
        return fault(RouteReason::UnsupportedValue, message);
    }
    let mut ports = service.spec.ports.iter();
    let port =
        ports.find(|port| i32::from(port.port) == number && transport_of(port) == Some(transport));
    match port {
        Some(port) => Ok(port),
        None => fault(
            RouteReason::PortNotFound,
            format!("Service {key} has no {} port {number}", transport.name()),
        ),
    }
}

/// Why a Service of type ExternalName is not a backend, and the alternative. A Service can name any
/// host, and its author may lack the permission to create Backends.
fn external_name(key: &ObjectKey, service: &ServiceSpec) -> String {
    let host = service.external_name.as_deref().unwrap_or("HOST");
    let port = service.ports.first().map_or(443, |port| port.port);
    format!(
        "Service {key} has type ExternalName, which is not supported; create a Backend \
         (gateway.envoyproxy.io/v1alpha1) with \
         spec: {{endpoints: [{{fqdn: {{hostname: {host}, port: {port}}}}}]}} and reference it with group and kind"
    )
}

/// The transport protocol of a port. `None`: the gateway has no routes for the protocol.
pub(super) fn transport_of(port: &ServicePort) -> Option<Transport> {
    Transport::parse(port.protocol.as_deref())
}

/// Protocol of a port for a route. Unknown values of `appProtocol` are ignored (Gateway API).
pub(super) fn protocol(route: RouteRef<'_>, port: &ServicePort) -> BackendProtocol {
    match route {
        RouteRef::Grpc(_) => BackendProtocol::Http2,
        RouteRef::Http(_) => app_protocol(port),
        RouteRef::Tls(_) | RouteRef::Tcp(_) | RouteRef::Udp(_) => BackendProtocol::Http1,
    }
}

pub(super) fn app_protocol(port: &ServicePort) -> BackendProtocol {
    match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c" | "gateway.envoyproxy.io/h2c" | "grpc") => BackendProtocol::Http2,
        _ => BackendProtocol::Http1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_application_protocols_are_ignored() {
        let spoken = |text: &str| {
            let port = serde_json::from_value(json!({ "port": 80, "appProtocol": text }));
            app_protocol(&port.unwrap())
        };

        assert_eq!(spoken("kubernetes.io/h2c"), BackendProtocol::Http2);
        assert_eq!(spoken("kubernetes.io/ws"), BackendProtocol::Http1);
        assert_eq!(spoken("HTTPS"), BackendProtocol::Http1);
    }
}
