//! The distance of clients from regions: as measured where there are measurements, else by distance.
//!
//! ```text
//!   real users ─┐                         Model ─┐
//!               ├─▶ Measured (by name) ──────────┴─▶ Latency (by RegionId) ─▶ Rtt, and what it rests on
//!   imports ────┘
//! ```
//!
//! Groups of clients, the closest first: a network, an operator (ASN) in a country, a country. A
//! region that a client's network has not measured is as far as its operator's other clients say,
//! else those of its country, else as the distance model says.
//!
//! **Shift.** Where a group has measured several regions and not this one, what it says of the others
//! holds for this one too: an operator whose clients are all 40 ms further away than distance tells has
//! a slow last mile, and must not be sent to a region merely because nobody measured that one. So a
//! coarser figure is moved by the median of the differences, where there are [`SHIFTED_FROM`] of them:
//! of fewer, a slow last mile cannot be told from a detour to one region.
//!
//! What resolvers take to answer is no measurement: only clients' own timings and the operator's
//! imports come in here. Collecting them is left to `control::rum`.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::atlas::{Atlas, PlaceId};
use crate::model::{Coordinates, CountryCode, Model, Prefix, RegionId};

/// Round-trip time with no distance at all: access networks and the servers themselves.
const BASE_RTT_MS: f64 = 13.0;
/// Round-trip time per kilometre of great circle: light in fibre, there and back, with detours.
const RTT_MS_PER_KM: f64 = 0.0172;
/// The round trip of a client without any location: half way round the usual world, alike for all
/// regions, so that load and cost decide.
const UNKNOWN_RTT_MS: f64 = 100.0;
/// Regions a group must have measured for the others to be shifted.
const SHIFTED_FROM: usize = 3;
/// No shift makes a round trip shorter than this.
const LEAST_MS: f64 = 1.0;
/// Estimates in one table at most, some 50 octets each; those beyond it are left out.
pub const MAX_ESTIMATES: usize = 1 << 20;

/// A round-trip time and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rtt {
    pub ms: f64,
    /// The part of it that was added to what the source says, since the client's own group measured
    /// other regions that much further away than the source does. Mostly 0.
    pub shift_ms: f64,
    pub source: RttSource,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RttSource {
    /// By clients of this group: see [`ClientGroup`].
    Measured {
        #[schemars(with = "String")]
        group: ClientGroup,
        by: MeasuredBy,
        samples: u32,
        /// One standard error; 0 where it is not known.
        uncertainty_ms: f64,
        /// In seconds since 1970.
        measured_at: u64,
    },
    /// From the great-circle distance in kilometres.
    Distance { km: f64 },
    /// The client's place is not known.
    Unknown,
}

/// The round-trip time between a client's place and a region, by the distance model alone.
pub fn model_rtt(client: Option<Coordinates>, region: Coordinates) -> Rtt {
    match client {
        Some(client) => {
            let km = client.distance_km(region);
            Rtt { ms: BASE_RTT_MS + RTT_MS_PER_KM * km, shift_ms: 0.0, source: RttSource::Distance { km } }
        }
        None => Rtt { ms: UNKNOWN_RTT_MS, shift_ms: 0.0, source: RttSource::Unknown },
    }
}

/// The point where clients of a place count as being: there, else at the model's default location.
pub fn coordinates(model: &Model, atlas: &Atlas, place: PlaceId) -> Option<Coordinates> {
    atlas.coordinates(place).or_else(|| model.default_location.as_ref()?.coordinates)
}

/// Clients that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientGroup {
    Network(Prefix),
    /// The clients a network operator has in a country.
    Operator {
        asn: u32,
        country: CountryCode,
    },
    Country(CountryCode),
}

impl ClientGroup {
    /// With a prefix of IPv4-mapped addresses (RFC 4291 section 2.5.5.2) as the IPv4 one it stands for.
    fn unmapped(self) -> ClientGroup {
        match self {
            ClientGroup::Network(network) => ClientGroup::Network(network.unmapped()),
            other => other,
        }
    }
}

/// The duration of a round trip from a group of clients to a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The median. Above 0, finite.
    pub ms: f64,
    /// The error it may well have (one standard error); 0 where nothing is known of that.
    pub uncertainty_ms: f64,
    /// Single timings behind it, at least 1.
    pub samples: u32,
    /// The time when the last of them was taken, in seconds since 1970.
    pub measured_at: u64,
    pub by: MeasuredBy,
}

