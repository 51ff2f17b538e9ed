//! Replacements for all backends of a proof. Every endpoint is an address of the echo server, so no request
//! of a proof leaves the process.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use towergate_core::plan::{BackendId, Endpoint};
use towergate_k8s::{ObjectKey, Objects};
use towergate_policy::backend::{BackendEndpoint, FqdnEndpoint, IpEndpoint};

/// Replacements of the backends of a proof.
pub(crate) struct StandIns {
    /// The endpoint of each port of a Service.
    pub(crate) endpoints: BTreeMap<BackendId, Vec<Endpoint>>,
    /// The Service or Backend that each address replaces.
    pub(crate) names: HashMap<IpAddr, String>,
}

impl StandIns {
    /// Replaces the endpoints of all Services and Backends of `objects` by addresses of an echo server on
    /// `port`. Each Service port and Backend has its own address in 127.64.0.0/10. A Service that is not
    /// ready has no endpoint.
    pub(crate) fn replace_all(
        objects: &mut Objects,
        port: u16,
        is_ready: impl Fn(&ObjectKey) -> bool,
    ) -> Self {
        let mut addresses = (1_u32..).map(|n| Ipv4Addr::from_bits(0x7f40_0000 + n));
        let mut next = move || addresses.next().unwrap_or(Ipv4Addr::LOCALHOST);
        let mut this = Self {
            endpoints: BTreeMap::new(),
            names: HashMap::new(),
        };
        let slices: Vec<_> = objects.endpoint_slices.keys().cloned().collect();
        for slice in slices {
            objects.endpoint_slices.remove(&slice);
        }
        for (key, service) in objects.services.iter() {
            for number in service.spec.ports.iter().map(|port| port.port) {
                let address = next();
                this.names.insert(address.into(), key.to_string());
                let backend = BackendId::service(&key.namespace, &key.name, number);
                let address = SocketAddr::new(address.into(), port);
                let endpoints = match is_ready(key) {
                    true => vec![Endpoint::from(address)],
                    false => Vec::new(),
                };
                this.endpoints.insert(backend, endpoints);
            }
        }
        let is_service = |namespace: &str, name: &FqdnEndpoint| {
            let host = name.hostname.as_deref().unwrap_or_default();
            let host = host.strip_suffix(".cluster.local").unwrap_or(host);
            let service = host.strip_suffix(&format!(".{namespace}.svc"));
            service.is_some_and(|service| {
                let number = u16::try_from(name.port.unwrap_or_default()).unwrap_or_default();
                let backend = BackendId::service(namespace, service, number);
                this.endpoints.contains_key(&backend)
            })
        };
        // The translation of an ExternalName Service is a Backend.
        let external = objects.services.iter().filter_map(|(key, service)| {
            let host = service.spec.external_name.clone()?;
            Some(((key.namespace.clone(), host), key.to_string()))
        });
        let external: HashMap<_, _> = external.collect();
        let mut names = Vec::new();
        for backend in objects.backends.values_mut() {
            let key = backend.key();
            // Stand-ins have no TLS.
            backend.spec.tls = None;
            let endpoints = backend.spec.endpoints.iter_mut().flatten();
            for endpoint in endpoints {
                let fqdn = endpoint.fqdn.as_ref();
                if fqdn.is_some_and(|fqdn| is_service(&key.namespace, fqdn)) {
                    continue;
                }
                let address = next();
                let host = fqdn.and_then(|fqdn| fqdn.hostname.clone());
                let host = host.unwrap_or_default();
                let name = external.get(&(key.namespace.clone(), host));
                let name = name.cloned().unwrap_or_else(|| key.to_string());
                names.push((address.into(), name));
                *endpoint = BackendEndpoint {
                    hostname: endpoint.hostname.take(),
                    ip: Some(IpEndpoint {
                        address: Some(address.to_string()),
                        port: Some(port.into()),
                    }),
                    ..BackendEndpoint::default()
                };
            }
        }
        this.names.extend(names);
        this
    }
}
