//! The complete gateway, which serves a plan.
//!
//! ```text
//! Gateway::apply(plan) ──build──> Snapshot ──publish──> all later requests
//!                      └─reconcile──> sockets
//! Gateway::set_endpoints ──> live clusters, without a new snapshot
//! ```
//!
//! ```
//! use towergate_core::prelude::*;
//!
//! let users = BackendId::service("shop", "users", 80);
//! let rule = Rule::new(PathMatch::Prefix("/users".to_owned())).to(&users);
//! let route = Route::new("shop", "users", vec![rule]);
//! let plan: Plan = Plan::http("shop", "edge", 80, vec![route]);
//!
//! let gateway = Gateway::new(Options::default());
//! gateway.set_endpoints(&Endpoints::from([(users, vec!["10.0.0.7:8080".parse()?])]));
//! gateway.apply(&plan)?;
//!
//! assert_eq!(gateway.version(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::any::Any;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use socket2::Type;
use tokio::time::Instant;
use towergate_tls::rustls::crypto::CryptoProvider;

use crate::access_log::AccessLog;
use crate::balance::{Clusters, OwnZone};
use crate::datagram::DatagramConfig;
use crate::dns::Resolver;
use crate::listen::{
    DatagramSockets, Listeners, PortConfig, Server, WantedSockets, Workers, classify,
};
use crate::observer::Observer;
use crate::plan::{Endpoints, Plan};
use crate::policy::RoutePolicy;
use crate::router::{Router, Shared};
use crate::snapshot::{BuildCache, Builder, Live, SnapshotHandle};

pub use crate::conn::Drain;
pub use crate::listen::BindError;
pub use crate::router::layer::{GatewayLayer, GatewayService, PortService, known_connection};
pub use crate::snapshot::{BuildError, PolicyFault, PolicyFaults};

/// Settings of a [`Gateway`] that do not depend on the plan.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// Crypto provider for TLS.
    pub provider: Arc<CryptoProvider>,
    /// Receives one entry per request. Default: no access log.
    pub access_log: Option<Arc<dyn AccessLog>>,
    /// Receives events for metrics. Default: no observer.
    pub observer: Option<Arc<dyn Observer>>,
    /// Whether addresses may be shared with other processes that listen with `SO_REUSEPORT`. The kernel
    /// distributes connections among these processes. Default: `false`; an address that is in use cannot be
    /// bound.
    pub reuse_port: bool,
    /// Whether a duplicate of each listening socket is created, for [`Gateway::duplicate_sockets`]. Default:
    /// `false`.
    pub keep_duplicates: bool,
    /// Name servers for backends that are configured by host name. Default: none; the name servers of the
    /// system are used.
    pub name_servers: Vec<SocketAddr>,
    /// Whether backends that are configured by host name may have loopback, link-local and unspecified
    /// addresses. If false, these addresses are ignored. Default: `true`.
    pub local_names: bool,
    /// Zone of this gateway (label `topology.kubernetes.io/zone` of its node). Rules may prefer this zone.
    /// Default: none; no zone is preferred.
    pub zone: Option<String>,
}

impl Options {
    /// Creates options with this crypto provider, without access log and observer.
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self {
            provider,
            access_log: None,
            observer: None,
            reuse_port: false,
            keep_duplicates: false,
            name_servers: Vec::new(),
            zone: None,
            local_names: true,
        }
    }

    /// Sets the access log.
    #[must_use]
    pub fn access_log(mut self, log: Arc<dyn AccessLog>) -> Self {
        self.access_log = Some(log);
        self
    }

    /// Sets the observer.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }
}

#[cfg(feature = "aws-lc-rs")]
impl Default for Options {
    /// Creates options with aws-lc-rs as crypto provider.
    fn default() -> Self {
        Self::new(towergate_tls::default_provider())
    }
}

/// Error of [`Gateway::apply`]. The previous plan stays in service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The plan cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Sockets cannot be opened.
    #[error("{}", .0.iter().map(|error| format!("{error}: {}", error.source)).collect::<Vec<_>>().join("; "))]
    Listen(Vec<BindError>),
}

