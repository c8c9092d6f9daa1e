//! Every time that was measured, by group of clients and region, and which of it is to be believed.
//!
//! ```text
//!   a client's time ─▶ possible? counted often enough already? ─▶ sketches: network, operator, country ─┐
//!   an import ─────────────────────────────────────────────────▶ imports ───────────────────────────────┴─▶ Measured
//! ```
//!
//! Clients may lie, and one network may send as much as it likes. So a time shorter than light takes
//! is refused; of one network only [`NETWORK_QUOTA`] times per region and hour count, and of those only
//! [`COARSE_QUOTA`] towards its operator and country; what is said of those takes several networks; an
//! allocation has a bounded part of its country's times; and everything is a median.
//!
//! A network is a /24 of IPv4 or a /48 of IPv6, for quotas and for counting alike: whoever has one has
//! all that is in it. An allocation is what one operator may have to itself: a /16, or a /32 of IPv6.
//!
//! Time is an argument, in seconds since 1970. Everything here is bounded.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use crate::model::{Coordinates, CountryCode, Prefix};
use crate::steer::latency::rtt::{ClientGroup, Estimate, MAX_ESTIMATES, Measured, MeasuredBy};

use super::sketch::{Sketch, TIMES_MS, Time};

/// Pairs of group and region kept at most: some 200 octets each. Beyond it the lightest are forgotten.
const MAX_SKETCHES: usize = 200_000;
/// Imported figures kept at most.
pub const MAX_IMPORTS: usize = 200_000;
/// Networks with estimates of their own at most: each is a site of its own in every plan.
pub const MAX_NETWORKS: usize = 20_000;
/// The time that the choice of those networks holds: another one makes another atlas, and another plan.
const CHOICE_HOLDS_S: u64 = 600;
/// The time that a network's counted times are remembered.
const WINDOW_S: u64 = 3_600;
/// Times of one network to one region that count within that long.
const NETWORK_QUOTA: u8 = 20;
/// Those of them that count towards the network's operator and country, too.
const COARSE_QUOTA: u8 = 4;
/// Networks and regions whose counted times are remembered at most, of all and of one allocation.
const MAX_COUNTED: usize = 200_000;
const MAX_COUNTED_OF_ALLOCATION: u32 = 10_000;
/// Networks an estimate of an operator, and of a country, takes.
const NETWORKS_OF_OPERATOR: u32 = 3;
const NETWORKS_OF_COUNTRY: u32 = 5;
/// Light in fibre, there and back: c over a refractive index of 1.468.
const LIGHT_MS_PER_KM: f64 = 2.0 * 1.468 / 299.792_458;
/// The error that the place of a client may have.
const PLACE_ERROR_KM: f64 = 500.0;
/// A figure this much off, in milliseconds or in parts, is news.
const NEWS_MS: f64 = 0.5;
const NEWS_PART: f64 = 0.02;

/// The time that round trips are believed, and the number of them that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beliefs {
    pub half_life_s: u64,
    /// Times per region it takes for an estimate, of a network, of an operator in a country, of a country.
    pub min_samples: [u32; 3],
}

/// The whereabouts of a client that measured something.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Whereabouts {
    pub asn: Option<u32>,
    pub country: Option<CountryCode>,
    /// The place's own, not merely its country's.
    pub at: Option<Coordinates>,
}

/// The reason why a time was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncounted {
    /// Not within [`TIMES_MS`].
    OutOfRange,
    /// Shorter than light takes to the region and back.
    FasterThanLight,
    /// The network has had its share for now.
    Enough,
    /// Too many networks to keep count, of all or of its allocation.
    Full,
}

/// A figure of the operator's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Import {
    pub ms: f64,
    pub samples: u32,
    pub at: u64,
}

/// One figure there is, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub group: ClientGroup,
    pub region: String,
    pub estimate: Estimate,
    /// True where plans go by it; else there are too few times, or a better figure.
    pub used: bool,
}

/// A group of clients and the number of a region's name.
type GroupAndRegion = (ClientGroup, u16);

