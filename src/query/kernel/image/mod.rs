//! The image that a program in the kernel answers plain questions from: a snapshot, compiled into flat arrays.
//!
//! Two arrays of 64-octet blocks, since a block is what such a program gets at a step, and one line
//! of a core's cache:
//!
//! ```text
//!   NameImage   head │ hash table │ entries: names │ rows: class ─▶ answer │ answers: octets
//!   ClassImage  head │ index, ranges of IPv4       │ index, ranges of upper halves of IPv6
//! ```
//!
//! Answers are had by asking [`answer()`](crate::query::answer()) itself, once for whoever is answered alike, so they
//! are the same octet by octet. What is not here is for somebody else to answer: names that are not
//! served, aliases, wildcards, referrals, and services where it matters which client asks.
//! No I/O: [`super::maps`] puts the arrays where the kernel finds them. The layout is told once more, in C,
//! by `bpf/image.bpf.h`; tests with the real program hold them together.

mod block;
mod classes;
mod names;
mod question;

pub use block::{BLOCK_OCTETS, Block};
pub use classes::ClassImage;
pub use names::{NameImage, Passed};
