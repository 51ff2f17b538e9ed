//! Servers and locations: the result of merging the Ingresses of a host, as in ingress-nginx.
//!
//! ```text
//! Ingresses, oldest first ──> Server (one per host) ──> Locations, in the order of nginx
//! ```
//!
//! The oldest Ingress of a host creates the server. The settings of this Ingress apply to the location of all
//! paths that no rule names. If one Ingress has a regular expression or a rewrite, every path of the host
//! becomes a regular expression.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::controller::{ControllerConfig, object_key};
use super::input::{Ingress, IngressBackend, IngressService, Manifests};
use super::settings::{Canary, IngressSettings};
use super::value::list;
use super::{host_names, host_tls};
use crate::objects::ObjectKey;
use crate::resolve::CreationTime;

/// An Ingress of the controller and its settings.
#[derive(Clone, Debug)]
pub struct ReadIngress<'a> {
    /// The Ingress.
    pub ingress: &'a Ingress,
    /// The settings in the annotations of the Ingress.
    pub settings: Arc<IngressSettings>,
}

/// A port of a Service.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct BackendPort {
    /// The Service.
    pub service: ObjectKey,
    /// Number or name of the port. Empty: the first port.
    pub port: String,
}

/// A backend that receives a part of a location's requests.
#[derive(Clone, Debug, PartialEq)]
pub struct CanaryBackend {
    /// Index of the Ingress.
    pub ingress: usize,
    /// The Service port that receives the requests.
    pub backend: BackendPort,
    /// The requests that the canary receives.
    pub canary: Canary,
}

/// A path of a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Location {
    /// Path as written.
    pub path: String,
    /// Whether only the path itself matches. Always `false` on hosts with regular expressions.
    pub exact: bool,
    /// Index of the Ingress whose settings apply.
    pub ingress: Option<usize>,
    /// Backend that receives the requests. `None`: requests receive 404.
    pub backend: Option<BackendPort>,
    /// Whether this is the location of all paths that no rule names.
    pub catch_all: bool,
    /// The first canary of the backend.
    pub canary: Option<CanaryBackend>,
    /// Prefix that replaces the path of the location in requests to the backend, if the path is a prefix.
    /// ingress-nginx has no prefix rewrites, so the translation derives the value from regular expressions.
    pub replaces_prefix: Option<String>,
    /// Regular expression that matches the whole path, on hosts with regular expressions. The translation derives it
    /// from all paths of the host.
    pub expression: String,
}

/// A host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    /// Host name. Empty: all hosts without their own server.
    pub host: String,
    /// Further names of the host.
    pub aliases: Vec<String>,
    /// Regular expressions of further names.
    pub alias_patterns: Vec<String>,
    /// Whether paths are regular expressions.
    pub regex: bool,
    /// Locations. If several match, nginx selects the longest path.
    pub locations: Vec<Location>,
    /// Whether the host or the wildcard above it has a certificate, which may be the default certificate.
    pub tls: bool,
    /// Target of a redirect of `/`.
    pub app_root: Option<String>,
    /// Index of the Ingress whose `auth-tls-secret` applies to the host, if certificates are requested.
    pub client_cert: Option<usize>,
    /// Index of the Ingress whose `auth-tls-secret` applies to the host, even if `auth-tls-verify-client` is
    /// `off`.
    pub verifier: Option<usize>,
    /// Whether every request receives 403, because the CA certificates of `auth-tls-secret` cannot be used.
    pub refused: bool,
    /// Index of the Ingress whose `proxy-ssl-secret` applies to the backends of Ingresses without one.
    pub proxy_ssl: Option<usize>,
    /// Index of the Ingress with `ssl-passthrough` whose path is `/`.
    pub passthrough: Option<usize>,
    /// Name that redirects to the host.
    pub redirect_from: Option<String>,
    /// Settings of the `server-snippet` of each Ingress of the host. They apply to all paths of the host.
    /// ingress-nginx applies only the `server-snippet` of the oldest Ingress.
    pub snippets: Vec<Arc<IngressSettings>>,
    /// Whether all names come from `server-alias`, where a wildcard matches several labels.
    pub is_alias: bool,
}