#[derive(Debug)]
pub struct Store {
    beliefs: Beliefs,
    names: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u16>,
    sketches: HashMap<GroupAndRegion, Sketch>,
    imports: HashMap<GroupAndRegion, Import>,
    window: Window,
    /// Networks with estimates of their own.
    chosen: BTreeSet<Prefix>,
    /// The time when they were chosen; `None`: they must be chosen anew.
    chosen_at: Option<u64>,
    /// Grows with everything that is to be kept.
    changes: u64,
}

/// The number of times of each network to each region that were counted of late.
#[derive(Debug, Default)]
struct Window {
    since: u64,
    counted: HashMap<(Prefix, u16), u8>,
    /// Entries of `counted` by allocation.
    of_allocations: HashMap<Prefix, u32>,
}

impl Store {
    pub fn new(beliefs: Beliefs) -> Store {
        Store {
            beliefs,
            names: Vec::new(),
            numbers: HashMap::new(),
            sketches: HashMap::new(),
            imports: HashMap::new(),
            window: Window::default(),
            chosen: BTreeSet::new(),
            chosen_at: None,
            changes: 0,
        }
    }

    /// Counts a client's time to a region, by qualified name, which is at `region_at`.
    pub fn count(
        &mut self,
        client: IpAddr,
        whereabouts: &Whereabouts,
        (region, region_at): (&str, Coordinates),
        ms: f64,
        now: u64,
    ) -> Result<(), Uncounted> {
        if !TIMES_MS.contains(&ms) {
            return Err(Uncounted::OutOfRange);
        }
        if whereabouts.at.is_some_and(|at| ms < least_ms(at, region_at)) {
            return Err(Uncounted::FasterThanLight);
        }
        let region = self.number(region).ok_or(Uncounted::Full)?;
        let counted = self.window.count(client, region, now)?;
        let network = client_network(client);
        let time = Time { ms, network: hash(network), allocation: None };
        self.sketch(ClientGroup::Network(network), region, time, now);
        if counted <= COARSE_QUOTA {
            if let Some((asn, country)) = whereabouts.asn.zip(whereabouts.country) {
                self.sketch(ClientGroup::Operator { asn, country }, region, time, now);
            }
            if let Some(country) = whereabouts.country {
                let time = Time { allocation: Some(hash(allocation(client))), ..time };
                self.sketch(ClientGroup::Country(country), region, time, now);
            }
        }
        self.changes += 1;
        Ok(())
    }

    fn sketch(&mut self, group: ClientGroup, region: u16, time: Time, now: u64) {
        if self.sketches.len() >= MAX_SKETCHES && !self.sketches.contains_key(&(group, region)) {
            self.forget_the_lightest(now);
        }
        let sketch = self.sketches.entry((group, region)).or_default();
        sketch.add(time, now, self.beliefs.half_life_s);
    }

    /// Makes room: a twentieth goes, those with the fewest times first, of networks before others.
    fn forget_the_lightest(&mut self, now: u64) {
        let half_life_s = self.beliefs.half_life_s;
        let value = |(key, sketch): (&GroupAndRegion, &Sketch)| {
            (!matches!(key.0, ClientGroup::Network(_)), sketch.weight(now, half_life_s), *key)
        };
        let mut values: Vec<_> = self.sketches.iter().map(value).collect();
        let going = values.len() / 20;
        values.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        for (_, _, key) in values.iter().take(going) {
            self.sketches.remove(key);
        }
    }

