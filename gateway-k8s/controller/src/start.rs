//! Puts the parts together.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::args::{Args, Mode};
use crate::lease::{Keeper, Place};
use crate::metrics::Metrics;
use crate::planes::{self, Inputs, Planes, SHARED};
use crate::pool::Pool;
use crate::provision::{self, PlaneOptions, Provisioner};
use crate::reconcile::{Channels, Reconciler};
use crate::serve::{self, Authority, Publisher};
use crate::status::Writer;
use crate::trust::{PlaneFolder, Trust};
use crate::{Failure, admin};

/// How long giving back the Lease may take at the end.
const GOODBYE: Duration = Duration::from_secs(5);

/// A controller that runs.
pub(crate) struct Running {
    control: JoinHandle<()>,
    serving: JoinHandle<Failure>,
    keeper: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl Running {
    /// Over when something ended that should not, with the reason.
    pub(crate) async fn broke_off(&mut self) -> Failure {
        tokio::select! {
            ended = &mut self.control => match ended {
                Ok(()) => "the control loop ended".into(),
                Err(error) => error.into(),
            },
            ended = &mut self.serving => ended.unwrap_or_else(Into::into),
        }
    }

    /// Ends it, so that another can take over at once.
    pub(crate) async fn end(self) {
        drop(self.end);
        // If it takes longer, the others wait until the Lease is over.
        let _ = tokio::time::timeout(GOODBYE, self.keeper).await;
    }
}

/// Starts a controller.
///
/// # Errors
/// If an option is not usable, or an address cannot be bound. That the API server is away is no error.
pub(crate) async fn start(args: &Args) -> Result<Running, Failure> {
    let mode = provision_mode(args)?;
    let config = kube::Config::infer().await?;
    let namespace = args.lease_namespace.clone();
    let lease = Place {
        namespace: namespace.unwrap_or_else(|| config.default_namespace.clone()),
        name: args.lease_name.clone(),
    };
    let client = Client::try_from(config)?;
    let metrics = Arc::<Metrics>::default();
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|error| format!("--listen {}: {error}", args.listen))?;
    let publisher = Publisher::default();
    let admin = admin::serve(args.admin, Arc::clone(&metrics), &publisher).await;
    let admin = admin.map_err(|error| format!("--admin {}: {error}", args.admin))?;
    tracing::info!(%admin, listen = %args.listen, controller = args.controller_name, "begins");

    let (keeper, leads) = Keeper::new(client.clone(), &lease, identity(args));
    let (end, ended) = oneshot::channel::<()>();
    let keeper = tokio::spawn(keeper.run(async move {
        // Dropped or sent: both mean the end.
        let _ = ended.await;
    }));
    let (tell_authority, authority) = watch::channel(None);
    let serving = serve_planes(
        args,
        &client,
        &lease,
        (leads.clone(), tell_authority, Arc::clone(&metrics)),
        (listener, publisher.clone()),
    );
    let provisioner = Arc::new(Provisioner::new(
        client.clone(),
        mode,
        &args.controller_name,
    ));
    let planes = match args.mode {
        Mode::Shared => Planes::shared(pool(args)),
        Mode::Provisioned => Planes::Provisioned(Arc::clone(&provisioner)),
    };
    let channels = channels(args, &client, &metrics, provisioner, leads, authority);
    let controller = args.controller_name.clone();
    let reconciler = Reconciler::new(controller, planes, publisher, metrics);
    Ok(Running {
        control: tokio::spawn(reconciler.run(channels)),
        serving,
        keeper,
        end,
    })
}

/// Starts everything that the control loop listens to and tells.
fn channels(
    args: &Args,
    client: &Client,
    metrics: &Arc<Metrics>,
    provisioner: Arc<Provisioner>,
    leads: watch::Receiver<bool>,
    authority: watch::Receiver<Option<Arc<Authority>>>,
) -> Channels {
    let controller = args.controller_name.clone();
    let (due, answers) = Writer::start(client.clone(), controller, Arc::clone(metrics));
    let (to_run, gateways) = watch::channel(None);
    let (tell_known, known) = watch::channel(false);
    let made = provisioner.changes();
    let inputs = Inputs {
        gateways,
        authority,
        leads: leads.clone(),
    };
    tokio::spawn(planes::run(provisioner, inputs, tell_known));
    Channels {
        events: crate::watch::start(client, metrics),
        leads,
        due,
        answers,
        known,
        made,
        to_run,
    }
}

/// Hands plans to data planes, as soon as there is an authority.
fn serve_planes(
    args: &Args,
    client: &Client,
    lease: &Place,
    (leads, tell, metrics): (
        watch::Receiver<bool>,
        watch::Sender<Option<Arc<Authority>>>,
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
        tokio::spawn(trust.keep());
        match serve::run(listener, tls, publisher, std::future::pending()).await {
            Ok(()) => "data planes are served no longer".into(),
            Err(error) => error.into(),
        }
    })
}

/// What is made for Gateways.
fn provision_mode(args: &Args) -> Result<provision::Mode, Failure> {
    match (args.mode, &args.data_plane) {
        (Mode::Shared, _) if args.address_pool.is_empty() => {
            Err("--mode shared needs --address-pool".into())
        }
        (Mode::Shared, _) => Ok(provision::Mode::Shared),
        (Mode::Provisioned, None) => Err("--mode provisioned needs --data-plane".into()),
        (Mode::Provisioned, Some(path)) => {
            let told =
                |error: &dyn std::fmt::Display| format!("--data-plane {}: {error}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| told(&error))?;
            let options = PlaneOptions::read(&text).map_err(|error| told(&error))?;
            Ok(provision::Mode::Provisioned(Box::new(options)))
        }
    }
}

fn pool(args: &Args) -> Pool {
    let networks = args.address_pool.clone();
    Pool::new(networks, args.address_exclude.iter().copied())
}

/// What this controller is called in the Lease.
fn identity(args: &Args) -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "controller".to_owned());
    let random = || format!("{host}_{:08x}", fastrand::u32(..));
    args.identity.clone().unwrap_or_else(random)
}
