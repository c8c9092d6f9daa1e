//! `check.http`, `check.https`, `check.tcp` and so on: what is asked of each endpoint. A [`Value`] comes in,
//! [`Checks`] go out.

use super::files::Sources;
use super::reader::Value;
use crate::model::{Check, Checks};

mod dns;
mod exchange;
mod exec;
mod grpc;
mod http;
mod one;
mod several;
mod tls;

pub use http::pointer;
pub use one::{INTERVALS, TIMEOUTS};

/// Reads one check.
pub fn read_one(value: Value<'_>, sources: &Sources<'_>) -> Option<Check> {
    value.table("`check`", |table| one::read(table, sources))
}

/// Reads one check, or several and how many of them must pass.
pub fn read(value: Value<'_>, sources: &Sources<'_>) -> Option<Checks> {
    value.table("`check`", |table| match several::COMBINATIONS.iter().any(|key| value.has(key)) {
        true => several::read(table, sources),
        false => one::read(table, sources).map(Checks::from),
    })
}
