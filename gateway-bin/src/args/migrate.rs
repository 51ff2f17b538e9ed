//! Arguments of `migrate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub(super) const MIGRATE_EXAMPLES: &str = "\
Examples:
  towergate migrate cluster/ --out gateway/
  kubectl get ingresses,ingressclasses,services,configmaps,secrets,deployments -A -o yaml | towergate migrate - --out gateway/
  towergate migrate --from-cluster --out gateway/
  towergate migrate cluster/ --prove
  towergate migrate cluster/ --format json --fail-on impossible > report.json";

/// Arguments of `migrate`.
#[derive(Args, Clone, Debug)]
pub(crate) struct MigrateArgs {
    /// Folders or files of manifests.
    #[arg(required_unless_present = "from_cluster", value_name = "DIR")]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Folder for the translated manifests. Files of an earlier run are replaced, or removed if they are not
    /// needed any more; other files are kept. Default: only the report is printed.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Format of the report.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: ReportFormat,
    /// Exit with status 1 if a setting has this verdict or a worse one. Defaults of ingress-nginx do not
    /// count.
    #[arg(long, value_name = "VERDICT")]
    pub(crate) fail_on: Option<FailOn>,
    /// Send generated requests to the translation and to a model of ingress-nginx, both in this process.
    /// Print the requests to which the responses differ, the smallest first. Exit with status 1 if there is a
    /// difference that no verdict describes.
    #[arg(long)]
    pub(crate) prove: bool,
    /// Send generated requests to a running ingress-nginx and to the new gateway, and print the requests to
    /// which the responses differ. Only GET, HEAD, OPTIONS and the methods of --prove-allow-method are sent.
    /// Exit with status 1 if responses differ.
    #[arg(long, value_name = "URL,URL", value_delimiter = ',', num_args = 1)]
    pub(crate) prove_against: Vec<String>,
    /// With --prove-against, also send generated requests with this method, such as POST, without a body.
    /// These requests may change data of the backends. Can be repeated.
    #[arg(long = "prove-allow-method", value_name = "METHOD")]
    pub(crate) prove_methods: Vec<String>,
    /// Requests per second to each side of --prove-against.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) prove_rate: u32,
    /// Largest number of requests to each side of --prove-against.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) prove_requests: usize,
    /// The Gateway that all translated routes share.
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "gateway/shared")]
    pub(crate) gateway: String,
    /// GatewayClass of the shared Gateway.
    #[arg(long, value_name = "NAME", default_value = "eg")]
    pub(crate) gateway_class: String,
    /// Command-line flag of the ingress-nginx controller that the manifests do not contain. Can be repeated.
    #[arg(long = "nginx-flag", value_name = "NAME=VALUE")]
    pub(crate) nginx_flags: Vec<String>,
}

/// The cluster of `migrate --from-cluster`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ClusterArgs {
    /// Also read the objects of a cluster, with the program `kubectl-towergate` of the same release, which must be
    /// beside this program or in PATH. Only Secrets that Ingresses and the controller refer to are read, and private
    /// keys are replaced.
    #[arg(long)]
    pub(crate) from_cluster: bool,
    /// File with the address of the cluster. Default: KUBECONFIG, ~/.kube/config, or the service account of the pod.
    #[arg(long, value_name = "FILE", requires = "from_cluster")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig file.
    #[arg(long, value_name = "NAME", requires = "from_cluster")]
    pub(crate) context: Option<String>,
}

/// A format of the report of `migrate`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// One HTML page without references to other files.
    Html,
    /// One JSON object, indented.
    Json,
    /// A summary, then the differences, the most serious first.
    Text,
}

/// The verdict of `--fail-on`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FailOn {
    /// Any verdict other than `same`.
    SameWithADifference,
    /// Any verdict that needs a decision or is impossible.
    NeedsADecision,
    /// Any verdict that is impossible.
    Impossible,
}
