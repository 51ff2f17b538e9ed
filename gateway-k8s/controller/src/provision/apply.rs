//! Makes the API server's objects what they should be, and tells how they are.

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

use super::cache::{Cache, Id};
use super::credentials;
use super::differ::{self, Step};
use super::kind::Kind;
use super::metadata::Manifest;
use super::name;
use super::observe::Observed;
use super::options::Mode;
use super::render;
use super::wanted::{Fate, GatewayToRun};
use crate::serve::{Authority, CredentialsError};

/// The name under which the API server keeps what we say of an object.
const FIELD_MANAGER: &str = "towergate-controller";

/// Keeps the objects of Gateways.
pub(crate) struct Provisioner {
    client: Client,
    mode: Mode,
    /// The `controllerName` of our GatewayClasses: what others have made is theirs.
    controller: String,
    cache: Cache,
}

/// How a reconciliation went.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Report {
    /// How many objects were written or deleted.
    pub(crate) changed: usize,
    /// What could not be done, by Gateway. All of it should be tried again later.
    pub(crate) problems: Vec<(ObjectKey, String)>,
}

/// What there should be.
#[derive(Default)]
struct Wanted {
    /// Identities of the Gateways whose objects are all known: what else they own is too much.
    gateways: BTreeSet<String>,
    /// All their objects.
    objects: BTreeSet<Id>,
}

impl Provisioner {
    /// A provisioner for the Gateways of `controller`.
    pub(crate) fn new(client: Client, mode: Mode, controller: &str) -> Self {
        Self {
            client,
            mode,
            controller: controller.to_owned(),
            cache: Cache::default(),
        }
    }

    /// Follows our objects, for ever. Every replica does; nothing is written.
    pub(crate) async fn follow(&self) {
        let kinds = self.kinds().iter();
        let kinds = kinds.map(|kind| self.cache.follow(self.client.clone(), *kind));
        join_all(kinds).await;
    }

    /// Waits until all our objects are known.
    pub(crate) async fn known(&self) {
        self.cache.listed(self.kinds()).await;
    }

    /// Tells when our objects have changed: a Service has got its address, a pod is ready.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.cache.changes()
    }

    /// Takes over objects as if the API server had told of them.
    #[cfg(test)]
    pub(super) fn learn(&self, objects: impl IntoIterator<Item = Value>) {
        for object in objects {
            let kind = Kind::ALL
                .into_iter()
                .find(|kind| object["kind"] == kind.name());
            self.cache.put(kind.expect("it is one of ours"), object);
        }
    }

    /// How the objects of a Gateway are.
    pub(crate) fn observe(&self, gateway: &GatewayToRun) -> Observed {
        let name = name::of_objects(&gateway.key.name, &gateway.class);
        let find = |kind: Kind| {
            let found = self.cache.find(kind, &gateway.key.namespace, &name);
            found.filter(|object| self.is_own(object, gateway))
        };
        let (service, deployment) = (find(Kind::Service), find(Kind::Deployment));
        Observed::of(service.as_deref(), deployment.as_deref())
    }

    /// Makes what is missing, changes what differs, deletes what is too much. For the leader only, and
    /// not before [`known`](Self::known). `authority` makes the credentials of data planes.
    pub(crate) async fn reconcile(
        &self,
        gateways: &[GatewayToRun],
        authority: &Authority,
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
                // What there is of the Gateway stays.
                Err(error) => report
                    .problems
                    .push((gateway.key.clone(), error.to_string())),
            }
        }
        self.prune(gateways, &wanted, &mut report).await;
        report
    }

    /// Makes the objects of one Gateway what they should be.
    async fn run(
        &self,
        gateway: &GatewayToRun,
        manifests: Vec<Manifest>,
        wanted: &mut Wanted,
        report: &mut Report,
    ) {
        wanted.gateways.insert(gateway.uid.clone());
        for manifest in manifests {
            let manifest = differ::stamp(manifest, &self.controller);
            wanted.objects.insert(id(&manifest));
            match self.settle(&manifest).await {
                Ok(changed) => report.changed += usize::from(changed),
                Err(message) => report.problems.push((gateway.key.clone(), message)),
            }
        }
    }

    /// All objects of a Gateway.
    fn manifests(
        &self,
        gateway: &GatewayToRun,
        authority: &Authority,
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

    /// Makes one object what it should be; whether something was written.
    async fn settle(&self, manifest: &Manifest) -> Result<bool, String> {
        let what = format!("{} {}", manifest.kind.name(), manifest.name);
        let told = |error: kube::Error| format!("{what}: {error}");
        let api = self.api(manifest.kind, &manifest.namespace);
        let (kind, name) = (manifest.kind, &*manifest.name);
        let mut live = self.cache.find(kind, &manifest.namespace, name);
        if live.is_none() {
            // Perhaps somebody else has an object of this name. It would not be in the cache.
            let found = api.get_opt(name).await.map_err(told)?;
            live = found
                .and_then(|found| serde_json::to_value(&found).ok())
                .map(Arc::new);
        }
        match live.as_deref().map(|live| differ::step(live, manifest)) {
            Some(Step::Keep) => return Ok(false),
            Some(Step::LeaveToOthers) => {
                return Err(format!(
                    "{what}: there is one of this name that this controller has not made for the Gateway"
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

    /// Deletes objects that their Gateway does not want: of Gateways that have gone to another controller,
    /// and what the present mode does not make. Those of Gateways that are deleted go by themselves.
    async fn prune(&self, gateways: &[GatewayToRun], wanted: &Wanted, report: &mut Report) {
        for (id, object) in self.cache.all() {
            let owner = differ::owner(&object);
            let Some(uid) = owner.filter(|uid| wanted.gateways.contains(*uid)) else {
                continue;
            };
            let is_ours = differ::maker(&object) == Some(&*self.controller);
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

    /// Deletes exactly this object, not one that was made since under its name.
    async fn delete(&self, id: &Id, live: &Value) -> Result<(), kube::Error> {
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

    /// Whether we have made an object for a Gateway.
    fn is_own(&self, object: &Value, gateway: &GatewayToRun) -> bool {
        differ::owner(object) == Some(&*gateway.uid)
            && differ::maker(object) == Some(&*self.controller)
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    /// The kinds that the mode makes. Of others we know nothing and need no rights.
    fn kinds(&self) -> &'static [Kind] {
        match self.mode {
            Mode::Shared => &[Kind::Service, Kind::EndpointSlice],
            Mode::Provisioned(_) => &Kind::ALL,
        }
    }
}

fn id(manifest: &Manifest) -> Id {
    (
        manifest.kind,
        manifest.namespace.clone(),
        manifest.name.clone(),
    )
}
