//! External authorization as a Layer of an axum service: a service at a fixed address decides on each request.
//! Needs no gateway and no cluster.
//!
//! ```text
//! cargo run -p towergate-policy --example ext_auth_axum -- 127.0.0.1:4180
//! curl -i -H 'Authorization: Bearer good' http://127.0.0.1:3000/
//! ```
//!
//! The argument is the address of a forward-auth service, such as oauth2-proxy. Status 200 allows a
//! request; the response field `x-user` names the user.

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use http::{HeaderMap, HeaderName};
use tokio::net::TcpListener;
use towergate_core::gateway::InternalClient;
use towergate_core::plan::{BackendProtocol, Text};
use towergate_core::policy::{BuiltPolicy, PolicyLayer};
use towergate_policy::ext_auth::{
    AnswerFields, AuthService, ExternalAuth, ExternalAuthPolicy, HttpAuthService,
};

const USER: HeaderName = HeaderName::from_static("x-user");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = std::env::args().nth(1).ok_or("missing argument: address")?;
    serve(service.parse()?, TcpListener::bind("127.0.0.1:3000").await?).await
}

pub(crate) async fn serve(service: SocketAddr, socket: TcpListener) -> Result<(), Box<dyn Error>> {
    let protocol = AuthService::Http(HttpAuthService {
        headers_to_backend: AnswerFields::Listed(vec![Text::from(USER)]),
        ..HttpAuthService::default()
    });
    let provider = towergate_tls::default_provider();
    let client = InternalClient::of_addresses(&[service], BackendProtocol::Http1, &provider);
    let policy = ExternalAuthPolicy::new(ExternalAuth::new(protocol, Vec::new()), client);
    let app = Router::new()
        .route("/", get(hello).post(length))
        .layer(PolicyLayer::new(BuiltPolicy::waiting(policy)));
    Ok(axum::serve(socket, app).await?)
}

async fn hello(headers: HeaderMap) -> String {
    let user = headers.get(USER).and_then(|user| user.to_str().ok());
    format!("hello {}", user.unwrap_or("stranger"))
}

async fn length(body: String) -> String {
    body.len().to_string()
}
