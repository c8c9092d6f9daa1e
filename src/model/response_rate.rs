//! How many responses over UDP a network may have (`limits.udp_per_network`).

use super::Prefix;

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseRate {
    /// To one /24 or /56, 1 to 1,000,000.
    pub per_second: u32,
    /// Of those beyond, one in so many is truncated; 0: none.
    pub truncated_one_in: u32,
    /// Networks without a limit.
    pub trusted: Vec<Prefix>,
}
