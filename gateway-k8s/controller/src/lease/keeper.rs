//! Leader election at run time: reads and writes the Lease, and publishes whether this controller leads.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Election, HOLDS, Leads, RETRY, Record, Step};

/// Time limit of reading and writing the Lease once.
const REQUEST: Duration = Duration::from_secs(3);

/// Namespace and name of an object.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Namespace.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
}

/// The outputs of leader election.
#[derive(Clone, Debug)]
pub(crate) struct Leadership {
    /// Whether this controller leads.
    pub(crate) leads: watch::Receiver<bool>,
    /// Time until which this controller leads, for tasks that write.
    pub(crate) until: Leads,
}

/// Acquires and renews a Lease.
pub(crate) struct Keeper {
    api: Api<Lease>,
    name: String,
    election: Election,
    leads: watch::Sender<bool>,
    until: watch::Sender<Option<Instant>>,
}

impl Keeper {
    /// Creates a keeper with the identity `me`, and its outputs.
    pub(crate) fn new(client: Client, place: &Place, me: String) -> (Self, Leadership) {
        let (leads, receiver) = watch::channel(false);
        let (until, known) = watch::channel(None);
        let keeper = Self {
            api: Api::namespaced(client, &place.namespace),
            name: place.name.clone(),
            election: Election::new(me),
            leads,
            until,
        };
        let leadership = Leadership {
            leads: receiver,
            until: Leads(known),
        };
        (keeper, leadership)
    }

    /// Runs until `end` completes, then releases the Lease.
    pub(crate) async fn run(mut self, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        loop {
            let wait = RETRY.mul_f64(0.8 + fastrand::f64() * 0.4);
            tokio::select! {
                () = &mut end => break,
                () = self.turn() => {}
            }
            tokio::select! {
                () = &mut end => break,
                () = self.expires() => self.tell(),
                () = tokio::time::sleep(wait) => {}
            }
        }
        if *self.leads.borrow() {
            self.until.send_replace(None);
            self.leads.send_replace(false);
            self.release().await;
        }
    }

    /// Reads the Lease once and acts on it. The time limit is [`REQUEST`].
    async fn turn(&mut self) {
        let turn = tokio::time::timeout(REQUEST, self.look());
        match turn.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = self.name, "lease could not be renewed")
            }
            Err(_) => tracing::warn!(
                lease = self.name,
                "lease could not be renewed in time: the API server is too slow"
            ),
        }
        self.tell();
    }

    async fn look(&mut self) -> kube::Result<()> {
        let lease = self.api.get_opt(&self.name).await?;
        let began = Instant::now();
        let step = self.election.decide(lease.as_ref().map(record), began);
        let mut next = lease.unwrap_or_default();
        let taken = match &step {
            Step::Wait => return Ok(()),
            Step::Create => {
                next.metadata.name = Some(self.name.clone());
                next.spec = Some(self.spec(None, 0));
                self.api.create(&PostParams::default(), &next).await
            }
            Step::Take(before) => {
                next.spec = Some(self.spec(None, before.transitions + 1));
                self.replace(before, next).await
            }
            Step::Renew(before) => {
                let since = next
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.acquire_time.clone());
                next.spec = Some(self.spec(since, before.transitions));
                self.replace(before, next).await
            }
        };
        match taken {
            Ok(lease) => {
                self.election.decide(Some(record(&lease)), began);
                self.election.wrote(began);
                Ok(())
            }
            // After a conflict, the next read returns the new holder.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn spec(&self, since: Option<MicroTime>, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.election.me.clone()),
            lease_duration_seconds: i32::try_from(HOLDS.as_secs()).ok(),
            acquire_time: since.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// Writes the Lease if it is unchanged.
    async fn replace(&self, before: &Record, mut next: Lease) -> kube::Result<Lease> {
        next.metadata = ObjectMeta {
            name: Some(self.name.clone()),
            namespace: next.namespace(),
            resource_version: Some(before.version.clone()),
            ..next.metadata
        };
        self.api
            .replace(&self.name, &PostParams::default(), &next)
            .await
    }

    /// Waits until the leadership expires without a renewal.
    async fn expires(&self) {
        match self.election.leads_until() {
            Some(at) if *self.leads.borrow() => tokio::time::sleep_until(at).await,
            _ => std::future::pending().await,
        }
    }

    fn tell(&self) {
        let until = self.election.leads_until();
        let until = until.filter(|until| Instant::now() < *until);
        self.until.send_if_modified(|known| {
            let changed = *known != until;
            *known = until;
            changed
        });
        let leads = until.is_some();
        self.leads.send_if_modified(|known| {
            let changed = *known != leads;
            if changed {
                tracing::info!(leads, lease = self.name, "leader election");
            }
            *known = leads;
            changed
        });
    }

    /// Releases the Lease: another controller can take it without waiting for its expiry.
    async fn release(&self) {
        let Some((before, _)) = &self.election.seen else {
            return;
        };
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            lease_transitions: Some(before.transitions),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        let lease = Lease {
            spec: Some(spec),
            ..Lease::default()
        };
        match tokio::time::timeout(REQUEST, self.replace(before, lease)).await {
            Ok(Ok(_)) => tracing::info!(lease = self.name, "lease released"),
            Ok(Err(error)) => tracing::warn!(%error, "lease could not be released"),
            Err(_) => tracing::warn!("lease could not be released in time"),
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        version: lease.resource_version().unwrap_or_default(),
        holder: spec.holder_identity.unwrap_or_default(),
        holds: seconds.map_or(HOLDS, Duration::from_secs),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}
