//! Addresses of backends that are configured by host name.
//!
//! ```text
//! Backend::hosts ──follow──> Resolver::lookup ──HostAddresses::record──> Cluster::set
//!                   ▲  A, AAAA, TTL                     │
//!                   └──── next lookup when the first answer expires
//! ```
//!
//! Each set of hosts has one task, which ends when the last rule that uses its [`Cluster`] is removed.
//! Lookups take place outside the request path. Only requests that arrive before the first answer wait for a
//! lookup.
//!
//! If a lookup fails, the latest addresses are kept. The addresses are removed if the name server answers
//! that the name does not exist or has no address.

mod hosts;
mod resolver;
#[cfg(test)]
pub(crate) mod test_server;

pub use resolver::{LookupError, ResolvedAddresses, Resolver, is_local};

use std::sync::{Arc, LazyLock, Weak};
use std::thread;

use futures_util::future::join_all;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::balance::Cluster;
use crate::live::Live;
use crate::plan::{Backend, BackendId, DnsHost, DnsSettings};
pub(crate) use hosts::HostAddresses;
use hosts::LONGEST_TTL;

/// Keeps the addresses of a cluster up to date until dropped.
#[derive(Debug)]
pub(crate) struct HostFollower {
    answered: watch::Receiver<bool>,
    task: AbortHandle,
}

/// The cluster of a backend that is configured by host names. Backends with equal hosts share one cluster.
pub(crate) fn cluster(live: &Live, backend: &Backend, settings: DnsSettings) -> Arc<Cluster> {
    let hosts: Box<[DnsHost]> = backend.hosts.as_slice().into();
    let key: (BackendId, Box<[DnsHost]>, DnsSettings) = (backend.id.clone(), hosts, settings);
    live.share(key, |(id, hosts, _)| {
        let cluster = Arc::new(Cluster::new(id.clone()));
        let follower = HostFollower::start(&cluster, hosts.clone(), (Resolver::of(live), settings));
        cluster.follow(follower);
        cluster
    })
}

impl HostFollower {
    fn start(
        cluster: &Arc<Cluster>,
        hosts: Box<[DnsHost]>,
        resolution: (Arc<Resolver>, DnsSettings),
    ) -> Self {
        let (sender, answered) = watch::channel(false);
        let task = follow(Arc::downgrade(cluster), hosts, resolution, sender);
        let runtime = Handle::try_current().unwrap_or_else(|_| background().clone());
        Self {
            answered,
            task: runtime.spawn(task).abort_handle(),
        }
    }

    /// Whether the first lookup has completed.
    pub(crate) fn has_answered(&self) -> bool {
        *self.answered.borrow()
    }

    /// Waits until the first lookup has completed.
    pub(crate) async fn first_answer(&self) {
        let mut answered = self.answered.clone();
        // An error means that the task has ended, so there will be no answer.
        let _ = answered.wait_for(|answered| *answered).await;
    }
}

impl Drop for HostFollower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Looks up `hosts` until `cluster` is dropped.
async fn follow(
    cluster: Weak<Cluster>,
    hosts: Box<[DnsHost]>,
    (resolver, settings): (Arc<Resolver>, DnsSettings),
    answered: watch::Sender<bool>,
) {
    let mut known: Vec<HostAddresses> = hosts.iter().map(|_| HostAddresses::default()).collect();
    loop {
        let answers = join_all(
            hosts
                .iter()
                .map(|host| resolver.lookup_family(&host.name, settings.family)),
        )
        .await;
        let mut pause = LONGEST_TTL;
        for ((host, known), answer) in hosts.iter().zip(&mut known).zip(answers) {
            pause = pause.min(known.record(&host.name, answer, &settings));
        }
        let endpoints: Vec<_> = hosts
            .iter()
            .zip(&known)
            .flat_map(|(host, known)| known.endpoints(host.port))
            .collect();
        match cluster.upgrade() {
            Some(cluster) => cluster.set(&endpoints),
            None => return,
        }
        answered.send_replace(true);
        sleep(pause).await;
    }
}

