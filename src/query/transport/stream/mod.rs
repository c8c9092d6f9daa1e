//! DNS over a stream (RFC 7766), whatever carries it: length-prefixed messages, many per connection,
//! answered in order.
//!
//! In: a stream that a transport has accepted, and a [`StreamPlace`](gate::StreamPlace) for it. Out:
//! responses, each behind its length, until there is a reason to end.
//!
//! - [`connection`]: the conversation
//! - [`gate`], [`limits`]: how many there may be, and how long they may take

mod connection;
mod gate;
mod limits;

pub use connection::{Connection, ConnectionContext};
pub use gate::Gate;
pub use limits::TcpLimits;
