//! What connections and sockets need to know of their ports, from the plan.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use towergate_tls::client_auth::ClientVerifier;
use towergate_tls::server::{ResumptionState, ServerConfig};
use towergate_tls::{NameMap, ServerTls};

use super::build::{BuildError, Builder};
use crate::datagram::DatagramConfig;
use crate::http::settings::ListenerSettings;
use crate::listen::{ListenerConfig, PortConfig, Transport};
use crate::plan::{DatagramPort, Listener, ListenerId, Port, Protocol, StreamRoute};
use crate::policy::RoutePolicy;
use crate::stream::{StreamRule, StreamTable, StreamTarget};

impl<P: RoutePolicy> Builder<'_, P> {
    /// What connections to a port need to know.
    pub(super) fn port_config(
        &mut self,
        port: &Port<P>,
        slot: usize,
        sessions: &mut Vec<Arc<ResumptionState>>,
    ) -> Result<PortConfig, BuildError> {
        let first = port
            .listeners
            .first()
            .ok_or(BuildError::EmptyPort(port.port))?;
        let transport = match &first.protocol {
            Protocol::Http => {
                if port
                    .listeners
                    .iter()
                    .any(|listener| listener.protocol != Protocol::Http)
                {
                    return Err(BuildError::MixedPort(port.port));
                }
                Transport::Plain(Arc::new(self.listener_config(first, &port.listeners, None)))
            }
            Protocol::Tcp if port.listeners.len() == 1 => {
                let config = self.listener_config(first, &port.listeners, None);
                Transport::Tcp(Arc::new(config))
            }
            Protocol::Tcp => return Err(BuildError::MixedPort(port.port)),
            Protocol::Https(_) | Protocol::Tls(_) => self.tls_transport(port, sessions)?,
        };
        Ok(PortConfig {
            slot,
            port: port.port,
            tcp: port.tcp.clone(),
            transport,
        })
    }

    fn tls_transport(
        &mut self,
        port: &Port<P>,
        sessions: &mut Vec<Arc<ResumptionState>>,
    ) -> Result<Transport, BuildError> {
        let mut by_name = NameMap::default();
        let mut mixed = false;
        for listener in &port.listeners {
            let tls = match &listener.protocol {
                Protocol::Https(tls) | Protocol::Tls(Some(tls)) => {
                    Some(self.tls(tls, &listener.id, sessions)?)
                }
                Protocol::Tls(None) => None,
                Protocol::Http | Protocol::Tcp => return Err(BuildError::MixedPort(port.port)),
            };
            mixed |= tls.is_none();
            let config = self.listener_config(listener, std::slice::from_ref(listener), tls);
            by_name.insert(listener.hostname.clone(), Arc::new(config));
        }
        Ok(match mixed {
            true => Transport::Mixed(by_name),
            false => Transport::Tls(by_name),
        })
    }

    /// Where the connections of a listener go, if they are no HTTP. A listener that failed lets none go
    /// anywhere.
    fn streams(&mut self, listener: &Listener<P>) -> Option<Arc<StreamTable>> {
        let passes = match &listener.protocol {
            Protocol::Http | Protocol::Https(_) => return None,
            Protocol::Tls(tls) => tls.is_none(),
            Protocol::Tcp => false,
        };
        let routes = listener.streams.iter().filter(|_| !listener.failed);
        let built = routes.map(|route| (&**route, self.stream_rule(route, passes)));
        let built: Vec<_> = built.collect();
        Some(Arc::new(StreamTable::new(listener.id.clone(), built)))
    }

    /// What a socket for datagrams needs to know.
    pub(super) fn datagram_config(&mut self, port: &DatagramPort) -> DatagramConfig {
        let target = port.routes.first().map(|route| StreamTarget {
            // Datagrams are no stream that TLS could go over.
            rule: self.stream_rule(route, true),
            hostname: "*".into(),
        });
        DatagramConfig {
            port: port.port,
            listener: Arc::new(port.id.clone()),
            idle_timeout: port.idle_timeout,
            target,
        }
    }

    /// A route as it runs; the one that the plan before had, if it is the same.
    fn stream_rule(&mut self, route: &Arc<StreamRoute>, passes: bool) -> Arc<StreamRule> {
        if let Some(built) = self.now.stream(route, passes) {
            return built.clone();
        }
        let built = match self.before.stream(route, passes) {
            Some(built) => built.clone(),
            None => Arc::new(match passes {
                true => StreamRule::passthrough(route, self.live, self.provider),
                false => StreamRule::new(route, self.live, self.provider),
            }),
        };
        self.now.keep_stream(route, passes, built.clone());
        built
    }

    /// `sharers` are the listeners that requests of its connections may be for.
    fn listener_config(
        &mut self,
        listener: &Listener<P>,
        sharers: &[Listener<P>],
        tls: Option<Arc<ServerConfig>>,
    ) -> ListenerConfig {
        ListenerConfig {
            id: listener.id.clone(),
            settings: patient(&listener.settings, sharers),
            clients: tls.is_some().then(|| self.clients(listener)).flatten(),
            tls,
            connections: self.live.share(Connections(listener.id.clone()), |_| {
                Arc::<AtomicU64>::default()
            }),
            streams: self.streams(listener),
        }
    }

    /// What verifies certificates of clients.
    fn clients(&self, listener: &Listener<P>) -> Option<Arc<ClientVerifier>> {
        match &listener.protocol {
            // They were built with the rest of TLS before, and it worked. Without it nobody is known.
            Protocol::Https(tls) | Protocol::Tls(Some(tls)) => {
                tls.client_verifier(self.provider).ok().flatten()
            }
            Protocol::Http | Protocol::Tls(None) | Protocol::Tcp => None,
        }
    }

    /// Equal settings of the same listener give the same configuration. Sessions outlive a change of
    /// certificates, and two listeners never share any.
    fn tls(
        &self,
        tls: &ServerTls,
        id: &ListenerId,
        kept: &mut Vec<Arc<ResumptionState>>,
    ) -> Result<Arc<ServerConfig>, BuildError> {
        let settings = tls.without_certificates();
        let sessions = self.live.share((id.clone(), settings), |(_, settings)| {
            Arc::new(ResumptionState::new(settings))
        });
        let built = tls.build(self.provider.clone(), Some(&sessions));
        kept.push(sessions);
        built.map_err(|source| BuildError::Tls {
            listener: Box::new(id.clone()),
            source,
        })
    }
}

/// The settings of connections. Where a rule lets its requests be silent for longer than the listener
/// does, the connection is no less patient: the request's own timer decides.
fn patient<P>(settings: &Arc<ListenerSettings>, sharers: &[Listener<P>]) -> Arc<ListenerSettings> {
    let own = settings.timeouts.stream_idle;
    let routes = sharers.iter().flat_map(|listener| &listener.routes);
    let limits = routes.flat_map(|route| &route.rules).map(|rule| {
        let traffic = &rule.traffic;
        traffic.stream_idle.limit(own, traffic.request_timeout)
    });
    let longest = limits.fold(own, |longest, limit| Some(longest?.max(limit?)));
    if longest == own {
        return settings.clone();
    }
    let mut settings = ListenerSettings::clone(settings);
    settings.timeouts.stream_idle = longest;
    Arc::new(settings)
}

/// The key of a listener's connection count.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Connections(ListenerId);
