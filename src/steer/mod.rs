//! The region that a client should use now. Pure functions: time and chance are arguments, so that
//! `explain` is true because it runs the very code that answers packets.
//!
//! Rooms, in the order a decision is made; each imports those before it:
//!
//! - [`load`]: what of regions' load reports is believed, and what load costs, in milliseconds
//! - [`health`]: the verdict on endpoints, and what a region is good for now
//! - [`latency`]: how far regions are from clients, and the score that follows
//! - [`choice`]: what a place's clients share, and how one client finds its own region and endpoint
//! - [`planner`]: demand, and the cheapest way to share clients out
//! - [`policy`]: what a service's policies make of all that for a place
//! - [`plan`]: per service and place, the shares regions get; and what is precomputed of it
//!
//! Beside them:
//!
//! - [`need`]: how closely all this needs to know where clients are
//! - [`decide`]: all of it for one query, with TTL and scope
//! - [`explain`]: one client's decision, as data for people
//! - [`figure`]: numbers as people read them
//! - [`haste`]: how long work on plans may wait
//! - [`kept`]: what of it survives a restart, by name

pub mod choice;
pub mod decide;
pub mod explain;
pub mod figure;
pub mod haste;
pub mod health;
pub mod kept;
pub mod latency;
pub mod load;
pub mod need;
pub mod plan;
pub mod planner;
pub mod policy;
#[cfg(test)]
pub(crate) mod testing;
