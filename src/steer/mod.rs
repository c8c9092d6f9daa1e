//! Which region a client should use now. Pure functions: time and chance are arguments, so that
//! `explain` is true because it runs the very code that answers packets.
//!
//! In the order a decision is made:
//!
//! - [`health`]: the verdict on an endpoint, from its probes
//! - [`standing`]: what a region is good for now: override, else verdict
//! - [`stability`]: what keeps that calm: damping, slow start, drains
//! - [`price`]: what a region's load costs, in milliseconds
//! - [`shed`]: how much of its clients a busy region sheds
//! - [`score`]: latency + priced load + cost, in milliseconds
//! - [`rtt`]: how far regions are from clients: measured, else by distance
//! - [`sites`]: where clients are, each position once, and how far regions are from there
//! - [`feed`]: what of a region's load reports is believed, and what they say of the clients sent there
//! - [`profile`]: how demand goes with the time of the day
//! - [`demand`]: how many clients are where, from what was answered and what regions report
//! - [`flow`]: the cheapest way to share them out, by min-cost flow
//! - [`locations`]: sites that are planned for together
//! - [`planner`]: both, for all services that go by score
//! - [`need`]: how closely all this needs to know where clients are
//! - [`eligible`]: which of some regions may be answered
//! - [`route`]: which rule and which lists are for a place's clients
//! - [`policy`]: what a service's policies make of all that for a place
//! - [`reached`]: which decisions by score clients come to, for the planner
//! - [`plan`]: per service and place, the shares regions get
//! - [`classes`]: addresses that all services answer alike
//! - [`cell`]: what a place's clients share, and how one finds its own
//! - [`pick`]: one client's region and endpoint, by weighted rendezvous
//! - [`decide`]: all of it for one query, with TTL and scope
//! - [`settled`]: those decisions that are the same whoever asks
//! - [`explain`]: one client's, as data for people
//! - [`lives`]: how long a service's answers live now, over all its clients
//! - [`figure`]: numbers as people read them
//! - [`kept`]: what of it survives a restart, by name

pub mod cell;
pub mod classes;
pub mod common_mode;
pub mod decide;
pub mod demand;
pub mod eligible;
pub mod explain;
pub mod feed;
pub mod figure;
pub mod flow;
pub mod handout;
pub mod health;
pub mod kept;
pub mod lives;
pub mod load_state;
pub mod locations;
pub mod need;
pub mod pick;
pub mod plan;
pub mod planner;
pub mod policy;
pub mod price;
pub mod profile;
pub mod reached;
pub mod route;
pub mod rtt;
pub mod score;
pub mod score_group;
pub mod settled;
pub mod shed;
pub mod sites;
pub mod stability;
pub mod standing;
#[cfg(test)]
pub(crate) mod testing;
