//! `towergate-controller`: makes Towergate serve the Gateways of a Kubernetes cluster.

#[allow(dead_code, unused_imports, reason = "nothing calls it yet")]
mod serve;

fn main() {}
