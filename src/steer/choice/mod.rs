//! The choice of one client: its region among those its place shares, and the endpoints it is given.
//!
//! - [`cell`]: what a place's clients share, and how one finds its own
//! - [`pick`]: one client's region and endpoint, by weighted rendezvous
//! - [`endpoint_set`]: the endpoints of a region that are answered, and how

pub mod cell;
pub mod endpoint_set;
pub mod pick;
