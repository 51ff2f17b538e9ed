//! `towergate-controller`: makes Towergate serve the Gateways of a Kubernetes cluster.
//!
//! ```text
//! watch/ ──events──> reconcile ──plans──> data planes
//!    ▲                   └──statuses that differ──> status/ ──> API server
//!    └──────────────────────────────────────────────────────────┘
//! lease/: who writes statuses, if several controllers run.
//! ```

mod admin;
mod args;
mod kinds;
mod lease;
mod metrics;
mod notes;
mod ours;
mod planes;
mod pool;
#[expect(dead_code, unused_imports, reason = "the control loop will call it")]
mod provision;
mod reconcile;
mod serve;
mod settle;
mod status;
mod telemetry;
mod trust;
mod watch;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::args::Args;
use crate::lease::{Keeper, Place};
use crate::metrics::Metrics;
use crate::planes::{Planes, SHARED};
use crate::pool::Pool;
use crate::reconcile::{Channels, Reconciler};
use crate::serve::Publisher;
use crate::status::Writer;
use crate::trust::{PlaneFolder, Trust};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What ends the program without a result: shown to the user as it is.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long giving back the Lease may take at the end.
const GOODBYE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("towergate-controller: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    telemetry::init(args.log_format, &args.log)?;
    if args.address_pool.is_empty() {
        return Err("--mode shared needs --address-pool".into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(control(args))?;
    runtime.shutdown_background();
    Ok(())
}

async fn control(args: &Args) -> Result<(), Failure> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let config = kube::Config::infer().await?;
    let place = Place {
        namespace: args
            .lease_namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone()),
        name: args.lease_name.clone(),
    };
    let client = Client::try_from(config)?;
    let metrics = Arc::<Metrics>::default();
    let admin = admin::serve(args.admin, Arc::clone(&metrics)).await;
    let admin = admin.map_err(|error| format!("--admin {}: {error}", args.admin))?;
    tracing::info!(address = %admin, controller = args.controller_name, "begins");

    let (keeper, leads) = Keeper::new(client.clone(), &place, identity(args));
    let (end, ended) = oneshot::channel::<()>();
    let keeper = tokio::spawn(keeper.run(async move {
        // Dropped or sent: both mean the end.
        let _ = ended.await;
    }));
    let (due, answers) = Writer::start(
        client.clone(),
        args.controller_name.clone(),
        Arc::clone(&metrics),
    );
    let channels = Channels {
        events: watch::start(&client, &metrics),
        leads: leads.clone(),
        due,
        answers,
    };
    let pool = Pool::new(
        args.address_pool.clone(),
        args.address_exclude.iter().copied(),
    );
    let publisher = Publisher::default();
    serve_planes(args, &client, &place, leads, publisher.clone()).await?;
    let reconciler = Reconciler::new(
        args.controller_name.clone(),
        Planes::shared(pool),
        publisher,
        metrics,
    );
    let control = tokio::spawn(reconciler.run(channels));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = control => {
            ended?;
            return Err("the control loop ended".into());
        }
    }
    tracing::info!("ends");
    drop(end);
    let _ = tokio::time::timeout(GOODBYE, keeper).await;
    Ok(())
}

/// Hands plans to data planes, as soon as there is an authority.
async fn serve_planes(
    args: &Args,
    client: &Client,
    lease: &Place,
    leads: tokio::sync::watch::Receiver<bool>,
    publisher: Publisher,
) -> Result<(), Failure> {
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|error| format!("--listen {}: {error}", args.listen))?;
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
        let trust = match Trust::begin(&client, &secret, leads, folder).await {
            Ok(trust) => trust,
            Err(error) => return tracing::error!(%error, "data planes cannot be served"),
        };
        let tls = trust.tls();
        tokio::spawn(trust.keep());
        if let Err(error) = serve::run(listener, tls, publisher, std::future::pending()).await {
            tracing::error!(%error, "data planes are served no longer");
        }
    });
    Ok(())
}

/// What this controller is called in the Lease.
fn identity(args: &Args) -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "controller".to_owned());
    let random = || format!("{host}_{:08x}", fastrand::u32(..));
    args.identity.clone().unwrap_or_else(random)
}
