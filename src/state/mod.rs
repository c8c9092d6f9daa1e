//! The state that queries are answered from: one immutable [`Snapshot`], swapped as one.
//!
//! - [`lookup`]: the tables queries read
//! - [`memory`]: what the writer remembers from one snapshot to the next
//! - [`configured`]: what only a reload changes
//! - [`vantages`]: who judges with this node
//! - [`snapshot`]: everything a query needs, with ids that match
//! - [`regroup`]: classes of clients made anew after round trips were measured
//! - [`work`]: what may wait, and is done beside the publisher, soon or when there is time
//! - [`news`]: what the publisher is told
//! - [`publisher`]: the single writer

pub mod configured;
pub mod lookup;
pub mod memory;
pub mod news;
pub mod publisher;
pub mod regroup;
pub mod snapshot;
pub mod vantages;
pub mod work;

pub use lookup::names::NameTable;
pub use lookup::nodes::{Node, NodeId};
pub use news::{EndpointNews, HealthNews, LoadNews, News, Replacement, Urgency};
pub use publisher::Publisher;
pub use snapshot::{SharedSnapshot, Snapshot};
