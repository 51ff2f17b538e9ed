//! Arguments of `replay`.

use std::path::PathBuf;

use clap::Args;

pub(super) const REPLAY_EXAMPLES: &str = "\
Examples:
  towergate replay access.log cluster/
  kubectl logs -n ingress-nginx deploy/ingress-nginx-controller --tail=10000 |
    towergate replay - cluster/ --against https://OLD-ADDRESS,https://NEW-ADDRESS
  towergate replay access.log --host app.example.com --against http://NEW-ADDRESS";

/// Arguments of `replay`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReplayArgs {
    /// Access log of ingress-nginx.
    #[arg(value_name = "LOG")]
    pub(crate) log: PathBuf,
    /// Folders or files of manifests with the Ingresses.
    #[arg(value_name = "DIR", required_unless_present = "against")]
    pub(crate) paths: Vec<PathBuf>,
    /// Send the requests to running gateways: ingress-nginx and the new gateway, or only the new one.
    #[arg(long, value_name = "[OLD,]NEW", value_delimiter = ',', num_args = 1)]
    pub(crate) against: Vec<String>,
    /// Host of lines that contain no host. Default: derived from the name of the backend.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Also send requests with this method, without a body. These requests may change data of the backends.
    /// Can be repeated.
    #[arg(long = "allow-method", value_name = "METHOD")]
    pub(crate) methods: Vec<String>,
    /// Requests per second to each side of --against.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rate: u32,
    /// Largest number of distinct requests.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) requests: usize,
    /// Command-line flag of the ingress-nginx controller that the manifests do not contain. Can be repeated.
    #[arg(long = "nginx-flag", value_name = "NAME=VALUE")]
    pub(crate) nginx_flags: Vec<String>,
}
