//! Calls to a provider through the gateway's upstream stack.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Request;
use towergate_core::Body;
use towergate_core::plan::Traffic;
use towergate_core::policy::BuildContext;
use towergate_core::policy::InternalClient;
use towergate_core::policy::Live;
use towergate_tls::connector::CryptoProvider;

use super::{OidcProviderSettings, ProviderClient, ProviderFuture};
use crate::error_chain::with_causes;
use crate::url_origin::UrlOrigin;

/// Maximum length of a provider's response, in bytes.
const LONGEST_RESPONSE: usize = 256 * 1024;
/// Maximum number of hosts of a provider. Issuer, token endpoint and key set can have three different hosts.
const MOST_HOSTS: usize = 8;

/// The client of a provider in a gateway.
#[derive(Debug)]
pub(super) enum GatewayClient {
    /// All calls go to the configured backends.
    Backends(InternalClient),
    /// Each call goes to the host of its URL.
    Hosts(HostClients),
}

/// Clients of the hosts of a provider. They are created at the first call, because some of the hosts are
/// known only after discovery.
#[derive(Debug)]
pub(super) struct HostClients {
    live: Live,
    provider: Arc<CryptoProvider>,
    traffic: Arc<Traffic>,
    clients: Mutex<Vec<(UrlOrigin, InternalClient)>>,
}

impl GatewayClient {
    /// The client for `settings`.
    pub(super) fn new(settings: &OidcProviderSettings, context: &BuildContext<'_>) -> Self {
        let traffic = settings.traffic.clone();
        if settings.backends.is_empty() {
            return Self::Hosts(HostClients {
                live: context.live.clone(),
                provider: context.provider.clone(),
                traffic,
                clients: Mutex::default(),
            });
        }
        Self::Backends(context.http_client("oidc", &settings.backends, traffic))
    }

    fn client(&self, request: &Request<Bytes>) -> Result<InternalClient, String> {
        match self {
            Self::Backends(client) => Ok(client.clone()),
            Self::Hosts(hosts) => {
                let origin = UrlOrigin::of(request.uri());
                hosts.client(origin.ok_or("not an http or https URL")?)
            }
        }
    }
}

impl HostClients {
    fn client(&self, origin: UrlOrigin) -> Result<InternalClient, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = clients.iter().find(|(known, _)| *known == origin) {
            return Ok(client.clone());
        }
        if clients.len() == MOST_HOSTS {
            return Err(format!("the provider has more than {MOST_HOSTS} hosts"));
        }
        let key = ("oidc", origin.clone());
        let backends = [origin.backend()];
        let client = InternalClient::new(
            key,
            self.traffic.clone(),
            &backends,
            &self.live,
            &self.provider,
        );
        clients.push((origin, client.clone()));
        Ok(client)
    }
}

impl ProviderClient for GatewayClient {
    fn call(&self, request: Request<Bytes>) -> ProviderFuture<'_> {
        Box::pin(async move {
            let client = self.client(&request)?;
            let request = request.map(Body::from);
            let response = client.send_collected(request, LONGEST_RESPONSE).await;
            let response = response.map_err(|error| with_causes(&error))?;
            Ok(response.map(|body| body.data))
        })
    }
}
