//! Discovers the kinds and versions of the API server. Discovery is polled, because installing or removing a
//! CRD changes the kinds. It requires only access to the API server, no further permission.
//!
//! A new kind counts as served at once. A missing kind counts as missing only after [`TIMES`] responses in a
//! row: an API server that has just started does not serve its CRDs yet, and acting on its first response
//! would take all Gateways out of service.
//!
//! A kind that is served only in unsupported versions does not count as missing, because routes would be
//! unprotected without their policies. The last objects of the kind are kept. If the kind was never listed,
//! the controller waits for its first list. Routes and ListenerSets are the exception: they count as missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

use super::Pause;
use crate::kinds::{self, KINDS, Kind, OPTIONAL_GROUPS};

/// Poll interval.
const PERIOD: Duration = Duration::from_secs(5);
/// Poll interval while a missing kind is unconfirmed.
const DOUBT: Duration = Duration::from_secs(1);
/// Time limit of a response.
const ANSWER: Duration = Duration::from_secs(10);
/// Number of responses in a row that confirm a missing kind.
const TIMES: u32 = 5;

/// The version in which each kind is watched. `None`: the API server does not serve the kind. A kind without
/// a confirmed response has no entry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Served(BTreeMap<&'static str, Option<&'static str>>);

impl Served {
    /// The version in which `kind` is watched. `None`: not known yet. `Some(None)`: not served.
    pub(super) fn version(&self, kind: &Kind) -> Option<Option<&'static str>> {
        self.0.get(kind.name).copied()
    }
}

/// The state of discovery.
#[derive(Debug, Default)]
struct Belief {
    served: Served,
    /// Number of responses in a row that contradict the current state of a kind.
    doubts: BTreeMap<&'static str, u32>,
    /// Kinds that are served only in unsupported versions.
    unreadable: BTreeSet<&'static str>,
}

/// A response of the API server.
#[derive(Debug, Default)]
struct Answer {
    /// Preferred supported version of each kind.
    versions: BTreeMap<&'static str, &'static str>,
    /// Kinds that are served only in unsupported versions.
    unreadable: BTreeSet<&'static str>,
}

impl Belief {
    /// Applies a response.
    fn hear(&mut self, answer: &Answer) {
        for kind in answer.unreadable.difference(&self.unreadable) {
            tracing::error!(
                kind,
                "the API server has this kind only in unsupported versions"
            );
        }
        self.unreadable.clone_from(&answer.unreadable);
        for kind in KINDS.iter().filter(|kind| kind.optional()) {
            let said = answer.versions.get(kind.name).copied();
            let believed = self.served.version(kind);
            if answer.unreadable.contains(kind.name) && !kind.adds() {
                self.doubts.remove(kind.name);
                if believed == Some(None) {
                    self.served.0.remove(kind.name);
                }
                continue;
            }
            if believed == Some(said) {
                self.doubts.remove(kind.name);
                continue;
            }
            let doubts = self.doubts.entry(kind.name).or_default();
            *doubts += 1;
            let comes = said.is_some() && believed.flatten().is_none();
            if comes || *doubts >= TIMES {
                self.doubts.remove(kind.name);
                self.served.0.insert(kind.name, said);
            }
        }
    }
}

