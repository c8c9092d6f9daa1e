//! The client of a real etcd, v3, over its JSON gateway: etcd 3.2 and later.
//!
//! ```text
//! client ── members (which one to ask) ── transport (HTTP, TLS) ── etcd
//!    └───── message (JSON in and out), fault (what an error means for who asked)
//! watch ─── stream (lines to whole revisions)
//! ```
//!
//! Nothing that etcd says is trusted: lengths are bounded, numbers and base64 checked, and what makes no sense is an error.
//!
//! - [`settings`]: where it is, and who asks
//! - [`fault`]: what an error means: another member may be asked, or not
//! - [`message`]: requests and responses
//! - [`stream`]: a watch's lines
//! - `transport`: one request over HTTP
//! - `members`: which endpoint is asked first, and what is known of each
//! - [`watch`]: changes as they come
//! - [`client`]: the calls

pub mod client;
pub mod fault;
mod members;
pub mod message;
pub mod settings;
pub mod stream;
mod transport;
pub mod watch;

pub use client::Etcd;
pub use settings::EtcdSettings;
pub use watch::Watch;
