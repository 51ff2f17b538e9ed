//! Resolves Kubernetes objects to a plan and statuses. Pure: reads no cluster, clock or environment.
//!
//! ```text
//! YAML folder ─┐                                   ┌─> Statuses
//!              ├─> Objects ──resolve──> Resolution ┼─> Plan
//! API server ──┘   as written           (pure)     └─> Endpoints
//! ```

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
