//! One connection to the controller, from its beginning to its end.

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
    CONTROLLER_NAME, Decoder, FrameReader, PATH, PROTOCOL, PROTOCOL_HEADER, Report,
};
use towergate_tls::rustls::ClientConfig;
use towergate_tls::rustls::pki_types::ServerName;

use super::credentials::Folder;
use super::{Received, Told, wanted};
use crate::Failure;
use crate::flags::ControllerAddress;

/// For everything up to the head of the response.
const OPENING: Duration = Duration::from_secs(10);
/// A connection that is silent for so long is asked whether it is alive, and has as long to answer.
const PING: Duration = Duration::from_secs(10);
/// What the controller may send before it is read, in bytes.
const WINDOW: u32 = 1 << 20;
/// What is read of the reason for a refusal, in bytes.
const REASON: usize = 4096;

/// What lasts longer than a connection.
pub(super) struct Session {
    pub(super) address: ControllerAddress,
    pub(super) name: String,
    pub(super) decoder: Decoder,
    pub(super) received: mpsc::Sender<Received>,
    pub(super) told: mpsc::UnboundedReceiver<Told>,
    /// Of the version that was given out last.
    pub(super) ticket: u64,
}

/// How a connection has ended.
pub(super) enum Ended {
    /// There was none.
    Failed(Failure),
    /// There was one, and now there is none.
    Lost(Failure),
    /// There are new credentials.
    Renewed,
    /// Nobody takes what is received.
    Unused,
}

/// A stream that the controller has taken.
struct Stream {
    /// Towards the controller.
    reports: Sender<Bytes, Infallible>,
    /// From it.
    updates: Incoming,
    /// The task that moves the bytes. Ends with this value.
    _connection: JoinSet<()>,
}

impl Session {
    /// Connects, and follows what the controller says as long as that goes.
    pub(super) async fn connect(
        &mut self,
        config: Arc<ClientConfig>,
        credentials: &mut Folder,
    ) -> Ended {
        let mut hello = Vec::new();
        if let Err(error) = self.decoder.hello(&self.name).write(&mut hello) {
            return Ended::Failed(error.into());
        }
        let opened = timeout(OPENING, open(&self.address, config, hello)).await;
        let stream = match opened.unwrap_or_else(|_| Err("it does not answer in time".into())) {
            Ok(stream) => stream,
            Err(error) => return Ended::Failed(error),
        };
        tracing::info!(controller = %self.address, "connected to the controller");
        tokio::select! {
            ended = self.follow(stream) => ended,
            () = credentials.changed() => Ended::Renewed,
        }
    }

    async fn follow(&mut self, mut stream: Stream) -> Ended {
        let mut reader = FrameReader::default();
        // The version of the controller that the last ticket stands for.
        let mut version = None;
        loop {
            tokio::select! {
                frame = stream.updates.frame() => {
                    let frame = match frame {
                        Some(Ok(frame)) => frame,
                        Some(Err(error)) => return Ended::Lost(error.into()),
                        None => return Ended::Lost("it has ended the stream".into()),
                    };
                    let Ok(data) = frame.into_data() else { continue };
                    reader.push(&data);
                    match self.take(&mut reader).await {
                        Ok(None) => {}
                        Ok(newer) => version = newer,
                        Err(ended) => return ended,
                    }
                }
                told = self.told.recv() => {
                    let Some(Told { ticket, outcome }) = told else { return Ended::Unused };
                    let (true, Some(version)) = (ticket == self.ticket, version) else { continue };
                    let mut frame = Vec::new();
                    let written = Report { version, outcome }.write(&mut frame);
                    if let Err(error) = written {
                        return Ended::Lost(error.into());
                    }
                    // If it is gone, the response tells.
                    let _ = stream.reports.send_data(frame.into()).await;
                }
            }
        }
    }

    /// Takes the frames that are complete; the version that they complete, if they do.
    async fn take(&mut self, reader: &mut FrameReader) -> Result<Option<u64>, Ended> {
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
                    // Whatever is wrong, it is not to be built upon.
                    self.decoder = Decoder::default();
                    return Err(Ended::Lost(error.into()));
                }
            };
            self.ticket += 1;
            version = Some(update.version);
            let received = Received {
                ticket: self.ticket,
                wanted: wanted(update),
            };
            if self.received.send(received).await.is_err() {
                return Err(Ended::Unused);
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
    // Whatever its address is, the controller is who its authority says.
    let name = ServerName::try_from(CONTROLLER_NAME)?;
    let tls = TlsConnector::from(config).connect(name, tcp).await?;
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(TokioIo::new(tls))
        .await?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the controller has ended");
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
        let reason = Limited::new(response.into_body(), REASON).collect().await;
        let reason = reason.map(|all| String::from_utf8_lossy(&all.to_bytes()).into_owned());
        return Err(format!("refused with {status}: {}", reason.unwrap_or_default()).into());
    }
    if theirs.as_ref().map(|theirs| theirs.as_bytes()) != Some(PROTOCOL.as_bytes()) {
        return Err(format!("it does not speak protocol {PROTOCOL}, but {theirs:?}").into());
    }
    Ok(Stream {
        reports,
        updates: response.into_body(),
        _connection: task,
    })
}
