//! All that is slow or can fail: it works beside the query path and leaves its results in the
//! next snapshot.
//!
//! - [`config`]: TOML files become the model and the settings
//! - [`diagnostic`]: a mistake in a file, with its place
//! - [`zonefile`]: RFC 1035 master files

pub mod config;
pub mod diagnostic;
pub mod zonefile;
