//! The tables that queries read, built with a snapshot and never changed.
//!
//! - [`nodes`]: every name with its records, encoded for the wire, and what it leads to
//! - [`names`]: the table they are found in
//! - [`index`]: names found by their hash
//! - [`sections`]: which records make up an answer
//! - [`prebuilt`]: answers built with the snapshot, to be copied
//! - [`endpoints`]: what endpoints are answered with
//! - `huge_pages`: where the kernel keeps them
//! - [`prefetch`]: memory fetched before it is read

pub mod endpoints;
mod huge_pages;
pub mod index;
pub mod names;
pub mod nodes;
pub mod prebuilt;
pub mod prefetch;
pub mod sections;
