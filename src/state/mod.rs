//! What queries are answered from: one immutable [`Snapshot`], swapped as one.
//!
//! - [`names`]: the table of names, with records encoded for the wire
//! - [`index`]: names found by their hash
//! - [`encode`]: records written as they stand in a message
//! - [`sections`]: which records make up an answer
//! - [`ready`]: answers made ready, to be copied
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
pub mod encode;
pub mod endpoints;
pub mod followers;
mod huge_pages;
pub mod index;
pub mod kept;
pub mod names;
pub mod news;
pub mod planning;
pub mod prefetch;
pub mod publisher;
pub mod ready;
mod reported;
pub mod sections;
pub mod snapshot;
pub mod switches;

pub use names::{EncodedSet, NameTable, Node, NodeId};
pub use news::{EndpointNews, LoadNews, News, Replacement, Urgency};
pub use publisher::Publisher;
pub use snapshot::{Shared, Snapshot};
