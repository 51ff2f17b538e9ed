//! Properties of parsers, for the fuzz targets and for their corpora.

pub mod condition;
pub mod ext_auth_answer;
pub mod htpasswd;
pub mod token;
