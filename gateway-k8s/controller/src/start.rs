//! Starts all tasks of the controller and connects them.

use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use towergate_k8s::resolve::BackendUse;
use towergate_k8s::{ObjectKey, ResolveOptions};

use crate::address_pool::Pool;
use crate::args::{Args, Mode};
use crate::ca::{PlaneFolder, Trust};
use crate::ingress_writer::{self, IngressWrites};
use crate::lease::{Keeper, Leadership, Place};
use crate::metrics::Metrics;
use crate::planes::{self, Inputs, Planes, SHARED};
use crate::provision::{self, PlaneOptions, Provisioner};
use crate::reconcile::{Channels, Reconciler};
use crate::serve::{self, CertificateAuthority, Publisher};
use crate::status::Writer;
use crate::{Failure, admin, session_keys};

/// Connect timeout of requests to the API server.
const CONNECT: Duration = Duration::from_secs(5);
/// Read timeout of requests to the API server.
const SILENT: Duration = Duration::from_secs(30);
/// Read timeout of watches. It exceeds the maximum duration of a watch, which kube ends after 290 s.
const SILENT_WATCH: Duration = Duration::from_secs(330);
/// Time limit for releasing the Lease at shutdown.
const GOODBYE: Duration = Duration::from_secs(5);

/// A running controller.
pub(crate) struct Running {
    control: JoinHandle<()>,
    serving: JoinHandle<Failure>,
    keeper: JoinHandle<()>,
    writer: JoinHandle<()>,
    runner: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl Running {
    /// Waits until a task stops unexpectedly. Returns the cause.
    pub(crate) async fn failed(&mut self) -> Failure {
        let (what, ended) = tokio::select! {
            ended = &mut self.serving => return ended.unwrap_or_else(Into::into),
            ended = &mut self.control => ("the control loop", ended),
            ended = &mut self.keeper => ("leader election", ended),
            ended = &mut self.writer => ("the status writer", ended),
            ended = &mut self.runner => ("the provisioner", ended),
        };
        match ended {
            Ok(()) => format!("{what} stopped").into(),
            Err(error) => format!("{what}: {error}").into(),
        }
    }

    /// Shuts down, then releases the Lease. Another controller can take over at once.
    pub(crate) async fn shut_down(self) {
        // Tasks that write must end before another controller becomes the leader.
        for writes in [self.control, self.writer, self.runner] {
            writes.abort();
            let _ = writes.await;
        }
        drop(self.end);
        // If the release times out, another controller can become the leader only after the Lease expires.
        let _ = tokio::time::timeout(GOODBYE, self.keeper).await;
    }
}

/// Starts a controller.
///
/// # Errors
/// If a flag is invalid or an address cannot be bound. An unreachable API server is not an error.
pub(crate) async fn start(args: &Args) -> Result<Running, Failure> {
    let mode = provision_mode(args)?;
    let config = Config::infer().await?;
    let namespace = args.lease_namespace.clone();
    let lease = Place {
        namespace: namespace.unwrap_or_else(|| config.default_namespace.clone()),
        name: args.lease_name.clone(),
    };
    let (client, watching) = clients(config)?;
    let metrics = Arc::<Metrics>::default();
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|error| {
        format!(
            "--listen {}: cannot listen: {error}; choose another address with --listen",
            args.listen
        )
    })?;
    let publisher = Publisher::default();
    let admin = admin::serve(args.admin, Arc::clone(&metrics), &publisher).await;
    let admin = admin.map_err(|error| {
        format!(
            "--admin {}: cannot listen: {error}; choose another address with --admin",
            args.admin
        )
    })?;
    tracing::info!(%admin, listen = %args.listen, controller = args.controller_name, "started");

    let (keeper, leadership) = Keeper::new(client.clone(), &lease, identity(args));
    let (end, ended) = oneshot::channel::<()>();
    let keeper = tokio::spawn(keeper.run(async move {
        // The shutdown starts when the sender is dropped.
        let _ = ended.await;
    }));
    let (authority_sender, authority) = watch::channel(None);
    let serving = serve_planes(
        args,
        &client,
        &lease,
        (
            leadership.leads.clone(),
            authority_sender,
            Arc::clone(&metrics),
        ),
        (listener, publisher.clone()),
    );
    let provisioner = Arc::new(Provisioner::new(
        watching.clone(),
        mode,
        &args.controller_name,
    ));
    let planes = match args.mode {
        Mode::Shared => Planes::shared(pool(args)),
        Mode::Provisioned => Planes::Provisioned(Arc::clone(&provisioner)),
    };
    let inputs = (provisioner, leadership, authority);
    let (channels, [writer, runner]) = channels(args, (&client, &watching), &metrics, inputs);
    let own_session_keys = match &args.session_keys {
        Some(_) => None,
        None => Some(keep_session_keys(args, &client, &lease)),
    };
    let fixed = resolve_options(args, own_session_keys);
    let ingresses = args.ingresses(&lease.namespace);
    let reconciler = Reconciler::new(fixed, ingresses, planes, publisher, metrics);
    Ok(Running {
        control: tokio::spawn(reconciler.run(channels)),
        serving,
        keeper,
        writer,
        runner,
        end,
    })
}

