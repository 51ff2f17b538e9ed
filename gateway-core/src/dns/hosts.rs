//! The known addresses of one host.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{LookupError, ResolvedAddresses};
use crate::plan::{DnsSettings, Endpoint};

/// Maximum time for which an answer is used, regardless of its TTL.
pub(super) const LONGEST_TTL: Duration = Duration::from_secs(3600);
/// Minimum time between two lookups.
const SHORTEST_TTL: Duration = Duration::from_secs(1);

/// The addresses of a host.
#[derive(Debug, Default)]
pub(crate) struct HostAddresses {
    addresses: Vec<IpAddr>,
    /// Number of consecutive failed lookups.
    failures: u32,
}

impl HostAddresses {
    /// Records the result of a lookup of `name`. Returns the time until the next lookup.
    pub(crate) fn record(
        &mut self,
        name: &str,
        answer: Result<ResolvedAddresses, LookupError>,
        settings: &DnsSettings,
    ) -> Duration {
        let refresh = settings.refresh.clamp(SHORTEST_TTL, LONGEST_TTL);
        let failures = std::mem::take(&mut self.failures);
        match answer {
            Ok(ResolvedAddresses { addresses, ttl }) => {
                if failures > 0 {
                    tracing::info!("host {name} can be resolved again");
                }
                self.addresses = addresses;
                match settings.respect_ttl {
                    true => ttl.clamp(SHORTEST_TTL, LONGEST_TTL),
                    false => refresh,
                }
            }
            Err(LookupError::Absent) => {
                if !self.addresses.is_empty() || failures == 0 {
                    tracing::warn!("host {name} does not exist or has no address");
                }
                self.failures = 1;
                self.addresses.clear();
                refresh
            }
            Err(LookupError::Failed(error)) => {
                if failures == 0 {
                    let kept = self.addresses.len();
                    tracing::warn!(
                        "host {name} cannot be resolved: {error}; {kept} addresses kept"
                    );
                }
                self.failures = failures.saturating_add(1);
                let pause = SHORTEST_TTL.saturating_mul(1 << failures.min(5));
                pause.min(refresh)
            }
        }
    }

    /// The addresses as endpoints with the port `port`.
    pub(crate) fn endpoints(&self, port: u16) -> impl Iterator<Item = Endpoint> {
        self.addresses.iter().map(move |address| Endpoint {
            address: SocketAddr::new(*address, port).into(),
            weight: 1,
            zone: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn answer(last: u8, ttl: Duration) -> Result<ResolvedAddresses, LookupError> {
        Ok(ResolvedAddresses {
            addresses: vec![[192, 0, 2, last].into()],
            ttl,
        })
    }

    fn failure() -> Result<ResolvedAddresses, LookupError> {
        Err(LookupError::Failed("timed out".to_owned()))
    }

    fn known(host: &HostAddresses) -> Vec<String> {
        let endpoints = host.endpoints(80);
        endpoints.map(|end| end.address.to_string()).collect()
    }

    #[test]
    fn an_answer_is_used_for_its_ttl_within_bounds() {
        let mut host = HostAddresses::default();

        let pauses = [0, 7, 100_000]
            .map(|ttl| host.record("a", answer(1, SECOND * ttl), &DnsSettings::default()));

        assert_eq!(pauses, [SECOND, SECOND * 7, SECOND * 3600]);
        assert_eq!(known(&host), ["192.0.2.1:80"]);
    }

    #[test]
    fn a_failure_keeps_the_last_good_answer_and_is_repeated_with_growing_pauses() {
        let mut host = HostAddresses::default();
        host.record("a", answer(1, SECOND), &DnsSettings::default());

        let pauses: Vec<u64> = (0..7)
            .map(|_| {
                host.record("a", failure(), &DnsSettings::default())
                    .as_secs()
            })
            .collect();

        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(known(&host), ["192.0.2.1:80"]);
        host.record("a", answer(2, SECOND), &DnsSettings::default());
        assert_eq!(known(&host), ["192.0.2.2:80"]);
        assert_eq!(
            host.record("a", failure(), &DnsSettings::default()),
            SECOND,
            "counted afresh"
        );
    }

    #[test]
    fn a_name_that_does_not_exist_has_no_addresses() {
        let mut host = HostAddresses::default();
        host.record("a", answer(1, SECOND), &DnsSettings::default());

        let pause = host.record("a", Err(LookupError::Absent), &DnsSettings::default());

        assert_eq!(pause, DnsSettings::default().refresh);
        assert!(known(&host).is_empty());
    }

    #[test]
    fn a_refresh_rate_replaces_the_ttl_only_if_the_settings_say_so() {
        let settings = DnsSettings {
            respect_ttl: false,
            refresh: SECOND * 9,
            ..DnsSettings::default()
        };
        let mut host = HostAddresses::default();

        assert_eq!(
            host.record("a", answer(1, SECOND * 70), &settings),
            SECOND * 9
        );
        assert_eq!(
            host.record("a", Err(LookupError::Absent), &settings),
            SECOND * 9
        );
        let often = DnsSettings {
            refresh: Duration::ZERO,
            ..settings
        };
        assert_eq!(host.record("a", answer(1, SECOND * 70), &often), SECOND);
    }
}
