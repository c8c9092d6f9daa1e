//! Route 53: what `aws route53 list-resource-record-sets` and `list-health-checks` print, as a zone.
//!
//! ```text
//!   record sets ─▶ simple ones ─▶ records
//!             └─▶ those with a SetIdentifier, by name ─▶ services; each set is a region
//!   health checks ─▶ checks of the regions that use them
//! ```
//!
//! - [`sets`]: the record sets as they are written there
//! - [`health`]: health checks; [`places`]: where AWS's regions are

mod health;
mod places;
mod sets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::draft::{Child, Draft, EndpointDraft, GeoDraft, Pick, RegionDraft, ServiceDraft, ZoneDraft};
use super::left::Leftovers;
use health::HealthChecks;
pub use sets::Text;
use sets::{RecordSet, Routing};

/// Aliases that lead to other names of the zone: as deep as groups may be.
const MAX_DEPTH: usize = 3;
/// Sets of one name, those of names inside each time anew: as many ways as a service may have.
const MAX_WAYS: usize = 4_096;
/// Octets of a file.
pub const MAX_OCTETS: u64 = 64 << 20;

/// What is made of a hosted zone's record sets, and of health checks.
///
/// # Errors
/// JSON that is not what these commands print, as a line.
pub fn import(records: &Text<'_>, checks: Option<&Text<'_>>) -> Result<(Draft, Leftovers), String> {
    let sets = sets::read(records)?;
    let mut left = Leftovers::default();
    let checks = checks.map(|checks| HealthChecks::read(checks, &mut left)).transpose()?.unwrap_or_default();
    let soa = sets.iter().find(|set| set.rtype == "SOA");
    let soa = soa.ok_or_else(|| format!("{}: no SOA record: is it a whole hosted zone?", records.name))?;
    let mut zone = ZoneDraft { origin: soa.name.trim_end_matches('.').to_owned(), ttl: 300, ..ZoneDraft::default() };
    zone.records = format!("$ORIGIN {}.\n", zone.origin);
    let mut import = Import { file: records.name, sets: by_name(&sets), checks, ways: 0, left: &mut left };
    for set in &sets {
        if set.routing == Routing::Simple {
            import.simple(set, &mut zone);
        }
    }
    let names: Vec<String> = import.sets.keys().cloned().collect();
    for name in names {
        import.service(&name, &mut zone);
    }
    zone.leave_nowhere(records.name, &mut left);
    Ok((Draft { zones: vec![zone], ..Draft::default() }, left))
}

/// Sets that are picked among, by their name.
fn by_name(sets: &[RecordSet]) -> BTreeMap<String, Vec<&RecordSet>> {
    let mut names: BTreeMap<String, Vec<&RecordSet>> = BTreeMap::new();
    for set in sets.iter().filter(|set| set.routing != Routing::Simple) {
        names.entry(set.name.clone()).or_default().push(set);
    }
    names
}

struct Import<'a> {
    file: &'a str,
    sets: BTreeMap<String, Vec<&'a RecordSet>>,
    checks: HealthChecks,
    /// Of the name that is being read.
    ways: usize,
    left: &'a mut Leftovers,
}

impl<'a> Import<'a> {
    fn leave(&mut self, set: &RecordSet, why: impl Into<String>) {
        self.left.push(self.file, set.line, set.shown(), why);
    }

    /// One that everybody gets: a record; an alias is a CNAME where there may be one.
    fn simple(&mut self, set: &RecordSet, zone: &mut ZoneDraft) {
        let Some(name) = relative(&set.name, &zone.origin) else { return self.leave(set, "is outside the zone") };
        if set.rtype == "NS" && name == "@" {
            self.leave(set, "names Route 53's servers: write your own into the zone");
        }
        let Some(target) = &set.alias else {
            for value in &set.values {
                zone.records.push_str(&format!(
                    "{}. {} IN {} {value}\n",
                    set.name.trim_end_matches('.'),
                    set.ttl.unwrap_or(300),
                    set.rtype
                ));
            }
            return;
        };
        if name == "@" || !["A", "AAAA", "CNAME"].contains(&set.rtype.as_str()) {
            return self.leave(
                set,
                format!("an alias of {target}: no CNAME may stand there, so its addresses must be written"),
            );
        }
        if zone.services.iter().any(|service| service.name == name) {
            return; // A and AAAA of one name, which lead to the same
        }
        let region = self.host(set, target, &name, zone);
        zone.services.push(service(name, Some(60), Pick::only(&region)));
    }

    fn host(&mut self, set: &RecordSet, target: &str, name: &str, zone: &mut ZoneDraft) -> String {
        let endpoints = vec![EndpointDraft::Host(format!("{}.", target.trim_end_matches('.')))];
        let checks = self.checks_of(set, &endpoints);
        let place = places::in_name(target);
        zone.add_region(
            &[name.to_owned(), format!("{name}-alias")],
            RegionDraft { place, endpoints, checks, min_healthy: 0 },
        )
    }

    /// A name whose sets are picked among.
    fn service(&mut self, name: &str, zone: &mut ZoneDraft) {
        let sets = self.sets.get(name).cloned().unwrap_or_default();
        let Some(first) = sets.first().copied() else { return };
        let Some(relative) = relative(name, &zone.origin) else { return self.leave(first, "is outside the zone") };
        self.ways = 0;
        let ttl = sets.iter().filter_map(|set| set.ttl).min().unwrap_or(60);
        if let Some(pick) = self.pick(name, &relative, zone, 0) {
            zone.services.push(service(relative, Some(ttl), pick));
        }
    }

