//! One connection to the controller.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use towergate_k8s::wire::{
    CONTROLLER_NAME, Decoder, FrameReader, PATH, PROTOCOL, PROTOCOL_HEADER, VersionReport,
};
use towergate_tls::rustls::ClientConfig;
use towergate_tls::rustls::pki_types::ServerName;

use super::credentials::CredentialsFolder;
use super::{ReceivedVersion, VersionOutcome, desired};
use crate::Failure;
use crate::flags::ControllerAddress;

/// Time limit from the connection attempt to the head of the response.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle time after which a ping is sent, and time limit of its response.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// HTTP/2 flow-control window, in bytes.
const WINDOW: u32 = 1 << 20;
/// Maximum length of an error response, in bytes. The rest is not read.
const MAX_REASON: usize = 4096;

/// State that outlives a connection.
pub(super) struct Session {
    pub(super) address: ControllerAddress,
    pub(super) name: String,
    pub(super) decoder: Decoder,
    pub(super) received: mpsc::Sender<ReceivedVersion>,
    pub(super) outcomes: mpsc::UnboundedReceiver<VersionOutcome>,
    /// Ticket of the last version.
    pub(super) ticket: u64,
}

/// The reason why a connection ended.
pub(super) enum ConnectionEnd {
    /// The connection could not be established.
    Failed(Failure),
    /// The connection was lost.
    Lost(Failure),
    /// The credentials have changed.
    Renewed,
    /// The receiver of versions was dropped.
    Unused,
}

/// A stream that the controller accepted.
struct Stream {
    /// Sends reports to the controller.
    reports: Sender<Bytes, Infallible>,
    /// Receives updates from the controller.
    updates: Incoming,
    /// The task of the HTTP/2 connection. Aborted on drop.
    _connection: JoinSet<()>,
}

impl Session {
    /// Connects, and receives versions until the connection ends.
    pub(super) async fn connect(
        &mut self,
        config: Arc<ClientConfig>,
        credentials: &mut CredentialsFolder,
    ) -> ConnectionEnd {
        let mut hello = Vec::new();
        if let Err(error) = self.decoder.hello(&self.name).write(&mut hello) {
            return ConnectionEnd::Failed(error.into());
        }
        let opened = timeout(OPEN_TIMEOUT, open(&self.address, config, hello)).await;
        let stream = match opened.unwrap_or_else(|_| Err("no response within 10 s".into())) {
            Ok(stream) => stream,
            Err(error) => return ConnectionEnd::Failed(error),
        };
        tracing::info!(controller = %self.address, "connected to the controller");
        tokio::select! {
            end = self.receive(stream) => end,
            () = credentials.changed() => ConnectionEnd::Renewed,
        }
    }

    async fn receive(&mut self, mut stream: Stream) -> ConnectionEnd {
        let mut reader = FrameReader::default();
        // The version that has the last ticket.
        let mut version = None;
        loop {
            tokio::select! {
                frame = stream.updates.frame() => {
                    let frame = match frame {
                        Some(Ok(frame)) => frame,
                        Some(Err(error)) => return ConnectionEnd::Lost(error.into()),
                        None => return ConnectionEnd::Lost("the controller closed the stream".into()),
                    };
                    let Ok(data) = frame.into_data() else { continue };
                    reader.push(&data);
                    match self.decode(&mut reader).await {
                        Ok(None) => {}
                        Ok(newer) => version = newer,
                        Err(end) => return end,
                    }
                }
                outcome = self.outcomes.recv() => {
                    let Some(VersionOutcome { ticket, outcome }) = outcome else { return ConnectionEnd::Unused };
                    let (true, Some(version)) = (ticket == self.ticket, version) else { continue };
                    let mut frame = Vec::new();
                    let written = VersionReport { version, outcome }.write(&mut frame);
                    if let Err(error) = written {
                        return ConnectionEnd::Lost(error.into());
                    }
                    // If the stream is closed, the next read returns the error, so the error of the write is
                    // ignored.
                    let _ = stream.reports.send_data(frame.into()).await;
                }
            }
        }
    }

    /// Decodes the complete frames. Returns the last version that these frames complete.
    async fn decode(&mut self, reader: &mut FrameReader) -> Result<Option<u64>, ConnectionEnd> {
        let mut version = None;
        loop {
            let taken = reader.next_frame().and_then(|frame| match frame {
                Some((kind, payload)) => self.decoder.take(kind, payload).map(Some),
                None => Ok(None),
            });
            let update = match taken {
                Ok(Some(Some(update))) => update,
                Ok(Some(None)) => continue,
                Ok(None) => return Ok(version),
                Err(error) => {
                    // After an error, the state of the decoder is unknown, so a new decoder replaces it.
                    self.decoder = Decoder::default();
                    return Err(ConnectionEnd::Lost(error.into()));
                }
            };
            self.ticket += 1;
            version = Some(update.version);
            let received = ReceivedVersion {
                ticket: self.ticket,
                desired: desired(update),
            };
            if self.received.send(received).await.is_err() {
                return Err(ConnectionEnd::Unused);
            }
        }
    }
}

async fn open(
    address: &ControllerAddress,
    config: Arc<ClientConfig>,
    hello: Vec<u8>,
) -> Result<Stream, Failure> {
    let tcp = TcpStream::connect((address.host.as_str(), address.port)).await?;
    tcp.set_nodelay(true)?;
    // The certificate of a controller contains a fixed name, not its address.
    let name = ServerName::try_from(CONTROLLER_NAME)?;
    let tls = TlsConnector::from(config).connect(name, tcp).await?;
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(TokioIo::new(tls))
        .await?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the controller closed");
        }
    });
    let (mut reports, body) = Channel::new(4);
    let request = Request::post(format!("https://{CONTROLLER_NAME}{PATH}"))
        .header(PROTOCOL_HEADER, PROTOCOL)
        .body(body)?;
    let response = sender.send_request(request);
    let _ = reports.send_data(hello.into()).await;
    let response = response.await?;
    let theirs = response.headers().get(PROTOCOL_HEADER).cloned();
    if response.status() != StatusCode::OK {
        let status = response.status();
        let reason = Limited::new(response.into_body(), MAX_REASON)
            .collect()
            .await;
        let reason = reason.map(|all| String::from_utf8_lossy(&all.to_bytes()).into_owned());
        return Err(format!(
            "the controller responded with {status}: {}",
            reason.unwrap_or_default()
        )
        .into());
    }
    if theirs.as_ref().map(|theirs| theirs.as_bytes()) != Some(PROTOCOL.as_bytes()) {
        return Err(format!(
            "protocol {theirs:?} of the controller is not supported; expected {PROTOCOL}"
        )
        .into());
    }
    Ok(Stream {
        reports,
        updates: response.into_body(),
        _connection: task,
    })
}
