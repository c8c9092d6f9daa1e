//! All that is slow or can fail: it works beside the query path and leaves its results in the
//! next snapshot.
//!
//! - [`diagnostic`]: a mistake in a file, with its place
//! - [`zonefile`]: RFC 1035 master files

pub mod diagnostic;
pub mod load_report;
pub mod probe;
