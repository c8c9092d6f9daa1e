//! Reference targets: what is asked to tell "this server is cut off" from "the regions are down".

use std::net::IpAddr;

use super::Check;

/// Something outside of all regions that answers as long as this server has a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    pub address: IpAddr,
    /// Its pace and thresholds are not used: it is asked when somebody wonders.
    pub check: Check,
}

impl Reference {
    /// References at most.
    pub const MOST: usize = 16;
}
