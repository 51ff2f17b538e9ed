//! `towergate run --from`: plans from a controller.
//!
//! ```text
//! state file ──> Decoder ─┐
//! controller ──stream──> connect, decode ──Received──> Controller (a Source) ──> Control
//!            <──Report──────────────────<──Told──────────────┘
//! ```
//!
//! A task of its own speaks with the controller, so that pings are answered while a plan is built. When the
//! controller is away, nothing changes but that the task tries again.

mod connection;
mod credentials;
mod state;
mod task;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use towergate_core::gateway::ApplyError;
use towergate_k8s::wire::{Decoder, Outcome, Problem, Update};

use crate::Failure;
use crate::args::ControllerArgs;
use crate::control::{First, Source, Wanted};
use state::StateFile;

/// A version for the control loop. Versions of different streams may have the same number, so what comes
/// back about it is known by the ticket.
struct Received {
    ticket: u64,
    wanted: Wanted,
}

/// What became of the version with the ticket.
struct Told {
    ticket: u64,
    outcome: Outcome,
}

/// Plans from a controller.
pub(crate) struct Controller {
    /// What was in force before the restart.
    first: Option<Wanted>,
    received: mpsc::Receiver<Received>,
    told: mpsc::UnboundedSender<Told>,
    /// What was given to the control loop last.
    last: Option<(u64, Wanted)>,
    /// That was refused: it is tried again then.
    again: Option<Instant>,
    retry: Duration,
    state: Option<StateFile>,
}

impl Controller {
    /// Begins to speak with the controller. Must be called within a runtime.
    pub(crate) fn new(args: ControllerArgs) -> Self {
        let mut decoder = Decoder::default();
        let state = args.state.as_deref().map(StateFile::new);
        let first = state.as_ref().and_then(|state| state.read(&mut decoder));
        let (received, told) = task::start(args.address, args.credentials, decoder);
        Self {
            first: first.map(wanted),
            received,
            told,
            last: None,
            again: None,
            retry: args.retry,
            state,
        }
    }
}

impl Source for Controller {
    fn begin(&mut self) -> Result<First, Failure> {
        let Some(wanted) = self.first.take() else {
            tracing::info!("nothing is served until the controller says what");
            return Ok(First::Later);
        };
        tracing::info!("begins with what was in force before the restart");
        // No version of a controller has this ticket.
        self.last = Some((0, wanted.clone()));
        Ok(First::Offered(wanted))
    }

    async fn next(&mut self) -> Wanted {
        tokio::select! {
            Some(Received { ticket, wanted }) = self.received.recv() => {
                self.last = Some((ticket, wanted.clone()));
                self.again = None;
                wanted
            }
            Some(wanted) = again(&self.last, self.again) => wanted,
            else => std::future::pending().await,
        }
    }

    fn look_again(&mut self) -> Option<Wanted> {
        self.again?;
        self.last.as_ref().map(|(_, wanted)| wanted.clone())
    }

    fn note(&mut self, outcome: &Result<bool, Failure>) {
        self.again = outcome.is_err().then(|| Instant::now() + self.retry);
        let Some((ticket, wanted)) = &self.last else {
            return;
        };
        if let (Ok(true), Some(state)) = (outcome, &self.state) {
            state.write(wanted.clone());
        }
        let outcome = match outcome {
            Ok(_) => Outcome::InForce,
            Err(error) => Outcome::Refused(problem(error)),
        };
        // The task ends with the process only.
        let _ = self.told.send(Told {
            ticket: *ticket,
            outcome,
        });
    }
}

/// What was refused, when it is time to try again; `None`: nothing was.
async fn again(last: &Option<(u64, Wanted)>, time: Option<Instant>) -> Option<Wanted> {
    let (_, wanted) = last.as_ref()?;
    tokio::time::sleep_until(time?).await;
    Some(wanted.clone())
}

fn wanted(update: Update) -> Wanted {
    Wanted {
        plan: update.plan,
        endpoints: update.endpoints,
    }
}

fn problem(error: &Failure) -> Problem {
    let sockets = match error.downcast_ref() {
        Some(ApplyError::Listen(errors)) => errors.iter().map(|error| error.address).collect(),
        _ => Vec::new(),
    };
    Problem {
        message: error.to_string(),
        sockets,
    }
}
