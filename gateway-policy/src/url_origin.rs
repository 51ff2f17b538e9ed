//! The host of a URL as a backend, for services that a policy identifies only by a URL.

use std::sync::Arc;

use http::Uri;
use towergate_core::plan::{
    Backend, BackendId, BackendKind, BackendProtocol, Destination, DnsHost, WeightedBackend,
};
use towergate_tls::client::ClientTls;

/// Scheme, host and port of a URL.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct UrlOrigin {
    tls: bool,
    host: String,
    port: u16,
}

impl UrlOrigin {
    /// The origin of an `http` or `https` URL.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let (tls, port) = match uri.scheme_str()? {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return None,
        };
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        Some(Self {
            tls,
            host: host.to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(port),
        })
    }

    /// The backend at this origin: the addresses of its host, which the data plane looks up. Certificates are verified
    /// with the CA certificates of the system.
    pub(crate) fn backend(&self) -> WeightedBackend {
        let tls = ClientTls {
            server_name: self.host.clone(),
            subject_alt_names: Vec::new(),
            roots_pem: None,
            alpn: vec!["http/1.1".to_owned()],
            identity: None,
            accept_any_certificate: false,
            limits: towergate_tls::limits::TlsLimits::default(),
        };
        let backend = Backend {
            id: BackendId {
                kind: BackendKind::Url,
                namespace: String::new(),
                name: self.host.clone(),
                port: self.port,
            },
            protocol: BackendProtocol::Http1,
            tls: self.tls.then(|| Arc::new(tls)),
            hosts: vec![DnsHost {
                name: self.host.clone(),
                port: self.port,
            }],
            fallback: false,
            dynamic: None,
        };
        WeightedBackend {
            weight: 1,
            filters: Vec::new(),
            destination: Destination::Backend(Arc::new(backend)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backend_of_a_url_is_its_host_with_tls_if_the_scheme_says_so() {
        for (url, host, port, tls) in [
            (
                "https://Login.example.com/x",
                "login.example.com",
                443,
                true,
            ),
            ("http://op.test:8080", "op.test", 8080, false),
            ("http://[::1]/", "::1", 80, false),
        ] {
            let origin = UrlOrigin::of(&url.parse().unwrap()).unwrap();
            let Destination::Backend(backend) = origin.backend().destination else {
                panic!("{url}");
            };

            let expected = DnsHost {
                name: host.to_owned(),
                port,
            };
            assert_eq!(backend.hosts, [expected], "{url}");
            let name = backend.tls.as_ref().map(|tls| &*tls.server_name);
            assert_eq!(name, tls.then_some(host), "{url}");
        }
        assert_eq!(UrlOrigin::of(&"/path".parse().unwrap()), None);
        assert_eq!(UrlOrigin::of(&"ftp://a.test/".parse().unwrap()), None);
    }
}
