//! Lookups of host names.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};

use crate::live::Live;
use crate::plan::DnsFamily;

/// Looks up addresses of host names: first in the hosts file, then by the name servers, whose answers are
/// cached.
pub struct Resolver {
    /// Name servers. Empty: the name servers of the system.
    servers: Vec<SocketAddr>,
    /// Whether answers may contain loopback, link-local and unspecified addresses.
    local_names: bool,
    /// One resolver for each [`DnsFamily`]. It is created with the first lookup.
    lookups: [OnceLock<TokioResolver>; 5],
}

/// The addresses of a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResolvedAddresses {
    /// IPv4 addresses or, if there are none, IPv6 addresses, unless another family is requested. Never empty.
    pub addresses: Vec<IpAddr>,
    /// Time for which the answer is valid.
    pub ttl: Duration,
}

/// Reason why a lookup has returned no addresses.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The name does not exist, or has no address.
    #[error("the name does not exist or has no address")]
    Absent,
    /// No answer was received, or the answer was an error.
    #[error("{0}")]
    Failed(String),
}

/// Key of the process-wide instance in [`Live`].
#[derive(Eq, Hash, PartialEq)]
struct ResolverKey;

impl Resolver {
    /// Creates a resolver that queries `servers`. If the list is empty, it queries the name servers of the
    /// system.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            local_names: true,
            lookups: Default::default(),
        }
    }

    /// Sets whether answers may contain loopback, link-local and unspecified addresses. If false, these
    /// addresses are removed from answers. Default: `true`.
    #[must_use]
    pub fn local_names(mut self, allowed: bool) -> Self {
        self.local_names = allowed;
        self
    }

    /// The resolver that was [installed](Self::install) in `live`. If there is none, a resolver that queries
    /// the name servers of the system.
    pub(crate) fn of(live: &Live) -> Arc<Self> {
        live.share(ResolverKey, |_| Arc::new(Self::new(Vec::new())))
    }

    /// Installs this resolver in `live` until the caller drops the returned reference. `live` must not have
    /// another resolver.
    pub(crate) fn install(self, live: &Live) -> Arc<Self> {
        live.share(ResolverKey, |_| Arc::new(self))
    }

    /// Looks up the addresses of `host`. If `host` is a literal address, this address is the answer.
    ///
    /// # Errors
    /// [`LookupError`] distinguishes a name without addresses from a missing answer.
    pub async fn lookup(&self, host: &str) -> Result<ResolvedAddresses, LookupError> {
        self.lookup_family(host, DnsFamily::default()).await
    }

    /// As [`Self::lookup`], for addresses of `family`. If `host` is a literal address, this address is the
    /// answer regardless of its family.
    pub(crate) async fn lookup_family(
        &self,
        host: &str,
        family: DnsFamily,
    ) -> Result<ResolvedAddresses, LookupError> {
        if let Ok(address) = host.parse() {
            return match self.local_names || !is_local(address) {
                true => Ok(ResolvedAddresses {
                    addresses: vec![address],
                    ttl: Duration::MAX,
                }),
                false => Err(LookupError::Absent),
            };
        }
        let found = self.lookups(family)?.lookup_ip(host).await;
        let found = found.map_err(|error| match error.is_no_records_found() {
            true => LookupError::Absent,
            false => LookupError::Failed(error.to_string()),
        })?;
        let allowed = |address: &IpAddr| self.local_names || !is_local(*address);
        let mut addresses: Vec<IpAddr> = found.iter().filter(allowed).collect();
        addresses.sort_unstable();
        addresses.dedup();
        match addresses.is_empty() {
            true => Err(LookupError::Absent),
            false => Ok(ResolvedAddresses {
                addresses,
                ttl: found
                    .valid_until()
                    .saturating_duration_since(Instant::now()),
            }),
        }
    }

    /// The DNS client for addresses of `family`, which is created with the first lookup. If the configuration
    /// of the system cannot be read, the next lookup tries again.
    fn lookups(&self, family: DnsFamily) -> Result<&TokioResolver, LookupError> {
        let (at, strategy) = match family {
            DnsFamily::Ipv4 => (0, LookupIpStrategy::Ipv4Only),
            DnsFamily::Ipv6 => (1, LookupIpStrategy::Ipv6Only),
            DnsFamily::Ipv4Preferred => (2, LookupIpStrategy::Ipv4thenIpv6),
            DnsFamily::Ipv6Preferred => (3, LookupIpStrategy::Ipv6thenIpv4),
            DnsFamily::Ipv4AndIpv6 => (4, LookupIpStrategy::Ipv4AndIpv6),
        };
        let known = &self.lookups[at];
        if let Some(lookups) = known.get() {
            return Ok(lookups);
        }
        let failed =
            |error: hickory_resolver::net::NetError| LookupError::Failed(error.to_string());
        let mut builder = self.builder().map_err(failed)?;
        builder.options_mut().ip_strategy = strategy;
        let lookups = builder.build().map_err(failed)?;
        Ok(known.get_or_init(|| lookups))
    }

    fn builder(
        &self,
    ) -> Result<ResolverBuilder<TokioRuntimeProvider>, hickory_resolver::net::NetError> {
        if self.servers.is_empty() {
            return TokioResolver::builder_tokio();
        }
        let servers = self.servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let connections = connections.map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        let provider = TokioRuntimeProvider::default();
        Ok(TokioResolver::builder_with_config(config, provider))
    }
}

/// Whether an address is a loopback, link-local or unspecified address. The metadata service of a cloud has a
/// link-local address.
pub fn is_local(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback()
        || address.is_unspecified()
        || match address {
            IpAddr::V4(address) => address.is_link_local() || address.octets()[0] == 0,
            IpAddr::V6(address) => address.is_unicast_link_local(),
        }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_literal_address_needs_no_server() {
        let resolver = Resolver::new(vec!["127.0.0.1:1".parse().unwrap()]);

        let found = resolver.lookup("2001:db8::1").await.unwrap();

        assert_eq!(found.addresses, ["2001:db8::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn addresses_of_this_machine_and_its_links_are_local() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.9.8.7", true),
            ("0.0.0.0", true),
            ("0.1.2.3", true),
            ("169.254.169.254", true),
            ("::1", true),
            ("::", true),
            ("::ffff:127.0.0.1", true),
            ("fe80::1", true),
            ("10.0.0.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_local(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn local_addresses_of_names_are_left_out_if_they_are_not_allowed() {
        let resolver = Resolver::new(vec!["127.0.0.1:1".parse().unwrap()]);

        let found = resolver.lookup("localhost").await.unwrap();
        assert_eq!(found.addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        let resolver = resolver.local_names(false);
        assert_eq!(resolver.lookup("localhost").await, Err(LookupError::Absent));
    }

    #[test]
    fn the_installed_resolver_is_the_one_of_the_process() {
        let live = Live::default();

        let installed = Resolver::new(vec!["127.0.0.1:53".parse().unwrap()]).install(&live);

        assert!(Arc::ptr_eq(&installed, &Resolver::of(&live)));
    }
}
