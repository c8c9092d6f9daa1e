//! The health of endpoints and regions, and what an operator says of it.
//!
//! - [`verdict`]: the verdict on an endpoint, from its probes
//! - [`combine`]: the verdicts of several checks of an endpoint, made one
//! - [`vote`], [`cut_off`]: several vantages judge together, without those that lost their own network
//! - [`effective`]: the effective state of a region: override, else verdict
//! - [`family`]: IPv4 and IPv6 judged apart
//! - [`dependency`]: regions that are down while others are
//! - [`stability`]: stability of steering: damping, slow start, drains
//! - [`degraded`]: how much less a region offers for what its balancer says, and for slow probes
//! - [`shed`]: how much of its clients a busy region sheds

pub mod combine;
pub mod cut_off;
pub mod degraded;
pub mod dependency;
pub mod effective;
pub mod family;
pub mod shed;
pub mod stability;
pub mod verdict;
pub mod vote;
