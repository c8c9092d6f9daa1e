//! What names with DYNA and DYNC are answered with: the resources of plugins, as policies over regions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::checks::ServiceTypes;
use super::maps::Map;
use crate::control::config::Files;
use crate::control::import::draft::{Child, EndpointDraft, GeoDraft, Pick, Place, RegionDraft, RuleDraft, ZoneDraft};
use crate::control::import::left::Leftovers;
use crate::control::import::vscf::{self, Kind, Value};

/// Resources that refer to others: as deep as groups may be.
const MAX_DEPTH: usize = 4;
/// Datacenters of one name, those of resources inside each time anew: as many ways as a service may have.
const MAX_WAYS: usize = 4_096;
/// Keys that are no addresses.
const SETTINGS: &[&str] =
    &["service_types", "up_thresh", "ignore_health", "multi", "plugin", "map", "dcmap", "datacenters", "skip_first"];

/// All that plugins say.
pub struct Resources<'a> {
    plugins: Option<&'a Value>,
    types: ServiceTypes,
    maps: BTreeMap<String, Map>,
    places: BTreeMap<String, Place>,
    databases: BTreeSet<String>,
    /// Of the name that is being read.
    ways: usize,
    pub left: &'a mut Leftovers,
}

/// What a name is answered with.
pub struct Answered {
    pub pick: Pick,
    pub rules: Vec<RuleDraft>,
    pub ecs: bool,
}

/// What is inherited from the plugin to its resources, and from them to what is inside.
#[derive(Clone)]
struct Settings {
    types: Vec<Value>,
    /// The part that must be up.
    up_thresh: f64,
    multi: bool,
    plugin: String,
}

impl Settings {
    fn within(&self, hash: Option<&Value>) -> Settings {
        let mut inner = self.clone();
        let Some(hash) = hash else { return inner };
        if let Some(types) = hash.get("service_types") {
            inner.types = types.items().to_vec();
        }
        let thresh = hash.get("up_thresh").and_then(Value::text).and_then(|text| text.parse().ok());
        inner.up_thresh = thresh.filter(|part| (0.0..=1.0).contains(part)).unwrap_or(inner.up_thresh);
        inner.multi = hash.get("multi").map_or(inner.multi, Value::is_true);
        inner.plugin = hash.get("plugin").and_then(Value::text).map_or(inner.plugin, str::to_owned);
        inner
    }
}

