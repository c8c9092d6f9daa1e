//! The configuration: validated, immutable, free of I/O, clocks and async.
//!
//! Text from zone files and the configuration becomes these types once, at the edge
//! (`control::config`, `control::zonefile`). After that nobody checks again: a [`Ttl`] is in
//! range, a [`RegionId`] exists and indexes its model.
//!
//! In the order data meets them:
//!
//! - [`name`], [`record`], [`ttl`]: the words of RFC 1035
//! - [`id`]: what the parts of a model name each other by
//! - [`prefix`], [`location`]: who a client is
//! - [`region`], [`probed`], [`load_report`], [`service`], [`policy`]: what is steered, and how
//! - [`dependency`]: which regions serve only while others do
//! - [`steering`]: the settings that keep it stable
//! - [`reference`](mod@reference): what tells whether this server itself is cut off
//! - [`response_rate`]: how many responses a network may have
//! - [`xdp`]: where queries pass the kernel by
//! - [`mod@shown`]: text from outside, as it may be shown
//! - [`zone_nodes`]: the records of a zone
//! - [`zone`]: all of it together, the [`Model`]

pub mod dependency;
pub mod id;
pub mod load_report;
pub mod location;
pub mod name;
pub mod policy;
pub mod prefix;
pub mod probed;
pub mod record;
pub mod reference;
pub mod region;
pub mod response_rate;
pub mod service;
pub mod shown;
pub mod steering;
pub mod ttl;
pub mod xdp;
pub mod zone;
pub mod zone_nodes;

pub use dependency::{Dependencies, Dependency};
pub use id::{RegionId, ServiceId, ZoneId};
pub use load_report::{
    EnvoyField, ErrorRates, HaproxyField, HealthPlace, HealthRule, JsonTime, LabelMatch, LoadFormat,
    LoadObjectCapacity, LoadReport, LoadSource, MetricSelector, NginxField, NginxPlusField, NginxPlusPart, SaidDown,
    Scrape, ScrapeAddress, quoted,
};
pub use location::{Continent, Coordinates, CountryCode, Location};
pub use name::{Name, NameError};
pub use policy::{Child, GeoPlace, GeoRules, Group, GroupId, Policy, PolicyTree, Rule, Switched, Weight};
pub use prefix::Prefix;
pub use probed::{AddressPart, ProbeId, Probed};
pub use record::{Record, RecordType};
pub use reference::{Reference, VoteRule};
pub use region::{
    Check, CheckKind, CheckRole, Checks, ClientIdentity, DnsCheck, Endpoint, EndpointTarget, ExchangeCheck, ExecCheck,
    GrpcCheck, HttpCheck, HttpMethod, HttpVersion, Layer, LoadLimits, MemberCheck, Region, Resume, SlowProbes,
    TlsCheck, Watermarks,
};
pub use response_rate::ResponseRate;
pub use service::{HttpsHint, Service, Weights};
pub use steering::{Damping, MaxWithdrawn, Most, Steering};
pub use ttl::Ttl;
pub use zone::{Model, Zone};
pub use zone_nodes::{OwnedSet, RrSet, ZoneNode, ZoneNodes, ZoneNodesBuilder};
