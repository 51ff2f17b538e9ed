//! `towergate-controller`: makes Towergate serve the Gateways of a Kubernetes cluster.

fn main() {}