/// Effect on a plan of an address that cannot be bound.
#[derive(Clone, Copy, Eq, PartialEq)]
enum UnboundAddress {
    /// The plan is rejected.
    RejectPlan,
    /// The plan is served, except on this address.
    Skip,
}

/// The data plane. It serves plans on its own worker threads, or inside a service of another program.
pub struct Gateway {
    options: Options,
    handle: Arc<SnapshotHandle>,
    drain: Drain,
    live: Live,
    directory: Arc<Clusters>,
    /// This reference keeps the resolver in `live`, so that all plans use the name servers of the options.
    _resolver: Arc<Resolver>,
    _zone: Arc<OwnZone>,
    state: Mutex<State>,
}

/// State of the gateway that each new plan changes, except the snapshot.
#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    sockets: Option<(Workers, Listeners, DatagramSockets)>,
    /// [`BuildCache`] of the plan in service. It is erased to `dyn Any`, because its type depends on the
    /// policies of the plan.
    parts: Option<Box<dyn Any + Send>>,
}

/// An index in snapshots, which is permanently assigned to a list of addresses and a port.
struct Slot {
    addresses: Vec<IpAddr>,
    port: u16,
    config: Option<Arc<ArcSwap<PortConfig>>>,
}

impl Gateway {
    /// Creates a gateway without a plan and without threads.
    pub fn new(options: Options) -> Self {
        let live = Live::default();
        Self {
            directory: Clusters::of(&live),
            _resolver: Resolver::new(options.name_servers.clone())
                .local_names(options.local_names)
                .install(&live),
            _zone: OwnZone(options.zone.as_deref().map(Arc::from)).install(&live),
            options,
            handle: Arc::default(),
            drain: Drain::new(),
            live,
            state: Mutex::default(),
        }
    }

    /// Starts `workers` threads, at least one, which serve the sockets of plans. Before this call,
    /// [`Self::apply`] opens no sockets.
    ///
    /// # Errors
    /// Fails if a thread or its runtime cannot be created.
    pub fn start(&self, workers: usize) -> io::Result<()> {
        let server = |_| Server {
            handler: self.router(),
            stream_log: Arc::new(self.router()),
            observer: self.observer(),
        };
        let workers = Workers::start(workers, server, self.drain.clone())?;
        let reuse_port = self.options.reuse_port;
        let keep = self.options.keep_duplicates;
        let listeners = Listeners::new(&workers).reuse_port(reuse_port);
        let datagrams = DatagramSockets::new(&workers, reuse_port).keep_duplicates(keep);
        let listeners = listeners.keep_duplicates(keep);
        self.state().sockets = Some((workers, listeners, datagrams));
        Ok(())
    }

    /// Adds sockets of another process. For the addresses of these sockets, the next plan uses the added
    /// sockets instead of new ones, so that the accept queues of the sockets are kept. Sockets that the plan
    /// does not use are closed. Has no effect before [`Self::start`].
    ///
    /// # Errors
    /// `InvalidInput` for a descriptor that is not a listening TCP socket or a UDP socket.
    pub fn inherit_sockets(&self, inherited: Vec<OwnedFd>) -> io::Result<()> {
        let mut state = self.state();
        let Some((_, listeners, datagrams)) = &mut state.sockets else {
            return Ok(());
        };
        for socket in inherited {
            match classify(&socket)? {
                (Type::DGRAM, address) => datagrams.inherit(address, socket),
                (_, address) => listeners.inherit(address, socket),
            }
        }
        Ok(())
    }

    /// Duplicates of all sockets of the plan, for another process that continues to serve the sockets
    /// ([`Self::inherit_sockets`]). Requires [`Options::keep_duplicates`].
    ///
    /// # Errors
    /// The errors of dup(2), for example if the limit of file descriptors is reached.
    pub fn duplicate_sockets(&self) -> io::Result<Vec<OwnedFd>> {
        let state = self.state();
        let Some((_, listeners, datagrams)) = &state.sockets else {
            return Ok(Vec::new());
        };
        let mut sockets = listeners.duplicates()?;
        sockets.extend(datagrams.duplicates()?);
        Ok(sockets)
    }

