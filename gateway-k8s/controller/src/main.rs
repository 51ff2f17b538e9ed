//! `towergate-controller`: makes Towergate serve the Gateways of a Kubernetes cluster.

#[expect(dead_code, reason = "the controller's loop calls it")]
mod provision;

fn main() {}
