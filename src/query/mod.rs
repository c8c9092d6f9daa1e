//! The query plane: a packet in, a packet out. Reads one snapshot; knows nothing of `control`.
//!
//! ```text
//!   packet ─▶ wire::query ─▶ look up ─┬─ fast path: copied ──┬─▶ wire::response ─▶ packet
//!                                     └─ full path: written ─┘
//! ```
//!
//! - [`answer()`]: the whole journey, sans I/O
//! - [`ahead`]: what a batch asks for, fetched into caches
//! - [`client`], [`question`]: who asked, and what
//! - [`fast_path`]: usual answers, copied from what is prebuilt
//! - [`full_path`]: RFC 1034 section 4.3.2 over the snapshot's names
//! - [`service`]: the answers that depend on who asks, as the full path writes them
//! - [`counters`], [`demand`]: what happened, in numbers; which clients were sent where, in samples
//! - [`transport`]: sockets and their limits
//! - [`kernel`]: plain questions answered by a program in the kernel

pub mod ahead;
pub mod answer;
pub mod client;
pub mod counters;
pub mod demand;
pub mod fast_path;
pub mod full_path;
pub mod kernel;
pub mod question;
pub mod service;
pub mod transport;

pub use answer::{answer, answer_in_full, truncated};
pub use client::{Client, Transport};
