//! A hyper server behind a load balancer that sends PROXY headers: it answers with the address of the
//! client.
//!
//! ```text
//! cargo run -p towergate-core --example proxy_protocol_hyper
//! curl --haproxy-protocol http://127.0.0.1:3000/
//! ```

use std::convert::Infallible;
use std::error::Error;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::service_fn;
use tower_layer::Layer;
use towergate_core::conn::proxy::{Ends, EndsLayer, ProxyAcceptor, ProxyListener};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    serve_on(TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve_on(socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let senders = vec!["127.0.0.0/8".parse()?];
    let mut listener = ProxyListener::new(socket, ProxyAcceptor::required(senders));
    loop {
        let (stream, ends) = listener.accept().await;
        let service = TowerToHyperService::new(EndsLayer(ends).layer(service_fn(answer)));
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("{}: {error}", ends.peer);
            }
        });
    }
}

async fn answer(req: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = match req.extensions().get::<Ends>() {
        Some(ends) => format!("you are {}, by way of {}\n", ends.peer, ends.tcp_peer),
        None => "who are you?\n".to_owned(),
    };
    Ok(Response::new(Full::from(text)))
}
