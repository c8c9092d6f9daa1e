//! What tells "this server is cut off" from "the regions are down": reference targets that are asked, and other vantages.

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

/// How the verdicts of several vantages, which are nodes that probe the same endpoints, become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VoteRule {
    /// Down where more than half of those who can judge say so.
    #[default]
    Majority,
    /// Down where one of them says so.
    Any,
    /// Each node goes by its own probes.
    Own,
}

impl VoteRule {
    pub const fn as_str(self) -> &'static str {
        match self {
            VoteRule::Majority => "majority",
            VoteRule::Any => "any",
            VoteRule::Own => "own",
        }
    }
}
