//! Events: every change of a region's state or a service's condition, with its cause, for operators to read.
//!
//! ```text
//!   snapshot before, after ─▶ changes ─┬─▶ told: lines of the log
//!                                      └─▶ history: memory ─▶ journal: events.jsonl
//! ```
//!
//! - [`event`]: what an event is, and its sentence
//! - `changes`: which there are between two snapshots
//! - `told`: those that the log tells, and how loudly
//! - `journal`: the file they are kept in
//! - [`history`]: the latest of them, and who asks for which

pub(super) mod changes;
pub mod event;
pub mod history;
mod journal;
pub(super) mod told;
