//! Where objects come from. Watching for changes belongs to the binary.

mod folder;
mod keep;

pub use folder::{Folder, Loaded};
pub use keep::{Kept, keep_last_good};
