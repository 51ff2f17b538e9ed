//! Endpoints of a Backend: an address, or a host name that the data plane resolves.

use std::net::{IpAddr, SocketAddr};

use towergate_core::dns;
use towergate_core::plan::{DnsHost, Endpoint};
use towergate_policy::backend::BackendEndpoint;

use super::super::backend_error::{BackendError, fault, invalid};
use super::unix_socket::unix_endpoint;
use crate::resolve::object_index::ObjectIndex;
use crate::status::RouteReason;

/// Location of an endpoint.
pub(super) enum EndpointTarget {
    Address(Endpoint),
    Host(DnsHost),
}

/// The target of the endpoint with index `at`.
pub(super) fn destination(
    index: &ObjectIndex<'_>,
    at: usize,
    endpoint: &BackendEndpoint,
) -> Result<EndpointTarget, BackendError> {
    let field = format!("spec.endpoints[{at}]");
    let port = |port: Option<i64>| {
        let port = port.and_then(|port| u16::try_from(port).ok());
        match port.filter(|port| *port > 0) {
            Some(port) => Ok(port),
            None => invalid(format!("{field}: the port is not between 1 and 65535")),
        }
    };
    let local = |name: &str| {
        invalid(format!(
            "{field}: {name} is a loopback, link-local or unspecified address, which in a cluster belongs to the \
             data plane itself or to its node"
        ))
    };
    match (&endpoint.fqdn, &endpoint.ip, &endpoint.unix) {
        (Some(fqdn), None, None) => {
            let name = fqdn.hostname.as_deref().unwrap_or_default();
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            if !index.options.backends.loopback
                && (name == "localhost" || name.ends_with(".localhost"))
            {
                return local(&name);
            }
            if name.parse::<IpAddr>().is_ok() {
                let message = format!("{field}.fqdn.hostname {name} is an IP address; use ip");
                return fault(RouteReason::InvalidAddress, message);
            }
            let port = port(fqdn.port)?;
            Ok(EndpointTarget::Host(DnsHost { name, port }))
        }
        (None, Some(ip), None) => {
            let text = ip.address.as_deref().unwrap_or_default();
            let Ok(address) = text.parse::<IpAddr>() else {
                return invalid(format!("{field}.ip.address {text:?} is not an IP address"));
            };
            if !index.options.backends.loopback && dns::is_local(address) {
                return local(text);
            }
            Ok(EndpointTarget::Address(Endpoint {
                address: SocketAddr::from((address, port(ip.port)?)).into(),
                weight: 1,
                zone: None,
            }))
        }
        (None, None, Some(unix)) => {
            let path = unix.path.as_deref().unwrap_or_default();
            unix_endpoint(index, &field, path).map(EndpointTarget::Address)
        }
        _ => invalid(format!("{field} needs exactly one of fqdn, ip and unix")),
    }
}

/// The host name of an endpoint.
pub(super) fn name_of(endpoint: &BackendEndpoint) -> Option<String> {
    let fqdn = endpoint
        .fqdn
        .as_ref()
        .and_then(|fqdn| fqdn.hostname.as_deref());
    let name = fqdn.or(endpoint.hostname.as_deref())?;
    Some(name.trim_end_matches('.').to_ascii_lowercase())
}
