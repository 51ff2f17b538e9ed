//! From a plan to what runs.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::StatusCode;
use towergate_tls::rustls::crypto::CryptoProvider;
use towergate_tls::server::{ResumptionState, ServerConfig};
use towergate_tls::{NameMap, NamePattern, ServerTls, TlsError};

use super::{ListenerSnapshot, Live, PortSnapshot, RuleSnapshot, Snapshot, Target};
use crate::conn::{ListenerConfig, PortConfig, Transport};
use crate::filter::Filter;
use crate::plan::{
    Listener, ListenerId, ListenerSettings, Match, Plan, Port, Protocol, Route, Rule,
};
use crate::policy::RoutePolicy;
use crate::route::RouteTable;
use crate::traffic::Forwarder;

/// Why a plan cannot run. The last good snapshot stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The TLS settings of a listener cannot be served.
    #[error("listener {} of Gateway {}/{}: {source}", listener.listener, listener.namespace, listener.gateway)]
    Tls {
        /// The listener.
        listener: Box<ListenerId>,
        /// Why.
        source: TlsError,
    },
    /// A port has plain listeners beside listeners with TLS.
    #[error("port {0} has plain listeners beside listeners with TLS")]
    MixedPort(u16),
    /// A port has no listener.
    #[error("port {0} has no listener")]
    EmptyPort(u16),
}

/// What is built from a plan.
pub(crate) struct Built {
    pub(crate) snapshot: Snapshot,
    /// What connections need to know, in the order of the plan's ports.
    pub(crate) ports: Vec<PortConfig>,
}

/// What building needs beside the plan.
pub(crate) struct Builder<'a> {
    pub(crate) live: &'a Live,
    pub(crate) provider: &'a Arc<CryptoProvider>,
}

impl Builder<'_> {
    /// Builds `plan`; its ports get the `slots` of the same index.
    pub(crate) fn build<P: RoutePolicy>(
        &self,
        plan: &Plan<P>,
        slots: &[usize],
    ) -> Result<Built, BuildError> {
        let size = slots.iter().max().map_or(0, |max| max + 1);
        let mut snapshot = Snapshot {
            ports: (0..size).map(|_| None).collect(),
        };
        let mut ports = Vec::with_capacity(plan.ports.len());
        for (port, slot) in plan.ports.iter().zip(slots) {
            let mut sessions = Vec::new();
            ports.push(self.port_config(port, *slot, &mut sessions)?);
            snapshot.ports[*slot] = Some(self.port(port, sessions));
        }
        Ok(Built { snapshot, ports })
    }

    fn port<P: RoutePolicy>(
        &self,
        port: &Port<P>,
        sessions: Vec<Arc<ResumptionState>>,
    ) -> PortSnapshot {
        let mut by_host = NameMap::default();
        for (index, listener) in port.listeners.iter().enumerate() {
            by_host.insert(listener.hostname.clone(), index);
        }
        let listeners = port
            .listeners
            .iter()
            .map(|listener| self.listener(listener))
            .collect();
        PortSnapshot {
            port: port.port,
            listeners,
            by_host,
            _sessions: sessions,
        }
    }

    fn listener<P: RoutePolicy>(&self, listener: &Listener<P>) -> ListenerSnapshot {
        let mut entries = Vec::new();
        for route in &listener.routes {
            self.route(route, &mut entries);
        }
        ListenerSnapshot {
            id: Arc::new(listener.id.clone()),
            port: listener.port,
            settings: listener.settings.clone(),
            failed: listener.failed,
            table: RouteTable::build(entries),
        }
    }

    fn route<'p, P: RoutePolicy>(
        &self,
        route: &'p Route<P>,
        entries: &mut Vec<(NamePattern, &'p Match, Target)>,
    ) {
        let id = Arc::new(route.id.clone());
        let hostnames: Vec<(NamePattern, Arc<str>)> = route
            .hostnames
            .iter()
            .map(|name| (name.clone(), name.to_string().into()))
            .collect();
        for rule in &route.rules {
            let built = Arc::new(self.rule(rule, &id));
            for (name, text) in &hostnames {
                for (matched, condition) in rule.matches.iter().enumerate() {
                    let target = Target {
                        rule: built.clone(),
                        matched,
                        hostname: text.clone(),
                    };
                    entries.push((name.clone(), condition, target));
                }
            }
        }
    }

    fn rule<P: RoutePolicy>(&self, rule: &Rule<P>, id: &Arc<crate::plan::RouteId>) -> RuleSnapshot {
        let mut built = RuleSnapshot {
            route: id.clone(),
            index: rule.index,
            respond: rule
                .respond
                .and_then(|status| StatusCode::from_u16(status).ok()),
            guards: rule
                .policies
                .iter()
                .map(|policy| policy.guard(rule, self.live))
                .collect(),
            redirect: None,
            request_edits: Vec::new(),
            rewrite: None,
            response_edits: Vec::new(),
            upgrades: rule.traffic.upgrades.clone(),
            bounded: rule.traffic.request_timeout,
            stream_idle: rule.traffic.stream_idle,
            forwarder: Forwarder::new(
                (rule.route.clone(), rule.index),
                rule.traffic.clone(),
                &rule.backends,
                self.live,
                self.provider,
            ),
        };
        for filter in &rule.filters {
            match filter {
                Filter::RequestHeaders(edits) => built.request_edits.push(edits.clone()),
                Filter::ResponseHeaders(edits) => built.response_edits.push(edits.clone()),
                Filter::Redirect(redirect) => built.redirect = Some(redirect.clone()),
                Filter::Rewrite(rewrite) => built.rewrite = Some(rewrite.clone()),
            }
        }
        built
    }

    fn port_config<P>(
        &self,
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
            Protocol::Https(_) => {
                let mut by_name = NameMap::default();
                for listener in &port.listeners {
                    let Protocol::Https(tls) = &listener.protocol else {
                        return Err(BuildError::MixedPort(port.port));
                    };
                    let tls = self.tls(tls, &listener.id, sessions)?;
                    by_name.insert(
                        listener.hostname.clone(),
                        Arc::new(self.listener_config(
                            listener,
                            std::slice::from_ref(listener),
                            Some(tls),
                        )),
                    );
                }
                Transport::Tls(by_name)
            }
        };
        Ok(PortConfig {
            slot,
            port: port.port,
            tcp: port.tcp.clone(),
            transport,
        })
    }

    /// `sharers` are the listeners that requests of its connections may be for.
    fn listener_config<P>(
        &self,
        listener: &Listener<P>,
        sharers: &[Listener<P>],
        tls: Option<Arc<ServerConfig>>,
    ) -> ListenerConfig {
        ListenerConfig {
            id: listener.id.clone(),
            settings: patient(&listener.settings, sharers),
            tls,
            connections: self.live.share(Connections(listener.id.clone()), |_| {
                Arc::<AtomicU64>::default()
            }),
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