    /// Takes the operator's figures, by qualified region name; with `replace`, in place of those before.
    ///
    /// Fails, and takes nothing, where there would be more than [`MAX_IMPORTS`], or more than
    /// [`MAX_NETWORKS`] networks among them.
    pub fn import(&mut self, rows: &[(ClientGroup, String, Import)], replace: bool) -> Result<(), String> {
        let mut imports = if replace { HashMap::new() } else { self.imports.clone() };
        for (group, region, import) in rows {
            let region = self.number(region).ok_or("too many regions have been measured")?;
            imports.insert((*group, region), *import);
        }
        if imports.len() > MAX_IMPORTS {
            return Err(format!("there would be {} figures, of at most {MAX_IMPORTS}", imports.len()));
        }
        let networks = imports.keys().filter_map(|(group, _)| network_of(group)).collect::<BTreeSet<_>>().len();
        if networks > MAX_NETWORKS {
            return Err(format!("there would be figures of {networks} networks, of at most {MAX_NETWORKS}"));
        }
        self.imports = imports;
        self.chosen_at = None;
        self.changes += 1;
        Ok(())
    }

    /// The figures that plans are to go by. `before` is given back as `None` where there is hardly a difference.
    pub fn measured(&mut self, before: &Measured, now: u64) -> Option<Measured> {
        self.choose_networks(now);
        let figures = self.rows(now).into_iter().filter(|row| row.used).take(MAX_ESTIMATES);
        let after = Measured::of(figures.map(|row| (row.group, row.region, row.estimate)));
        is_news(before, &after).then_some(after)
    }

    /// All figures there are, in no order. Those of clients come before imported ones where there are
    /// enough times.
    pub fn rows(&self, now: u64) -> Vec<Row> {
        let name = |region: u16| self.name(region).to_owned();
        let counted = self.sketches.iter().filter_map(|(&(group, region), sketch)| {
            let estimate = self.estimate(sketch, now)?;
            Some(Row { group, region: name(region), estimate, used: self.is_believed(&(group, region), sketch, now) })
        });
        let imported = self.imports.iter().map(|(&(group, region), import)| {
            let Import { ms, samples, at } = *import;
            let estimate = Estimate { ms, uncertainty_ms: 0.0, samples, measured_at: at, by: MeasuredBy::Import };
            let better = self.sketches.get(&(group, region));
            let used = !better.is_some_and(|sketch| self.is_believed(&(group, region), sketch, now));
            Row { group, region: name(region), estimate, used }
        });
        counted.chain(imported).collect()
    }

    fn estimate(&self, sketch: &Sketch, now: u64) -> Option<Estimate> {
        let middle = sketch.middle(now, self.beliefs.half_life_s)?;
        Some(Estimate {
            ms: middle.median_ms,
            uncertainty_ms: middle.uncertainty_ms,
            samples: (middle.weight.round() as u32).max(1),
            measured_at: sketch.last,
            by: MeasuredBy::Users,
        })
    }

    /// Tells whether there are times enough, of networks enough.
    fn is_believed(&self, (group, _): &GroupAndRegion, sketch: &Sketch, now: u64) -> bool {
        let [of_network, of_operator, of_country] = self.beliefs.min_samples;
        let weight = sketch.weight(now, self.beliefs.half_life_s);
        let enough = |samples: u32| weight >= f64::from(samples) - 0.5;
        match group {
            // Those chosen are kept while they have half of what it took.
            ClientGroup::Network(network) => self.chosen.contains(network) && enough(of_network / 2),
            ClientGroup::Operator { .. } => enough(of_operator) && sketch.networks() >= NETWORKS_OF_OPERATOR,
            ClientGroup::Country(_) => enough(of_country) && sketch.networks() >= NETWORKS_OF_COUNTRY,
        }
    }

    /// Chooses the networks with estimates of their own: those imported, then those with the most
    /// times. The choice holds for a while.
    fn choose_networks(&mut self, now: u64) {
        if self.chosen_at.is_some_and(|at| now.saturating_sub(at) < CHOICE_HOLDS_S) {
            return;
        }
        let mut weights: HashMap<Prefix, f64> = HashMap::new();
        for ((group, _), sketch) in &self.sketches {
            let Some(network) = network_of(group) else { continue };
            let heaviest = weights.entry(network).or_default();
            *heaviest = heaviest.max(sketch.weight(now, self.beliefs.half_life_s));
        }
        let takes = f64::from(self.beliefs.min_samples[0]) - 0.5;
        weights.retain(|network, weight| *weight >= takes || *weight >= takes / 2.0 && self.chosen.contains(network));
        weights.extend(self.imports.keys().filter_map(|(group, _)| Some((network_of(group)?, f64::INFINITY))));
        let mut by_weight: Vec<(Prefix, f64)> = weights.into_iter().collect();
        by_weight.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        by_weight.truncate(MAX_NETWORKS);
        self.chosen = by_weight.into_iter().map(|(network, _)| network).collect();
        self.chosen_at = Some(now);
    }