impl Server {
    /// Ingresses with a location of the host, each once.
    pub(crate) fn ingresses(&self) -> BTreeSet<usize> {
        let locations = self.locations.iter();
        locations.filter_map(|location| location.ingress).collect()
    }

    /// Names of `server-alias`.
    pub(crate) fn alias_names(&self) -> impl Iterator<Item = &String> {
        let host = Some(&self.host).filter(|_| self.is_alias);
        host.into_iter().chain(&self.aliases)
    }
}

/// A setting of an Ingress that has no effect, because the setting of another Ingress takes precedence.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Overlap {
    /// Index of the Ingress whose setting has no effect.
    pub ingress: usize,
    /// Index of the Ingress whose setting applies. `None`: no Ingress, because the name is that of a host.
    pub winner: Option<usize>,
    /// The setting that has no effect.
    pub what: OverlapKind,
}

/// A setting that only one Ingress can have.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum OverlapKind {
    /// A path of a host.
    Path {
        /// Host. Empty: all hosts without rules.
        host: String,
        /// Path as written.
        path: String,
    },
    /// The default backend of all hosts without rules.
    DefaultBackend,
    /// `app-root` of a host.
    AppRoot(String),
    /// `auth-tls-secret` of a host.
    ClientCertificate(String),
    /// A name of `server-alias`.
    Alias(String),
    /// `server-alias` of a host that already has one.
    Aliases(String),
    /// A wildcard host below the wildcard `alias` of another host.
    Host {
        /// The host.
        host: String,
        /// The alias, which takes precedence.
        alias: String,
    },
    /// The other name of `from-to-www-redirect`.
    OtherName(String),
    /// The canary of the paths of an Ingress.
    Canary,
    /// A canary without an Ingress that has its host, path and path type.
    CanaryWithoutMain(String),
}

/// The servers of a controller.
#[derive(Clone, Debug, Default)]
pub struct Servers<'a> {
    /// Ingresses in service, oldest first.
    pub ingresses: Vec<ReadIngress<'a>>,
    /// Servers by host. The first one serves all hosts without their own server.
    pub servers: Vec<Server>,
    /// Secrets of TLS sections by host, in the order of the Ingresses.
    pub certificates: BTreeMap<String, Vec<ObjectKey>>,
    /// Hosts with a certificate, which may be the default certificate.
    pub tls_hosts: BTreeSet<String>,
    /// Hosts of TLS sections.
    pub tls_names: BTreeSet<String>,
    /// Settings without an effect.
    pub overlaps: BTreeSet<Overlap>,
}

impl Servers<'_> {
    /// The settings of a location. `None`: the location belongs to no Ingress.
    pub fn settings(&self, location: &Location) -> Option<&IngressSettings> {
        location
            .ingress
            .map(|index| &*self.ingresses[index].settings)
    }

    /// Service that receives the requests of a location while the location's own Service has no endpoints
    /// (`default-backend`).
    pub(crate) fn default_backend(&self, location: &Location) -> Option<ObjectKey> {
        let ReadIngress { ingress, settings } = &self.ingresses[location.ingress?];
        let name = settings.default_backend.as_ref()?;
        // The location must have a backend of its Ingress; the default backend of the controller has no
        // fallback.
        let has_own = !location.catch_all || ingress.spec.default_backend.is_some();
        has_own.then(|| ObjectKey::new(&*ingress.key.namespace, &**name))
    }

    /// Whether `host` or the wildcard above it has a certificate.
    pub(crate) fn has_certificate(&self, host: &str) -> bool {
        let wildcard = host
            .split_once('.')
            .map(|(_, parent)| format!("*.{parent}"));
        !host.is_empty()
            && (self.tls_hosts.contains(host)
                || wildcard.is_some_and(|wildcard| self.tls_hosts.contains(&wildcard)))
    }

    /// Whether a request over plain HTTP is redirected to HTTPS.
    pub fn redirects_to_https(&self, server: &Server, location: &Location) -> bool {
        let redirects = self.settings(location).is_some_and(|settings| {
            // ingress-nginx denies requests before it redirects them.
            let forced = settings.force_ssl_redirect || settings.ssl_redirect && server.tls;
            forced && !settings.nginx_denies
        });
        redirects && !self.compares_subject(server)
    }

    /// Whether a host rejects clients by the subject of their certificate (`auth-tls-match-cn`). Requests
    /// over plain HTTP have no certificate, and are rejected before a redirect.
    pub(crate) fn compares_subject(&self, server: &Server) -> bool {
        let verifier = server.verifier.map(|index| &self.ingresses[index].settings);
        verifier.is_some_and(|settings| settings.match_subject.is_some())
    }
}

