//! DNS over UDP past the kernel's stack (AF_XDP): an eBPF program gives plain queries to threads of ours before
//! the kernel has made anything of them, and everything else to the kernel.
//!
//! ```text
//!    card ─▶ bpf/steer ─┬─▶ socket ─▶ worker: headers ─▶ Responder::answer() ─▶ headers ─▶ socket ─▶ card
//!                       └─▶ the kernel: TCP, ARP, fragments, other ports; our queries too, where this path fails
//! ```
//!
//! In: interfaces, and the addresses the server listens at. Out: the same responses and counts as over
//! sockets, which serve the same addresses all the time: whatever cannot be had here, is had there.
//!
//! - [`setup`]: what can be had of an interface, said in the log
//! - [`program`], `bpf/`: what the kernel does with packets
//! - [`socket`]: the memory and rings shared with the kernel
//! - [`headers`], `worker`: a packet read, answered and sent back
//! - [`interface`]: what the system says of interfaces and addresses

pub mod headers;
pub mod interface;
pub mod program;
pub mod setup;
pub mod socket;
mod worker;

pub use setup::{Running, Statistics, Tally, XdpServer};
