//! Which region a client should use now. Pure functions: time and chance are arguments, so that
//! `explain` is true because it runs the very code that answers packets.
//!
//! In the order a decision is made:
//!
//! - [`health`]: the verdict on an endpoint, from its probes
//! - [`standing`]: what a region is good for now: override, else verdict
//! - [`stability`]: what keeps that calm: damping, slow start, drains
//! - [`price`]: what a region's load costs, in milliseconds
//! - [`score`]: latency + priced load + cost, in milliseconds
//! - [`geo`]: the operator's own list for a place
//! - [`rtt`]: how far regions are from clients: measured, else by distance
//! - [`sites`]: where clients are, each position once, and how far regions are from there
//! - [`demand`]: how many clients are where, from what was answered and what regions report
//! - [`flow`]: the cheapest way to share them out, by min-cost flow
//! - [`locations`]: sites that are planned for together
//! - [`planner`]: both, for all services that go by score
//! - [`plan`]: per service and place, the shares regions get
//! - [`classes`]: addresses that all services answer alike
//! - [`pick`]: one client's region and endpoint, by weighted rendezvous
//! - [`decide`]: all of it for one query, with TTL and scope
//! - [`explain`]: the same, as data for people

pub mod classes;
pub mod decide;
pub mod demand;
pub mod explain;
pub mod flow;
pub mod geo;
pub mod handout;
pub mod health;
pub mod locations;
pub mod pick;
pub mod plan;
pub mod planner;
pub mod price;
pub mod rtt;
pub mod score;
pub mod sites;
pub mod stability;
pub mod standing;
#[cfg(test)]
pub(crate) mod testing;
