//! A whole deployment in one thread, without sockets, under a clock that is an argument.
//!
//! Everything that steers is the code that serves: health from probe histories, the probers'
//! schedule, the publisher and its plans, the decision for each query. What is made up is the
//! world around it: clients, probes' outcomes, load reports.
//!
//! ```text
//!   lines on stdin ─▶ stdio ─▶ World ─▶ Simulation ─▶ lines on stdout
//!                                        │ probes ─▶ History ─▶┐
//!                                        │ load reports ──────▶├─▶ Publisher ─▶ Snapshot
//!                                        │ queries ─▶ decide ──┘  ▲ demand
//! ```
//!
//! - [`world`]: the regions and locations of a simulation, as a model and an atlas
//! - [`run`]: one second after the other
//! - [`nodes`]: several of these that share what they see
//! - [`stdio`], [`lines`]: the protocol of `meridian simulate --stdio`
//! - `kept`: what a restart takes up again
//!
//! And a world to try it in:
//!
//! - [`cities`], [`globe`]: who asks, from where, and what it truly costs to serve them
//! - [`incident`]: what goes wrong
//! - [`clients`]: resolvers that keep answers, and their clients who follow them
//! - [`day`]: the closed loop of all these with something that steers
//! - [`optimum`]: the best that could have been done
//! - [`baselines`]: simpler ways to steer, to compare with
//! - [`scenario`]: all of it from a file that people write
//! - [`summary`], [`report`], [`chart`]: what came of it, as a table, JSON, or a page with charts

pub mod baselines;
pub mod chart;
pub mod cities;
pub mod clients;
pub mod day;
pub mod globe;
pub mod incident;
pub mod lines;
pub mod nodes;
pub mod optimum;
pub mod report;
pub mod run;
pub mod scenario;
pub mod stdio;
pub mod summary;
pub mod world;

mod kept;
mod probes;

pub use run::{SimulatedAnswer, Simulation};
pub use world::{ClientLocation, Deployment, Site, World, WorldError};
