//! The other vantages, as a snapshot knows them: who judges with this node, and who has lost its own network.

use std::sync::Arc;
use std::time::Instant;

use crate::model::AddressPart;
use crate::steer::health::cut_off::CutOff;

/// The vantages that judge together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vantages {
    /// The other nodes, by name, in order.
    pub others: Vec<Arc<str>>,
    /// The parts of which this node's own verdicts do not count, by the others' word.
    pub cut_off: Vec<OwnCutOff>,
    /// The other nodes that are cut off of some part.
    pub others_cut_off: Vec<Arc<str>>,
}

/// Why this node does not vote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OwnCutOff {
    /// [`AddressPart::Ipv6`] stands for all endpoints by their IPv6 addresses, also those that have no others.
    pub part: AddressPart,
    pub since: Instant,
    pub why: CutOff,
}

impl OwnCutOff {
    /// `IPv4` or `IPv6`.
    pub fn family(&self) -> &'static str {
        match self.part {
            AddressPart::Main => "IPv4",
            AddressPart::Ipv6 => "IPv6",
        }
    }
}