/// Keeps `served` up to date until its receivers are dropped.
pub(super) async fn run(client: Client, served: watch::Sender<Served>) {
    let mut pause = Pause::default();
    let mut belief = Belief::default();
    while !served.is_closed() {
        let asked = tokio::time::timeout(ANSWER, ask(&client)).await;
        let asked = asked.unwrap_or_else(|late| Err(kube::Error::Service(Box::new(late))));
        let wait = match asked {
            Ok(answer) => {
                pause = Pause::default();
                belief.hear(&answer);
                tell(&belief.served, &served);
                match belief.doubts.is_empty() {
                    true => PERIOD.mul_f64(0.8 + fastrand::f64() * 0.4),
                    false => DOUBT,
                }
            }
            Err(error) => {
                let wait = pause.next();
                tracing::warn!(%error, again_in = ?wait, "discovery failed");
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn tell(found: &Served, served: &watch::Sender<Served>) {
    served.send_if_modified(|known| {
        let new = known != found;
        if new {
            tracing::info!(kinds = ?found.0, "discovered kinds");
            known.clone_from(found);
        }
        new
    });
}

async fn ask(client: &Client) -> kube::Result<Answer> {
    let mut answer = Answer::default();
    for group in OPTIONAL_GROUPS {
        let versions = versions(client, group).await?;
        let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for version in versions {
            for kind in kinds_of(client, group, &version).await? {
                kinds.entry(kind).or_default().push(version.clone());
            }
        }
        for kind in KINDS.iter().filter(|kind| kind.group == group) {
            let versions = kinds.get(kind.name).map_or(&[][..], Vec::as_slice);
            match kinds::choose(kind, versions) {
                Some(version) => drop(answer.versions.insert(kind.name, version)),
                None if versions.is_empty() => {}
                None => drop(answer.unreadable.insert(kind.name)),
            }
        }
    }
    Ok(answer)
}

/// All versions of a group, including unsupported versions. Empty: the group does not exist.
async fn versions(client: &Client, group: &str) -> kube::Result<Vec<String>> {
    let request = http::Request::get(format!("/apis/{group}")).body(Vec::new());
    let request = request.map_err(kube::Error::HttpError)?;
    let answer: serde_json::Value = match client.request(request).await {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        answer => answer?,
    };
    let versions = answer["versions"].as_array().into_iter().flatten();
    let versions = versions.filter_map(|version| version["version"].as_str());
    Ok(versions.map(str::to_owned).collect())
}

/// The kinds in a version of a group.
async fn kinds_of(client: &Client, group: &str, version: &str) -> kube::Result<Vec<String>> {
    let name = format!("{group}/{version}");
    let found = client.list_api_group_resources(&name);
    let found = match found.await {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        found => found?.resources,
    };
    // Names with a slash are subresources, for example `gateways/status`.
    let whole = found.into_iter().filter(|found| !found.name.contains('/'));
    Ok(whole.map(|found| found.kind).collect())
}

fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway() -> &'static Kind {
        kinds::find("Gateway").expect("it is a kind")
    }

    fn said(version: &'static str) -> Answer {
        Answer {
            versions: [("Gateway", version)].into(),
            ..Answer::default()
        }
    }

    fn nothing() -> Answer {
        Answer::default()
    }

    fn unreadable(kind: &'static str) -> Answer {
        Answer {
            unreadable: [kind].into(),
            ..Answer::default()
        }
    }

    #[test]
    fn a_policy_that_cannot_be_read_is_not_missing() {
        let policy = kinds::find("SecurityPolicy").expect("it is a kind");
        let mut belief = Belief::default();
        let often = |belief: &mut Belief, answer: &Answer| {
            for _ in 0..TIMES * 2 {
                belief.hear(answer);
            }
            belief.served.version(policy)
        };
        let unreadable = unreadable("SecurityPolicy");

        assert_eq!(often(&mut belief, &unreadable), None, "it is not known");
        assert_eq!(often(&mut belief, &nothing()), Some(None));
        assert_eq!(
            often(&mut belief, &unreadable),
            None,
            "the kind is not absent"
        );
        let readable = Answer {
            versions: [("SecurityPolicy", "v1alpha1")].into(),
            ..Answer::default()
        };
        assert_eq!(often(&mut belief, &readable), Some(Some("v1alpha1")));
        assert_eq!(
            often(&mut belief, &unreadable),
            Some(Some("v1alpha1")),
            "the last version is kept"
        );
    }

    #[test]
    fn a_route_that_cannot_be_read_is_missing() {
        let route = kinds::find("UDPRoute").expect("it is a kind");
        let mut belief = Belief::default();

        for _ in 0..TIMES {
            belief.hear(&unreadable("UDPRoute"));
        }

        assert_eq!(belief.served.version(route), Some(None));
    }

    #[test]
    fn a_kind_that_is_there_is_believed_at_once() {
        let mut belief = Belief::default();
        assert_eq!(belief.served.version(gateway()), None);

        belief.hear(&said("v1"));

        assert_eq!(belief.served.version(gateway()), Some(Some("v1")));
    }

    #[test]
    fn a_kind_that_is_missing_must_be_missing_for_a_while() {
        let mut belief = Belief::default();
        belief.hear(&said("v1"));
        for _ in 1..TIMES {
            belief.hear(&nothing());
            assert_eq!(belief.served.version(gateway()), Some(Some("v1")));
        }
        // A response with the kind resets the count.
        belief.hear(&said("v1"));
        for _ in 1..TIMES {
            belief.hear(&nothing());
        }
        assert_eq!(belief.served.version(gateway()), Some(Some("v1")));

        belief.hear(&nothing());

        assert_eq!(belief.served.version(gateway()), Some(None));
        belief.hear(&said("v1beta1"));
        assert_eq!(belief.served.version(gateway()), Some(Some("v1beta1")));
    }

    #[test]
    fn at_the_beginning_nothing_is_known_of_what_is_missing() {
        let mut belief = Belief::default();
        for _ in 1..TIMES {
            belief.hear(&nothing());
            assert_eq!(belief.served.version(gateway()), None);
        }

        belief.hear(&nothing());

        assert_eq!(belief.served.version(gateway()), Some(None));
    }
}
