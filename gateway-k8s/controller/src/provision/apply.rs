//! Applies the objects of Gateways to the API server and observes their state.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::join_all;
use kube::api::{
    DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, ValidationDirective,
};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::watch;
use towergate_k8s::ObjectKey;

use super::cache::{Cache, ProvisionedId};
use super::credentials;
use super::desired::{Fate, GatewayToRun};
use super::diff::{self, Step};
use super::kind::Kind;
use super::metadata::Manifest;
use super::observe::Observed;
use super::options::Mode;
use super::render;
use crate::serve::{CertificateAuthority, CredentialsError};

/// Field manager of server-side apply.
const FIELD_MANAGER: &str = "towergate-controller";

/// Applies and deletes the objects of Gateways.
pub(crate) struct Provisioner {
    client: Client,
    mode: Mode,
    /// `controllerName` of this controller. Objects of other controllers are never changed.
    controller: String,
    cache: Cache,
}

/// The result of a reconciliation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Report {
    /// Number of objects written or deleted.
    pub(crate) changed: usize,
    /// Errors by Gateway. The caller retries.
    pub(crate) problems: Vec<(ObjectKey, String)>,
}

/// The desired objects.
#[derive(Default)]
struct Wanted {
    /// Uids of the Gateways whose desired objects are all in `objects`. Any other object of these Gateways is
    /// deleted.
    gateways: BTreeSet<String>,
    /// All desired objects of the Gateways in `gateways`.
    objects: BTreeSet<ProvisionedId>,
}

impl Provisioner {
    /// Creates a provisioner for the Gateways of `controller`.
    pub(crate) fn new(client: Client, mode: Mode, controller: &str) -> Self {
        Self {
            client,
            mode,
            controller: controller.to_owned(),
            cache: Cache::default(),
        }
    }

    /// Watches the provisioned objects until the process exits, both on the leader and on followers. Writes
    /// nothing.
    pub(crate) async fn follow(&self) {
        let kinds = self.kinds().iter();
        let kinds = kinds.map(|kind| self.cache.follow(self.client.clone(), *kind));
        join_all(kinds).await;
    }

    /// Waits until all objects are listed.
    pub(crate) async fn known(&self) {
        self.cache.listed(self.kinds()).await;
    }

