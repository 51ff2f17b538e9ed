//! Backends whose endpoint is the host of each request, or the server name of each TLS connection (Backend of
//! type `DynamicResolver`).
//!
//! ```text
//! authority of the request ──lookup──> addresses ──DynamicTargets::permits──> BackendRoute of the host
//!                                                  403 if none is permitted
//! ```
//!
//! A host has its own cluster, pool and outlier detector, so that connections to one host never carry
//! requests for another host. A host is looked up when a request needs it and the last answer has expired.
//! Permission depends on the addresses and not on the name, so another spelling of a name or an address does
//! not change the result.
//!
//! Clients choose the hosts, so the number of stored hosts is limited: a new host evicts the least recently
//! used host. Names without a permitted address are not stored.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::backends::BackendRoute;
use crate::dns::{HostAddresses, LookupError, ResolvedAddresses, Resolver};
use crate::error::Error;
use crate::http::Authority;
use crate::plan::{DnsHost, DnsSettings, DynamicTargets};
use crate::upstream::Pool;

/// Maximum number of hosts of a backend, as in Envoy.
const MAX_HOSTS: usize = 1024;
/// Time after which an unused host is removed, as in Envoy.
const UNUSED: Duration = Duration::from_secs(300);

/// The hosts of one backend of a rule.
pub(super) struct DynamicHosts {
    targets: Arc<DynamicTargets>,
    resolver: Arc<Resolver>,
    dns: DnsSettings,
    default_port: u16,
    build: RouteBuilder,
    known: ArcSwap<KnownHosts>,
    changes: Mutex<()>,
    start: Instant,
}

/// Builds the route of a host, with a cluster without endpoints.
pub(super) type RouteBuilder = Box<dyn Fn(&DnsHost) -> BackendRoute + Send + Sync>;

/// Hosts in the order of name and port, and their pools.
#[derive(Default)]
pub(super) struct KnownHosts {
    hosts: Vec<Arc<DynamicHost>>,
    pub(super) pools: Vec<Arc<Pool>>,
}

/// A host with its addresses.
pub(super) struct DynamicHost {
    host: DnsHost,
    pub(super) route: BackendRoute,
    addresses: tokio::sync::Mutex<HostAddresses>,
    /// Time at which the addresses expire, in milliseconds since `DynamicHosts::start`.
    expires: AtomicU64,
    /// Time of the latest request, in milliseconds since `DynamicHosts::start`.
    used: AtomicU64,
}

impl DynamicHosts {
    /// Creates an empty set of hosts. `default_port` is the port of requests whose authority has no port.
    pub(super) fn new(
        targets: Arc<DynamicTargets>,
        (resolver, dns): (Arc<Resolver>, DnsSettings),
        default_port: u16,
        build: RouteBuilder,
    ) -> Self {
        Self {
            targets,
            resolver,
            dns,
            default_port,
            build,
            known: ArcSwap::default(),
            changes: Mutex::default(),
            start: Instant::now(),
        }
    }

    /// The hosts that are currently known.
    pub(super) fn known(&self) -> Arc<KnownHosts> {
        self.known.load_full()
    }

    /// The host that `authority` names, with addresses that have not expired.
    ///
    /// # Errors
    /// [`Error::HostDenied`] if the host has no permitted address, [`Error::HostNotResolved`] if it has no
    /// address.
    pub(super) async fn find(&self, authority: &Authority) -> Result<Arc<DynamicHost>, Error> {
        let name = authority.host().trim_matches(['[', ']']);
        let name = name.strip_suffix('.').unwrap_or(name);
        let port = authority.port().unwrap_or(self.default_port);
        self.find_host(name, port).await
    }