/// Builds the servers. `ingresses` are those of the controller, in any order.
pub fn build<'a>(
    mut ingresses: Vec<ReadIngress<'a>>,
    config: &ControllerConfig,
    manifests: &Manifests,
) -> Servers<'a> {
    ingresses.retain(|read| read.settings.dropped.is_none());
    // Of Ingresses with equal creation times, the last one by name counts as the oldest.
    ingresses.sort_by(|a, b| {
        let created = |read: &ReadIngress<'_>| CreationTime::parse(&read.ingress.created);
        let by_age = created(a).cmp(&created(b));
        by_age.then_with(|| b.ingress.key.cmp(&a.ingress.key))
    });
    let fallback = config
        .flag("default-backend-service")
        .map(|text| BackendPort {
            service: object_key(text, "default"),
            port: String::new(),
        });
    let mut built = Servers {
        servers: vec![Server {
            locations: vec![catch_all(None, fallback.clone())],
            ..Server::default()
        }],
        ingresses,
        ..Servers::default()
    };
    let mut index: BTreeMap<String, usize> = BTreeMap::from([(String::new(), 0)]);
    create_servers(&mut built, &mut index, config, fallback.as_ref());
    host_tls::add_certificates(&mut built, &index, manifests);
    add_paths(&mut built, &index);
    add_canaries(&mut built, &index);
    host_settings(&mut built, &index);
    host_tls::add_verification(&mut built, &index, config);
    host_names::add_aliases(&mut built, &index);
    for server in &mut built.servers {
        let ingresses = &built.ingresses;
        server.regex = server.locations.iter().any(|location| {
            location.ingress.is_some_and(|index| {
                let settings = &ingresses[index].settings;
                settings.use_regex && settings.rewrite.as_deref() != Some(&*location.path)
            })
        });
        // nginx compares the longest path first, and paths of equal length in reverse alphabetical
        // order.
        server.locations.sort_by(|a, b| {
            let by_length = b.path.len().cmp(&a.path.len());
            by_length.then_with(|| b.path.cmp(&a.path))
        });
        if server.regex {
            server
                .locations
                .iter_mut()
                .for_each(|location| location.exact = false);
            let host = &server.host;
            let overlaps = &mut built.overlaps;
            server.locations.dedup_by(|later, first| {
                let same = later.path == first.path;
                if let Some(ingress) = later.ingress.filter(|_| same && !later.catch_all) {
                    overlaps.insert(Overlap {
                        ingress,
                        winner: first.ingress,
                        what: OverlapKind::Path {
                            host: host.clone(),
                            path: later.path.clone(),
                        },
                    });
                }
                same
            });
        }
    }
    host_names::separate(&mut built);
    built
}

fn catch_all(ingress: Option<usize>, backend: Option<BackendPort>) -> Location {
    Location {
        path: "/".to_owned(),
        exact: false,
        ingress,
        backend,
        catch_all: true,
        canary: None,
        replaces_prefix: None,
        expression: String::new(),
    }
}

