//! A configuration that is being made: what goes into the files, and their text.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::path::PathBuf;

use foldhash::fast::FixedState;

use super::left::Leftovers;
use crate::control::config::MAX_REGIONS;
use crate::model::policy::MAX_ANSWERS;

/// Octets of the name of a region or a group.
const MAX_NAME: usize = 63;

/// A main file and zones.
#[derive(Debug, Default)]
pub struct Draft {
    /// Addresses and ports; empty: the defaults.
    pub listen: Vec<String>,
    /// Databases, by their paths.
    pub geoip: Vec<String>,
    pub allow_exec: bool,
    pub nsid: Option<String>,
    pub zones: Vec<ZoneDraft>,
}

/// A zone, its records in a file of their own.
#[derive(Debug, Default)]
pub struct ZoneDraft {
    /// Without a dot at its end.
    pub origin: String,
    /// In seconds, of records that name none.
    pub ttl: u32,
    /// In master-file syntax.
    pub records: String,
    /// With their names, by these in lower case.
    pub regions: BTreeMap<String, (String, RegionDraft)>,
    /// Regions that there was no room for.
    pub untaken: usize,
    pub services: Vec<ServiceDraft>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegionDraft {
    /// `None`: nobody has said where; 0, 0 stands there until someone does.
    pub place: Option<Place>,
    pub endpoints: Vec<EndpointDraft>,
    /// Checks as they are written: `http = { … }`.
    pub checks: Vec<String>,
    /// 0 and 1: one is enough.
    pub min_healthy: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub latitude: f64,
    pub longitude: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointDraft {
    Address(IpAddr),
    /// Absolute, with its dot.
    Host(String),
}

/// A name, and how it picks.
#[derive(Debug)]
pub struct ServiceDraft {
    /// Relative to the origin, or `@`.
    pub name: String,
    pub ttl: Option<u32>,
    pub failover_ttl: Option<u32>,
    pub ecs: bool,
    pub root: Pick,
    pub rules: Vec<RuleDraft>,
}

/// Clients that are sent elsewhere.
#[derive(Debug)]
pub struct RuleDraft {
    /// `network`, `country` and so on, and which.
    pub clients: (&'static str, String),
    pub policy: &'static str,
    /// By the names of the root's children.
    pub regions: Vec<String>,
}

/// A policy and what it picks from.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    /// As a group.
    pub name: String,
    pub policy: &'static str,
    /// Each with its share, where the policy has shares.
    pub children: Vec<(Child, Option<u32>)>,
    pub geo: GeoDraft,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    Region(String),
    Group(Box<Pick>),
}

/// Lists of children by place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GeoDraft {
    pub default: Vec<String>,
    /// By kind of place, such as `country`, and place.
    pub lists: BTreeMap<(&'static str, String), Vec<String>>,
}

impl Child {
    /// A group; where the text does not fit as a name, with a hash of it, so that no two texts become one name.
    pub fn group(text: &str, pick: Pick) -> Child {
        let fitting = ended(text, "");
        let name = match fitting == text {
            true => fitting,
            false => ended(text, &format!("-{:08x}", FixedState::default().hash_one(text) as u32)),
        };
        Child::Group(Box::new(Pick { name, ..pick }))
    }

    pub fn name(&self) -> &str {
        match self {
            Child::Region(name) => name,
            Child::Group(pick) => &pick.name,
        }
    }
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

impl Draft {
    /// The files, by their paths below the directory where they belong; the main file first.
    pub fn files(&self) -> Vec<(PathBuf, String)> {
        let mut files = vec![(PathBuf::from("meridian.toml"), self.main_file())];
        for zone in &self.zones {
            let name = file_name(&zone.origin);
            files.push((format!("zones/{name}.toml").into(), zone.text(&name)));
            files.push((format!("zones/{name}.zone").into(), zone.records.clone()));
        }
        files
    }

    fn main_file(&self) -> String {
        let mut text =
            "# Meridian's main file: docs/reference.md has every setting. Paths are relative to this file.\n\n"
                .to_owned();
        if !self.listen.is_empty() {
            let _ = writeln!(text, "listen.dns = {}", list(&self.listen));
        }
        match self.geoip.is_empty() {
            true => text.push_str(
                "# geoip = [\"GeoLite2-City.mmdb\"]     # where clients are: without it all are answered alike\n",
            ),
            false => drop(writeln!(text, "geoip = {}", list(&self.geoip))),
        }
        if self.allow_exec {
            text.push_str("allow_exec = true                      # zone files have checks that run programs\n");
        }
        if let Some(nsid) = &self.nsid {
            let _ = writeln!(text, "nsid = {}", quoted(nsid));
        }
        text
    }
}

impl ZoneDraft {
    fn text(&self, file: &str) -> String {
        let mut text = format!("# The zone {}: its records are in the file beside this one.\n\n", self.origin);
        let _ = writeln!(text, "origin       = {}\nttl          = {}", quoted(&self.origin), self.ttl);
        let _ = writeln!(text, "records_file = {}", quoted(&format!("{file}.zone")));
        for (name, region) in self.regions.values() {
            region.write(name, &mut text);
        }
        for service in &self.services {
            service.write(&mut text);
        }
        text
    }
}

impl RegionDraft {
    fn write(&self, name: &str, text: &mut String) {
        let _ = writeln!(text, "\n[region.{}]", quoted(name));
        let _ = match self.place {
            Some(place) => {
                writeln!(text, "location  = {{ latitude = {:?}, longitude = {:?} }}", place.latitude, place.longitude)
            }
            None => writeln!(text, "location  = {{ latitude = 0.0, longitude = 0.0 }}     # say where it is"),
        };
        let endpoints: Vec<String> = self.endpoints.iter().map(EndpointDraft::text).collect();
        let _ = writeln!(text, "endpoints = [{}]", endpoints.join(", "));
        if self.min_healthy > 1 {
            let _ = writeln!(text, "min_healthy = {}", self.min_healthy);
        }
        match self.checks.as_slice() {
            [] => {}
            [one] => drop(writeln!(text, "check.{one}")),
            several => {
                let each: Vec<String> = several.iter().map(|check| format!("{{ {check} }}")).collect();
                let _ = writeln!(text, "check.all = [{}]", each.join(", "));
            }
        }
    }
}

impl EndpointDraft {
    fn text(&self) -> String {
        match self {
            EndpointDraft::Address(address) => format!("{{ address = \"{address}\" }}"),
            EndpointDraft::Host(host) => format!("{{ host = {} }}", quoted(host)),
        }
    }
}

impl ServiceDraft {
    fn write(&self, text: &mut String) {
        let name = quoted(&self.name);
        let _ = writeln!(text, "\n[service.{name}]");
        let times = [("ttl", self.ttl), ("failover_ttl", self.failover_ttl)];
        for (key, seconds) in times.iter().filter_map(|(key, ttl)| Some((key, (*ttl)?))) {
            let _ = writeln!(text, "{key} = {seconds}");
        }
        if !self.ecs {
            text.push_str("ecs = false\n");
        }
        self.root.write(&format!("service.{name}"), text);
        for rule in &self.rules {
            let (kind, place) = &rule.clients;
            let _ = writeln!(text, "\n[[service.{name}.rule]]\nclients = {{ {kind} = [{}] }}", quoted(place));
            let _ = writeln!(text, "policy  = \"{}\"\nregions = {}", rule.policy, list(&rule.regions));
        }
        let mut groups = Vec::new();
        self.root.groups(&mut groups);
        for group in groups {
            let _ = writeln!(text, "\n[service.{name}.group.{}]", quoted(&group.name));
            group.write(&format!("service.{name}.group.{}", quoted(&group.name)), text);
        }
    }
}

impl Pick {
    /// One that stands for a single region.
    pub fn only(region: &str) -> Pick {
        let children = vec![(Child::Region(region.to_owned()), None)];
        Pick { name: String::new(), policy: "failover", children, geo: GeoDraft::default() }
    }

    fn write(&self, table: &str, text: &mut String) {
        let _ = writeln!(text, "policy  = \"{}\"", self.policy);
        let names: Vec<String> = self.children.iter().map(|(child, _)| child.name().to_owned()).collect();
        let shares: Option<Vec<String>> = self
            .children
            .iter()
            .map(|(child, share)| Some(format!("{} = {}", quoted(child.name()), (*share)?)))
            .collect();
        let _ = match shares {
            Some(shares) if !shares.is_empty() => writeln!(text, "regions = {{ {} }}", shares.join(", ")),
            _ => writeln!(text, "regions = {}", list(&names)),
        };
        if self.policy == "multi" {
            let _ = writeln!(text, "answers = {}", names.len().clamp(1, MAX_ANSWERS));
        }
        if self.policy == "geo" {
            self.geo.write(table, text);
        }
    }

    /// The groups inside, each once.
    fn groups<'a>(&'a self, found: &mut Vec<&'a Pick>) {
        for (child, _) in &self.children {
            let Child::Group(group) = child else { continue };
            if !found.iter().any(|known| known.name == group.name) {
                found.push(group);
                group.groups(found);
            }
        }
    }

    /// The children that lists may name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.children.iter().map(|(child, _)| child.name())
    }
}

impl GeoDraft {
    fn write(&self, table: &str, text: &mut String) {
        let _ = writeln!(text, "\n[{table}.geo]");
        if !self.default.is_empty() {
            let _ = writeln!(text, "default = {}", list(&self.default));
        }
        let mut kind = "";
        for ((of, place), regions) in &self.lists {
            if *of != kind {
                kind = of;
                let _ = writeln!(text, "\n[{table}.geo.{kind}]");
            }
            let _ = writeln!(text, "{} = {}", quoted(place), list(regions));
        }
    }
}

/// A TOML array of strings.
pub fn list(items: &[String]) -> String {
    format!("[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "))
}

