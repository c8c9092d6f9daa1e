//! The writer's memory from one snapshot to the next.
//!
//! - [`damping`]: what keeps answers from changing more often than they must
//! - [`switches`]: which stages operators switched services to
//! - `degrading`: what makes a region worse without taking it down
//! - `reported`: a region's load reports, and the price that follows
//! - [`planning`]: when to plan ahead, and from what
//! - [`regrouping`]: round trips that were measured and are not gone by yet
//! - [`followers`]: who has to know of a swap when it happens
//! - [`kept`]: what of all that survives a restart

pub mod damping;
pub(in crate::state) mod degrading;
pub mod followers;
pub mod kept;
pub mod planning;
pub(in crate::state) mod regrouping;
pub(in crate::state) mod reported;
pub mod switches;