impl Estimate {
    /// A bare figure that somebody else vouches for, such as a simulation.
    pub fn given(ms: f64) -> Estimate {
        Estimate { ms, uncertainty_ms: 0.0, samples: 1, measured_at: 0, by: MeasuredBy::Import }
    }
}

/// The origin of an estimate's timings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredBy {
    /// Real users' browsers.
    Users,
    /// The operator.
    Import,
}

/// All estimates at one time. Regions go by qualified name, so that they outlive a reload.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    columns: HashMap<Box<str>, u16>,
    groups: HashMap<ClientGroup, Row>,
}

/// A group's estimates by column, in ascending order; at least one.
type Row = Vec<(u16, Estimate)>;

impl Measured {
    /// Of the same group and region the later estimate holds. Those that are not finite and above 0,
    /// and those beyond [`MAX_ESTIMATES`], are left out.
    pub fn of<R: AsRef<str>>(estimates: impl IntoIterator<Item = (ClientGroup, R, Estimate)>) -> Measured {
        let mut measured = Measured::default();
        let sound = estimates.into_iter().filter(|(_, _, e)| e.ms.is_finite() && e.ms > 0.0);
        for (group, region, estimate) in sound.take(MAX_ESTIMATES) {
            let group = group.unmapped();
            let Some(column) = measured.column(region.as_ref()) else { continue };
            let row = measured.groups.entry(group).or_default();
            match row.binary_search_by_key(&column, |(column, _)| *column) {
                Ok(at) => row[at].1 = estimate,
                Err(at) => row.insert(at, (column, estimate)),
            }
        }
        measured
    }

    fn column(&mut self, region: &str) -> Option<u16> {
        if let Some(&column) = self.columns.get(region) {
            return Some(column);
        }
        let column = u16::try_from(self.columns.len()).ok()?;
        self.columns.insert(region.into(), column);
        Some(column)
    }

    /// Tells whether anything is known of a group.
    pub fn has(&self, group: &ClientGroup) -> bool {
        self.groups.contains_key(group)
    }

    /// Estimates of all groups.
    pub fn len(&self) -> usize {
        self.groups.values().map(Vec::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The networks with estimates of their own, in ascending order: what the atlas must tell apart.
    pub fn networks(&self) -> Vec<Prefix> {
        let network = |group: &ClientGroup| match group {
            ClientGroup::Network(network) => Some(*network),
            _ => None,
        };
        let mut networks: Vec<Prefix> = self.groups.keys().filter_map(network).collect();
        networks.sort_unstable();
        networks
    }

    /// Tells whether the same groups have estimates, whatever those are.
    pub fn same_groups(&self, other: &Measured) -> bool {
        self.groups.len() == other.groups.len() && self.groups.keys().all(|group| other.has(group))
    }

    /// All estimates with their regions' qualified names, in no order.
    pub fn estimates(&self) -> impl Iterator<Item = (ClientGroup, &str, Estimate)> {
        let mut names = vec![""; self.columns.len()];
        for (name, &column) in &self.columns {
            names[usize::from(column)] = name;
        }
        let rows = self.groups.iter().flat_map(|(group, row)| row.iter().map(move |cell| (*group, *cell)));
        rows.map(move |(group, (column, estimate))| (group, names[usize::from(column)], estimate))
    }
}

/// The keys that measurements know a client by: where it is, and the measured groups it is in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClientPlace {
    pub at: Option<Coordinates>,
    /// The closest first, those without estimates left out.
    pub groups: [Option<ClientGroup>; 3],
}

impl ClientPlace {
    /// The clients of a place of an atlas.
    pub fn of(model: &Model, atlas: &Atlas, place: PlaceId, measured: &Measured) -> ClientPlace {
        let at = coordinates(model, atlas, place);
        if measured.is_empty() {
            return ClientPlace { at, groups: [None; 3] };
        }
        let (asn, country) = atlas.operator(place);
        let operator = asn.zip(country).map(|(asn, country)| ClientGroup::Operator { asn, country });
        let known = |group: &ClientGroup| measured.has(group);
        // Rules tell networks apart, too: the one that was measured may be around it.
        let around = |network: Prefix| {
            let wider = (0..=network.len()).rev().map(move |len| Prefix::containing(network.address(), len));
            wider.map(ClientGroup::Network).find(known)
        };
        let network = atlas.network(place).and_then(around);
        let groups = [network, operator, country.map(ClientGroup::Country)].map(|group| group.filter(known));
        ClientPlace { at, groups }
    }
}

/// Measurements beside the distances to the regions of one model.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    measured: Arc<Measured>,
    /// By region.
    columns: Vec<Option<u16>>,
    /// By column; `None`: not configured any more.
    regions: Vec<Option<RegionId>>,
}