/// A TOML basic string.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(char))),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// A file's name for a zone: what might lead elsewhere is taken out.
fn file_name(origin: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = origin.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    match name.trim_start_matches('.') {
        "" => "root".to_owned(),
        name => name.to_owned(),
    }
}

/// A name that a region or group may have, made of any text and an end.
fn ended(text: &str, end: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let text = if text.is_empty() { "region" } else { text };
    let name = text.chars().map(|c| if fits(c) { c } else { '-' }).take(MAX_NAME.saturating_sub(end.len()));
    name.chain(end.chars()).collect()
}

impl ZoneDraft {
    /// Tells of regions that there was no room for, and of those that nobody has said the place of.
    pub fn leave_nowhere(&self, file: &str, left: &mut Leftovers) {
        if self.untaken > 0 {
            let why = format!("there are more than {MAX_REGIONS}, which is what all zones together may have");
            left.push(file, 1, format!("{} of the regions", self.untaken), why);
        }
        let nowhere: Vec<&str> =
            self.regions.values().filter(|(_, region)| region.place.is_none()).map(|(name, _)| name.as_str()).collect();
        if !nowhere.is_empty() {
            let why = format!(
                "are nowhere: latitude and longitude 0 stand there until you write them ({})",
                nowhere.join(", ")
            );
            left.push(file, 1, format!("{} of the regions", nowhere.len()), why);
        }
    }