impl<'a> Resources<'a> {
    pub fn new(root: &'a Value, files: &dyn Files, folder: &Path, left: &'a mut Leftovers) -> Resources<'a> {
        let plugins = root.get("plugins");
        let types = ServiceTypes::read(root.get("service_types"), left);
        let geoip = plugins.and_then(|plugins| plugins.get("geoip"));
        let (mut maps, mut places, mut databases) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for entry in geoip.and_then(|geoip| geoip.get("maps")).map(Value::entries).unwrap_or_default() {
            let map = Map::read(entry, files, &folder.join("geoip"), left);
            places.extend(map.places.clone());
            if let Some((database, at)) = &map.database {
                let path: PathBuf = folder.join("geoip").join(database);
                match std::path::absolute(&path).ok().filter(|path| path.is_file()) {
                    Some(path) => drop(databases.insert(path.display().to_string())),
                    None => left.push(
                        &at.file,
                        at.line,
                        format!("geoip2_db {database}"),
                        "is not there: name your database in the main file",
                    ),
                }
            }
            maps.insert(entry.key.clone(), map);
        }
        Resources { plugins, types, maps, places, databases, ways: 0, left }
    }

    pub fn databases(&self) -> Vec<String> {
        self.databases.iter().cloned().collect()
    }

    pub fn runs_programs(&self) -> bool {
        self.types.run_programs
    }

    /// What `plugin!resource` or `plugin!resource/datacenter` is answered with. `None`: it is left.
    pub fn answered(&mut self, reference: &str, at: &vscf::Place, zone: &mut ZoneDraft) -> Option<Answered> {
        let (plugin, resource) = reference.split_once('!').unwrap_or((reference, ""));
        let (resource, datacenter) = match resource.split_once('/') {
            Some((resource, datacenter)) => (resource, Some(datacenter)),
            None => (resource, None),
        };
        self.ways = 0;
        let found = match datacenter {
            Some(datacenter) => self.datacenter(plugin, resource, datacenter, zone),
            None => self.resource(plugin, resource, zone, 0),
        };
        if found.is_none() {
            self.left.push(&at.file, at.line, reference, "is not defined, or has no counterpart");
        }
        found
    }

    fn stanza(&self, plugin: &str) -> Option<&'a Value> {
        self.plugins?.get(plugin)
    }

    /// Geoip and metafo have theirs one level deeper.
    fn definition(&self, plugin: &str, resource: &str) -> Option<&'a Value> {
        let stanza = self.stanza(plugin)?;
        match plugin {
            "geoip" | "metafo" => stanza.get("resources")?.get(resource),
            _ => stanza.get(resource),
        }
    }

    fn settings(&self, plugin: &str, hash: &Value) -> Settings {
        let default = Settings { types: Vec::new(), up_thresh: 0.5, multi: false, plugin: "multifo".to_owned() };
        default.within(self.stanza(plugin)).within(Some(hash))
    }

    fn resource(&mut self, plugin: &str, resource: &str, zone: &mut ZoneDraft, depth: usize) -> Option<Answered> {
        let hash = self.definition(plugin, resource)?;
        if depth >= MAX_DEPTH {
            self.left.push(
                &hash.at.file,
                hash.at.line,
                resource,
                format!("refers to others more than {MAX_DEPTH} deep, or in a circle"),
            );
            return None;
        }
        let settings = self.settings(plugin, hash);
        let plain = |pick: Pick| Answered { pick, rules: Vec::new(), ecs: true };
        match plugin {
            "multifo" => self.all_of(hash, resource, &settings, zone).map(plain),
            "weighted" => self.weighted(hash, resource, &settings, zone).map(plain),
            "simplefo" => self.simple(hash, resource, &settings, zone).map(plain),
            "metafo" => self.meta(hash, resource, &settings, zone, depth).map(plain),
            "geoip" => self.geoip(hash, resource, &settings, zone, depth),
            "static" => {
                let address = hash.text()?;
                let region = self.region(resource, &[resource.to_owned()], vec![endpoint(address)?], &settings, zone);
                Some(plain(Pick::only(&region)))
            }
            _ => None,
        }
    }

    /// One datacenter of a resource, alone.
    fn datacenter(&mut self, plugin: &str, resource: &str, datacenter: &str, zone: &mut ZoneDraft) -> Option<Answered> {
        let hash = self.definition(plugin, resource)?;
        let value = hash.get("dcmap")?.get(datacenter)?;
        let settings = self.settings(plugin, hash);
        let pick = match self.child(value, resource, datacenter, &settings, zone, 1)? {
            Child::Region(region) => Pick::only(&region),
            Child::Group(pick) => *pick,
        };
        Some(Answered { pick, rules: Vec::new(), ecs: true })
    }

    /// Multifo: all addresses that are up.
    fn all_of(&mut self, hash: &Value, resource: &str, settings: &Settings, zone: &mut ZoneDraft) -> Option<Pick> {
        let (v4, v6) = families(hash);
        let most = v4.len().max(v6.len());
        let mut children = Vec::new();
        for at in 0..most {
            let both = [v4.get(at), v6.get(at)];
            let label = both.iter().flatten().next().map(|(label, _)| label.clone()).unwrap_or_default();
            let endpoints = both.into_iter().flatten().map(|(_, endpoint)| endpoint.clone()).collect();
            let names = [format!("{resource}-{label}")];
            let inner = settings
                .within(hash.get("addrs_v4").or(hash.get("addrs_v6")).filter(|inner| !inner.entries().is_empty()));
            children.push((Child::Region(self.region(&label, &names, endpoints, &inner, zone)), None));
        }
        let pick = Pick { name: resource.to_owned(), policy: "multi", children, geo: GeoDraft::default() };
        (most > 0).then_some(pick)
    }

    /// Primary and secondary.
    fn simple(&mut self, hash: &Value, resource: &str, settings: &Settings, zone: &mut ZoneDraft) -> Option<Pick> {
        let mut children = Vec::new();
        for role in ["primary", "secondary"] {
            let stanzas = [Some(hash), hash.get("addrs_v4"), hash.get("addrs_v6")];
            let endpoints: Vec<EndpointDraft> =
                stanzas.into_iter().flatten().filter_map(|stanza| endpoint(stanza.get(role)?.text()?)).collect();
            if endpoints.is_empty() {
                return None;
            }
            let region = self.region(role, &[format!("{resource}-{role}")], endpoints, settings, zone);
            children.push((Child::Region(region), None));
        }
        Some(Pick { name: resource.to_owned(), policy: "failover", children, geo: GeoDraft::default() })
    }

    /// Shares, of addresses or of groups of them.
    fn weighted(&mut self, hash: &Value, resource: &str, settings: &Settings, zone: &mut ZoneDraft) -> Option<Pick> {
        let stanza = hash.get("addrs_v4").or(hash.get("addrs_v6")).unwrap_or(hash);
        if let (Some(_), Some(v6)) = (hash.get("addrs_v4"), hash.get("addrs_v6")) {
            self.left.push(
                &v6.at.file,
                v6.at.line,
                format!("{resource}: addrs_v6"),
                "shares differ by family only there: add these to the regions",
            );
        }
        let settings = settings.within(Some(stanza));
        let mut children = Vec::new();
        for entry in stanza.entries().iter().filter(|entry| !SETTINGS.contains(&entry.key.as_str())) {
            let name = format!("{resource}-{}", entry.key);
            if let Some((endpoint, share)) = weight(&entry.value) {
                let region = self.region(&entry.key, &[name], vec![endpoint], &settings, zone);
                children.push((Child::Region(region), Some(share)));
                continue;
            }
            let (mut inner, mut sum) = (Vec::new(), 0);
            for member in entry.value.entries() {
                let Some((endpoint, share)) = weight(&member.value) else { continue };
                let region =
                    self.region(&member.key, &[format!("{name}-{}", member.key)], vec![endpoint], &settings, zone);
                inner.push((Child::Region(region), Some(share)));
                sum += share;
            }
            if inner.is_empty() {
                self.left.push(
                    &entry.at.file,
                    entry.at.line,
                    name,
                    "is neither an address with a weight nor a group of them",
                );
                continue;
            }
            let policy = if settings.multi { "weighted" } else { "multi" };
            children.push((
                Child::group(
                    &format!("{name}-group"),
                    Pick { name: String::new(), policy, children: inner, geo: GeoDraft::default() },
                ),
                Some(sum),
            ));
        }
        let policy = if settings.multi { "multi" } else { "weighted" };
        (!children.is_empty()).then(|| Pick { name: resource.to_owned(), policy, children, geo: GeoDraft::default() })
    }

    /// Datacenters in one order for all.
    fn meta(
        &mut self,
        hash: &Value,
        resource: &str,
        settings: &Settings,
        zone: &mut ZoneDraft,
        depth: usize,
    ) -> Option<Pick> {
        self.skipped_first(hash, resource);
        let mut children = Vec::new();
        for name in hash.get("datacenters").map(Value::items).unwrap_or_default().iter().filter_map(Value::text) {
            let value = hash.get("dcmap").and_then(|dcmap| dcmap.get(name))?;
            children.push((self.child(value, resource, name, settings, zone, depth + 1)?, None));
        }
        let pick = Pick { name: resource.to_owned(), policy: "failover", children, geo: GeoDraft::default() };
        (!pick.children.is_empty()).then_some(pick)
    }

    fn skipped_first(&mut self, hash: &Value, resource: &str) {
        if let Some(value) = hash.get("skip_first").filter(|value| value.is_true()) {
            self.left.push(
                &value.at.file,
                value.at.line,
                format!("{resource}: skip_first"),
                "has no counterpart: the first is answered too",
            );
        }
    }

    /// Datacenters in an order for each place.
    fn geoip(
        &mut self,
        hash: &Value,
        resource: &str,
        settings: &Settings,
        zone: &mut ZoneDraft,
        depth: usize,
    ) -> Option<Answered> {
        self.skipped_first(hash, resource);
        let name = hash.get("map").and_then(Value::text).unwrap_or_default().to_owned();
        let datacenters = self.maps.get(&name)?.datacenters.clone();
        let mut children = BTreeMap::new();
        for datacenter in &datacenters {
            // Datacenters may be left undefined there (undefined_datacenters_ok).
            let Some(value) = hash.get("dcmap").and_then(|dcmap| dcmap.get(datacenter)) else { continue };
            children.insert(datacenter.clone(), self.child(value, resource, datacenter, settings, zone, depth + 1)?);
        }
        let map = self.maps.get(&name)?;
        let (policy, geo, rules) = map.steer(&children);
        if depth > 0 && !rules.is_empty() {
            self.left.push(
                &hash.at.file,
                hash.at.line,
                resource,
                "maps that mix `auto` with lists are carried over for names, not inside other resources",
            );
        }
        let ordered =
            datacenters.iter().filter_map(|datacenter| Some((children.get(datacenter)?.clone(), None))).collect();
        let ecs = map.ecs;
        Some(Answered { pick: Pick { name: resource.to_owned(), policy, children: ordered, geo }, rules, ecs })
    }

    /// What a datacenter stands for: addresses, a name, or another resource.
    fn child(
        &mut self,
        value: &Value,
        resource: &str,
        datacenter: &str,
        settings: &Settings,
        zone: &mut ZoneDraft,
        depth: usize,
    ) -> Option<Child> {
        self.ways += 1;
        if self.ways > MAX_WAYS {
            self.left.push(
                &value.at.file,
                value.at.line,
                resource,
                format!("has more than {MAX_WAYS} ways to its datacenters"),
            );
            return None;
        }
        let names = [datacenter.to_owned(), format!("{resource}-{datacenter}")];
        if let Some(reference) = value.text().filter(|text| text.contains('!')) {
            let (plugin, of) = reference.split_once('!').unwrap_or_default();
            let plugin =
                if plugin.is_empty() { settings.plugin.clone() } else { plugin.trim_start_matches('%').to_owned() };
            return self.referred(&plugin, of, &names, value, zone, depth);
        }
        let inner = settings.within(Some(value));
        let pick = match inner.plugin.as_str() {
            _ if value.entries().is_empty() => None,
            "weighted" => Some(self.weighted(value, &names[1], &inner, zone)?),
            "simplefo" => Some(self.simple(value, &names[1], &inner, zone)?),
            "metafo" => Some(self.meta(value, &names[1], &inner, zone, depth)?),
            _ => None,
        };
        if let Some(pick) = pick {
            return Some(Child::group(&format!("{}-group", names[1]), pick));
        }
        let (v4, v6) = families(value);
        let endpoints: Vec<EndpointDraft> = v4.into_iter().chain(v6).map(|(_, endpoint)| endpoint).collect();
        if endpoints.is_empty() {
            self.left.push(
                &value.at.file,
                value.at.line,
                format!("{resource}/{datacenter}"),
                "has no address that is understood",
            );
            return None;
        }
        Some(Child::Region(self.region(datacenter, &names, endpoints, &inner, zone)))
    }

    /// Another resource inside: one region where all its addresses are alike, else a group.
    fn referred(
        &mut self,
        plugin: &str,
        of: &str,
        names: &[String],
        value: &Value,
        zone: &mut ZoneDraft,
        depth: usize,
    ) -> Option<Child> {
        if plugin == "multifo" {
            let hash = self.definition(plugin, of)?;
            let settings = self.settings(plugin, hash);
            let (v4, v6) = families(hash);
            let endpoints = v4.into_iter().chain(v6).map(|(_, endpoint)| endpoint).collect();
            let datacenter = names.first().cloned().unwrap_or_default();
            return Some(Child::Region(self.region(&datacenter, names, endpoints, &settings, zone)));
        }
        let Some(answered) = self.resource(plugin, of, zone, depth) else {
            self.left.push(
                &value.at.file,
                value.at.line,
                format!("{plugin}!{of}"),
                "is not defined, or has no counterpart",
            );
            return None;
        };
        Some(Child::group(&format!("{of}-group"), answered.pick))
    }

    /// Adds a region with the checks of its service types.
    fn region(
        &mut self,
        datacenter: &str,
        names: &[String],
        endpoints: Vec<EndpointDraft>,
        settings: &Settings,
        zone: &mut ZoneDraft,
    ) -> String {
        let place = self.places.get(datacenter).copied();
        let checks = self.types.of(&settings.types, self.left);
        // Of one family: the other's addresses are as many, or none.
        let v4 = endpoints.iter().filter(|endpoint| matches!(endpoint, EndpointDraft::Address(IpAddr::V4(_)))).count();
        let family = if v4 == 0 { endpoints.len() } else { v4.min(endpoints.len()) };
        let needed = (settings.up_thresh * family as f64).ceil() as usize;
        let min_healthy = if checks.is_empty() { 0 } else { needed.clamp(1, family.max(1)) };
        zone.add_region(names, RegionDraft { place, endpoints, checks, min_healthy })
    }
}

