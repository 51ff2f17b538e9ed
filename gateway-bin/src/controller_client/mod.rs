//! `towergate run --from`: configurations from a controller.
//!
//! ```text
//! state file ──> Decoder ─┐
//! controller ──stream──> Session, decode ──ReceivedVersion──> ControllerClient (a Source) ──> Control
//!            <──Report──────────────────<──VersionOutcome────────────┘
//! ```
//!
//! A separate task handles the connection, so that pings are answered while a plan is built. While the
//! controller is unreachable, the configuration in service is kept and the task reconnects.

mod connection;
mod credentials;
mod state_file;
mod task;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use towergate_k8s::wire::{Decoder, Outcome, Problem, Update};

use crate::Failure;
use crate::args::ControllerArgs;
use crate::control::{Applied, Desired, Initial, Source};
use state_file::StateFile;

/// A version for the control loop. Versions of different streams may have the same number, so an outcome
/// refers to its version by the ticket.
struct ReceivedVersion {
    ticket: u64,
    desired: Desired,
}

/// The outcome of the version with this ticket.
struct VersionOutcome {
    ticket: u64,
    outcome: Outcome,
}

/// Receives configurations from a controller.
pub(crate) struct ControllerClient {
    /// The configuration in service before the restart.
    resumed: Option<Desired>,
    received: mpsc::Receiver<ReceivedVersion>,
    outcomes: mpsc::UnboundedSender<VersionOutcome>,
    /// The configuration passed to the control loop last.
    last: Option<(u64, Desired)>,
    /// Time of the next attempt to apply `last`. `None`: `last` is fully in service.
    retry_at: Option<Instant>,
    retry: Duration,
    state: Option<StateFile>,
}

impl ControllerClient {
    /// Starts to connect to the controller. Must be called within a runtime.
    pub(crate) fn new(args: ControllerArgs) -> Self {
        let mut decoder = Decoder::default();
        let state = args.state.as_deref().map(StateFile::new);
        let resumed = state.as_ref().and_then(|state| state.read(&mut decoder));
        let (received, outcomes) = task::start(args.address, args.credentials, decoder);
        Self {
            resumed: resumed.map(desired),
            received,
            outcomes,
            last: None,
            retry_at: None,
            retry: args.retry,
            state,
        }
    }
}

impl Source for ControllerClient {
    const HAS_PORT_FLAGS: bool = false;

    fn start(&mut self) -> Result<Initial, Failure> {
        let Some(desired) = self.resumed.take() else {
            tracing::info!("waiting for the first configuration from the controller");
            return Ok(Initial::Pending);
        };
        tracing::info!("resuming the configuration from before the restart");
        // No version of a controller has the ticket 0.
        self.last = Some((0, desired.clone()));
        Ok(Initial::Resumed(desired))
    }

    async fn next(&mut self) -> Desired {
        tokio::select! {
            Some(ReceivedVersion { ticket, desired }) = self.received.recv() => {
                self.last = Some((ticket, desired.clone()));
                self.retry_at = None;
                desired
            }
            Some(desired) = retry(&self.last, self.retry_at) => desired,
            else => std::future::pending().await,
        }
    }

    fn reload(&mut self) -> Option<Desired> {
        self.retry_at?;
        self.last.as_ref().map(|(_, desired)| desired.clone())
    }

    fn report(&mut self, outcome: &Result<Applied, Failure>) {
        let complete = matches!(outcome, Ok(applied) if applied.unbound.is_empty());
        self.retry_at = (!complete).then(|| Instant::now() + self.retry);
        let Some((ticket, desired)) = &self.last else {
            return;
        };
        if let (Ok(applied), Some(state)) = (outcome, &self.state)
            && applied.changed
        {
            state.write(desired.clone());
        }
        for outcome in outcomes(outcome) {
            // Sending cannot fail, because the task runs until the process exits.
            let _ = self.outcomes.send(VersionOutcome {
                ticket: *ticket,
                outcome,
            });
        }
    }
}

/// The reports about a version. If addresses are unbound, the version is in service and the report lists
/// these addresses.
fn outcomes(outcome: &Result<Applied, Failure>) -> Vec<Outcome> {
    match outcome {
        Ok(applied) if applied.unbound.is_empty() => vec![Outcome::InForce],
        Ok(applied) => {
            let each = applied.unbound.iter();
            let messages: Vec<String> = each
                .map(|error| format!("{error}: {}", error.source))
                .collect();
            let problem = Problem {
                message: messages.join("; "),
                sockets: applied.unbound.iter().map(|error| error.address).collect(),
            };
            vec![Outcome::InForce, Outcome::Refused(problem)]
        }
        Err(error) => vec![Outcome::Refused(Problem {
            message: error.to_string(),
            sockets: Vec::new(),
        })],
    }
}

/// Waits until `time` and returns the last configuration. Returns `None` at once if the time or the
/// configuration is missing.
async fn retry(last: &Option<(u64, Desired)>, time: Option<Instant>) -> Option<Desired> {
    let (_, desired) = last.as_ref()?;
    tokio::time::sleep_until(time?).await;
    Some(desired.clone())
}

fn desired(update: Update) -> Desired {
    Desired {
        plan: update.plan,
        endpoints: update.endpoints,
    }
}

#[cfg(test)]
mod tests {
    use towergate_core::listen::BindError;

    use super::*;

    #[test]
    fn an_unbound_address_is_reported_beside_the_version_in_force() {
        let address = ([192, 0, 2, 1], 80).into();
        let applied = Applied {
            changed: true,
            unbound: vec![BindError {
                address,
                source: std::io::ErrorKind::AddrInUse.into(),
            }],
        };

        let reported = outcomes(&Ok(applied));

        let [Outcome::InForce, Outcome::Refused(problem)] = &reported[..] else {
            panic!("{reported:?}");
        };
        assert_eq!(problem.sockets, [address]);
        assert!(problem.message.starts_with("cannot listen on 192.0.2.1:80"));
    }
}
