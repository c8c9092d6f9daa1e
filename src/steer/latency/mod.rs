//! The distance of regions from clients, and the score that follows from it.
//!
//! - [`rtt`]: round trips, measured or else by distance
//! - [`score`]: latency + priced load + cost, in milliseconds
//! - [`sites`]: where clients are, each position once, and how far regions are from there
//! - [`locations`]: sites that are planned for together

pub mod locations;
pub mod rtt;
pub mod score;
pub mod sites;
