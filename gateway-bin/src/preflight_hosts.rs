//! `check --resolve`: looks up the host names of policies and Backends.
//!
//! The data plane repeats the lookups while it runs, possibly with other name servers. A name without an
//! address is therefore a warning, not an error.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use towergate_core::dns::Resolver;
use towergate_k8s::{Diagnostic, Objects, host_names};

/// Time limit of a lookup.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Reports host names without an address. `servers` are the name servers. Empty: those of the system.
///
/// # Errors
/// If no runtime for the lookups can be created.
pub(crate) fn find(objects: &Objects, servers: &[SocketAddr]) -> std::io::Result<Vec<Diagnostic>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let resolver = Arc::new(Resolver::new(servers.to_vec()));
    let failed = runtime.block_on(look_up(objects, resolver));
    Ok(host_names::unresolved(objects, |host| {
        failed.get(host).cloned()
    }))
}

/// Looks up all names concurrently. Returns the names without an address, and the reasons.
async fn look_up(objects: &Objects, resolver: Arc<Resolver>) -> BTreeMap<String, String> {
    let mut lookups = JoinSet::new();
    for host in host_names::all(objects) {
        let resolver = resolver.clone();
        lookups.spawn(async move {
            let lookup = tokio::time::timeout(TIMEOUT, resolver.lookup(&host));
            let reason = match lookup.await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {} seconds", TIMEOUT.as_secs())),
            };
            Some((host, reason?))
        });
    }
    let results = lookups.join_all().await;
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use towergate_k8s::decode::decode;

    use super::*;

    const BACKEND: &str = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: api, namespace: d}\n\
                           spec: {endpoints: [{fqdn: {hostname: absent.example.com, port: 443}}, \
                           {fqdn: {hostname: localhost, port: 443}}, {ip: {address: 192.0.2.1, port: 80}}]}\n";

    /// A name server for which no name exists (RFC 1035, section 4.1.1: RCODE 3).
    fn empty_name_server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("an address");
        std::thread::spawn(move || {
            let mut message = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut message) {
                message[2] |= 0x80;
                message[3] = 3;
                let _ = socket.send_to(&message[..length], client);
            }
        });
        address
    }

    #[test]
    fn a_name_that_does_not_exist_is_a_warning_at_its_field() {
        let objects = decode("in.yaml", BACKEND).objects;

        let found = find(&objects, &[empty_name_server()]).expect("a runtime");

        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].field, "spec.endpoints[0].fqdn.hostname");
        let message = "host \"absent.example.com\" cannot be resolved: the name does not exist or has no \
                       address; requests to it get 503";
        assert_eq!(found[0].message, message);
    }
}