type Labelled = (String, EndpointDraft);

/// The addresses of a resource, IPv4 and names first, each with its label.
fn families(value: &Value) -> (Vec<Labelled>, Vec<Labelled>) {
    let stanzas = [value.get("addrs_v4"), value.get("addrs_v6")];
    let mut found = Vec::new();
    match stanzas.iter().flatten().count() {
        0 => labelled(value, &mut found),
        _ => stanzas.into_iter().flatten().for_each(|stanza| labelled(stanza, &mut found)),
    }
    found.into_iter().partition(|(_, endpoint)| !matches!(endpoint, EndpointDraft::Address(IpAddr::V6(_))))
}

fn labelled(value: &Value, found: &mut Vec<Labelled>) {
    match &value.kind {
        Kind::Hash(entries) => {
            let addresses = entries.iter().filter(|entry| !SETTINGS.contains(&entry.key.as_str()));
            found.extend(addresses.filter_map(|entry| Some((entry.key.clone(), endpoint(entry.value.text()?)?))));
        }
        _ => {
            let numbered = value.items().iter().zip(1..);
            found.extend(numbered.filter_map(|(item, number)| Some((number.to_string(), endpoint(item.text()?)?))));
        }
    }
}

/// An address, or an absolute name.
fn endpoint(text: &str) -> Option<EndpointDraft> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(EndpointDraft::Address(address)),
        Err(_) if text.ends_with('.') && text.len() > 1 => Some(EndpointDraft::Host(text.to_owned())),
        Err(_) => None,
    }
}

/// `[ 192.0.2.1, 10 ]`.
fn weight(value: &Value) -> Option<(EndpointDraft, u32)> {
    let Kind::Array(items) = &value.kind else { return None };
    let [address, weight] = items.as_slice() else { return None };
    Some((endpoint(address.text()?)?, weight.text()?.parse().ok().filter(|weight| *weight <= 1_000_000)?))
}
