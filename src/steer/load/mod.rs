//! The load of regions: whose reports are believed, what they say of clients, and what load costs.
//!
//! - [`feed`]: the model of one region's reports
//! - [`common_mode`]: what all feeds say alike, which may be the feeds' own doing
//! - [`state`]: a region's load as it is known now
//! - [`price`]: what a region's load costs where no plan is in force, in milliseconds

pub mod common_mode;
pub mod feed;
pub mod price;
pub mod state;
