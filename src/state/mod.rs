//! What queries are answered from: one immutable [`Snapshot`], swapped as one.
//!
//! - [`lookup`]: the tables queries read
//! - [`memory`]: what the writer remembers from one snapshot to the next
//! - [`snapshot`]: everything a query needs, with ids that match
//! - [`publisher`]: the single writer

pub mod lookup;
pub mod memory;
pub mod publisher;
pub mod snapshot;

pub use lookup::names::NameTable;
pub use lookup::nodes::{Node, NodeId};
pub use publisher::{EndpointNews, LoadNews, Publisher};
pub use snapshot::{Shared, Snapshot};
