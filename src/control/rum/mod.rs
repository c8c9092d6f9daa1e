//! Round trips that were measured: counted, imported, kept, and told to the writer.
pub mod beacon;
pub mod import;
mod kept;
mod rate;
mod sketch;
pub mod store;
mod token;