    /// The host `name`, which is a domain name or a literal address, with addresses that have not expired.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(super) async fn find_host(&self, name: &str, port: u16) -> Result<Arc<DynamicHost>, Error> {
        let now = self.now();
        let found = self.known.load().find(name, port).cloned();
        match found {
            Some(host) if host.expires.load(Ordering::Relaxed) > now => {
                host.used.store(now, Ordering::Relaxed);
                Ok(host)
            }
            Some(host) => self.refresh(host).await,
            None => self.add(name, port).await,
        }
    }

    /// Looks up a host for the first time.
    async fn add(&self, name: &str, port: u16) -> Result<Arc<DynamicHost>, Error> {
        if port == 0 {
            return Err(Error::HostNotResolved("port 0".to_owned()));
        }
        let answer = self.lookup(name).await;
        let answer = answer.map_err(|failure| failure.into_error())?;
        let host = DnsHost {
            name: name.to_owned(),
            port,
        };
        let mut addresses = HostAddresses::default();
        let mut added = DynamicHost {
            route: (self.build)(&host),
            host,
            addresses: tokio::sync::Mutex::default(),
            expires: AtomicU64::new(0),
            used: AtomicU64::new(self.now()),
        };
        let answer = (Ok(answer), &self.dns);
        added.record(&mut addresses, answer, self.now());
        *added.addresses.get_mut() = addresses;
        Ok(self.insert(Arc::new(added)))
    }

    /// Looks up a host again. Requests that arrive meanwhile wait for the answer.
    async fn refresh(&self, host: Arc<DynamicHost>) -> Result<Arc<DynamicHost>, Error> {
        let mut addresses = host.addresses.lock().await;
        let now = self.now();
        host.used.store(now, Ordering::Relaxed);
        if host.expires.load(Ordering::Relaxed) <= now {
            let answer = match self.lookup(&host.host.name).await {
                Ok(answer) => Ok(answer),
                Err(Failure::Lookup(failed @ LookupError::Failed(_))) => Err(failed),
                Err(failure) => {
                    self.remove(&host);
                    return Err(failure.into_error());
                }
            };
            host.record(&mut addresses, (answer, &self.dns), self.now());
        }
        drop(addresses);
        Ok(host)
    }

    /// The permitted addresses of a host.
    async fn lookup(&self, name: &str) -> Result<ResolvedAddresses, Failure> {
        // The trailing dot makes the name absolute: the search domains of the system, such as those of a pod,
        // must not apply to names from clients.
        let answer = match name.parse::<IpAddr>() {
            Ok(_) => self.resolver.lookup(name).await,
            Err(_) => {
                self.resolver
                    .lookup_family(&format!("{name}."), self.dns.family)
                    .await
            }
        };
        let mut answer = answer.map_err(Failure::Lookup)?;
        answer
            .addresses
            .retain(|address| self.targets.permits(*address));
        match answer.addresses.is_empty() {
            true => Err(Failure::Denied),
            false => Ok(answer),
        }
    }

    /// Adds `host`, unless another request has added it meanwhile. Returns the host in use.
    fn insert(&self, host: Arc<DynamicHost>) -> Arc<DynamicHost> {
        let _changing = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load();
        if let Some(other) = known.find(&host.host.name, host.host.port) {
            return other.clone();
        }
        let oldest = self.now().saturating_sub(milliseconds(UNUSED));
        let mut hosts: Vec<_> = known.hosts.clone();
        hosts.retain(|host| host.used.load(Ordering::Relaxed) >= oldest);
        if hosts.len() >= MAX_HOSTS {
            let used = |host: &Arc<DynamicHost>| host.used.load(Ordering::Relaxed);
            let unused = (0..hosts.len()).min_by_key(|index| used(&hosts[*index]));
            hosts.remove(unused.expect("the set of hosts is not empty"));
        }
        let at = hosts.partition_point(|other| other.host < host.host);
        hosts.insert(at, host.clone());
        self.known.store(Arc::new(KnownHosts::new(hosts)));
        host
    }

    fn remove(&self, host: &Arc<DynamicHost>) {
        let _changing = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hosts = self.known.load().hosts.clone();
        hosts.retain(|other| !Arc::ptr_eq(other, host));
        self.known.store(Arc::new(KnownHosts::new(hosts)));
    }

    fn now(&self) -> u64 {
        milliseconds(self.start.elapsed())
    }
}

impl KnownHosts {
    fn new(hosts: Vec<Arc<DynamicHost>>) -> Self {
        let pools = hosts.iter().flat_map(|host| host.route.pools().cloned());
        Self {
            pools: pools.collect(),
            hosts,
        }
    }

    fn find(&self, name: &str, port: u16) -> Option<&Arc<DynamicHost>> {
        let key = (name, port);
        let order = |host: &Arc<DynamicHost>| (host.host.name.as_str(), host.host.port).cmp(&key);
        let at = self.hosts.binary_search_by(order).ok()?;
        Some(&self.hosts[at])
    }
}

impl DynamicHost {
    /// Records the result of a lookup that completed at `now`.
    fn record(
        &self,
        addresses: &mut HostAddresses,
        (answer, settings): (Result<ResolvedAddresses, LookupError>, &DnsSettings),
        now: u64,
    ) {
        let valid = addresses.record(&self.host.name, answer, settings);
        let endpoints: Vec<_> = addresses.endpoints(self.host.port).collect();
        self.route.cluster.set(&endpoints);
        self.expires
            .store(now.saturating_add(milliseconds(valid)), Ordering::Relaxed);
    }
}

/// Reason why a host has no permitted address.
enum Failure {
    Lookup(LookupError),
    Denied,
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Self::Lookup(error) => Error::HostNotResolved(error.to_string()),
            Self::Denied => Error::HostDenied,
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for DynamicHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicHosts")
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DynamicHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicHost")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}