impl Latency {
    pub fn of(model: &Model, measured: &Arc<Measured>) -> Latency {
        let mut regions = vec![None; measured.columns.len()];
        let column = |id: RegionId| {
            let column = *measured.columns.get(&*model.qualified_region_name(id))?;
            regions[usize::from(column)] = Some(id);
            Some(column)
        };
        let columns = if measured.is_empty() { Vec::new() } else { model.region_ids().map(column).collect() };
        Latency { measured: measured.clone(), columns, regions }
    }

    pub fn measured(&self) -> &Arc<Measured> {
        &self.measured
    }

    /// The round trips from a place of an atlas to these regions of the model, in their order.
    pub fn rtts_at(&self, model: &Model, atlas: &Atlas, place: PlaceId, regions: &[RegionId]) -> Vec<Rtt> {
        self.rtts(model, &ClientPlace::of(model, atlas, place, &self.measured), regions)
    }

    /// The round trips from where a client is to these regions of the model, in their order.
    pub fn rtts(&self, model: &Model, client: &ClientPlace, regions: &[RegionId]) -> Vec<Rtt> {
        let layers = self.layers(model, client);
        regions.iter().map(|&region| self.rtt(model, client, &layers, region)).collect()
    }

    /// Appends the milliseconds of [`Latency::rtts`].
    pub fn append_ms(&self, model: &Model, client: &ClientPlace, regions: &[RegionId], into: &mut Vec<f64>) {
        match client.groups {
            // Most places, of which nothing is measured: distance alone.
            [None, None, None] => {
                into.extend(regions.iter().map(|&region| model_rtt(client.at, model.region(region).coordinates).ms));
            }
            _ => into.extend(self.rtts(model, client, regions).iter().map(|rtt| rtt.ms)),
        }
    }

    /// The client's groups, the coarsest first, each with how much it shifts what coarser ones say.
    fn layers(&self, model: &Model, client: &ClientPlace) -> Vec<Layer<'_>> {
        let mut layers = Vec::new();
        for group in client.groups.iter().rev().flatten() {
            let Some(row) = self.measured.groups.get(group) else { continue };
            let differences = row.iter().filter_map(|(column, estimate)| {
                let region = (*self.regions.get(usize::from(*column))?)?;
                Some(estimate.ms - self.rtt(model, client, &layers, region).ms)
            });
            let shift_ms = shift_ms(differences.collect());
            layers.push(Layer { group: *group, row, shift_ms });
        }
        layers
    }

    fn rtt(&self, model: &Model, client: &ClientPlace, layers: &[Layer<'_>], region: RegionId) -> Rtt {
        let column = self.columns.get(region.index()).copied().flatten();
        let mut shift_ms = 0.0;
        for layer in layers.iter().rev() {
            let estimate = column.and_then(|column| layer.estimate(column));
            if let Some(estimate) = estimate {
                return shifted(Rtt::measured(layer.group, estimate), shift_ms);
            }
            shift_ms += layer.shift_ms;
        }
        shifted(model_rtt(client.at, model.region(region).coordinates), shift_ms)
    }
}

struct Layer<'a> {
    group: ClientGroup,
    row: &'a Row,
    shift_ms: f64,
}

impl Layer<'_> {
    fn estimate(&self, column: u16) -> Option<&Estimate> {
        let at = self.row.binary_search_by_key(&column, |(column, _)| *column).ok()?;
        self.row.get(at).map(|(_, estimate)| estimate)
    }
}

fn shifted(rtt: Rtt, shift_ms: f64) -> Rtt {
    let ms = (rtt.ms + shift_ms).max(LEAST_MS.min(rtt.ms));
    Rtt { ms, shift_ms: ms - rtt.ms, source: rtt.source }
}

