//! The shared Gateway, its settings, and the defaults of ingress-nginx for all routes.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value, json};
use towergate_policy::backend_traffic::{LIMITS_BEFORE_AUTHENTICATION, MAX_REQUEST_BODY};
use towergate_policy::client_traffic::{ROUTE_MATCHING, TRUSTED_PROXIES};

use super::backend_rules::named_values;
use super::policies::{quantity, response_overrides, retry};
use super::{ACCESS_LABEL, Translator};
use crate::ingress::config_table::AddressSource;
use crate::ingress::servers::Server;
use crate::ingress::settings::ProxySettings;
use crate::ingress::value::{duration, list, literal, size};
use crate::objects::ObjectKey;

/// Request header fields that ingress-nginx sets, by listener.
fn forwarded(scheme: &str, port: &str) -> Vec<Value> {
    let fields = [
        ("X-Forwarded-Port", port),
        ("X-Forwarded-Scheme", scheme),
        ("X-Scheme", scheme),
    ];
    fields
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect()
}

/// Header field that reports to the backend that the client has a valid certificate. If a host verifies
/// certificates, clients cannot set the field.
const CLIENT_VERIFY: &str = "ssl-client-verify";
/// Header fields that ingress-nginx replaces or removes for every backend.
const OWN_FIELDS: [&str; 3] = [
    "Proxy",
    "X-Original-Forwarded-For",
    "X-Original-Forwarded-Host",
];
/// Secret with the certificate for clients without a known server name.
const DEFAULT_CERTIFICATE: &str = "default-certificate";

/// The value of a header field for `earlyRequestHeaders`. `None`: the value is empty, or contains variables
/// of nginx.
fn literal_value(nginx: &str) -> Option<String> {
    let is_literal = !nginx.is_empty() && !nginx.contains('$');
    is_literal.then(|| literal(nginx))
}

/// The target of a ClientTrafficPolicy.
struct ListenerTarget {
    /// Name of the policy.
    name: String,
    reference: Value,
}