/// Starts the tasks around the control loop. Returns its channels.
fn channels(
    args: &Args,
    (client, watching): (&Client, &Client),
    metrics: &Arc<Metrics>,
    (provisioner, leadership, authority): (
        Arc<Provisioner>,
        Leadership,
        watch::Receiver<Option<Arc<CertificateAuthority>>>,
    ),
) -> (Channels, [JoinHandle<()>; 2]) {
    let Leadership { leads, until } = leadership;
    let controller = args.controller_name.clone();
    let metrics_of = Arc::clone(metrics);
    let (due, answers, writer) =
        Writer::start(client.clone(), controller, until.clone(), metrics_of);
    let (to_run, gateways) = watch::channel(None);
    let (known_sender, known) = watch::channel(false);
    let made = provisioner.changes();
    let (of_ingresses, wanted) = watch::channel(IngressWrites::default());
    if args.ingress_class.is_some() {
        tokio::spawn(ingress_writer::run(client.clone(), until.clone(), wanted));
    }
    let inputs = Inputs {
        gateways,
        authority,
        leads: leads.clone(),
        until,
    };
    let runner = tokio::spawn(planes::run(provisioner, inputs, known_sender));
    let channels = Channels {
        events: crate::watch::start(watching, metrics, args.ingress_class.is_some()),
        leads,
        due,
        answers,
        known,
        made,
        to_run,
        of_ingresses,
    };
    (channels, [writer, runner])
}

/// Creates a client for requests and a client for watches, which has a longer read timeout.
fn clients(mut config: Config) -> Result<(Client, Client), Failure> {
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENT);
    let client = Client::try_from(config.clone())?;
    config.read_timeout = Some(SILENT_WATCH);
    Ok((client, Client::try_from(config)?))
}

/// Serves plans to data planes once the CA is available.
fn serve_planes(
    args: &Args,
    client: &Client,
    lease: &Place,
    (leads, tell, metrics): (
        watch::Receiver<bool>,
        watch::Sender<Option<Arc<CertificateAuthority>>>,
        Arc<Metrics>,
    ),
    (listener, publisher): (TcpListener, Publisher),
) -> JoinHandle<Failure> {
    let secret = Place {
        namespace: lease.namespace.clone(),
        name: args.authority_secret.clone(),
    };
    let folder = args.plane_credentials.clone();
    let folder = folder.map(|path| PlaneFolder {
        plane: SHARED,
        path,
    });
    let client = client.clone();
    tokio::spawn(async move {
        let trust = match Trust::begin(&client, &secret, leads, folder, tell).await {
            Ok(trust) => trust,
            Err(error) => return error,
        };
        metrics.set_serving();
        let tls = trust.tls();
        let served = serve::run(listener, tls, publisher, std::future::pending());
        let served = tokio::select! {
            served = served => served,
            () = trust.keep() => return "the CA task stopped".into(),
        };
        match served {
            Ok(()) => "data planes are no longer served".into(),
            Err(error) => error.into(),
        }
    })
}

/// Keeps the Secret with the session keys in existence. Returns its name.
fn keep_session_keys(args: &Args, client: &Client, lease: &Place) -> ObjectKey {
    let secret = Place {
        namespace: lease.namespace.clone(),
        name: args.session_secret.clone(),
    };
    let key = ObjectKey::new(&*secret.namespace, &*secret.name);
    tokio::spawn(session_keys::keep(client.clone(), secret));
    key
}

/// The provisioning mode of the flags `--mode` and `--data-plane`.
fn provision_mode(args: &Args) -> Result<provision::Mode, Failure> {
    match (args.mode, &args.data_plane) {
        (Mode::Shared, _) if args.address_pool.is_empty() => {
            Err("--mode shared needs --address-pool".into())
        }
        (Mode::Shared, _) => Ok(provision::Mode::Shared),
        (Mode::Provisioned, None) => Err("--mode provisioned needs --data-plane".into()),
        (Mode::Provisioned, Some(path)) => {
            let failed =
                |error: &dyn std::fmt::Display| format!("--data-plane {}: {error}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
            let options = PlaneOptions::read(&text).map_err(|error| failed(&error))?;
            Ok(provision::Mode::Provisioned(Box::new(options)))
        }
    }
}

fn pool(args: &Args) -> Pool {
    let networks = args.address_pool.clone();
    Pool::new(networks, args.address_exclude.iter().copied())
}

/// The identity of this controller in the Lease. Default: its host name with a random suffix.
fn identity(args: &Args) -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "controller".to_owned());
    let random = || format!("{host}_{:08x}", fastrand::u32(..));
    args.identity.clone().unwrap_or_else(random)
}

/// The options of every resolution.
fn resolve_options(args: &Args, own_session_keys: Option<ObjectKey>) -> ResolveOptions {
    ResolveOptions {
        controller_name: args.controller_name.clone(),
        serve_unclassed: false,
        session_keys: args.session_keys.clone(),
        own_session_keys,
        geoip_databases: args.geoip_databases.clone(),
        rate_limit_service: args.rate_limit_service(),
        backends: BackendUse {
            enabled: !args.no_backends,
            loopback: false,
            dynamic: args.dynamic_targets().map(Arc::new),
            socket_folders: args.backend_socket_folders.clone(),
        },
        ..ResolveOptions::default()
    }
}
