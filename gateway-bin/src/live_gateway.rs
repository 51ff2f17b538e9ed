//! A running gateway to which requests are sent, each over its own connection.
//!
//! Certificates are not verified, because the address of the gateway is usually not among the names in its
//! certificate.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::uri::{Scheme, Uri};
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use towergate_core::Body;
use towergate_k8s::ingress::comparison::{LiveAnswer, ReceivedRequest};
use towergate_k8s::ingress::model::ModelRequest;
use towergate_tls::client::ClientTls;
use towergate_tls::connector::Connector;

use crate::Failure;

/// Largest response of an echo backend, in bytes.
const MAX_ECHO: usize = 64 * 1024;

/// Time limit of a request.
const TIME: Duration = Duration::from_secs(10);

/// A gateway to which requests are sent.
pub(crate) struct LiveGateway {
    /// Whether requests are sent over TLS.
    pub(crate) https: bool,
    address: String,
}

impl LiveGateway {
    /// Parses the address of a gateway.
    ///
    /// # Errors
    /// If `text` is not `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let expected = || format!("{text:?}: expected http://HOST[:PORT] or https://HOST[:PORT]");
        let uri: Uri = text.parse().map_err(|_| expected())?;
        let https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(expected().into()),
        };
        let host = uri.host().ok_or_else(expected)?;
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        Ok(Self {
            https,
            address: format!("{host}:{port}"),
        })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The reason why there is no response.
    pub(crate) async fn send(&self, request: &ModelRequest) -> Result<LiveAnswer, String> {
        match timeout(TIME, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err("no response within 10 s".to_owned()),
        }
    }

    async fn exchange(&self, request: &ModelRequest) -> Result<LiveAnswer, String> {
        let failed = |error: &dyn std::fmt::Display| format!("no response: {error}");
        let stream = TcpStream::connect(&self.address).await;
        let stream = stream.map_err(|error| failed(&error))?;
        if !self.https {
            return answer(stream, request).await;
        }
        let host = request.header("host").unwrap_or_default();
        let tls = ClientTls {
            server_name: match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some((address, _)) => address.to_owned(),
                None => host.split(':').next().unwrap_or_default().to_owned(),
            },
            subject_alt_names: Vec::new(),
            roots_pem: None,
            alpn: vec!["http/1.1".to_owned()],
            identity: None,
            accept_any_certificate: true,
            limits: towergate_tls::limits::TlsLimits::default(),
        };
        let connector = Connector::new(&tls, towergate_tls::default_provider());
        let connector = connector.map_err(|error| failed(&error))?;
        let stream = connector.connect(stream).await;
        answer(stream.map_err(|error| failed(&error))?, request).await
    }
}

/// Sends a request over a new connection.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: &ModelRequest,
) -> Result<LiveAnswer, String> {
    let failed = |error: &dyn std::fmt::Display| format!("no response: {error}");
    let mut builder = Request::builder()
        .method(request.method.as_str())
        .uri(request.target.as_str());
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let message = builder
        .body(Body::empty())
        .map_err(|error| failed(&error))?;
    let connection = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connection.map_err(|error| failed(&error))?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(message).await;
    let answer = match response {
        Ok(response) => Ok(live(response).await),
        Err(error) => Err(failed(&error)),
    };
    driver.abort();
    answer
}

async fn live(response: Response<Incoming>) -> LiveAnswer {
    let (response, body) = response.into_parts();
    let content_type = response.headers.get(CONTENT_TYPE);
    let is_json =
        content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    let body = match is_json {
        true => Limited::new(body, MAX_ECHO).collect().await.ok(),
        false => None,
    };
    let headers = response.headers.iter();
    LiveAnswer {
        received: body.and_then(|body| ReceivedRequest::parse(&body.to_bytes())),
        status: response.status.as_u16(),
        headers: headers
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.to_string(), value)
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        for (text, expected) in [
            ("http://192.0.2.1", Some("192.0.2.1:80")),
            ("https://gateway.test:8443/", Some("gateway.test:8443")),
            ("https://[2001:db8::1]", Some("[2001:db8::1]:443")),
            ("192.0.2.1", None),
            ("ftp://192.0.2.1", None),
        ] {
            let found = LiveGateway::parse(text).ok().map(|gateway| gateway.address);
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