impl Translator<'_> {
    /// Collects the certificates of the shared HTTPS listener.
    pub(crate) fn collect_certificates(&mut self) {
        let default = self.config.flag("default-ssl-certificate");
        let default = default.map(|text| crate::ingress::controller::object_key(text, "default"));
        // Clients without a known server name receive the first certificate.
        let first = default.unwrap_or_else(|| {
            let key = ObjectKey::new(&*self.options.gateway.namespace, DEFAULT_CERTIFICATE);
            self.default_certificate = Some(key.clone());
            key
        });
        let mut known = HashSet::from([first.clone()]);
        // Several namespaces may have copies of one certificate, such as that of a wildcard. Only one copy is
        // used.
        let mut contents: HashSet<&[u8]> = self.certificate_of(&first).into_iter().collect();
        let mut others = Vec::new();
        let own: BTreeSet<&str> = self
            .servers
            .servers
            .iter()
            .filter(|server| server.client_cert.is_some())
            .map(|server| server.host.as_str())
            .collect();
        for (host, secrets) in &self.servers.certificates {
            if own.contains(host.as_str()) {
                continue;
            }
            for secret in secrets {
                if !known.insert(secret.clone()) || self.is_unusable(secret) {
                    continue;
                }
                if self
                    .certificate_of(secret)
                    .is_none_or(|content| contents.insert(content))
                {
                    others.push(secret.clone());
                }
            }
        }
        self.certificates = self.place_host_listeners(first, others);
    }

    /// The certificates of a Secret, as PEM. `None`: the files do not contain it.
    fn certificate_of(&self, secret: &ObjectKey) -> Option<&[u8]> {
        let data = self.manifests.secrets.get(secret)?;
        data.values.get("tls.crt").map(Vec::as_slice)
    }

    /// Writes the Gateway and its policies.
    pub(crate) fn gateway(&mut self) {
        let key = self.options.gateway.clone();
        let access = json!({"namespaces": {
            "from": "Selector",
            "selector": {"matchLabels": {ACCESS_LABEL: "true"}},
        }});
        let mut listeners = vec![json!({
            "name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": access,
        })];
        let shared = self.certificates.clone();
        let refs = self.certificate_refs("https", &shared);
        listeners.push(json!({
            "name": "https", "port": 443, "protocol": "HTTPS", "allowedRoutes": access,
            "tls": {"mode": "Terminate", "certificateRefs": refs},
        }));
        let servers = self.servers.servers.clone();
        for server in &servers {
            self.own_listeners(server, &access, &mut listeners);
        }
        listeners.extend(self.certificate_listeners(&access));
        listeners.extend(self.stream_listeners(&access));
        self.client_traffic_policies(&servers);
        let mut spec = json!({"gatewayClassName": self.options.class});
        if self.host_listeners.has_sets() {
            spec["allowedListeners"] = json!({"namespaces": {"from": "Same"}});
        }
        spec["listeners"] = self.write_listener_sets(listeners).into();
        self.output.add("Gateway", &key, spec, &BTreeSet::new());
        self.backend_traffic();
    }

    /// Adds the listeners of a host with client certificates or TLS passthrough.
    fn own_listeners(&mut self, server: &Server, access: &Value, listeners: &mut Vec<Value>) {
        let name = self.host_slugs.of(&server.host);
        for (host, section) in self.client_listeners(server) {
            let certificates = &self.servers.certificates;
            let mut names = [&host, &server.host].into_iter();
            let secrets = match names.find(|name| certificates.contains_key(*name)) {
                Some(name) => self.host_certificates(name),
                None => self.certificates.clone(),
            };
            let refs = self.certificate_refs(&section, &secrets);
            listeners.push(json!({
                "name": section, "port": 443, "protocol": "HTTPS", "hostname": host,
                "allowedRoutes": access,
                "tls": {"mode": "Terminate", "certificateRefs": refs},
            }));
        }
        if server.passthrough.is_some() {
            listeners.push(json!({
                "name": format!("tls-{name}"), "port": 443, "protocol": "TLS",
                "hostname": server.host, "allowedRoutes": access,
                "tls": {"mode": "Passthrough"},
            }));
        }
    }

    /// Writes the ClientTrafficPolicy of each listener for HTTP and HTTPS.
    fn client_traffic_policies(&mut self, servers: &[Server]) {
        self.client_traffic(&self.listener_target("http"), "http", None);
        let settings_of = |server: &Server| {
            let ingresses = &self.servers.ingresses;
            let ingress = server.client_cert.map(|index| &ingresses[index]);
            ingress.and_then(|read| read.settings.client_cert.clone())
        };
        let shared = servers.iter().find(|server| server.host.is_empty());
        let mut clients = vec![("https".to_owned(), shared.and_then(settings_of))];
        for server in servers {
            let listeners = self.client_listeners(server).into_iter();
            clients.extend(listeners.map(|(_, section)| (section, settings_of(server))));
        }
        for (section, client) in clients {
            let target = self.listener_target(&section);
            self.client_traffic(&target, "https", client.as_ref());
        }
        let (listeners, sets) = self.host_listeners.certificate_targets();
        for section in listeners {
            self.client_traffic(&self.listener_target(&section), "https", None);
        }
        for set in sets {
            let reference = json!({
                "group": "gateway.networking.k8s.io", "kind": "ListenerSet", "name": set.name,
            });
            let name = set.name;
            self.client_traffic(&ListenerTarget { name, reference }, "https", None);
        }
    }

    /// A listener, as the target of a policy.
    fn listener_target(&self, section: &str) -> ListenerTarget {
        let gateway = &self.options.gateway.name;
        let (kind, name) = match self.host_listeners.set_of(section) {
            Some(set) => ("ListenerSet", &set.name),
            None => ("Gateway", gateway),
        };
        ListenerTarget {
            name: format!("{gateway}-{section}"),
            reference: json!({
                "group": "gateway.networking.k8s.io", "kind": kind, "name": name,
                "sectionName": section,
            }),
        }
    }

    /// Whether a Secret is known to contain no certificate. ingress-nginx then uses the default
    /// certificate.
    pub(super) fn is_unusable(&self, secret: &ObjectKey) -> bool {
        let complete = !self.manifests.endpoint_owners.is_empty();
        match self.manifests.secrets.get(secret) {
            None => complete,
            Some(data) => ["tls.crt", "tls.key"].iter().any(|key| {
                let value = data.values.get(*key).map(Vec::as_slice).unwrap_or_default();
                !value.starts_with(b"-----BEGIN")
            }),
        }
    }

    /// A reference of the Gateway or of a ListenerSet to a Secret.
    pub(super) fn certificate_ref(&mut self, kind: &'static str, secret: &ObjectKey) -> Value {
        let namespace = self.options.gateway.namespace.clone();
        let mut reference = json!({"kind": "Secret", "name": secret.name});
        if secret.namespace != namespace {
            reference["namespace"] = secret.namespace.clone().into();
            let from = ("gateway.networking.k8s.io", kind, namespace.as_str());
            self.permit(from, ("Secret", secret));
        }
        reference
    }

    /// The ClientTrafficPolicy of a listener, or of the listeners of a ListenerSet.
    fn client_traffic(
        &mut self,
        target: &ListenerTarget,
        scheme: &str,
        client_cert: Option<&crate::ingress::settings::ClientCert>,
    ) {
        let gateway = self.options.gateway.clone();
        let port = if scheme == "https" { "443" } else { "80" };
        let mut spec = json!({"targetRefs": [target.reference]});
        let mut comments = BTreeSet::new();
        if self.config.bool("use-proxy-protocol", false) {
            spec["proxyProtocol"] = json!({"optional": false});
            comments.insert("ConfigMap: use-proxy-protocol".to_owned());
        }
        if let Some(detection) = self.client_address() {
            if detection["directSourceIP"].is_null() {
                comments.insert("ConfigMap: use-forwarded-headers or enable-real-ip".to_owned());
            }
            spec["clientIPDetection"] = detection;
        }
        spec["headers"] = self.header_settings(scheme, port);
        comments.insert("Header fields as ingress-nginx sets them".to_owned());
        let verifies = self
            .servers
            .servers
            .iter()
            .any(|server| server.client_cert.is_some());
        if verifies && client_cert.is_none_or(|client| client.optional) {
            let removed = spec["headers"]["earlyRequestHeaders"]["remove"].as_array_mut();
            removed
                .into_iter()
                .for_each(|removed| removed.push(json!(CLIENT_VERIFY)));
        }
        // nginx compares decoded paths, so `/admin%2Fx` must match the rules of `/admin`.
        spec["path"] = json!({"escapedSlashesAction": "UnescapeAndForward"});
        if let Some(versions) = self
            .config
            .text("ssl-protocols")
            .filter(|_| scheme == "https")
        {
            let versions: Vec<&str> = versions.split_whitespace().collect();
            if versions == ["TLSv1.3"] {
                spec["tls"] = json!({"minVersion": "1.3"});
            }
        }
        if let Some(client) = client_cert {
            let namespace = &gateway.namespace;
            let mut reference = json!({"group": "", "kind": "Secret", "name": client.secret.name});
            if client.secret.namespace != *namespace {
                reference["namespace"] = client.secret.namespace.clone().into();
                let from = (
                    super::backends::ENVOY,
                    "ClientTrafficPolicy",
                    namespace.as_str(),
                );
                self.permit(from, ("Secret", &client.secret));
            }
            let mut tls = spec["tls"].as_object().cloned().unwrap_or_default();
            let mut validation = json!({"caCertificateRefs": [reference]});
            if client.optional {
                validation["optional"] = true.into();
            }
            tls.insert("clientValidation".to_owned(), validation);
            spec["tls"] = Value::Object(tls);
            if !client.optional {
                // The handshake rejects clients without a valid certificate, so the client of every request
                // has a valid certificate.
                let verified = json!({"name": CLIENT_VERIFY, "value": "SUCCESS"});
                let set = spec["headers"]["earlyRequestHeaders"]["set"].as_array_mut();
                set.into_iter().for_each(|set| set.push(verified.clone()));
            }
            comments.insert("auth-tls-secret".to_owned());
        }
        let key = ObjectKey::new(&*gateway.namespace, &*target.name);
        let kind = "ClientTrafficPolicy";
        self.output.add(kind, &key, spec, &comments);
        self.output
            .annotate(kind, &key, ROUTE_MATCHING, "ingress-nginx");
        if let Some(trusted) = AddressSource::of(self.config).annotation() {
            self.output.annotate(kind, &key, TRUSTED_PROXIES, &trusted);
        }
    }

    /// `clientIPDetection`. `None`: the PROXY header of the connection has the address of the client.
    fn client_address(&self) -> Option<Value> {
        Some(match AddressSource::of(self.config) {
            AddressSource::ProxyProtocol(_) => return None,
            AddressSource::Peer => json!({"directSourceIP": {}}),
            AddressSource::Header(name, _) => json!({"customHeader": {"name": name}}),
            AddressSource::Trusted(trusted) => json!({"xForwardedFor": {"trustedCIDRs": trusted}}),
            AddressSource::OneHop => json!({"xForwardedFor": {"numTrustedHops": 1}}),
        })
    }

    fn header_settings(&self, scheme: &str, port: &str) -> Value {
        let config = self.config;
        let underscores = match config.bool("enable-underscores-in-headers", false) {
            true => "Allow",
            false => "DropHeader",
        };
        let request_id = match config.bool("generate-request-id", true) {
            true => "PreserveOrGenerate",
            false => "Preserve",
        };
        let mut headers = Map::new();
        headers.insert("withUnderscoresAction".to_owned(), underscores.into());
        headers.insert("requestID".to_owned(), request_id.into());
        headers.insert("disableRateLimitHeaders".to_owned(), true.into());
        let trusts = config.bool("use-forwarded-headers", false);
        let mut set = forwarded(scheme, port);
        let client = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%";
        let host = match trusts {
            true => "%REQ(X-FORWARDED-HOST?:AUTHORITY)%",
            false => "%REQ(:AUTHORITY)%",
        };
        if !config.replaces_forwarded_for() {
            // If a header field determines the client address, the address is unknown at this point. The
            // routes then set `X-Real-IP`.
            set.push(json!({"name": "X-Real-IP", "value": client}));
        }
        set.push(json!({"name": "X-Forwarded-Host", "value": host}));
        if config.bool("enable-real-ip", false) && !trusts {
            // The client address that the proxy reports is trusted. The scheme that the proxy reports is not
            // trusted.
            set.push(json!({"name": "X-Forwarded-Proto", "value": scheme}));
        }
        let mut removed: Vec<String> = OWN_FIELDS.map(str::to_owned).to_vec();
        if matches!(
            AddressSource::of(config),
            AddressSource::Peer | AddressSource::ProxyProtocol(_)
        ) {
            // The gateway then adds the address of the client as the only entry.
            removed.push("X-Forwarded-For".to_owned());
        }
        for (name, value) in self.config_map_fields("proxy-set-headers") {
            match literal_value(&value) {
                Some(value) => set.push(json!({"name": name, "value": value})),
                // A client must not set a field that ingress-nginx removes or replaces.
                None => removed.push(name),
            }
        }
        let early = json!({"set": set, "remove": removed});
        headers.insert("earlyRequestHeaders".to_owned(), early);
        let mut late = Map::new();
        let mut set = Vec::new();
        if scheme == "https" && config.bool("hsts", true) {
            set.push(json!({"name": "Strict-Transport-Security", "value": self.hsts()}));
        }
        set.extend(named_values(&self.config_map_fields("add-headers")));
        if !set.is_empty() {
            late.insert("set".to_owned(), json!(set));
        }
        let hidden = config.text("hide-headers").map(list).unwrap_or_default();
        if !hidden.is_empty() {
            late.insert("remove".to_owned(), json!(hidden));
        }
        if !late.is_empty() {
            headers.insert("lateResponseHeaders".to_owned(), Value::Object(late));
        }
        Value::Object(headers)
    }

    fn hsts(&self) -> String {
        let config = self.config;
        let age = config.text("hsts-max-age").unwrap_or("31536000");
        let mut value = format!("max-age={age}");
        if config.bool("hsts-include-subdomains", true) {
            value.push_str("; includeSubDomains");
        }
        if config.bool("hsts-preload", false) {
            value.push_str("; preload");
        }
        value
    }

    /// The header fields in the ConfigMap that the setting `key` names.
    fn config_map_fields(&self, key: &str) -> Vec<(String, String)> {
        let Some(name) = self.config.text(key) else {
            return Vec::new();
        };
        let key = crate::ingress::controller::object_key(name, "ingress-nginx");
        let data = self.manifests.config_maps.get(&key);
        let fields = data.into_iter().flat_map(|data| &data.values);
        fields
            .map(|(name, written)| (name.clone(), written.text.clone()))
            .collect()
    }

    /// The defaults of ingress-nginx for all routes.
    fn backend_traffic(&mut self) {
        let config = self.config;
        let seconds = |key: &str, default: u64| config.number(key).unwrap_or(default);
        let idle = seconds("proxy-read-timeout", 60).max(seconds("proxy-send-timeout", 60));
        let words = config
            .text("proxy-next-upstream")
            .unwrap_or("error timeout");
        let words = words.split_whitespace().map(str::to_owned).collect();
        let proxy = ProxySettings {
            retry_on: Some(words),
            tries: Some(seconds("proxy-next-upstream-tries", 3)),
            ..ProxySettings::default()
        };
        let gateway = self.options.gateway.clone();
        let mut spec = json!({
            "targetRefs": [{
                "group": "gateway.networking.k8s.io",
                "kind": "Gateway",
                "name": gateway.name,
            }],
            "timeout": {
                "tcp": {"connectTimeout": duration(seconds("proxy-connect-timeout", 5))},
                "http": {"streamIdleTimeout": duration(idle)},
            },
            "loadBalancer": {"type": "RoundRobin"},
            "responseOverride": response_overrides(None, &self.as_500),
        });
        if let Some(retry) = retry(&proxy) {
            spec["retry"] = retry;
        }
        if config.bool("use-gzip", false) {
            let least = config.number("gzip-min-length").unwrap_or(256);
            spec["compressor"] =
                json!([{"type": "Gzip", "gzip": {}, "minContentLength": least.to_string()}]);
        }
        let limit = config
            .text("proxy-body-size")
            .and_then(size)
            .unwrap_or(1 << 20);
        let comments =
            BTreeSet::from(["Defaults of ingress-nginx: timeouts, retries, balancing".to_owned()]);
        let kind = "BackendTrafficPolicy";
        self.output.add(kind, &gateway, spec, &comments);
        self.output
            .annotate(kind, &gateway, MAX_REQUEST_BODY, &quantity(limit));
        self.output
            .annotate(kind, &gateway, LIMITS_BEFORE_AUTHENTICATION, "true");
    }
}
