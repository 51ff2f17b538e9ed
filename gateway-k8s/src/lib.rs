//! Resolves Kubernetes objects to a plan and statuses. Pure: reads no cluster, clock or environment.
//!
//! ```text
//! YAML folder ─┐                                   ┌─> Statuses
//!              ├─> Objects ──resolve──> Resolution ┼─> Plan
//! API server ──┘   as written           (pure)     └─> Endpoints
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`decode`], [`source`], [`yaml`] | objects from text and folders, each with its file and line |
//! | [`objects`], [`api`] | typed objects of Gateway API and Kubernetes |
//! | [`mod@resolve`] | plan, endpoints, statuses and diagnostics |
//! | [`status`] | conditions of Gateway API |
//! | [`finding`] | the codes of all diagnostics, with advice |
//! | [`ingress`] | Ingresses of ingress-nginx as objects of Gateway API, with a verdict for each annotation |
//! | [`host_names`] | host names that the data plane looks up |
//! | [`wire`] | the encoding of plans that a controller sends to data planes |
//!
//! # Example
//!
//! ```
//! use towergate_k8s::decode::decode;
//! use towergate_k8s::{ResolveOptions, resolve};
//!
//! let manifests = "
//! apiVersion: gateway.networking.k8s.io/v1
//! kind: Gateway
//! metadata: {name: public, namespace: edge}
//! spec:
//!   gatewayClassName: eg
//!   listeners: [{name: web, port: 80, protocol: HTTP}]
//! ---
//! apiVersion: gateway.networking.k8s.io/v1
//! kind: HTTPRoute
//! metadata: {name: users, namespace: edge}
//! spec:
//!   parentRefs: [{name: public}]
//!   hostnames: [users.example.com]
//!   rules: [{backendRefs: [{name: users, port: 80}]}]
//! ";
//! let decoded = decode("manifests.yaml", manifests);
//! let resolution = resolve(&decoded.objects, &ResolveOptions::default());
//!
//! assert_eq!(resolution.plan.ports[0].port, 80);
//! // The Service is not in the manifests: the route's rule responds with status 500.
//! let messages = resolution.diagnostics.iter().map(|diagnostic| &diagnostic.message);
//! assert!(messages.into_iter().any(|message| message.contains("users")));
//! ```
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `aws-lc-rs` | yes | aws-lc-rs as default crypto provider; without it set `ResolveOptions::provider` |

pub mod api;
pub mod decode;
pub mod finding;
pub mod host_names;
pub mod ingress;
mod message;
mod object_name;
pub mod objects;
pub mod resolve;
pub mod source;
pub mod status;
mod validate;
pub mod wire;
pub mod yaml;

pub use decode::Diagnostic;
pub use finding::FindingCode;
pub use objects::{Object, ObjectKey, Objects};
pub use resolve::{Resolution, ResolveOptions, resolve};
pub use status::Statuses;

/// The programs of `docs/embedding.md`, compiled as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
mod embedding {}
