//! The summary that `run` prints at startup: listeners, hostnames, and example requests.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use towergate_core::plan::{
    Listener, ListenerId, PathMatch, Plan, Port, Protocol, Route, RouteKind, StreamRoute,
};
use towergate_tls::NamePattern;

/// Maximum number of example requests.
const MAX_TRIES: usize = 3;
/// Maximum number of hostnames per listener.
const MAX_HOSTS: usize = 8;

/// Describes the listeners of `plan`.
pub(crate) fn describe<P>(plan: &Plan<P>) -> String {
    let mut out = String::new();
    if plan.ports.is_empty() && plan.datagrams.is_empty() {
        return "Nothing is served: no Gateway has a valid listener. Run `towergate check` for the reasons.\n".to_owned();
    }
    for port in &plan.ports {
        for listener in &port.listeners {
            describe_listener(&mut out, port, listener);
        }
    }
    for port in &plan.datagrams {
        let place = (&*port.addresses, port.port);
        begin(&mut out, "udp", place, &port.id);
        list(&mut out, first_route(&port.routes));
    }
    let tries = tries(plan);
    if !tries.is_empty() {
        out.push_str("Try:\n");
        for line in tries {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

fn describe_listener<P>(out: &mut String, port: &Port<P>, listener: &Listener<P>) {
    let place = (&*port.addresses, port.port);
    begin(out, scheme(listener), place, &listener.id);
    if listener.failed {
        out.push_str(" (every request returns 500: its policy is invalid)");
    }
    if matches!(listener.protocol, Protocol::Tcp) {
        return list(out, first_route(&listener.streams));
    }
    let of_requests = listener.routes.iter().flat_map(|r| &r.hostnames);
    let of_connections = listener.streams.iter().flat_map(|r| &r.hostnames);
    list(out, of_requests.chain(of_connections).map(name).collect());
}

/// Writes address and name of a listener.
fn begin(out: &mut String, scheme: &str, place: (&[IpAddr], u16), id: &ListenerId) {
    let addresses: Vec<String> = place.0.iter().map(|ip| url_host(*ip)).collect();
    let _ = write!(out, "{scheme}://{}:{}", addresses.join(","), place.1);
    let _ = write!(
        out,
        "  {}/{} listener {}",
        id.namespace, id.gateway, id.listener
    );
}

/// The name of the first route. It receives all connections or datagrams of the listener.
fn first_route(routes: &[Arc<StreamRoute>]) -> BTreeSet<String> {
    let first = routes.first().map(|route| &route.id);
    let name = first.map(|id| format!("{} {}/{}", id.kind.word(), id.namespace, id.name));
    name.into_iter().collect()
}

/// Writes hostnames or routes and a line break.
fn list(out: &mut String, names: BTreeSet<String>) {
    match names.len() {
        0 => out.push_str(": no routes"),
        count => {
            let shown: Vec<String> = names.into_iter().take(MAX_HOSTS).collect();
            let _ = write!(out, ": {}", shown.join(", "));
            if count > MAX_HOSTS {
                let _ = write!(out, " and {} more", count - MAX_HOSTS);
            }
        }
    }
    out.push('\n');
}

/// Example requests with `curl`, for as many ports as possible.
fn tries<P>(plan: &Plan<P>) -> Vec<String> {
    let hostnames = plan
        .ports
        .iter()
        .flat_map(|p| &p.listeners)
        .flat_map(|l| &l.routes)
        .flat_map(|r| &r.hostnames);
    let fallback = hostnames
        .filter_map(example_host)
        .next()
        .unwrap_or_else(|| "example.com".to_owned());
    let mut by_port: Vec<Vec<String>> = plan
        .ports
        .iter()
        .map(|port| {
            let routes = port
                .listeners
                .iter()
                .flat_map(|l| l.routes.iter().map(move |r| (l, r)));
            let mut lines: Vec<String> = routes
                .filter(|(l, route)| !l.failed && route.id.kind == RouteKind::Http)
                .flat_map(|(l, route)| curls(port, l, route, &fallback))
                .collect();
            lines.dedup();
            lines.reverse();
            lines
        })
        .collect();
    let mut tries = Vec::new();
    while tries.len() < MAX_TRIES && by_port.iter().any(|lines| !lines.is_empty()) {
        let next = by_port.iter_mut().filter_map(Vec::pop).collect::<Vec<_>>();
        tries.extend(next);
    }
    tries.truncate(MAX_TRIES);
    tries
}

fn curls<P>(
    port: &Port<P>,
    listener: &Listener<P>,
    route: &Route<P>,
    fallback: &str,
) -> Vec<String> {
    let scheme = scheme(listener);
    let insecure = if scheme == "https" { "-k " } else { "" };
    let proxy = port.tcp.proxy_protocol.as_ref();
    let header = match proxy.is_some_and(|proxy| !proxy.optional) {
        true => "--haproxy-protocol ",
        false => "",
    };
    let address = port
        .addresses
        .first()
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ip| reachable(*ip));
    let (bound, address) = (port.port, url_host(address));
    let path = route.rules.first().map_or("/", |rule| {
        rule.matches.first().map_or("/", |m| path(&m.path))
    });
    route
        .hostnames
        .iter()
        .map(|pattern| {
            let host = example_host(pattern).unwrap_or_else(|| fallback.to_owned());
            format!("curl -i {insecure}{header}--resolve {host}:{bound}:{address} {scheme}://{host}:{bound}{path}")
        })
        .collect()
}

fn scheme<P>(listener: &Listener<P>) -> &'static str {
    match listener.protocol {
        Protocol::Http => "http",
        Protocol::Https(_) => "https",
        Protocol::Tls(_) => "tls",
        Protocol::Tcp => "tcp",
    }
}

fn path(path: &PathMatch) -> &str {
    match path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) => path,
        PathMatch::Regex(_) | PathMatch::Grpc(_) => "/",
    }
}

