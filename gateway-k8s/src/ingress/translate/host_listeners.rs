//! Listeners of single hosts, and the ListenerSets that contain them.
//!
//! Each name of a host with client certificates or with TLS passthrough has its own listener. A name of another
//! host has its own listener if the listener of a wildcard with client certificates would also match the name. If
//! there are more certificates than one listener permits, each host with its own certificate also has its own
//! listener. If the Gateway can contain all of these listeners, it does. Otherwise ListenerSets in the namespace
//! of the Gateway contain the listeners for certificates, and, if necessary, all of these listeners.
//!
//! The shared listener requests client certificates if the Ingress of a rule without a host requires them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use super::Translator;
use super::host_slugs::HostSlugs;
use crate::ingress::servers::Server;
use crate::objects::ObjectKey;

/// Largest number of listeners of a Gateway or ListenerSet (Gateway API).
pub(super) const MAX_LISTENERS: usize = 64;
/// Largest number of certificates of a listener (Gateway API).
pub(super) const MAX_CERTIFICATES: usize = 64;

/// The listeners of single hosts.
#[derive(Debug, Default)]
pub(super) struct HostListeners {
    /// Names of HTTPS listeners with certificates of the host, by host.
    https: BTreeMap<String, String>,
    /// ListenerSet by name of the listener. Listeners without an entry belong to the Gateway.
    sets: HashMap<String, ObjectKey>,
}

impl HostListeners {
    /// Listeners for `hosts`.
    fn of_certificates(hosts: BTreeSet<String>, slugs: &HostSlugs) -> Self {
        let https = hosts.into_iter().map(|host| {
            let name = format!("https-{}", slugs.of(&host));
            (host, name)
        });
        Self {
            https: https.collect(),
            sets: HashMap::new(),
        }
    }

    /// The listener with the certificates of a host. A wildcard's listener has the certificates of the names
    /// below it.
    pub(super) fn of_host(&self, host: &str) -> Option<&str> {
        let dots = host.match_indices('.').map(|(at, _)| &host[at..]);
        let mut parents = dots.filter_map(|parent| self.https.get(&format!("*{parent}")));
        let own = self.https.get(host).or_else(|| parents.next());
        own.map(String::as_str)
    }

    /// Listeners of the Gateway for certificates of single hosts, and the ListenerSets with the other
    /// listeners.
    pub(super) fn certificate_targets(&self) -> (Vec<String>, BTreeSet<ObjectKey>) {
        let mut listeners = Vec::new();
        let mut sets = BTreeSet::new();
        for name in self.https.values() {
            match self.set_of(name) {
                Some(set) => drop(sets.insert(set.clone())),
                None => listeners.push(name.clone()),
            }
        }
        (listeners, sets)
    }

    /// The hosts with the names of their listeners.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.https.iter()
    }

    /// Whether some listeners belong to ListenerSets.
    pub(super) fn has_sets(&self) -> bool {
        !self.sets.is_empty()
    }

    /// The ListenerSet of a listener. `None`: it is a listener of the Gateway.
    pub(super) fn set_of(&self, listener: &str) -> Option<&ObjectKey> {
        self.sets.get(listener)
    }
}