/// A tokio runtime for lookups, used if a plan is built on a thread without a runtime.
fn background() -> &'static Handle {
    static BACKGROUND: LazyLock<Handle> = LazyLock::new(|| {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the system has resources for a runtime");
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name("dns".to_owned())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .expect("the system has resources for a thread");
        handle
    });
    &BACKGROUND
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::plan::{BackendProtocol, DnsFamily};

    fn backend(hosts: &[(&str, u16)]) -> Backend {
        Backend {
            id: BackendId::service("n", "named", 0),
            protocol: BackendProtocol::Http1,
            tls: None,
            hosts: hosts
                .iter()
                .map(|(name, port)| DnsHost {
                    name: (*name).to_owned(),
                    port: *port,
                })
                .collect(),
            fallback: false,
            dynamic: None,
        }
    }

    fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
        let set = cluster.endpoint_set();
        set.endpoints()
            .iter()
            .filter_map(|live| live.address().ip_and_port())
            .collect()
    }

    /// The host names in this test are literal addresses, so no lookup is performed.
    #[tokio::test]
    async fn the_endpoints_of_a_backend_are_the_addresses_of_all_its_hosts() {
        let live = Live::default();

        let cluster = cluster(
            &live,
            &backend(&[("192.0.2.1", 80), ("2001:db8::1", 81)]),
            DnsSettings::default(),
        );
        cluster.first_answer().await;

        let expected = ["192.0.2.1:80", "[2001:db8::1]:81"];
        assert_eq!(
            addresses(&cluster),
            expected.map(|text| text.parse().unwrap())
        );
    }

    #[tokio::test]
    async fn equal_hosts_share_a_cluster_and_others_do_not() {
        let live = Live::default();

        let one = cluster(
            &live,
            &backend(&[("192.0.2.1", 80)]),
            DnsSettings::default(),
        );
        let same = cluster(
            &live,
            &backend(&[("192.0.2.1", 80)]),
            DnsSettings::default(),
        );
        let other = cluster(
            &live,
            &backend(&[("192.0.2.1", 81)]),
            DnsSettings::default(),
        );

        assert!(Arc::ptr_eq(&one, &same));
        assert!(!Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn a_plan_built_outside_a_runtime_has_its_hosts_looked_up() {
        let live = Live::default();

        let cluster = cluster(
            &live,
            &backend(&[("192.0.2.1", 80)]),
            DnsSettings::default(),
        );
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(cluster.first_answer());

        assert_eq!(addresses(&cluster), ["192.0.2.1:80".parse().unwrap()]);
    }
    /// Waits until a cluster has the addresses in `expected`, in this order.
    async fn becomes(cluster: &Cluster, expected: &[&str]) {
        let expected: Vec<SocketAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
        while addresses(cluster) != expected {
            sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn changed_answers_become_endpoints_and_failures_keep_the_latest() {
        let server = test_server::NameServer::start().await;
        let live = Live::default();
        let resolver = Resolver::new(vec![server.address]).install(&live);
        server.set("a.test", &["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        server.set("b.test", &["2001:db8::2"]);

        let cluster = cluster(
            &live,
            &backend(&[("a.test", 80), ("b.test", 81)]),
            DnsSettings::default(),
        );
        cluster.first_answer().await;

        let both = ["192.0.2.1:80", "192.0.2.2:80", "[2001:db8::2]:81"];
        becomes(&cluster, &both).await;
        server.fail("a.test");
        server.set("b.test", &["192.0.2.9"]);
        let kept = ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.9:81"];
        becomes(&cluster, &kept).await;
        let failed = resolver.lookup("a.test").await;
        assert!(matches!(failed, Err(LookupError::Failed(_))), "{failed:?}");
        server.set("a.test", &["192.0.2.3"]);
        server.remove("b.test");
        becomes(&cluster, &["192.0.2.3:80"]).await;
    }

    #[tokio::test]
    async fn addresses_are_those_of_the_chosen_ip_versions() {
        let server = test_server::NameServer::start().await;
        let live = Live::default();
        let _resolver = Resolver::new(vec![server.address]).install(&live);
        server.set("both.test", &["192.0.2.1", "2001:db8::1"]);
        server.set("old.test", &["192.0.2.2"]);
        let (old, new) = ("192.0.2.1:80", "[2001:db8::1]:80");
        let only_old = "192.0.2.2:80";
        for (family, both, of_old) in [
            (DnsFamily::Ipv4, &[old][..], &[only_old][..]),
            (DnsFamily::Ipv6, &[new], &[]),
            (DnsFamily::Ipv4Preferred, &[old], &[only_old]),
            (DnsFamily::Ipv6Preferred, &[new], &[only_old]),
            (DnsFamily::Ipv4AndIpv6, &[old, new], &[only_old]),
        ] {
            let settings = DnsSettings {
                family,
                ..DnsSettings::default()
            };
            for (name, expected) in [("both.test", both), ("old.test", of_old)] {
                let cluster = cluster(&live, &backend(&[(name, 80)]), settings);
                cluster.first_answer().await;

                let expected: Vec<SocketAddr> =
                    expected.iter().map(|text| text.parse().unwrap()).collect();
                assert_eq!(addresses(&cluster), expected, "{family:?} {name}");
            }
        }
    }
}