    /// Adds a region, or finds it where it is already there: its name, by the first of `names` that no other has. A
    /// zone that is full takes no more; [`ZoneDraft::leave_nowhere`] tells of it.
    pub fn add_region(&mut self, names: &[String], region: RegionDraft) -> String {
        let is_full = self.regions.len() >= MAX_REGIONS;
        let last = names.last().map_or("region", String::as_str);
        let numbered = (2..).map(|number| ended(last, &format!("-{number}")));
        for name in names.iter().map(|name| ended(name, "")).chain(numbered) {
            match self.regions.entry(name.to_ascii_lowercase()) {
                Entry::Occupied(there) if there.get().1 == region => return there.get().0.clone(),
                Entry::Occupied(_) => {}
                Entry::Vacant(_) if is_full => {
                    self.untaken += 1;
                    return name;
                }
                Entry::Vacant(place) => return place.insert((name, region)).0.clone(),
            }
        }
        String::new() // numbers do not end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_quoted_so_that_it_is_read_again() {
        for text in ["", "a\"b\\c", "é\n\t\u{7f}\u{1}", "'''"] {
            let read: BTreeMap<String, String> = toml::from_str(&format!("a = {}", quoted(text))).expect("TOML");
            assert_eq!(read["a"], text);
        }
    }

    #[test]
    fn regions_and_groups_whose_names_do_not_fit_keep_names_of_their_own() {
        let long = ["a".repeat(70), "a".repeat(71), "é x".to_owned(), "e x".to_owned(), String::new()];
        let mut zone = ZoneDraft::default();
        let mut names: Vec<String> = Vec::new();
        for number in 0..20u8 {
            let endpoints = vec![EndpointDraft::Address([192, 0, 2, number].into())];
            names.push(zone.add_region(&long, RegionDraft { endpoints, ..RegionDraft::default() }));
        }
        let pick = Pick { name: String::new(), policy: "multi", children: Vec::new(), geo: GeoDraft::default() };
        names.extend(long.iter().map(|text| Child::group(text, pick.clone()).name().to_owned()).skip(2));
        assert!(names.iter().all(|name| (1..=MAX_NAME).contains(&name.len()) && name.is_ascii()), "{names:?}");
        let different: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        assert_ne!(Child::group(&long[0], pick.clone()).name(), Child::group(&long[1], pick).name());
    }

    #[test]
    fn a_zone_takes_as_many_regions_as_all_zones_may_have_and_tells_of_more() {
        let mut zone = ZoneDraft::default();
        for number in 0..MAX_REGIONS as u32 + 5 {
            let endpoints = vec![EndpointDraft::Address(IpAddr::V4(number.into()))];
            zone.add_region(&["r".to_owned()], RegionDraft { endpoints, ..RegionDraft::default() });
        }
        let mut left = Leftovers::default();
        zone.leave_nowhere("zone", &mut left);
        assert_eq!(zone.regions.len(), MAX_REGIONS);
        assert!(left.told.iter().any(|left| left.what == "5 of the regions"), "{:?}", left.told);
    }

    #[test]
    fn a_zone_is_written_into_a_file_of_its_own_and_nowhere_else() {
        for (origin, file) in [
            ("a.example", "a.example"),
            ("../../etc/x", "_.._etc_x"),
            ("0/25.2.0.192.in-addr.arpa", "0_25.2.0.192.in-addr.arpa"),
            ("", "root"),
        ] {
            assert_eq!(file_name(origin), file);
        }
    }
}
