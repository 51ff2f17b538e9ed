//! Reads manifests from folders and files. Watching for changes is part of the binary.
//!
//! ```
//! use towergate_k8s::source::Folder;
//!
//! let nowhere = Folder::new(false).read(&["no/such/folder".into()]);
//!
//! assert_eq!(nowhere.diagnostics[0].code.as_str(), "unreadable");
//! ```

mod file_state;
mod folder;
mod last_good;

pub use folder::{Folder, Loaded, find_manifests};
pub use last_good::{RetainedObject, keep_last_good, read_again};