    /// The number of a region's name. `None`: there are too many.
    fn number(&mut self, region: &str) -> Option<u16> {
        if let Some(&number) = self.numbers.get(region) {
            return Some(number);
        }
        let number = u16::try_from(self.names.len()).ok()?;
        self.names.push(region.into());
        self.numbers.insert(region.into(), number);
        Some(number)
    }

    /// Grows with everything that is to be kept.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Pairs of group and region with times of clients, and with figures of the operator's.
    pub fn sizes(&self) -> (usize, usize) {
        (self.sketches.len(), self.imports.len())
    }

    /// The round trips that clients measured, by group and region: to be kept over restarts, as are [`Store::imports`].
    pub fn sketches(&self) -> impl Iterator<Item = (ClientGroup, &str, &Sketch)> {
        self.sketches.iter().map(|((group, region), sketch)| (*group, self.name(*region), sketch))
    }

    /// The figures that the operator imported, by group and region.
    pub fn imports(&self) -> impl Iterator<Item = (ClientGroup, &str, Import)> {
        self.imports.iter().map(|((group, region), import)| (*group, self.name(*region), *import))
    }

    fn name(&self, region: u16) -> &str {
        self.names.get(usize::from(region)).map_or("", |name| name)
    }

    /// Takes back what [`Store::sketches`] gave, what is unsound left out.
    pub fn restore(&mut self, sketches: Vec<(ClientGroup, String, Sketch)>, now: u64) {
        for (group, region, sketch) in sketches.into_iter().take(MAX_SKETCHES) {
            let Some(region) = self.number(&region).filter(|_| sketch.is_sound(now)) else { continue };
            self.sketches.insert((group, region), sketch);
        }
    }
}

impl Window {
    /// Counts a time of this client's network to this region; returns how many there are with it.
    fn count(&mut self, client: IpAddr, region: u16, now: u64) -> Result<u8, Uncounted> {
        if now.saturating_sub(self.since) >= WINDOW_S || now < self.since {
            *self = Window { since: now, ..Window::default() };
        }
        let key = (client_network(client), region);
        if !self.counted.contains_key(&key) {
            self.make_room(allocation(client))?;
        }
        let counted = self.counted.entry(key).or_default();
        if *counted >= NETWORK_QUOTA {
            return Err(Uncounted::Enough);
        }
        *counted += 1;
        Ok(*counted)
    }

    /// Counts one more entry of an allocation. No allocation takes the room of all others.
    fn make_room(&mut self, allocation: Prefix) -> Result<(), Uncounted> {
        if self.counted.len() >= MAX_COUNTED {
            return Err(Uncounted::Full);
        }
        let entries = self.of_allocations.entry(allocation).or_default();
        if *entries >= MAX_COUNTED_OF_ALLOCATION {
            return Err(Uncounted::Full);
        }
        *entries += 1;
        Ok(())
    }
}

/// The network whose clients are taken to be alike, and to be one party's for all we know: as wide as
/// the subnets that resolvers tell (RFC 7871 section 11.1), and as the sites that providers assign
/// (RFC 6177 section 2).
pub fn client_network(client: IpAddr) -> Prefix {
    match client.to_canonical() {
        v4 @ IpAddr::V4(_) => Prefix::containing(v4, 24),
        v6 => Prefix::containing(v6, 48),
    }
}

/// The block that one operator may well have to itself: the /32 that registries give each provider of
/// IPv6, and a /16 of IPv4.
pub fn allocation(client: IpAddr) -> Prefix {
    match client.to_canonical() {
        v4 @ IpAddr::V4(_) => Prefix::containing(v4, 16),
        v6 => Prefix::containing(v6, 32),
    }
}