impl Translator<'_> {
    /// Determines which hosts have their own listener, and which object contains it. `first` is the default
    /// certificate, `others` are all others. Returns the certificates of the shared listener.
    pub(super) fn place_host_listeners(
        &mut self,
        first: ObjectKey,
        others: Vec<ObjectKey>,
    ) -> Vec<ObjectKey> {
        let mut kept = others;
        let names = self.names_with_https();
        let mut hosts = self.names_below_client_certificates(&names);
        if kept.len() >= MAX_CERTIFICATES {
            let stay = self.certificates_of_several_names();
            let certificates = self.servers.certificates.iter();
            let apart = certificates.filter(|(host, secrets)| {
                let mut secrets = secrets.iter();
                names.contains(*host)
                    && secrets.any(|one| !stay.contains(one) && !self.is_unusable(one))
            });
            hosts.extend(apart.map(|(host, _)| host.clone()));
            kept.retain(|secret| stay.contains(secret));
        }
        self.host_listeners = HostListeners::of_certificates(hosts, &self.host_slugs);
        let own = self.own_listener_names();
        let https: Vec<String> = self.host_listeners.https.values().cloned().collect();
        let room = MAX_LISTENERS.saturating_sub(2 + self.stream_listeners(&Value::Null).len());
        let (own_apart, https_apart) = match own.len() {
            number if number + https.len() <= room => (&own[..0], &https[..0]),
            number if number <= room => (&own[..0], &https[..]),
            _ => (&own[..], &https[..]),
        };
        let gateway = &self.options.gateway;
        for (what, names) in [("own", own_apart), ("hosts", https_apart)] {
            for (number, names) in names.chunks(MAX_LISTENERS).enumerate() {
                let set = format!("{}-{what}-{}", gateway.name, number + 1);
                let set = ObjectKey::new(&*gateway.namespace, set);
                let sets = &mut self.host_listeners.sets;
                sets.extend(names.iter().map(|name| (name.clone(), set.clone())));
            }
        }
        kept.insert(0, first);
        kept
    }

    /// Certificates that stay on the shared listener if all certificates together exceed the limit of a
    /// listener. Wildcard certificates and certificates of several hosts stay, because a client can use one
    /// connection for all names of a certificate. If the certificates that stay exceed the limit, only the
    /// wildcard certificates stay. If the wildcard certificates exceed the limit, no certificate stays.
    fn certificates_of_several_names(&self) -> BTreeSet<ObjectKey> {
        let mut wildcards = BTreeSet::new();
        let mut uses: BTreeMap<&ObjectKey, usize> = BTreeMap::new();
        for (host, secrets) in &self.servers.certificates {
            for secret in secrets.iter().filter(|secret| !self.is_unusable(secret)) {
                *uses.entry(secret).or_default() += 1;
                if host.starts_with("*.") {
                    wildcards.insert(secret.clone());
                }
            }
        }
        let several = uses.into_iter().filter(|(_, hosts)| *hosts > 1);
        let several: BTreeSet<ObjectKey> = several.map(|(secret, _)| secret.clone()).collect();
        let both = several.union(&wildcards).cloned().collect();
        let choices = [both, wildcards, BTreeSet::new()].into_iter();
        let mut fitting = choices.filter(|choice: &BTreeSet<_>| choice.len() < MAX_CERTIFICATES);
        fitting.next().unwrap_or_default()
    }

    /// Names whose routes are attached to an HTTPS listener for certificates.
    fn names_with_https(&self) -> BTreeSet<String> {
        let servers = self.servers.servers.iter();
        let servers = servers.filter(|one| one.client_cert.is_none() && one.passthrough.is_none());
        servers
            .flat_map(|server| {
                let names = std::iter::once(&server.host).chain(&server.aliases);
                names.chain(&server.redirect_from).cloned()
            })
            .collect()
    }

    /// Names of the listeners of hosts with client certificates or TLS passthrough.
    fn own_listener_names(&self) -> Vec<String> {
        let servers = self.servers.servers.iter();
        let names = servers.flat_map(|server| {
            let name = self.host_slugs.of(&server.host);
            let client = self.client_listeners(server).into_iter();
            let client = client.map(|(_, listener)| listener);
            let passed = server.passthrough.map(|_| format!("tls-{name}"));
            client.chain(passed)
        });
        names.collect()
    }

    /// The names of a host with client certificates, with their listeners. Empty for a rule without a host,
    /// because the rule uses the shared listener.
    pub(super) fn client_listeners(&self, server: &Server) -> Vec<(String, String)> {
        let names = std::iter::once(&server.host).chain(&server.aliases);
        let names = names.filter(|name| {
            let is_passed = server.passthrough.is_some() && **name == server.host;
            server.client_cert.is_some() && !name.is_empty() && !is_passed
        });
        names
            .map(|name| (name.clone(), format!("https-{}", self.host_slugs.of(name))))
            .collect()
    }

    /// The items of `names` that match the listener of another host with client certificates.
    fn names_below_client_certificates(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let servers = self.servers.servers.iter();
        let verifying: Vec<&Server> = servers.filter(|one| one.client_cert.is_some()).collect();
        let is_shared = verifying.iter().any(|server| server.host.is_empty());
        let own = verifying.iter().flat_map(|server| {
            let names = std::iter::once(&server.host).chain(&server.aliases);
            names.filter_map(|name| name.strip_prefix('*'))
        });
        let wildcards: Vec<&str> = own.collect();
        let matches = |name: &&String| {
            let mut wildcards = wildcards.iter();
            !name.is_empty() && (is_shared || wildcards.any(|rest| name.ends_with(rest)))
        };
        names.iter().filter(matches).cloned().collect()
    }

    /// HTTPS listeners for the names of a host.
    pub(super) fn https_sections(&self, server: &Server) -> Vec<String> {
        let own = self.client_listeners(server);
        if !own.is_empty() {
            return own.into_iter().map(|(_, listener)| listener).collect();
        }
        let mut sections: Vec<String> = Vec::new();
        for name in std::iter::once(&server.host).chain(&server.aliases) {
            let section = self.https_section(name);
            if !sections.contains(&section) {
                sections.push(section);
            }
        }
        sections
    }

    /// The HTTPS listener of a name.
    pub(super) fn https_section(&self, name: &str) -> String {
        let own = self.host_listeners.of_host(name);
        own.unwrap_or("https").to_owned()
    }

    /// Adds the listeners for the certificates of single hosts.
    pub(super) fn certificate_listeners(&mut self, access: &Value) -> Vec<Value> {
        let hosts: Vec<(String, String)> = self
            .host_listeners
            .iter()
            .map(|(host, name)| (host.clone(), name.clone()))
            .collect();
        let mut listeners = Vec::new();
        for (host, name) in hosts {
            let secrets = self.host_certificates(&host);
            let refs = self.certificate_refs(&name, &secrets);
            listeners.push(json!({
                "name": name, "port": 443, "protocol": "HTTPS", "hostname": host,
                "allowedRoutes": access,
                "tls": {"mode": "Terminate", "certificateRefs": refs},
            }));
        }
        listeners
    }

    /// Certificates of the listener of a host: its own, or the default certificate.
    pub(super) fn host_certificates(&self, host: &str) -> Vec<ObjectKey> {
        let own = self.servers.certificates.get(host).into_iter().flatten();
        let own: Vec<ObjectKey> = own.filter(|one| !self.is_unusable(one)).cloned().collect();
        match own.is_empty() {
            true => self.certificates.iter().take(1).cloned().collect(),
            false => own,
        }
    }

    /// References of a listener to its certificates.
    pub(super) fn certificate_refs(&mut self, listener: &str, secrets: &[ObjectKey]) -> Vec<Value> {
        let kind = match self.host_listeners.set_of(listener) {
            Some(_) => "ListenerSet",
            None => "Gateway",
        };
        let secrets = secrets.iter().take(MAX_CERTIFICATES);
        secrets
            .map(|secret| self.certificate_ref(kind, secret))
            .collect()
    }

    /// Writes the ListenerSets with their listeners. Returns the listeners of the Gateway.
    pub(super) fn write_listener_sets(&mut self, listeners: Vec<Value>) -> Vec<Value> {
        let mut sets: BTreeMap<ObjectKey, Vec<Value>> = BTreeMap::new();
        let mut kept = Vec::new();
        for listener in listeners {
            let name = listener["name"].as_str().unwrap_or_default();
            match self.host_listeners.set_of(name) {
                Some(set) => sets.entry(set.clone()).or_default().push(listener),
                None => kept.push(listener),
            }
        }
        let gateway = self.options.gateway.name.clone();
        let why = BTreeSet::from([
            "Listeners of single hosts, because a Gateway may have at most 64 listeners".to_owned(),
        ]);
        for (key, listeners) in sets {
            let parent = json!({
                "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway,
            });
            let spec = json!({"parentRef": parent, "listeners": listeners});
            self.output.add("ListenerSet", &key, spec, &why);
        }
        kept
    }
}
