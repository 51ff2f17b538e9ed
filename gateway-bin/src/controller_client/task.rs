//! The task that stays connected to the controller.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use towergate_k8s::wire::Decoder;

use super::connection::{ConnectionEnd, Session};
use super::credentials::CredentialsFolder;
use super::{ReceivedVersion, VersionOutcome};
use crate::flags::ControllerAddress;

/// Upper bound of the first pause after a lost connection. The bound doubles with each failed attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Upper bound of all pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Starts the task. Returns the versions received, one at a time, and the sender of their outcomes.
pub(super) fn start(
    address: ControllerAddress,
    credentials: PathBuf,
    decoder: Decoder,
) -> (
    mpsc::Receiver<ReceivedVersion>,
    mpsc::UnboundedSender<VersionOutcome>,
) {
    let (received, versions) = mpsc::channel(1);
    let (sender, outcomes) = mpsc::unbounded_channel();
    let session = Session {
        address,
        name: name(),
        decoder,
        received,
        outcomes,
        ticket: 0,
    };
    tokio::spawn(run(session, CredentialsFolder::new(credentials)));
    (versions, sender)
}

async fn run(mut session: Session, mut credentials: CredentialsFolder) {
    let mut failures = 0_u32;
    let mut last_logged = String::new();
    loop {
        let start = Instant::now();
        let end = match credentials.load() {
            Ok(config) => session.connect(config, &mut credentials).await,
            Err(error) => ConnectionEnd::Failed(error),
        };
        match end {
            ConnectionEnd::Renewed => {
                tracing::info!("credentials changed: reconnecting");
                failures = 0;
                continue;
            }
            ConnectionEnd::Unused => return,
            ConnectionEnd::Lost(error) => {
                let error = with_causes(&*error);
                last_logged.clear();
                if start.elapsed() > LONGEST_PAUSE {
                    failures = 0;
                }
                tracing::warn!(
                    error,
                    "connection to the controller lost; the configuration in service is kept"
                );
            }
            ConnectionEnd::Failed(error) => {
                let error = with_causes(&*error);
                let address = &session.address;
                // Equal errors are logged once.
                if error == last_logged {
                    tracing::debug!(%address, error, "the controller cannot be reached");
                } else {
                    tracing::warn!(%address, error, "the controller cannot be reached; retrying");
                    last_logged = error;
                }
            }
        }
        sleep(pause(failures, fastrand::f64())).await;
        failures = failures.saturating_add(1);
    }
}

/// The pause after `failures` failures in a row. `random` is from 0 to 1 and spreads the pauses, so that the
/// data planes of a controller do not reconnect at the same moment.
fn pause(failures: u32, random: f64) -> Duration {
    let ceiling = FIRST_PAUSE
        .saturating_mul(1 << failures.min(10))
        .min(LONGEST_PAUSE);
    ceiling.mul_f64(0.2 + 0.8 * random)
}

/// An error with its causes.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The name that this data plane reports: `POD_NAME`, else the hostname.
fn name() -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = std::env::var("POD_NAME").unwrap_or_else(|_| host());
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_random() {
        let pauses = [0, 1, 2, 6, 40, u32::MAX].map(|failures| pause(failures, 1.0).as_millis());

        assert_eq!(pauses, [250, 500, 1000, 15_000, 15_000, 15_000]);
        assert_eq!(pause(6, 0.0), Duration::from_secs(3));
    }
}
