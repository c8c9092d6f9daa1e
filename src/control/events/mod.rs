//! Events: every change of a region's state or a service's condition, with its cause, for operators to read.
//!
//! ```text
//!   snapshot before, after ─▶ changes ─┬─▶ told: lines of the log
//!                                      └─▶ history: memory ─┬─▶ journal: events.jsonl
//!                                                           └─▶ receivers: webhooks, commands
//! ```
//!
//! - [`event`]: what an event is, and its sentence
//! - `changes`: which there are between two snapshots
//! - `ways`: what operators said of services, among them
//! - `moved`: where clients go of a region that leaves
//! - `told`: those that the log tells, and how loudly
//! - `journal`: the file they are kept in
//! - [`history`]: the latest of them, and who asks for which
//! - `cursors`: how far each receiver has come in it
//! - [`receivers`]: who is told of them elsewhere

pub(super) mod changes;
pub mod cursors;
pub mod event;
pub mod history;
mod journal;
mod moved;
pub mod receivers;
pub(super) mod told;
mod ways;
