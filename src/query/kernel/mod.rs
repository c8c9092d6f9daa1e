//! Answers in the kernel: plain questions answered by an eBPF program, from images of the snapshot.
//!
//! ```text
//!   Snapshot ─▶ image ─▶ keeper ─▶ maps ─▶ bpf/answer ─▶ packet sent back
//!   counters, demand ◀── keeper ◀── maps ◀──┘  └─ not plain ─▶ AF_XDP, or the kernel's stack
//! ```
//!
//! The door is here: [`KernelSetup`], given to the AF_XDP transport when it attaches its programs, and
//! [`KernelAnswers`], started with what was attached. The daemon goes through it, and nothing else in the
//! server knows of this folder: without it everything is answered by the threads. For operators:
//! `docs/kernel-answers.md`.
//!
//! - [`attach`]: the program in the place of the one that only steers
//! - [`keeper`]: keeps the images in step with the snapshots, and fetches what was counted
//! - [`maps`]: what is shared with the program
//! - [`image`]: a snapshot in flat arrays
//! - `bpf/`: the program

pub mod attach;
pub mod image;
pub mod keeper;
pub mod maps;

pub use attach::KernelSetup;
pub use keeper::KernelAnswers;