/// The same number for the same network, also after a restart: the hasher has no random seed.
fn hash(network: Prefix) -> u64 {
    let mut hasher = DefaultHasher::new();
    network.hash(&mut hasher);
    hasher.finish()
}

fn network_of(group: &ClientGroup) -> Option<Prefix> {
    match group {
        ClientGroup::Network(network) => Some(*network),
        _ => None,
    }
}

/// The time that light takes, there and back, if the client is as near as it may be.
fn least_ms(client: Coordinates, region: Coordinates) -> f64 {
    LIGHT_MS_PER_KM * (client.distance_km(region) - PLACE_ERROR_KM).max(0.0)
}

/// Tells whether plans could come out differently.
fn is_news(before: &Measured, after: &Measured) -> bool {
    if !before.same_groups(after) || before.len() != after.len() {
        return true;
    }
    let known: HashMap<_, f64> = before.estimates().map(|(group, region, e)| ((group, region), e.ms)).collect();
    after.estimates().any(|(group, region, estimate)| {
        let same = |ms: &f64| (ms - estimate.ms).abs() <= NEWS_MS.max(NEWS_PART * ms);
        !known.get(&(group, region)).is_some_and(same)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000;
    const SEOUL: &str = "seoul@gslb.example";
    const BELIEFS: Beliefs = Beliefs { half_life_s: 86_400, min_samples: [4, 6, 8] };

    fn at(latitude: f64, longitude: f64) -> Coordinates {
        Coordinates::new(latitude, longitude).expect("coordinates")
    }

    fn korean() -> Whereabouts {
        Whereabouts { asn: Some(4766), country: "KR".parse().ok(), at: Some(at(37.57, 126.98)) }
    }

    fn count(store: &mut Store, client: &str, ms: f64, now: u64) -> Result<(), Uncounted> {
        store.count(client.parse().expect("an address"), &korean(), (SEOUL, at(37.57, 126.98)), ms, now)
    }

    /// The groups that plans go by, and their figures.
    fn used(store: &mut Store, now: u64) -> Vec<(String, f64)> {
        let measured = store.measured(&Measured::default(), now).unwrap_or_default();
        let mut used: Vec<_> = measured.estimates().map(|(group, _, e)| (group.to_string(), e.ms.round())).collect();
        used.sort_by(|a, b| a.0.cmp(&b.0));
        used
    }

    #[test]
    fn groups_are_believed_once_there_are_times_enough_of_networks_enough() {
        let mut store = Store::new(BELIEFS);
        for n in 0..4 {
            count(&mut store, &format!("192.0.2.{n}"), 40.0, NOW).expect("counted");
        }
        assert_eq!(used(&mut store, NOW), [("192.0.2.0/24".into(), 40.0)]);
        for n in 0..2 {
            count(&mut store, &format!("198.5{n}.1.1"), 40.0, NOW).expect("counted");
        }
        let names = |store: &mut Store| used(store, NOW).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&mut store), ["192.0.2.0/24", "AS4766 in KR"]);
        for n in 2..4 {
            count(&mut store, &format!("198.5{n}.1.1"), 40.0, NOW).expect("counted");
        }
        assert_eq!(names(&mut store), ["192.0.2.0/24", "AS4766 in KR", "KR"]);
    }

    #[test]
    fn one_network_cannot_speak_for_its_operator_or_country() {
        let mut store = Store::new(BELIEFS);
        for hour in 0..40 {
            for n in 0..30 {
                let counted = count(&mut store, &format!("192.0.2.{n}"), 900.0, NOW + 3_600 * hour);
                assert_eq!(counted, if n < 20 { Ok(()) } else { Err(Uncounted::Enough) });
            }
        }
        let now = NOW + 3_600 * 40;
        assert_eq!(used(&mut store, now).len(), 1, "for itself alone");
        // The same address in other families and forms is the same network.
        assert_eq!(count(&mut store, "::ffff:192.0.2.9", 900.0, now - 1), Err(Uncounted::Enough));
        for n in 0..250 {
            count(&mut store, &format!("198.{n}.1.1"), 40.0, now).expect("counted");
        }
        let country = used(&mut store, now).into_iter().find(|(name, _)| name == "KR").expect("the country");
        assert!(country.1 < 45.0, "{country:?}");
    }

    #[test]
    fn quotas_and_networks_are_of_one_width() {
        let mut store = Store::new(BELIEFS);
        let mut counted = 0;
        for (site, subnet) in (0..5).flat_map(|site| (0..60).map(move |subnet| (site, subnet))) {
            let client = format!("2001:{site:x}:1:{subnet:x}00::1");
            counted += u32::from(count(&mut store, &client, 4_959.0, NOW).is_ok());
        }
        assert_eq!(counted, 5 * u32::from(NETWORK_QUOTA), "however many /56 a /48 has");
        for n in 0..20 {
            count(&mut store, &format!("198.{n}.1.1"), 40.0, NOW).expect("counted");
        }
        let country = used(&mut store, NOW).into_iter().find(|(name, _)| name == "KR").expect("the country");
        assert!(country.1 < 45.0, "{country:?}");
    }

    #[test]
    fn an_allocation_has_a_bounded_part_of_its_country() {
        let mut store = Store::new(BELIEFS);
        let lie = |store: &mut Store, from: u32| {
            let sites = from..from + 1_000;
            sites.for_each(|n| count(store, &format!("2001:db8:{n:x}::1"), 900.0, NOW).expect("counted"));
        };
        let of_country = |store: &mut Store| used(store, NOW).into_iter().find(|(name, _)| name == "KR");
        lie(&mut store, 0);
        assert_eq!(of_country(&mut store), Some(("KR".into(), 903.0)), "nobody else said anything");
        for n in 0..40 {
            count(&mut store, &format!("198.{n}.1.1"), 40.0, NOW).expect("counted");
        }
        lie(&mut store, 1_000);
        let country = of_country(&mut store).expect("the country");
        assert!(country.1 < 45.0, "1,000 sites against 40: {country:?}");
    }

    #[test]
    fn an_allocation_does_not_fill_the_window() {
        let mut store = Store::new(BELIEFS);
        let flood = (0..u32::from(u16::MAX)).map(|n| count(&mut store, &format!("2001:db8:{n:x}::1"), 900.0, NOW));
        assert_eq!(flood.filter(Result::is_ok).count(), MAX_COUNTED_OF_ALLOCATION as usize);
        assert_eq!(count(&mut store, "192.0.2.1", 40.0, NOW), Ok(()));
        assert_eq!(count(&mut store, "2001:db8:ffff::1", 40.0, NOW), Err(Uncounted::Full));
        assert_eq!(count(&mut store, "2001:db8:ffff::1", 40.0, NOW + WINDOW_S), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut store = Store::new(BELIEFS);
        for ms in [0.0, 0.9, 5001.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(count(&mut store, "192.0.2.1", ms, NOW), Err(Uncounted::OutOfRange), "{ms}");
        }
        let client = "192.0.2.1".parse().expect("an address");
        let frankfurt = ("frankfurt@gslb.example", at(50.11, 8.68));
        let mut told = |whereabouts: &Whereabouts, ms| store.count(client, whereabouts, frankfurt, ms, NOW);
        assert_eq!(told(&korean(), 78.0), Err(Uncounted::FasterThanLight), "8,560 km, 500 of them in doubt");
        assert_eq!(told(&korean(), 80.0), Ok(()));
        assert_eq!(told(&Whereabouts { at: None, ..korean() }, 5.0), Ok(()), "somewhere in Korea, or so they say");
        assert_eq!(store.sizes(), (3, 0));
    }

    #[test]
    fn the_choice_of_networks_holds_for_a_while_and_goes_slowly() {
        let mut store = Store::new(BELIEFS);
        let mut fill = |network: &str, times: u32, now: u64| {
            for n in 0..times {
                count(&mut store, &format!("{network}.{n}"), 40.0, now).expect("counted");
            }
            used(&mut store, now).into_iter().map(|(name, _)| name).filter(|n| n.contains('/')).collect::<Vec<_>>()
        };
        assert_eq!(fill("192.0.2", 5, NOW), ["192.0.2.0/24"]);
        assert_eq!(fill("203.0.113", 5, NOW + 599), ["192.0.2.0/24"]);
        assert_eq!(fill("203.0.113", 0, NOW + 600), ["192.0.2.0/24", "203.0.113.0/24"]);
        assert_eq!(fill("203.0.113", 0, NOW + 86_400), ["192.0.2.0/24", "203.0.113.0/24"], "2.5 of 4 left");
        assert!(fill("203.0.113", 0, NOW + 2 * 86_400).is_empty());
    }

    #[test]
    fn imports_hold_until_clients_know_better() {
        let mut store = Store::new(BELIEFS);
        let network = ClientGroup::Network("192.0.2.0/24".parse().expect("a network"));
        let import = |ms| Import { ms, samples: 1, at: NOW };
        let row = |ms| vec![(network, SEOUL.to_owned(), import(ms))];
        store.import(&row(70.0), false).expect("taken");
        assert_eq!(used(&mut store, NOW), [("192.0.2.0/24".into(), 70.0)]);
        store.import(&row(60.0), false).expect("taken");
        assert_eq!(used(&mut store, NOW), [("192.0.2.0/24".into(), 60.0)]);
        for n in 0..4 {
            count(&mut store, &format!("192.0.2.{n}"), 40.0, NOW).expect("counted");
        }
        assert_eq!(used(&mut store, NOW), [("192.0.2.0/24".into(), 40.0)]);
        store.import(&[], true).expect("taken");
        assert_eq!(store.sizes().1, 0);
        let many = (0..=MAX_NETWORKS as u32).map(|n| {
            let network = Prefix::containing(IpAddr::V4((n << 8).into()), 24);
            (ClientGroup::Network(network), SEOUL.to_owned(), import(1.0))
        });
        assert!(store.import(&many.collect::<Vec<_>>(), false).is_err());
        assert_eq!(store.sizes().1, 0, "all or nothing");
    }

    #[test]
    fn small_differences_are_no_news() {
        let mut store = Store::new(BELIEFS);
        (0..4).for_each(|n| count(&mut store, &format!("192.0.2.{n}"), 40.0, NOW).expect("counted"));
        let first = store.measured(&Measured::default(), NOW).expect("news");
        assert!(store.measured(&first, NOW).is_none());
        (4..6).for_each(|n| count(&mut store, &format!("192.0.2.{n}"), 41.0, NOW).expect("counted"));
        assert!(store.measured(&first, NOW).is_none());
        (6..16).for_each(|n| count(&mut store, &format!("192.0.2.{n}"), 60.0, NOW).expect("counted"));
        assert!(store.measured(&first, NOW).is_some());
    }

    #[test]
    fn there_is_room_for_so_many_and_the_lightest_go() {
        let mut store = Store::new(BELIEFS);
        (0..3).for_each(|_| count(&mut store, "192.0.2.1", 40.0, NOW).expect("counted"));
        let mut flood = 0;
        for n in 0..MAX_SKETCHES as u32 + 10 {
            let client = IpAddr::from([0x2001, (n >> 13) as u16, (n & 0x1fff) as u16, 0, 0, 0, 0, 1]);
            let region = (SEOUL, at(37.57, 126.98));
            flood += u32::from(store.count(client, &korean(), region, 40.0, NOW + u64::from(n / 1000)).is_ok());
        }
        assert!(flood >= MAX_COUNTED as u32 - 1);
        let network = ClientGroup::Network("192.0.2.0/24".parse().expect("a network"));
        let kept = store.rows(NOW).iter().any(|row| row.group == network);
        assert!(store.sizes().0 <= MAX_SKETCHES && kept, "{:?}", store.sizes());
    }
}
