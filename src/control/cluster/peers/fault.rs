//! Why there is no reply from another node, in words that an operator can act on.

use std::time::Duration;

use super::message::MOST_OCTETS;

/// A message that has no reply: `node ber1 at 10.0.0.6:8054: connection refused`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {to} at {address}: {why}")]
pub struct PeerError {
    pub to: String,
    pub address: String,
    pub why: PeerFault,
}

/// The reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// No connection, or one that broke off. The message may have been taken only where it says so.
    #[error("{0}")]
    Unreachable(String),
    /// No reply in the time that the caller gives. The message may have been taken.
    #[error("no reply within {0:?}")]
    Late(Duration),
    /// One of the two nodes cannot prove to the other which it is.
    #[error("{0}")]
    Unproven(String),
    /// Another node answers there, or one of another cluster.
    #[error("{0}")]
    Elsewhere(String),
    /// It has no room for the message, or whoever handles it there is silent.
    #[error("{0}")]
    Busy(String),
    /// It took the message, and refuses what it asks for.
    #[error("refused: {0}")]
    Refused(String),
    /// The message or the reply is too long.
    #[error("more than {} MiB", MOST_OCTETS >> 20)]
    TooLong,
    /// The answer is none of a node, or of one that does not know such messages.
    #[error("{0}")]
    Misunderstood(String),
    /// The message could not be made: its own sender is at fault.
    #[error("{0}")]
    Unsendable(String),
}
