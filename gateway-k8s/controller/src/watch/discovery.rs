//! Which kinds the API server has, and in which versions: asked again and again, because they come and
//! go with their CRDs. Everybody who may speak to an API server may ask this.
//!
//! A kind that comes is believed at once. That one is missing is believed when it was said [`TIMES`] times
//! in a row: an API server that has just begun does not know its CRDs yet, and to believe it would take
//! all Gateways out of service.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

use super::Pause;
use crate::kinds::{self, KINDS, Kind, OPTIONAL_GROUPS};

/// Time between two questions.
const PERIOD: Duration = Duration::from_secs(5);
/// Time between two questions while something is not believed yet.
const DOUBT: Duration = Duration::from_secs(1);
/// How often in a row a kind must be missing to be believed so.
const TIMES: u32 = 5;

/// The version in which each kind is to be watched; `None`: it is not there. Kinds of which nothing is
/// known yet are missing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Served(BTreeMap<&'static str, Option<&'static str>>);

impl Served {
    /// The version in which to watch `kind`, if something is known of it.
    pub(super) fn version(&self, kind: &Kind) -> Option<Option<&'static str>> {
        self.0.get(kind.name).copied()
    }
}

/// What the API server has said.
#[derive(Debug, Default)]
struct Belief {
    served: Served,
    /// How often in a row something else was said of a kind than is believed.
    doubts: BTreeMap<&'static str, u32>,
}

impl Belief {
    /// Takes in an answer: the version of each kind that is there.
    fn hear(&mut self, answer: &BTreeMap<&'static str, &'static str>) {
        for kind in KINDS.iter().filter(|kind| kind.optional()) {
            let said = answer.get(kind.name).copied();
            let believed = self.served.version(kind);
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

/// Keeps `served` up to date until nobody reads it.
pub(super) async fn run(client: Client, served: watch::Sender<Served>) {
    let mut pause = Pause::default();
    let mut belief = Belief::default();
    while !served.is_closed() {
        let wait = match ask(&client).await {
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
                tracing::warn!(%error, again_in = ?wait, "the API server does not say which kinds it has");
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
            tracing::info!(kinds = ?found.0, "the API server has these kinds");
            known.clone_from(found);
        }
        new
    });
}

async fn ask(client: &Client) -> kube::Result<BTreeMap<&'static str, &'static str>> {
    let mut served = BTreeMap::new();
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
            if let Some(version) = kinds::choose(kind, versions) {
                served.insert(kind.name, version);
            }
        }
    }
    Ok(served)
}

/// The versions of a group that are read; none if there is no such group.
async fn versions(client: &Client, group: &str) -> kube::Result<Vec<String>> {
    let request = http::Request::get(format!("/apis/{group}")).body(Vec::new());
    let request = request.map_err(kube::Error::HttpError)?;
    let answer: serde_json::Value = match client.request(request).await {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        answer => answer?,
    };
    let versions = answer["versions"].as_array().into_iter().flatten();
    let versions = versions.filter_map(|version| version["version"].as_str());
    let read = |version: &&str| {
        let mut kinds = KINDS.iter().filter(|kind| kind.group == group);
        kinds.any(|kind| kind.versions.contains(version))
    };
    Ok(versions.filter(read).map(str::to_owned).collect())
}

/// The kinds of a version of a group.
async fn kinds_of(client: &Client, group: &str, version: &str) -> kube::Result<Vec<String>> {
    let name = format!("{group}/{version}");
    let found = client.list_api_group_resources(&name);
    let found = match found.await {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        found => found?.resources,
    };
    // Names with a slash are parts of objects, such as their status.
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

    fn said(version: &'static str) -> BTreeMap<&'static str, &'static str> {
        [("Gateway", version)].into()
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
            belief.hear(&BTreeMap::new());
            assert_eq!(belief.served.version(gateway()), Some(Some("v1")));
        }
        // It was there all the time: counting begins anew.
        belief.hear(&said("v1"));
        for _ in 1..TIMES {
            belief.hear(&BTreeMap::new());
        }
        assert_eq!(belief.served.version(gateway()), Some(Some("v1")));

        belief.hear(&BTreeMap::new());

        assert_eq!(belief.served.version(gateway()), Some(None));
        belief.hear(&said("v1beta1"));
        assert_eq!(belief.served.version(gateway()), Some(Some("v1beta1")));
    }

    #[test]
    fn at_the_beginning_nothing_is_known_of_what_is_missing() {
        let mut belief = Belief::default();
        for _ in 1..TIMES {
            belief.hear(&BTreeMap::new());
            assert_eq!(belief.served.version(gateway()), None);
        }

        belief.hear(&BTreeMap::new());

        assert_eq!(belief.served.version(gateway()), Some(None));
    }
}
