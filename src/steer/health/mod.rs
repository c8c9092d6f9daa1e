//! The health of endpoints and regions, and what an operator says of it.
//!
//! - [`verdict`]: the verdict on an endpoint, from its probes
//! - [`effective`]: the effective state of a region: override, else verdict
//! - [`stability`]: stability of steering: damping, slow start, drains
//! - [`shed`]: how much of its clients a busy region sheds

pub mod effective;
pub mod shed;
pub mod stability;
pub mod verdict;