    /// Starts draining, because another process serves the sockets. Health checks remain successful. UDP
    /// sessions end at once.
    pub fn hand_over(&self) {
        if let Some((_, _, datagrams)) = &self.state().sockets {
            datagrams.stop_all();
        }
        self.close_duplicates();
        self.drain.hand_over();
    }

    /// Closes the duplicates of [`Options::keep_duplicates`], so that the system refuses connections once
    /// this gateway does not accept them. Must be called before [`Drain::start`].
    pub fn close_duplicates(&self) {
        if let Some((_, listeners, datagrams)) = &mut self.state().sockets {
            listeners.close_duplicates();
            datagrams.close_duplicates();
        }
    }

    /// Puts `plan` into service. Sockets that are also part of the previous plan stay open.
    ///
    /// # Errors
    /// [`ApplyError`] if the plan cannot be built or an address cannot be bound. The previous plan stays in
    /// service.
    pub fn apply<P: RoutePolicy>(&self, plan: &Plan<P>) -> Result<(), ApplyError> {
        self.apply_with(plan, UnboundAddress::RejectPlan)?;
        Ok(())
    }

    /// Puts `plan` into service, except on addresses that cannot be bound. Returns an error for each of these
    /// addresses. The next call tries again to bind them.
    ///
    /// # Errors
    /// [`ApplyError::Build`]. The previous plan stays in service.
    pub fn apply_bindable<P: RoutePolicy>(
        &self,
        plan: &Plan<P>,
    ) -> Result<Vec<BindError>, ApplyError> {
        self.apply_with(plan, UnboundAddress::Skip)
    }

    fn apply_with<P: RoutePolicy>(
        &self,
        plan: &Plan<P>,
        unbound: UnboundAddress,
    ) -> Result<Vec<BindError>, ApplyError> {
        let mut state = self.state();
        let slots: Vec<usize> = plan
            .ports
            .iter()
            .map(|port| state.slot(&port.addresses, port.port))
            .collect();
        let before = state.parts.take().and_then(|parts| parts.downcast().ok());
        let before: Box<BuildCache<P>> = before.unwrap_or_default();
        let builder = Builder::new(&self.live, &self.options.provider, &before);
        let built = builder.build(plan, &slots);
        // The cache is stored again: if this plan fails, the next plan must be compared with the plan in
        // service.
        state.parts = Some(before);
        let built = built?;

        let mut wanted = Vec::with_capacity(slots.len());
        for ((port, config), slot) in plan.ports.iter().zip(&built.ports).zip(&slots) {
            let cell = state.slots[*slot]
                .config
                .get_or_insert_with(|| Arc::new(ArcSwap::from_pointee(config.clone())));
            wanted.push((port.addresses.clone(), cell.clone()));
        }
        // Routes must be in service before their sockets are opened. Therefore the new snapshot is published
        // first. If a socket cannot be opened, the previous snapshot replaces it.
        let before = self.handle.publish(Arc::new(built.snapshot));
        let datagrams = wanted_datagrams(plan, built.datagrams);
        let mut errors = Vec::new();
        if let Some((_, listeners, sockets)) = &mut state.sockets {
            let (new_listeners, unbound_ports) = listeners.bind_new(&wanted);
            let (new_sockets, unbound_datagrams) = sockets.bind_new(&datagrams);
            errors.extend(unbound_ports.into_iter().chain(unbound_datagrams));
            if unbound == UnboundAddress::RejectPlan && !errors.is_empty() {
                self.handle.publish(before);
                return Err(ApplyError::Listen(errors));
            }
            listeners.install(new_listeners, &wanted);
            sockets.install(new_sockets, &datagrams);
        }
        for ((_, cell), config) in wanted.into_iter().zip(built.ports) {
            cell.store(Arc::new(config));
        }
        state.parts = Some(Box::new(built.parts));
        Ok(errors)
    }

