//! The task that speaks with the controller, over one connection after the other.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use towergate_k8s::wire::Decoder;

use super::connection::{Ended, Session};
use super::credentials::Folder;
use super::{Received, Told};
use crate::flags::ControllerAddress;

/// The first pause after a connection was lost, at most; each one that fails doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Starts it. Whoever has versions to report sends them; one version at a time is given out.
pub(super) fn start(
    address: ControllerAddress,
    credentials: PathBuf,
    decoder: Decoder,
) -> (mpsc::Receiver<Received>, mpsc::UnboundedSender<Told>) {
    let (received, versions) = mpsc::channel(1);
    let (outcomes, told) = mpsc::unbounded_channel();
    let session = Session {
        address,
        name: name(),
        decoder,
        received,
        told,
        ticket: 0,
    };
    tokio::spawn(run(session, Folder::new(credentials)));
    (versions, outcomes)
}

async fn run(mut session: Session, mut credentials: Folder) {
    let mut failures = 0_u32;
    let mut said = String::new();
    loop {
        let start = Instant::now();
        let ended = match credentials.load() {
            Ok(config) => session.connect(config, &mut credentials).await,
            Err(error) => Ended::Failed(error),
        };
        match ended {
            Ended::Renewed => {
                tracing::info!("the credentials have changed: connects again");
                failures = 0;
                continue;
            }
            Ended::Unused => return,
            Ended::Lost(error) => {
                let error = in_full(&*error);
                said.clear();
                if start.elapsed() > LONGEST_PAUSE {
                    failures = 0;
                }
                tracing::warn!(error, "the controller is away: what is in force stays");
            }
            Ended::Failed(error) => {
                let error = in_full(&*error);
                let address = &session.address;
                // The same is not said again and again.
                if error == said {
                    tracing::debug!(%address, error, "the controller cannot be reached");
                } else {
                    tracing::warn!(%address, error, "the controller cannot be reached: tries again");
                    said = error;
                }
            }
        }
        sleep(pause(failures, fastrand::f64())).await;
        failures = failures.saturating_add(1);
    }
}

/// How long to wait after so many failures in a row; `random` is from 0 to 1. Very many data planes lose
/// their controller at the same moment, and must not come back at the same moment.
fn pause(failures: u32, random: f64) -> Duration {
    let ceiling = FIRST_PAUSE
        .saturating_mul(1 << failures.min(10))
        .min(LONGEST_PAUSE);
    ceiling.mul_f64(0.2 + 0.8 * random)
}

/// An error and what caused it: that of HTTP alone says little.
fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What this data plane calls itself.
fn name() -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = std::env::var("POD_NAME").unwrap_or_else(|_| host());
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let pauses = [0, 1, 2, 6, 40, u32::MAX].map(|failures| pause(failures, 1.0).as_millis());

        assert_eq!(pauses, [250, 500, 1000, 15_000, 15_000, 15_000]);
        assert_eq!(pause(6, 0.0), Duration::from_secs(3));
    }
}
