//! What queries are answered from: one immutable [`Snapshot`], swapped as one.
//!
//! - [`nodes`]: every name with its records, encoded for the wire, and what it leads to
//! - [`names`]: the table they are found in
//! - [`index`]: names found by their hash
//! - [`sections`]: which records make up an answer
//! - [`prebuilt`]: answers built with the snapshot, to be copied
//! - [`huge_pages`]: where the kernel keeps them
//! - [`prefetch`]: memory fetched before it is read
//! - [`endpoints`]: what endpoints are answered with
//! - [`configured`]: what only a reload changes
//! - [`snapshot`]: everything a query needs, with ids that match
//! - [`calm`]: what is remembered so that answers change no more often than they must
//! - [`switches`]: which stages operators switched services to
//! - [`reported`]: what is remembered of a region's load reports, and the price that follows
//! - [`news`]: what the publisher is told
//! - [`publisher`]: the single writer
//! - [`followers`]: who has to know of a swap when it happens
//! - [`planning`]: when it plans ahead, and from what
//! - [`kept`]: what of all that survives a restart

pub mod calm;
pub mod configured;
pub mod endpoints;
pub mod followers;
mod huge_pages;
pub mod index;
pub mod kept;
pub mod names;
pub mod news;
pub mod nodes;
pub mod planning;
pub mod prebuilt;
pub mod prefetch;
pub mod publisher;
mod reported;
pub mod sections;
pub mod snapshot;
pub mod switches;

pub use names::NameTable;
pub use nodes::{Node, NodeId};
pub use news::{EndpointNews, LoadNews, News, Replacement, Urgency};
pub use publisher::Publisher;
pub use snapshot::{Shared, Snapshot};