    /// A receiver that is notified of changes, for example when a Service receives its address or a pod
    /// becomes ready.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.cache.changes()
    }

    /// Adds objects to the cache as if the API server had sent them.
    #[cfg(test)]
    pub(super) fn learn(&self, objects: impl IntoIterator<Item = Value>) {
        for object in objects {
            let kind = Kind::ALL
                .into_iter()
                .find(|kind| object["kind"] == kind.name());
            self.cache.put(kind.expect("it is one of ours"), object);
        }
    }

    /// The state of the objects of a Gateway.
    pub(crate) fn observe(&self, gateway: &GatewayToRun) -> Observed {
        let find = |kind: Kind| {
            // An EnvoyProxy may set the names of objects, so the objects of a Gateway are found by their
            // owner.
            let is_own = |object: &Value| self.is_own(object, gateway);
            self.cache.find_by(kind, &gateway.key.namespace, is_own)
        };
        let workload = find(Kind::Deployment).or_else(|| find(Kind::DaemonSet));
        Observed::of(find(Kind::Service).as_deref(), workload.as_deref())
    }

    /// Creates missing objects, updates objects that differ, and deletes surplus objects. Only the leader may
    /// call this method, after [`known`](Self::known). `authority` signs the credentials of data planes.
    pub(crate) async fn reconcile(
        &self,
        gateways: &[GatewayToRun],
        authority: &CertificateAuthority,
        now: SystemTime,
    ) -> Report {
        let mut report = Report::default();
        let mut wanted = Wanted::default();
        for gateway in gateways {
            let manifests = match gateway.fate {
                Fate::Run => self.manifests(gateway, authority, now),
                Fate::Remove => Ok(Vec::new()),
                Fate::Keep => continue,
            };
            match manifests {
                Ok(manifests) => self.run(gateway, manifests, &mut wanted, &mut report).await,
                // The existing objects are kept.
                Err(error) => report
                    .problems
                    .push((gateway.key.clone(), error.to_string())),
            }
        }
        self.prune(gateways, &wanted, &mut report).await;
        report
    }

    /// Applies the objects of one Gateway.
    async fn run(
        &self,
        gateway: &GatewayToRun,
        manifests: Vec<Manifest>,
        wanted: &mut Wanted,
        report: &mut Report,
    ) {
        wanted.gateways.insert(gateway.uid.clone());
        for manifest in manifests {
            let manifest = diff::stamp(manifest, &self.controller);
            wanted.objects.insert(id(&manifest));
            match self.settle(&manifest).await {
                Ok(changed) => report.changed += usize::from(changed),
                Err(message) => report.problems.push((gateway.key.clone(), message)),
            }
        }
    }

    /// All desired objects of a Gateway.
    fn manifests(
        &self,
        gateway: &GatewayToRun,
        authority: &CertificateAuthority,
        now: SystemTime,
    ) -> Result<Vec<Manifest>, CredentialsError> {
        let Mode::Provisioned(options) = &self.mode else {
            return Ok(render::shared(gateway));
        };
        let secret = render::secret_name(gateway);
        let live = self
            .cache
            .find(Kind::Secret, &gateway.key.namespace, &secret);
        let live = live.filter(|secret| self.is_own(secret, gateway));
        let credentials = credentials::of(gateway, live.as_deref(), authority, now)?;
        Ok(render::provisioned(gateway, options, &credentials))
    }

    /// Applies one object. Returns whether it was written.
    async fn settle(&self, manifest: &Manifest) -> Result<bool, String> {
        let what = format!("{} {}", manifest.kind.name(), manifest.name);
        let told = |error: kube::Error| format!("{what}: {error}");
        let api = self.api(manifest.kind, &manifest.namespace);
        let (kind, name) = (manifest.kind, &*manifest.name);
        let mut live = self.cache.find(kind, &manifest.namespace, name);
        if live.is_none() {
            // The cache lacks the objects of other owners. An object of another owner may have this name.
            let found = api.get_opt(name).await.map_err(told)?;
            live = found
                .and_then(|found| serde_json::to_value(&found).ok())
                .map(Arc::new);
        }
        match live.as_deref().map(|live| diff::step(live, manifest)) {
            Some(Step::Keep) => return Ok(false),
            Some(Step::LeaveToOthers) => {
                return Err(format!(
                    "{what}: an object of this name already exists, and this controller did not create it for the Gateway"
                ));
            }
            Some(Step::Replace) => {
                let live = live.as_deref().unwrap_or(&Value::Null);
                self.delete(&id(manifest), live).await.map_err(told)?;
            }
            Some(Step::Apply) | None => {}
        }
        let params = PatchParams {
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply(FIELD_MANAGER).force()
        };
        let answer = api
            .patch(name, &params, &Patch::Apply(&manifest.body))
            .await;
        let answer = serde_json::to_value(answer.map_err(told)?);
        self.cache
            .put(kind, answer.map_err(|error| format!("{what}: {error}"))?);
        tracing::info!(object = what, namespace = manifest.namespace, "applied");
        Ok(true)
    }

    /// Deletes surplus objects: objects of Gateways that moved to another controller, and objects that the
    /// current mode does not create. Objects of deleted Gateways are left to the garbage collection of the
    /// cluster.
    async fn prune(&self, gateways: &[GatewayToRun], wanted: &Wanted, report: &mut Report) {
        for (id, object) in self.cache.all() {
            let owner = diff::owner(&object);
            let Some(uid) = owner.filter(|uid| wanted.gateways.contains(*uid)) else {
                continue;
            };
            let is_ours = diff::maker(&object) == Some(&*self.controller);
            if !is_ours || wanted.objects.contains(&id) {
                continue;
            }
            match self.delete(&id, &object).await {
                Ok(()) => report.changed += 1,
                Err(error) => {
                    let message = format!("deleting {} {}: {error}", id.0.name(), id.2);
                    let gateway = gateways.iter().find(|gateway| gateway.uid == uid);
                    report
                        .problems
                        .extend(gateway.map(|gateway| (gateway.key.clone(), message)));
                }
            }
        }
    }

    /// Deletes the object `live`. A precondition on its uid protects a newer object of the same name.
    async fn delete(&self, id: &ProvisionedId, live: &Value) -> Result<(), kube::Error> {
        let params = DeleteParams {
            preconditions: live["metadata"]["uid"].as_str().map(|uid| Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        match self.api(id.0, &id.1).delete(&id.2, &params).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
        self.cache.forget(id);
        tracing::info!(kind = id.0.name(), namespace = id.1, name = id.2, "deleted");
        Ok(())
    }

    /// Whether this controller created an object for a Gateway.
    fn is_own(&self, object: &Value, gateway: &GatewayToRun) -> bool {
        diff::owner(object) == Some(&*gateway.uid) && diff::maker(object) == Some(&*self.controller)
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    /// The kinds that the mode creates. Other kinds are not watched and require no permissions.
    fn kinds(&self) -> &'static [Kind] {
        match self.mode {
            Mode::Shared => &[Kind::Service, Kind::EndpointSlice],
            Mode::Provisioned(_) => &Kind::ALL,
        }
    }
}

fn id(manifest: &Manifest) -> ProvisionedId {
    (
        manifest.kind,
        manifest.namespace.clone(),
        manifest.name.clone(),
    )
}
