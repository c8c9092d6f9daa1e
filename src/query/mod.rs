//! The query plane: a packet in, a packet out. Reads one snapshot; knows nothing of `control`.
//!
//! ```text
//!   packet ─▶ wire::query ─▶ look up ─▶ locate, pick ─▶ wire::response ─▶ packet
//!             (parse)        (respond)  (service)        (encode)
//! ```
//!
//! - [`answer()`]: the whole journey, sans I/O
//! - [`ahead`]: what a batch asks for, fetched into caches
//! - [`shortcut`]: what is usual, copied from what is ready
//! - [`respond`]: RFC 1034 section 4.3.2 over the snapshot's names
//! - [`service`]: the answers that depend on who asks
//! - [`counters`], [`demand`]: what happened, in numbers; which clients were sent where, in samples
//! - [`image`]: a snapshot in flat arrays, for a program in the kernel that answers plain questions
//! - [`transport`]: sockets and their limits

pub mod ahead;
pub mod answer;
pub mod counters;
pub mod demand;
pub mod image;
pub mod respond;
pub mod service;
pub mod shortcut;
pub mod transport;

pub use answer::{answer, answer_at_length};
pub use transport::{Client, Transport};