/// The host of a rule in lower case. Empty: none.
pub(super) fn host_of(host: Option<&str>) -> String {
    host.unwrap_or_default().to_ascii_lowercase()
}

pub(crate) fn port_of(namespace: &str, service: &IngressService) -> BackendPort {
    let port = match (service.port.number, &service.port.name) {
        (Some(number), _) if number > 0 => number.to_string(),
        (_, Some(name)) => name.clone(),
        _ => String::new(),
    };
    BackendPort {
        service: ObjectKey::new(namespace, &*service.name),
        port,
    }
}

fn service_port(namespace: &str, backend: &IngressBackend) -> Option<BackendPort> {
    Some(port_of(namespace, backend.service.as_ref()?))
}

fn create_servers(
    built: &mut Servers<'_>,
    index: &mut BTreeMap<String, usize>,
    config: &ControllerConfig,
    fallback: Option<&BackendPort>,
) {
    let disabled = config.is_set("disable-catch-all");
    for (number, read) in built.ingresses.iter().enumerate() {
        if read.settings.canary.is_some() {
            continue;
        }
        let ingress = read.ingress;
        let own = ingress.spec.default_backend.as_ref();
        let own = own.and_then(|backend| service_port(&ingress.key.namespace, backend));
        if ingress.spec.rules.is_empty() {
            let location = &mut built.servers[0].locations[0];
            if own.is_some() && location.catch_all && !disabled {
                location.catch_all = false;
                location.backend = own;
                location.ingress = Some(number);
            } else if own.is_some() && !disabled {
                built.overlaps.insert(Overlap {
                    ingress: number,
                    winner: location.ingress,
                    what: OverlapKind::DefaultBackend,
                });
            }
            continue;
        }
        for rule in &ingress.spec.rules {
            let host = host_of(rule.host.as_deref());
            if index.contains_key(&host) {
                continue;
            }
            index.insert(host.clone(), built.servers.len());
            let backend = own.clone().or_else(|| fallback.cloned());
            built.servers.push(Server {
                host,
                locations: vec![catch_all(Some(number), backend)],
                ..Server::default()
            });
        }
    }
}

fn add_paths(built: &mut Servers<'_>, index: &BTreeMap<String, usize>) {
    for (number, read) in built.ingresses.iter().enumerate() {
        if read.settings.canary.is_some() {
            continue;
        }
        let namespace = &read.ingress.key.namespace;
        for rule in &read.ingress.spec.rules {
            let Some(server) = index.get(&host_of(rule.host.as_deref())) else {
                continue;
            };
            let server = &mut built.servers[*server];
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                // The location of a backend that is not a Service is skipped.
                let Some(backend) = service_port(namespace, &path.backend) else {
                    continue;
                };
                let exact = path.path_type.as_deref() == Some("Exact");
                let text = path.path.as_deref().filter(|path| !path.is_empty());
                let location = Location {
                    path: text.unwrap_or("/").to_owned(),
                    exact,
                    ingress: Some(number),
                    backend: Some(backend),
                    catch_all: false,
                    canary: None,
                    replaces_prefix: None,
                    expression: String::new(),
                };
                let same = |known: &&mut Location| {
                    known.path == location.path && known.exact == location.exact
                };
                match server.locations.iter_mut().find(same) {
                    Some(known) if known.catch_all => *known = location,
                    Some(known) => {
                        built.overlaps.insert(Overlap {
                            ingress: number,
                            winner: known.ingress,
                            what: OverlapKind::Path {
                                host: server.host.clone(),
                                path: location.path,
                            },
                        });
                    }
                    None => server.locations.push(location),
                }
            }
        }
    }
}

