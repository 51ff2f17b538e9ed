//! Databases of client locations (MaxMind DB files), which the operator configures.
//!
//! ```text
//! files ──read──> GeoDatabaseSet ──locate(address)──> ClientLocation
//!   └─ modified: read again in the background; a file that cannot be read keeps its last good content
//! ```
//!
//! Invariant: a location field is read from a database that has this field. If no database has it, the caller receives
//! an error. An address without an entry has no country, region, city, network or provider, and is not anonymous.

mod database;
mod files;

pub use database::{ClientLocation, GeoDatabase, GeoDatabaseError, GeoFields};
pub use files::{GeoDatabaseFiles, GeoDatabaseSet};

#[cfg(test)]
pub(crate) mod test_database;
