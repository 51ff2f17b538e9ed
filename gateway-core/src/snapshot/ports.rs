//! Builds the settings of connections and sockets.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use towergate_tls::client_auth::ClientVerifier;
use towergate_tls::server::{ResumptionState, ServerConfig};
use towergate_tls::{NameMap, ServerTls};

use super::build::{BuildError, Builder};
use crate::datagram::DatagramConfig;
use crate::http::settings::ListenerSettings;
use crate::listen::{ListenerConfig, PortConfig, PortProtocol};
use crate::plan::{DatagramPort, Listener, ListenerId, Port, Protocol, StreamRoute};
use crate::policy::RoutePolicy;
use crate::stream::{StreamRule, StreamTable, StreamTarget};

impl<P: RoutePolicy> Builder<'_, P> {
    /// Settings of the connections to a port.
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
                PortProtocol::Plain(Arc::new(self.listener_config(first, &port.listeners, None)))
            }
            Protocol::Tcp if port.listeners.len() == 1 => {
                let config = self.listener_config(first, &port.listeners, None);
                PortProtocol::Tcp(Arc::new(config))
            }
            Protocol::Tcp => return Err(BuildError::MixedPort(port.port)),
            Protocol::Https(_) | Protocol::Tls(_) => self.tls_transport(port, sessions)?,
        };
        Ok(PortConfig {
            slot,
            port: port.port,
            tcp: port.tcp.clone(),
            protocol: transport,
        })
    }

    fn tls_transport(
        &mut self,
        port: &Port<P>,
        sessions: &mut Vec<Arc<ResumptionState>>,
    ) -> Result<PortProtocol, BuildError> {
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
            mixed |= tls.is_none() || listener.settings.fingerprints != Default::default();
            let config = self.listener_config(listener, std::slice::from_ref(listener), tls);
            by_name.insert(listener.hostname.clone(), Arc::new(config));
        }
        Ok(match mixed {
            true => PortProtocol::Mixed(by_name),
            false => PortProtocol::Tls(by_name),
        })
    }

    /// Routes of a listener whose protocol is not HTTP. `None` for HTTP. If the listener is invalid, there
    /// are no routes.
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

    /// Settings of a UDP socket.
    pub(super) fn datagram_config(&mut self, port: &DatagramPort) -> DatagramConfig {
        let target = port.routes.first().map(|route| StreamTarget {
            // The route is built as for TLS passthrough, because datagrams do not use TLS.
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

    /// Builds a route. If the route is unchanged, the built route of the previous plan is reused.
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

    /// Settings of a listener. `sharers` are all listeners whose requests a connection to this listener can
    /// carry.
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

    /// The verifier of client certificates.
    fn clients(&self, listener: &Listener<P>) -> Option<Arc<ClientVerifier>> {
        match &listener.protocol {
            // This call does not fail, because the TLS settings contain the same verifier and have been built
            // before.
            Protocol::Https(tls) | Protocol::Tls(Some(tls)) => {
                tls.client_verifier(self.provider).ok().flatten()
            }
            Protocol::Http | Protocol::Tls(None) | Protocol::Tcp => None,
        }
    }

    /// Builds the TLS settings of a listener. Sessions remain resumable after a change of certificates.
    /// Listeners do not share sessions.
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

/// The settings of connections, with the longest idle timeout. If the idle timeout of a rule exceeds that of
/// its listener, the connection uses the timeout of the rule. The timer of each request enforces the exact
/// value.
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

/// Key of the connection count of a listener.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Connections(ListenerId);