    /// A policy over the sets of a name.
    fn pick(&mut self, name: &str, relative: &str, zone: &mut ZoneDraft, depth: usize) -> Option<Pick> {
        let sets = self.sets.get(name).cloned()?;
        let first = *sets.iter().find(|set| set.is_address())?;
        let policy = first.routing.policy();
        let mut pick =
            Pick { name: format!("{relative}-group"), policy, children: Vec::new(), geo: GeoDraft::default() };
        let mut seen = BTreeSet::new();
        for set in sets {
            if !set.is_address() {
                self.leave(set, "only addresses and aliases are picked among here");
                continue;
            }
            if set.routing.policy() != policy {
                self.leave(set, format!("is routed in another way than {}", first.shown()));
                continue;
            }
            if policy == "unknown" {
                self.leave(
                    set,
                    "is routed by a CIDR collection, which is not in this file: write `geo.network` or rules",
                );
                continue;
            }
            // A and AAAA with one identifier are one region.
            if seen.insert(set.identifier.clone()) {
                self.add(set, relative, zone, &mut pick, depth);
            }
        }
        if policy == "failover" {
            pick.children.sort_by_key(|(_, order)| *order);
            pick.children.iter_mut().for_each(|(_, order)| *order = None);
        }
        if policy == "geo" && pick.geo.default.is_empty() {
            self.leave(
                first,
                "has no default location: clients of no list get NODATA there, and the first region here",
            );
        }
        (!pick.children.is_empty()).then_some(pick)
    }

    fn add(&mut self, set: &'a RecordSet, relative: &str, zone: &mut ZoneDraft, pick: &mut Pick, depth: usize) {
        let Some(child) = self.child(set, relative, zone, depth) else { return };
        let name = child.name().to_owned();
        if pick.children.iter().any(|(known, _)| known.name() == name) {
            return self.leave(set, format!("is {name} once more"));
        }
        let share = match &set.routing {
            Routing::Weighted(weight) => Some(*weight),
            Routing::Failover { primary } => Some(u32::from(!primary)),
            _ => None,
        };
        match &set.routing {
            Routing::Geo(None) => pick.geo.default.push(name),
            Routing::Geo(Some(place)) => pick.geo.lists.entry(place.clone()).or_default().push(name),
            Routing::Near { bias, .. } if *bias != 0 => {
                self.leave(set, format!("its bias of {bias} moves borders by a part of the way: here `bias` is in milliseconds, and none is written"));
            }
            _ => {}
        }
        pick.children.push((child, share));
    }

    /// A set: a region; or, where it is an alias of a name that picks itself, a group.
    fn child(&mut self, set: &'a RecordSet, relative_name: &str, zone: &mut ZoneDraft, depth: usize) -> Option<Child> {
        let twins: Vec<&RecordSet> = self
            .sets
            .get(&set.name)?
            .iter()
            .copied()
            .filter(|twin| twin.identifier == set.identifier && twin.is_address())
            .collect();
        self.ways += 1;
        if self.ways > MAX_WAYS {
            self.leave(set, format!("there are more than {MAX_WAYS} ways to the sets of a name"));
            return None;
        }
        if let Some(target) = set.alias.as_ref().filter(|target| self.sets.contains_key(*target)) {
            let inner = relative(target, &zone.origin)?;
            if depth >= MAX_DEPTH {
                self.leave(set, format!("aliases lead on more than {MAX_DEPTH} deep, or in a circle"));
                return None;
            }
            let pick = self.pick(target, &inner, zone, depth + 1)?;
            return Some(Child::group(&pick.name.clone(), pick));
        }
        let mut endpoints = Vec::new();
        for twin in &twins {
            let hosts = twin.alias.iter().chain(twin.values.iter().filter(|_| twin.rtype == "CNAME"));
            let hosts = hosts.map(|host| EndpointDraft::Host(format!("{}.", host.trim_end_matches('.'))));
            let addresses =
                twin.values.iter().filter_map(|value| Some(EndpointDraft::Address(value.parse::<IpAddr>().ok()?)));
            for endpoint in hosts.chain(addresses) {
                if !endpoints.contains(&endpoint) {
                    endpoints.push(endpoint);
                }
            }
        }
        if endpoints.is_empty() {
            self.leave(set, "has no address and no alias");
            return None;
        }
        let checks = self.checks_of(set, &endpoints);
        let place = set.routing.place().or_else(|| places::in_name(set.alias.as_deref().unwrap_or_default()));
        let names = [set.identifier.clone(), format!("{relative_name}-{}", set.identifier)];
        let region = zone.add_region(&names, RegionDraft { place, endpoints, checks, min_healthy: 0 });
        Some(Child::Region(region))
    }

    fn checks_of(&mut self, set: &RecordSet, endpoints: &[EndpointDraft]) -> Vec<String> {
        let Some(id) = &set.health_check else {
            if set.evaluates {
                self.leave(set, "EvaluateTargetHealth asks AWS: here the region has no check until you write one");
            }
            return Vec::new();
        };
        match self.checks.check(id, endpoints) {
            Ok(check) => vec![check],
            Err(why) => {
                self.leave(set, format!("health check {id}: {why}"));
                Vec::new()
            }
        }
    }
}

fn service(name: String, ttl: Option<u32>, root: Pick) -> ServiceDraft {
    ServiceDraft { name, ttl, failover_ttl: None, ecs: true, root, rules: Vec::new() }
}

/// What a name has before the origin; `@` where that is nothing.
fn relative(name: &str, origin: &str) -> Option<String> {
    let name = name.trim_end_matches('.');
    match name.strip_suffix(origin.trim_end_matches('.'))? {
        "" => Some("@".to_owned()),
        before => before.strip_suffix('.').map(str::to_owned),
    }
}
