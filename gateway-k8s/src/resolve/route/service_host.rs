//! Host names of Services in Backends: `NAME.NAMESPACE.svc` and `NAME.NAMESPACE.svc.cluster.local`.
//!
//! A name in the Backend's own namespace has the endpoints of the Service, if the manifests contain the
//! Service. Outside of a cluster, no DNS server has the name; inside of a cluster, requests are balanced over
//! the endpoints like those of a reference to the Service. All other names are resolved by DNS.

use towergate_core::plan::{BackendId, DnsHost, Endpoint};

use super::super::object_index::ObjectIndex;
use super::endpoint_slices::endpoints_of;
use super::service_port::{Transport, transport_of};
use crate::objects::ObjectKey;

/// The endpoints of `hosts`, if all of them are ports of Services of `namespace`.
pub(super) fn service_endpoints(
    index: &ObjectIndex<'_>,
    namespace: &str,
    hosts: &[DnsHost],
) -> Option<Vec<Endpoint>> {
    let mut endpoints = Vec::new();
    for host in hosts {
        let name = service_name(&host.name, namespace)?;
        let key = ObjectKey::new(namespace, name);
        let service = index.objects.services.get(&key)?;
        if service.spec.kind.as_deref() == Some("ExternalName") {
            return None;
        }
        let mut ports = service.spec.ports.iter();
        let port = ports
            .find(|port| port.port == host.port && transport_of(port) == Some(Transport::Tcp))?;
        let id = BackendId::service(&key.namespace, &key.name, port.port);
        endpoints.extend(endpoints_of(index, &id, &key, port));
    }
    endpoints.sort();
    endpoints.dedup();
    Some(endpoints)
}

/// The name of a Service of `namespace` in a host name.
fn service_name<'h>(host: &'h str, namespace: &str) -> Option<&'h str> {
    let host = host.strip_suffix(".cluster.local").unwrap_or(host);
    let (name, own) = host.strip_suffix(".svc")?.split_once('.')?;
    (own == namespace && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_service_of_the_own_namespace_is_found_by_its_host_name() {
        for (host, expected) in [
            ("web.team-a.svc", Some("web")),
            ("web.team-a.svc.cluster.local", Some("web")),
            ("web.team-b.svc.cluster.local", None),
            ("0.web.team-a.svc.cluster.local", None),
            ("web.team-a", None),
            ("example.com", None),
        ] {
            assert_eq!(service_name(host, "team-a"), expected, "{host}");
        }
    }
}
