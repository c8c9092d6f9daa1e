//! The tables that queries read, built with a snapshot and never changed.
//!
//! - [`nodes`]: every name with its records, and what it leads to; made by `link`
//! - [`names`]: the table they are found in; `patch` makes one from an earlier one
//! - [`index`]: names found by their hash
//! - [`sections`]: which records make up an answer
//! - [`prebuilt`]: answers built with the snapshot, to be copied
//! - [`endpoints`]: what endpoints are answered with
//! - `huge_pages`: where the kernel keeps them
//! - [`prefetch`]: memory fetched before it is read

pub mod endpoints;
mod huge_pages;
pub mod index;
mod link;
pub mod names;
pub mod nodes;
mod patch;
pub mod prebuilt;
pub mod prefetch;
pub mod sections;