/// Adds the canaries. A canary belongs to the backend of the main location, and applies in every location
/// with this backend.
fn add_canaries(built: &mut Servers<'_>, index: &BTreeMap<String, usize>) {
    let mut canaries: BTreeMap<BackendPort, CanaryBackend> = BTreeMap::new();
    for (number, read) in built.ingresses.iter().enumerate() {
        let Some(canary) = &read.settings.canary else {
            continue;
        };
        for rule in &read.ingress.spec.rules {
            let Some(server) = index.get(&host_of(rule.host.as_deref())) else {
                continue;
            };
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let Some(backend) = service_port(&read.ingress.key.namespace, &path.backend) else {
                    continue;
                };
                let exact = path.path_type.as_deref() == Some("Exact");
                let text = path.path.as_deref().unwrap_or("/");
                let locations = &built.servers[*server].locations;
                let main = locations
                    .iter()
                    .find(|known| known.path == text && known.exact == exact && !known.catch_all);
                let main = main.and_then(|location| location.backend.clone());
                let Some(main) = main.filter(|main| *main != backend) else {
                    built.overlaps.insert(Overlap {
                        ingress: number,
                        winner: None,
                        what: OverlapKind::CanaryWithoutMain(text.to_owned()),
                    });
                    continue;
                };
                let first = canaries.entry(main).or_insert_with(|| CanaryBackend {
                    ingress: number,
                    backend,
                    canary: canary.clone(),
                });
                if first.ingress != number {
                    built.overlaps.insert(Overlap {
                        ingress: number,
                        winner: Some(first.ingress),
                        what: OverlapKind::Canary,
                    });
                }
            }
        }
    }
    for location in built.servers.iter_mut().flat_map(|s| &mut s.locations) {
        let canary = location
            .backend
            .as_ref()
            .and_then(|main| canaries.get(main));
        location.canary = canary.cloned();
    }
}

/// Settings that apply to the whole host, from any of its Ingresses.
fn host_settings(built: &mut Servers<'_>, index: &BTreeMap<String, usize>) {
    let mut roots: BTreeMap<String, usize> = BTreeMap::new();
    let overlaps = &mut built.overlaps;
    for (number, read) in built.ingresses.iter().enumerate() {
        let settings = &read.settings;
        if settings.canary.is_some() {
            continue;
        }
        for rule in &read.ingress.spec.rules {
            let host = host_of(rule.host.as_deref());
            let Some(position) = index.get(&host) else {
                continue;
            };
            let server = &mut built.servers[*position];
            if let Some(snippet) = &settings.of_server
                && !server.snippets.iter().any(|known| **known == **snippet)
            {
                server.snippets.push(Arc::new((**snippet).clone()));
            }
            if settings.app_root.is_some() {
                let owner = *roots.entry(host.clone()).or_insert(number);
                if owner == number {
                    server.app_root.clone_from(&settings.app_root);
                } else if server.app_root != settings.app_root {
                    overlaps.insert(Overlap {
                        ingress: number,
                        winner: Some(owner),
                        what: OverlapKind::AppRoot(host.clone()),
                    });
                }
            }
            let paths = rule.http.iter().flat_map(|http| &http.paths);
            let root = paths
                .clone()
                .any(|path| path.path.as_deref().unwrap_or("/") == "/");
            // The names of passthrough are those of hosts; a rule without a host has none.
            if settings.passthrough && root && !host.is_empty() && server.passthrough.is_none() {
                server.passthrough = Some(number);
            }
            if settings.from_to_www && !host.is_empty() && !host.starts_with("*.") {
                let other = match host.strip_prefix("www.") {
                    Some(bare) => bare.to_owned(),
                    None => format!("www.{host}"),
                };
                if index.contains_key(&other) {
                    overlaps.insert(Overlap {
                        ingress: number,
                        winner: None,
                        what: OverlapKind::OtherName(other),
                    });
                } else if server.redirect_from.is_none() {
                    server.redirect_from = Some(other);
                }
            }
        }
    }
}

/// Names that a comma-separated ConfigMap key lists.
pub(crate) fn listed_paths(config: &ControllerConfig, key: &str, default: &str) -> Vec<String> {
    list(config.text(key).unwrap_or(default))
}