    /// Replaces the endpoints of all backends. This takes effect at once and requires no new plan.
    pub fn set_endpoints(&self, endpoints: &Endpoints) {
        self.directory.update(endpoints);
    }

    /// The request handler, for connections that another program accepts.
    #[doc(hidden)]
    pub fn router(&self) -> Router {
        Router::new(Shared {
            handle: self.handle.clone(),
            observer: self.observer(),
            access_log: self.options.access_log.clone(),
            drain: self.drain.clone(),
        })
    }

    /// Creates a Layer that proxies requests that match a route of the plan's port `port`. It passes all
    /// other requests to the inner service.
    pub fn layer(&self, port: u16) -> GatewayLayer {
        GatewayLayer::new(self.router(), port)
    }

    /// Creates a service that proxies requests that match a route of the plan's port `port`. Its response to
    /// all other requests is 404.
    pub fn service(&self, port: u16) -> PortService {
        PortService::new(self.router(), port)
    }

    /// Local addresses of TCP listeners.
    pub fn listening(&self) -> BTreeSet<SocketAddr> {
        self.state()
            .sockets
            .as_ref()
            .map(|(_, listeners, _)| listeners.addresses())
            .unwrap_or_default()
    }

    /// Local addresses of UDP sockets.
    pub fn listening_datagrams(&self) -> BTreeSet<SocketAddr> {
        self.state()
            .sockets
            .as_ref()
            .map(|(_, _, sockets)| sockets.addresses())
            .unwrap_or_default()
    }

    /// Number of plans that have been put into service.
    pub fn version(&self) -> u64 {
        self.handle.version()
    }

    /// For the plan in service, lists the policies that cannot be enforced. Each call of
    /// [`PolicyFaults::list`] returns the current list.
    pub fn policy_faults(&self) -> PolicyFaults {
        PolicyFaults::new(self.handle.clone())
    }

    /// The drain of the gateway. It starts the shutdown, and reports whether the gateway is draining.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// Stops accepting connections, waits for requests in flight until `deadline`, and stops the threads.
    /// Returns whether all requests completed.
    pub async fn stop(&self, deadline: Instant) -> bool {
        self.close_duplicates();
        self.drain.start();
        let finished = self.drain.drained(deadline).await;
        let sockets = self.state().sockets.take();
        if let Some((workers, listeners, datagrams)) = sockets {
            drop((listeners, datagrams));
            // A thread ends when its connections are closed. The wait ends at the deadline, so that a
            // blocked thread cannot delay the shutdown.
            if finished {
                let joined = tokio::task::spawn_blocking(|| workers.stop());
                if tokio::time::timeout_at(deadline, joined).await.is_err() {
                    tracing::error!("a worker thread did not stop before the deadline");
                }
            }
        }
        finished
    }

    fn observer(&self) -> Arc<dyn Observer> {
        self.options
            .observer
            .clone()
            .unwrap_or_else(|| Arc::new(()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wanted_datagrams<P>(plan: &Plan<P>, configs: Vec<DatagramConfig>) -> WantedSockets {
    let mut wanted = WantedSockets::new();
    for (port, config) in plan.datagrams.iter().zip(configs) {
        let config = Arc::new(config);
        let addresses = port.addresses.iter();
        wanted.extend(addresses.map(|ip| (SocketAddr::new(*ip, port.port), config.clone())));
    }
    wanted
}

impl State {
    /// Returns the slot of a port. Allocates one for a new port.
    fn slot(&mut self, addresses: &[IpAddr], port: u16) -> usize {
        let same = |slot: &Slot| slot.port == port && slot.addresses == addresses;
        self.slots.iter().position(same).unwrap_or_else(|| {
            self.slots.push(Slot {
                addresses: addresses.to_vec(),
                port,
                config: None,
            });
            self.slots.len() - 1
        })
    }
}
