//! A scripted data plane: the test determines the messages that it sends and reads.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use towergate_k8s::wire::{
    CONTROLLER_NAME, Decoder, FrameReader, Outcome, PATH, PROTOCOL_HEADER, Update, VersionReport,
};
use towergate_tls::rustls::pki_types::pem::PemObject;
use towergate_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use towergate_tls::rustls::{ClientConfig, RootCertStore};

use super::binary::Server;
use crate::serve::Credentials;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Time limit of each operation.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stream of a data plane to a server.
pub(super) struct Peer {
    sender: Sender<Bytes, Infallible>,
    body: Incoming,
    reader: FrameReader,
    decoder: Decoder,
    _requests: hyper::client::conn::http2::SendRequest<Channel<Bytes, Infallible>>,
}

/// The TLS configuration of a client, with or without a client certificate.
fn client(credentials: &Credentials, with_certificate: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(credentials.authorities.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let chain = CertificateDer::pem_slice_iter(credentials.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(credentials.key.as_bytes()).unwrap();
    let config = ClientConfig::builder_with_provider(towergate_tls::default_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match with_certificate {
        true => config
            .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap(),
        false => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

impl Peer {
    /// Opens a stream and sends a `Hello` without a version. An unsuccessful response becomes the error.
    pub(super) async fn open(
        server: &Server,
        credentials: &Credentials,
        protocol: &str,
    ) -> Result<Self, Failure> {
        let config = client(credentials, true);
        timeout(PATIENCE, Self::open_with(server, config, protocol)).await?
    }

    /// Opens a stream without a client certificate.
    pub(super) async fn open_without(
        server: &Server,
        credentials: &Credentials,
        protocol: &str,
    ) -> Result<Self, Failure> {
        let config = client(credentials, false);
        timeout(PATIENCE, Self::open_with(server, config, protocol)).await?
    }

    async fn open_with(
        server: &Server,
        config: Arc<ClientConfig>,
        protocol: &str,
    ) -> Result<Self, Failure> {
        let tcp = TcpStream::connect(server.address).await?;
        let name = ServerName::try_from(CONTROLLER_NAME)?;
        let tls = TlsConnector::from(config).connect(name, tcp).await?;
        let (mut requests, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await?;
        tokio::spawn(connection);
        let (mut sender, body) = Channel::new(4);
        let request = Request::post(format!("https://{CONTROLLER_NAME}{PATH}"))
            .header(PROTOCOL_HEADER, protocol)
            .body(body)?;
        let mut decoder = Decoder::default();
        let mut hello = Vec::new();
        decoder.hello("bare").write(&mut hello)?;
        let response = requests.send_request(request);
        let _ = sender.send_data(hello.into()).await;
        let response = response.await?;
        if !response.status().is_success() {
            let status = response.status();
            let why = response.into_body().collect().await?.to_bytes();
            return Err(format!("{status}: {}", String::from_utf8_lossy(&why)).into());
        }
        Ok(Self {
            sender,
            body: response.into_body(),
            reader: FrameReader::default(),
            decoder,
            _requests: requests,
        })
    }

    /// Reads the next version. `None`: the server has ended the stream.
    pub(super) async fn next(&mut self) -> Option<Update> {
        timeout(PATIENCE, self.update())
            .await
            .expect("something happens")
    }

    async fn update(&mut self) -> Option<Update> {
        loop {
            while let Some((kind, payload)) = self.reader.next_frame().unwrap() {
                if let Some(update) = self.decoder.take(kind, payload).unwrap() {
                    return Some(update);
                }
            }
            let frame = self.body.frame().await?.ok()?;
            self.reader.push(&frame.into_data().unwrap_or_default());
        }
    }

    /// Reports the outcome of a version.
    pub(super) async fn report(&mut self, version: u64, outcome: Outcome) {
        let mut frame = Vec::new();
        VersionReport { version, outcome }
            .write(&mut frame)
            .unwrap();
        self.sender.send_data(frame.into()).await.unwrap();
    }
}