fn shift_ms(mut differences: Vec<f64>) -> f64 {
    if differences.len() < SHIFTED_FROM {
        return 0.0;
    }
    differences.sort_by(f64::total_cmp);
    let middle = differences.len() / 2;
    let median = match differences.len() % 2 {
        0 => differences.get(middle - 1..=middle).map(|two| two.iter().sum::<f64>() / 2.0),
        _ => differences.get(middle).copied(),
    };
    median.unwrap_or(0.0)
}

impl Rtt {
    fn measured(group: ClientGroup, estimate: &Estimate) -> Rtt {
        let Estimate { ms, uncertainty_ms, samples, measured_at, by } = *estimate;
        Rtt { ms, shift_ms: 0.0, source: RttSource::Measured { group, by, samples, uncertainty_ms, measured_at } }
    }
}

/// `192.0.2.0/24`, `AS4766 in KR`, `KR`.
impl fmt::Display for ClientGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientGroup::Network(network) => network.fmt(f),
            ClientGroup::Operator { asn, country } => f.pad(&format!("AS{asn} in {country}")),
            ClientGroup::Country(country) => country.fmt(f),
        }
    }
}

/// The text is none of the forms a group is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a network, `AS64500 in KR`, or a country")]
pub struct NotAGroup;

impl FromStr for ClientGroup {
    type Err = NotAGroup;

    fn from_str(text: &str) -> Result<ClientGroup, NotAGroup> {
        if let Some((asn, country)) = text.strip_prefix("AS").and_then(|rest| rest.split_once(" in ")) {
            let asn = asn.parse().map_err(|_| NotAGroup)?;
            let country = country.parse().map_err(|_| NotAGroup)?;
            return Ok(ClientGroup::Operator { asn, country });
        }
        let country = text.parse().map(ClientGroup::Country);
        country.or_else(|_| text.parse().map(ClientGroup::Network).map_err(|_| NotAGroup))
    }
}

