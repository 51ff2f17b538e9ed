//! Provisions the Kubernetes objects of each Gateway.
//!
//! ```text
//! Objects, Statuses ──gateways──> GatewayToRun ──render──> Manifests ──Provisioner──> API server
//!                                                                          │
//!                        addresses and availability of each Gateway <──Observed
//! ```
//!
//! There are two modes. *Provisioned*: each Gateway has a Deployment of data planes and a Service in front of
//! them. *Shared*: the user runs the data plane, the Gateway has an address of a pool, and a Service without
//! a selector gives this address a DNS name in the cluster.
//!
//! Invariants: every object is in the namespace of its Gateway, has an owner reference to it (the cluster
//! deletes the object with the Gateway), and has the label of this program. Objects of other owners are never
//! changed. If a Gateway cannot be run at the moment, its objects are kept: an error in a manifest must not
//! release a public address.

mod apply;
mod autoscaler;
mod cache;
mod credentials;
mod deployment;
mod desired;
mod diff;
mod kind;
mod metadata;
mod name;
mod observe;
mod options;
mod parameters;
mod patch;
mod quantity;
mod render;
mod service;
mod shared;
#[cfg(test)]
mod tests;

pub(crate) use apply::Provisioner;
pub(crate) use deployment::OWN_PORTS;
pub(crate) use desired::{Fate, GatewayToRun, gateways};
pub(crate) use observe::Observed;
pub(crate) use options::{Mode, PlaneOptions};
pub(crate) use service::bound_ports;
