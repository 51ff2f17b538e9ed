//! Properties of parsers, for the fuzz targets and for their corpora.

pub mod condition;
pub mod htpasswd;
pub mod token;
