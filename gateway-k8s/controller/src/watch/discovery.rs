//! Which kinds the API server has, and in which versions: asked again and again, because they come and
//! go with their CRDs. Everybody who may speak to an API server may ask this.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

use super::Pause;
use crate::kinds::{self, KINDS, Kind, OPTIONAL_GROUPS};

/// Time between two questions.
const PERIOD: Duration = Duration::from_secs(5);

/// The versions in which kinds are to be watched; kinds that are not there are missing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Served(BTreeMap<&'static str, &'static str>);

impl Served {
    /// The version in which to watch `kind`.
    pub(super) fn version(&self, kind: &Kind) -> Option<&'static str> {
        self.0.get(kind.name).copied()
    }
}

/// Keeps `served` up to date until nobody reads it.
pub(super) async fn run(client: Client, served: watch::Sender<Option<Served>>) {
    let mut pause = Pause::default();
    while !served.is_closed() {
        match ask(&client).await {
            Ok(found) => {
                pause = Pause::default();
                served.send_if_modified(|known| {
                    let new = known.as_ref() != Some(&found);
                    if new {
                        tracing::info!(kinds = ?found.0, "the API server has these kinds");
                        *known = Some(found);
                    }
                    new
                });
                tokio::time::sleep(PERIOD.mul_f64(0.8 + fastrand::f64() * 0.4)).await;
            }
            Err(error) => {
                let wait = pause.next();
                tracing::warn!(%error, again_in = ?wait, "the API server does not say which kinds it has");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn ask(client: &Client) -> kube::Result<Served> {
    let mut served = Served::default();
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
                served.0.insert(kind.name, version);
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
