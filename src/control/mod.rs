//! All that is slow or can fail: it works beside the query path and leaves its results in the
//! next snapshot.
//!
//! - [`diagnostic`]: a mistake in a file, with its place
//! - [`zonefile`]: RFC 1035 master files
//! - [`config`]: all files together: a model and settings, or every mistake in them
//! - [`databases`]: where clients are: files read and judged, and copies of the last good ones
//! - [`watch`]: files that are replaced or changed while serving
//! - [`probe`]: what is asked of endpoints, and how often
//! - [`load_report`]: what regions say of their own load
//! - [`rum`]: round trips that were measured, by real users and by the operator
//! - [`access`]: who may ask for changes
//! - [`audit`]: who asked for which, and what came of it; [`rotated_file`]: a file of lines that never grows too large
//! - [`overrides`]: what operators say, kept over restarts
//! - [`switches`]: which stages they switched services to, kept likewise
//! - [`node`]: what they say of this node as a whole, likewise
//! - [`readiness`]: whether it should be announced
//! - [`state_file`]: the JSON files of both, and of measured round trips: a version, a checksum
//! - [`atomic_file`]: how files survive a crash
//! - [`bounded_file`]: files that people name, secrets among them
//! - `aside`: those that are corrupt, moved out of the way
//! - [`answered`]: services' answers by service and region
//! - [`troubles`]: what is wrong with them, for whoever looks
//! - `save`: how long anybody waits for that
//! - [`state_lock`]: one server per state directory
//! - [`clock`]: what time it is
//! - [`warm`]: what was known, kept so that a restart changes no answers
//! - [`memory`]: what loads take goes back to the system
//! - [`reload`]: a new configuration, whole or not at all
//! - [`events`]: what changed, why, and what the probes had seen: told, and kept
//! - `feed_log`: why what regions report of their load is not acted on
//! - [`mod@find_region`]: regions by the names that people type
//! - [`mod@what_if`]: what would follow from changes nobody has made
//! - [`import`]: configurations of other servers, as files of ours
//! - [`vitals`], [`supervise`]: whether all that lives, and what is started again
//! - [`cluster`]: what nodes tell each other
//! - [`jobs`]: the thread for what may wait
//! - [`writer`]: all that news, one at a time, into the next snapshot

pub mod access;
pub mod answered;
mod aside;
pub mod atomic_file;
pub mod audit;
pub mod bounded_file;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod databases;
pub mod diagnostic;
pub mod events;
mod feed_log;
pub mod find_region;
pub mod import;
pub mod jobs;
pub mod load_report;
pub mod memory;
pub mod node;
pub mod overrides;
pub mod probe;
pub mod readiness;
pub mod reload;
pub mod renewed;
pub mod rotated_file;
pub mod rum;
mod save;
pub mod state_file;
pub mod state_lock;
pub mod supervise;
pub mod switches;
pub mod troubles;
pub mod vitals;
pub mod warm;
pub mod watch;
pub mod what_if;
pub mod writer;
pub mod zonefile;