impl Serialize for ClientGroup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClientGroup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ClientGroup, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Location, Policy};
    use crate::steer::testing::{World, at};

    const PLACES: [(&str, f64); 4] = [("a", 0.0), ("b", 20.0), ("c", 40.0), ("d", 60.0)];

    fn country(code: &str) -> CountryCode {
        code.parse().expect("a country")
    }

    fn kt() -> ClientGroup {
        ClientGroup::Operator { asn: 4766, country: country("KR") }
    }

    /// Regions along the equator, and a Korean operator's client at its beginning.
    fn world() -> World {
        let regions = PLACES.map(|(name, longitude)| (name, at(0.0, longitude)));
        let mut world = World::new(Policy::Score, &regions);
        let location = Location {
            coordinates: Some(at(0.0, 0.0)),
            country: Some(country("KR")),
            asn: Some(4766),
            ..Location::default()
        };
        let network = ("10.0.0.0/8".parse().expect("a prefix"), location);
        world.atlas = Atlas::build(&[], &[network]).expect("an atlas");
        world
    }

    /// Round trips to the four regions, with these estimates.
    fn rtts(estimates: &[(ClientGroup, &str, f64)]) -> Vec<Rtt> {
        let World { model, atlas, .. } = world();
        let named = |&(group, region, ms): &(ClientGroup, &str, f64)| {
            (group, format!("{region}@gslb.example"), Estimate::given(ms))
        };
        let measured = Arc::new(Measured::of(estimates.iter().map(named)));
        let latency = Latency::of(&model, &measured);
        let place = atlas.locate("10.1.2.3".parse().expect("an address")).place;
        latency.rtts_at(&model, &atlas, place, &model.services[0].regions)
    }

    fn ms(estimates: &[(ClientGroup, &str, f64)]) -> Vec<f64> {
        rtts(estimates).iter().map(|rtt| rtt.ms.round()).collect()
    }

    #[test]
    fn without_measurements_distance_decides() {
        assert_eq!(ms(&[]), [13.0, 51.0, 90.0, 128.0]);
        assert_eq!(ms(&[(ClientGroup::Country(country("JP")), "a", 99.0)]), [13.0, 51.0, 90.0, 128.0]);
    }

    #[test]
    fn the_closest_group_that_measured_a_region_holds() {
        let nation = ClientGroup::Country(country("KR"));
        let found = rtts(&[(nation, "a", 70.0), (nation, "b", 80.0), (kt(), "b", 33.0), (kt(), "gone", 1.0)]);
        assert_eq!(found.iter().map(|rtt| rtt.ms.round()).collect::<Vec<_>>(), [70.0, 33.0, 90.0, 128.0]);
        let group = |rtt: &Rtt| match rtt.source {
            RttSource::Measured { group, .. } => Some(group),
            _ => None,
        };
        assert_eq!(found.iter().map(group).collect::<Vec<_>>(), [Some(nation), Some(kt()), None, None]);
    }

    #[test]
    fn a_slow_last_mile_shifts_what_it_has_not_measured_and_a_detour_does_not() {
        let slow = [(kt(), "a", 53.0), (kt(), "b", 91.0), (kt(), "c", 190.0)];
        assert_eq!(ms(&slow), [53.0, 91.0, 190.0, 168.0], "by 40 ms, the median");
        assert_eq!(ms(&slow[..2]), [53.0, 91.0, 90.0, 128.0], "of two none can be told");
        let fast = [(kt(), "b", 1.0), (kt(), "c", 2.0), (kt(), "d", 3.0)];
        assert_eq!(ms(&fast), [1.0, 1.0, 2.0, 3.0], "never below 1 ms");
        assert!((rtts(&fast)[0].shift_ms + 12.0).abs() < 0.1);
    }

    #[test]
    fn what_is_no_time_is_left_out_and_later_estimates_hold() {
        let nation = ClientGroup::Country(country("KR"));
        for wrong in [0.0, -5.0, f64::NAN, f64::INFINITY] {
            assert!(Measured::of([(nation, "a@gslb.example", Estimate::given(wrong))]).is_empty());
        }
        assert_eq!(ms(&[(nation, "a", 70.0), (nation, "a", 60.0)])[0], 60.0);
    }

    #[test]
    fn a_network_that_the_atlas_tells_apart_comes_first() {
        let World { model, atlas, .. } = world();
        let near: ClientGroup = "10.1.2.0/24".parse().expect("a network");
        let estimates = [(near, "a@gslb.example", 5.0), (kt(), "a@gslb.example", 50.0)];
        let measured =
            Arc::new(Measured::of(estimates.map(|(group, region, ms)| (group, region, Estimate::given(ms)))));
        let atlas = atlas.refined(&measured.networks());
        let latency = Latency::of(&model, &measured);
        let ms = |address: &str| {
            let place = atlas.locate(address.parse().expect("an address")).place;
            latency.rtts_at(&model, &atlas, place, &model.services[0].regions)[0].ms
        };
        assert_eq!([ms("10.1.2.3"), ms("10.1.3.3"), ms("11.0.0.1").round()], [5.0, 50.0, 100.0]);
    }

    #[test]
    fn groups_are_read_as_they_are_written() {
        for text in ["192.0.2.0/24", "2001:db8::/48", "AS4766 in KR", "KR"] {
            let group: ClientGroup = text.parse().expect(text);
            assert_eq!(group.to_string(), text);
        }
        for text in ["", "KOR", "AS in KR", "AS1", "AS1 in ", "192.0.2.1/24", "AS-1 in KR"] {
            assert!(text.parse::<ClientGroup>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_same_groups_may_have_other_estimates() {
        let one = Measured::of([(kt(), "a", Estimate::given(1.0))]);
        let other = Measured::of([(kt(), "b", Estimate::given(2.0))]);
        let none = Measured::default();
        assert!(one.same_groups(&other) && !one.same_groups(&none) && !none.same_groups(&one));
        let all: Vec<_> = one.estimates().collect();
        assert_eq!(all, [(kt(), "a", Estimate::given(1.0))]);
    }

    #[test]
    fn the_distance_model_is_13_ms_and_17_us_per_km() {
        let at = |lat, lon| Coordinates::new(lat, lon).expect("coordinates");
        let near = model_rtt(Some(at(37.57, 126.98)), at(37.57, 126.98));
        assert!((near.ms - 13.0).abs() < 1e-6);
        let far = model_rtt(Some(at(0.0, 0.0)), at(0.0, 90.0));
        assert!((far.ms - (13.0 + 0.0172 * 10_007.5)).abs() < 0.1, "{far:?}");
        assert_eq!(model_rtt(None, at(0.0, 0.0)).source, RttSource::Unknown);
    }
}