fn example_host(pattern: &NamePattern) -> Option<String> {
    match pattern {
        NamePattern::Exact(name) => Some(name.clone()),
        NamePattern::Wildcard(suffix) => Some(format!("www.{suffix}")),
        NamePattern::Any => None,
    }
}

fn name(pattern: &NamePattern) -> String {
    match pattern {
        NamePattern::Exact(name) => name.clone(),
        NamePattern::Wildcard(suffix) => format!("*.{suffix}"),
        NamePattern::Any => "*".to_owned(),
    }
}

/// The address for an example request: loopback if the listener is bound to all addresses.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

fn url_host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use towergate_core::plan::{DatagramPort, ProxyProtocol, RouteId};
    use towergate_tls::ServerTls;

    use super::*;

    fn route(name: &str, hosts: &[&str]) -> Arc<Route> {
        Arc::new(Route {
            id: Arc::new(RouteId {
                kind: RouteKind::Http,
                namespace: "a".into(),
                name: name.into(),
            }),
            hostnames: hosts
                .iter()
                .map(|host| host.parse().unwrap_or(NamePattern::Any))
                .collect(),
            written_hostnames: Vec::new(),
            rules: Vec::new(),
        })
    }

    fn port(number: u16, protocol: Protocol, routes: Vec<Arc<Route>>) -> Port {
        Port {
            addresses: vec![Ipv4Addr::UNSPECIFIED.into()],
            port: number,
            tcp: Default::default(),
            listeners: vec![Listener {
                id: ListenerId {
                    namespace: "edge".into(),
                    gateway: "shared".into(),
                    listener: "web".into(),
                },
                port: number,
                hostname: NamePattern::Any,
                protocol,
                settings: Arc::default(),
                routes,
                streams: Vec::new(),
                failed: false,
            }],
        }
    }

    #[test]
    fn listeners_and_requests_to_try_are_printed() {
        let plan = Plan {
            ports: vec![
                port(8080, Protocol::Http, vec![route("redirect", &[""])]),
                port(
                    8443,
                    Protocol::Https(Arc::new(ServerTls::default())),
                    vec![route("a", &["a.test", "*.b.test"])],
                ),
            ],
            ..Plan::default()
        };

        assert_eq!(
            describe(&plan),
            "\
http://0.0.0.0:8080  edge/shared listener web: *
https://0.0.0.0:8443  edge/shared listener web: *.b.test, a.test
Try:
  curl -i --resolve a.test:8080:127.0.0.1 http://a.test:8080/
  curl -i -k --resolve a.test:8443:127.0.0.1 https://a.test:8443/
  curl -i -k --resolve www.b.test:8443:127.0.0.1 https://www.b.test:8443/
"
        );
    }

    fn stream(kind: RouteKind, name: &str, hosts: &[&str]) -> Arc<StreamRoute> {
        Arc::new(StreamRoute {
            id: Arc::new(RouteId {
                kind,
                namespace: "a".into(),
                name: name.into(),
            }),
            rule: None,
            hostnames: hosts
                .iter()
                .map(|host| host.parse().unwrap_or(NamePattern::Any))
                .collect(),
            written_hostnames: Vec::new(),
            traffic: Arc::default(),
            backends: Vec::new(),
            access: None,
        })
    }

    #[test]
    fn tcp_and_udp_listeners_show_the_route_that_serves_them() {
        let mut plan: Plan = Plan {
            ports: vec![
                port(5432, Protocol::Tcp, Vec::new()),
                port(6443, Protocol::Tls(None), Vec::new()),
            ],
            datagrams: vec![DatagramPort {
                addresses: vec![Ipv4Addr::UNSPECIFIED.into()],
                port: 53,
                id: ListenerId {
                    namespace: "edge".into(),
                    gateway: "shared".into(),
                    listener: "dns".into(),
                },
                idle_timeout: Duration::from_secs(60),
                routes: Vec::new(),
            }],
        };
        let sql = ["first", "second"].map(|name| stream(RouteKind::Tcp, name, &[""]));
        plan.ports[0].listeners[0].streams = sql.into();
        plan.ports[1].listeners[0].streams = vec![stream(RouteKind::Tls, "api", &["api.test"])];

        assert_eq!(
            describe(&plan),
            "\
tcp://0.0.0.0:5432  edge/shared listener web: tcproute a/first
tls://0.0.0.0:6443  edge/shared listener web: api.test
udp://0.0.0.0:53  edge/shared listener dns: no routes
"
        );
    }

    #[test]
    fn requests_to_try_send_a_required_proxy_header_and_skip_failing_listeners() {
        let mut plan = Plan {
            ports: vec![
                port(8080, Protocol::Http, vec![route("a", &["a.test"])]),
                port(8081, Protocol::Http, vec![route("b", &["b.test"])]),
                port(8082, Protocol::Http, vec![route("c", &["c.test"])]),
            ],
            ..Plan::default()
        };
        plan.ports[0].tcp.proxy_protocol = Some(ProxyProtocol::default());
        plan.ports[1].tcp.proxy_protocol = Some(ProxyProtocol {
            optional: true,
            trusted: None,
        });
        plan.ports[2].listeners[0].failed = true;

        assert_eq!(
            tries(&plan),
            [
                "curl -i --haproxy-protocol --resolve a.test:8080:127.0.0.1 http://a.test:8080/",
                "curl -i --resolve b.test:8081:127.0.0.1 http://b.test:8081/",
            ]
        );
    }

    #[test]
    fn an_empty_plan_serves_nothing() {
        assert!(
            describe(&Plan::<towergate_core::policy::NoPolicy>::default())
                .starts_with("Nothing is served")
        );
    }
}
