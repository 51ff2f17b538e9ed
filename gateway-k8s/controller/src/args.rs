//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use ipnet::IpNet;

use crate::pool::parse_network;

/// Makes Towergate serve the Gateways of a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "towergate-controller", version)]
pub(crate) struct Args {
    /// GatewayClasses with this `spec.controllerName` are ours.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "towergate.dev/gateway-controller"
    )]
    pub(crate) controller_name: String,
    /// Who serves Gateways.
    #[arg(long, value_enum, default_value_t = Mode::Shared)]
    pub(crate) mode: Mode,
    /// With --mode shared: a network with addresses for Gateways, all of which the data plane can bind.
    /// Can be given several times.
    #[arg(long, value_name = "CIDR", value_parser = parse_network)]
    pub(crate) address_pool: Vec<IpNet>,
    /// An address of the pool that only Gateways get that name it in `spec.addresses`. Can be given
    /// several times.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address_exclude: Vec<IpAddr>,
    /// Where data planes get their plans.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:18000")]
    pub(crate) listen: SocketAddr,
    /// With --mode shared: the folder for the credentials of the data plane, for its option --credentials.
    #[arg(long, value_name = "DIR")]
    pub(crate) plane_credentials: Option<PathBuf>,
    /// With --mode provisioned: a file of JSON that says what data planes are to be like.
    #[arg(long, value_name = "FILE")]
    pub(crate) data_plane: Option<PathBuf>,
    /// Name of the Secret with the authority of controllers and data planes, in the namespace of the
    /// Lease. It is made if it is not there.
    #[arg(long, value_name = "NAME", default_value = "towergate-authority")]
    pub(crate) authority_secret: String,
    /// Namespace of the Lease by which controllers agree who writes; by default that of the pod.
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) lease_namespace: Option<String>,
    /// Name of that Lease.
    #[arg(long, value_name = "NAME", default_value = "towergate-controller")]
    pub(crate) lease_name: String,
    /// Name of this controller among others; by default a random one.
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Option<String>,
    /// Address for /healthz, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    pub(crate) admin: SocketAddr,
    /// What is logged: a level, or directives such as `info,towergate_controller=debug`.
    ///
    /// What fails is said once by the controller itself; the client of the API server would say it twice.
    #[arg(long, value_name = "FILTER", default_value = "info,kube_client=off")]
    pub(crate) log: String,
    /// How it is logged.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// Who serves Gateways.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Mode {
    /// One data plane, which runs elsewhere, serves all of them, each at an address of the pool.
    Shared,
    /// Each Gateway has data planes of its own, which the controller makes.
    Provisioned,
}

/// How it is logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object for each line.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn networks_and_addresses_are_read() {
        let args = Args::try_parse_from([
            "towergate-controller",
            "--address-pool=10.0.0.0/24",
            "--address-exclude=10.0.0.9",
        ]);

        let args = args.expect("these are right");
        assert_eq!(args.address_pool.len(), 1);
        assert_eq!(args.address_exclude.len(), 1);
    }
}
