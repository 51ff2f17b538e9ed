//! Determines the hosts of a logged request. The model does the inverse: it determines the response for a
//! request with a host.

use super::{IngressNginx, find_location, host_name, uri};
use crate::ingress::proof::host_samples;

impl IngressNginx<'_> {
    /// Hosts whose location for `target` has the backend `upstream`. The format of `upstream` is that of
    /// `$proxy_upstream_name`: `namespace-service-port`. For a wildcard, one matching name is returned.
    pub fn hosts_of(&self, upstream: &str, target: &str) -> Vec<String> {
        let path = target.split('?').next().unwrap_or_default();
        let Some(uri) = uri::normalise(path) else {
            return Vec::new();
        };
        let servers = self.servers().iter().filter(|server| {
            let backend = find_location(server, &uri).0.backend.as_ref();
            backend.is_some_and(|port| {
                let service = &port.service;
                format!("{}-{}-{}", service.namespace, service.name, port.port) == upstream
            })
        });
        servers
            .filter_map(|server| host_samples(server).into_iter().next())
            .collect()
    }

    /// Whether requests for `target` of `host` over plain HTTP are redirected to HTTPS.
    pub fn redirects_host_to_https(&self, host: &str, target: &str) -> bool {
        let path = target.split('?').next().unwrap_or_default();
        let Some(uri) = uri::normalise(path) else {
            return false;
        };
        let server = self.server(&host_name(host));
        self.servers
            .redirects_to_https(server, find_location(server, &uri).0)
    }

    /// Status of redirects to HTTPS (ConfigMap key `http-redirect-code`).
    pub fn redirect_status(&self) -> u16 {
        u16::try_from(self.config.redirect_code()).unwrap_or(308)
    }
}
