//! Requests to the model, and its responses.

use std::net::IpAddr;

use crate::ingress::servers::BackendPort;

/// The parts of a request that the model uses.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// Whether the request arrived over TLS.
    pub https: bool,
    /// Method.
    pub method: String,
    /// Request target: path and query as sent.
    pub target: String,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// Address of the client.
    pub client: IpAddr,
    /// Length of the body according to `Content-Length`.
    pub body_len: u64,
    /// Whether the version is HTTP/1.0, which does not require `Host`.
    pub http10: bool,
    /// Certificate of the client.
    pub certificate: Option<ModelCertificate>,
    /// Status that the authentication server returns if it is called. `None`: unknown.
    pub auth_status: Option<u16>,
}

/// A client certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ModelCertificate {
    /// Subject of the certificate, such as `CN=client-a`.
    pub subject: String,
    /// Whether the certificate chains to the configured CA.
    pub valid: bool,
}

impl ModelRequest {
    /// The first value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The response of ingress-nginx.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ModelAnswer {
    /// A local reply.
    Reply {
        /// Status.
        status: u16,
        /// `Location` of the response.
        location: Option<String>,
    },
    /// The response of a backend.
    Proxy {
        /// Service ports; one of them receives the request.
        backends: Vec<BackendPort>,
        /// Request target that the backend receives.
        target: String,
        /// Whether an authentication server decides first, and its decision is unknown:
        /// [`ModelRequest::auth_status`] is `None`.
        asks: bool,
    },
}

impl ModelAnswer {
    pub(super) fn reply(status: u16) -> Self {
        Self::Reply {
            status,
            location: None,
        }
    }

    pub(super) fn redirect(status: u16, location: String) -> Self {
        Self::Reply {
            status,
            location: Some(location),
        }
    }
}
