//! The Layer for a login with OpenID Connect, and the client that calls the provider. The examples of all
//! frameworks share them.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use towergate_core::policy::{BuiltPolicy, PolicyLayer};
use towergate_policy::oidc::{OidcAuthentication, OidcPolicy, ProviderClient, ProviderFuture};

/// Settings of the login, from the command line: issuer, client ID and client secret.
pub(crate) fn rule_of_arguments() -> Result<OidcAuthentication, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [issuer, client_id, client_secret] = arguments.as_slice() else {
        return Err("missing arguments: ISSUER CLIENT-ID CLIENT-SECRET".into());
    };
    Ok(OidcAuthentication::new(
        "example",
        issuer,
        client_id,
        client_secret,
    ))
}

/// The Layer for the login that `rule` describes.
pub(crate) fn layer(rule: OidcAuthentication) -> Result<PolicyLayer, Box<dyn Error>> {
    let policy = OidcPolicy::new(rule, Arc::new(PlainClient))?;
    Ok(PolicyLayer::new(BuiltPolicy::waiting(policy)))
}

/// The response of the service behind the Layer. The service receives the tokens as cookies.
pub(crate) fn greeting(headers: &HeaderMap) -> String {
    let cookies = headers.get(COOKIE).and_then(|line| line.to_str().ok());
    format!(
        "hello, you have {} tokens\n",
        cookies.map_or(0, |line| line.split("; ").count())
    )
}

/// Calls a provider over plain HTTP, with a new connection for each call.
struct PlainClient;

impl ProviderClient for PlainClient {
    fn call(&self, request: Request<Bytes>) -> ProviderFuture<'_> {
        Box::pin(async move {
            let call = tokio::time::timeout(Duration::from_secs(10), call(request));
            let response = call.await.map_err(|_| "timeout")?;
            response.map_err(|error| error.to_string())
        })
    }
}

async fn call(
    mut request: Request<Bytes>,
) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
    let authority = request.uri().authority().ok_or("the URL has no host")?;
    let port = authority.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((authority.host(), port)).await?;
    let host = HeaderValue::from_str(authority.as_str())?;
    request.headers_mut().insert(HOST, host);
    let target = request
        .uri()
        .path_and_query()
        .ok_or("the URL has no path")?;
    *request.uri_mut() = target.as_str().parse()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request.map(Full::new)).await?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, 256 * 1024).collect().await?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
