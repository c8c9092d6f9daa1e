//! Packet in, packet out.
//!
//! - [`transport`]: the sockets packets come and go by, and their limits
//! - [`counters`]: what happened to them, in numbers

pub mod counters;
pub mod transport;
