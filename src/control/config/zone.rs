//! One zone file: static records, regions and services under one origin.
//!
//! The file's text comes in, with the ids its zone and regions get; [`ZoneParts`] goes out, whole
//! or with the mistakes that keep it from being loaded.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::dependencies::Named;
use super::files::{RecordFiles, Sources};
use super::known_regions::{KnownRegion, KnownRegions};
use super::reader::{Entry, Table, Value, read_document};
use super::text::StringPlaces;
use super::{region, service};
use crate::control::diagnostic::{Diagnostic, SourceFile, Span};
use crate::control::zonefile::{self, Before, Known, MasterText, ServiceOwner, Strictness, ZoneRead, ZoneText};
use crate::model::{EndpointTarget, Name, Region, RegionId, Service, Ttl, Zone, ZoneId, ZoneNodes};

/// The contents of one zone file. Complete only where `diagnostics` has no error.
#[derive(Clone, Debug)]
pub struct ZoneParts {
    pub zone: Option<(Zone, Span)>,
    pub regions: Vec<Region>,
    /// Each with its place.
    pub services: Vec<(Service, Span)>,
    /// What regions depend on, by name.
    pub depends_on: Vec<(RegionId, Vec<Named>)>,
    pub diagnostics: Vec<Diagnostic>,
    /// Of the records, for the next time.
    pub known: Option<Arc<Known>>,
}

impl ZoneParts {
    /// Tells whether its regions and services are those of the zone of this id, as far as there are any.
    pub fn is_of(&self, id: ZoneId) -> bool {
        let services = self.services.iter().map(|(service, _)| service.zone);
        self.regions.iter().map(|region| region.zone).chain(services).all(|of| of == id)
    }

    /// The records, for whoever reads them once more.
    pub fn before(&self) -> Option<Before<'_>> {
        Some(Before { known: self.known.as_ref()?, nodes: &self.zone.as_ref()?.0.nodes })
    }
}

/// Reads a zone file. Its regions get ids from `first_region` on. What was made of it `before` makes it quicker.
pub fn read(
    file: &Arc<SourceFile>,
    id: ZoneId,
    first_region: usize,
    sources: &Sources<'_>,
    before: Option<Before<'_>>,
) -> ZoneParts {
    let mut elsewhere = Vec::new();
    let (mut parts, found) =
        read_document(file, "the zone file", |root| read_root(root, id, first_region, sources, before, &mut elsewhere));
    parts.diagnostics = found;
    parts.diagnostics.append(&mut elsewhere);
    parts
}

fn read_root(
    root: &Table<'_>,
    id: ZoneId,
    first_region: usize,
    sources: &Sources<'_>,
    before: Option<Before<'_>>,
    elsewhere: &mut Vec<Diagnostic>,
) -> ZoneParts {
    let origin_key = root.require("origin", "origin = \"gslb.example.com\"");
    let origin = origin_key.and_then(|v| v.text("the zone's name such as \"gslb.example.com\"", zone_name));
    if let Some((key, origin)) = origin_key.zip(origin.as_ref()) {
        warn_of_odd_origin(&key, origin);
    }
    // Without an origin the rest is still read, so that its own mistakes are told.
    let base = origin.clone().unwrap_or_else(Name::root);
    let region_entries = entries(root.get("region"), "tables: [region.NAME]");
    let (read, depends_on): (Vec<_>, Vec<_>) =
        region_entries.iter().map(|entry| region::read(entry, id, &base, sources)).unzip();
    let known = known_regions(&region_entries, first_region);
    let service_entries = entries(root.get("service"), "tables: [service.NAME]");
    let services: Vec<_> = service_entries.iter().map(|entry| service::read(entry, id, &base, &known)).collect();
    depends_on.iter().flatten().for_each(|named| use_as_dependency(&named.name, &base, &known));
    warn_of_unused(root, &known);
    let places: Vec<Span> = region_entries.iter().map(Entry::span).collect();
    let owners = owners(&service_entries, &services, &read, &places, first_region);
    let strict = root.or("strict", true, |v| v.boolean());
    let strictness = if strict { Strictness::Strict } else { Strictness::Lenient };
    let files = RecordFiles { sources, strictness };
    let mut known = None;
    let zone = match origin.zip(origin_key) {
        Some((origin, key)) => {
            let read = with_records(root, files, |text, default_ttl, files| {
                let origin_span = &key.span();
                let text = ZoneText { text, origin: &origin, origin_span, default_ttl, services: &owners, strictness };
                zonefile::read_zone(&text, files, before)
            });
            let nodes = read.map(|read| keep_nodes(read, &key, &mut known, elsewhere)).unwrap_or_default();
            Some((Zone { origin, nodes }, key.span()))
        }
        None => {
            let parsed = with_records(root, files, |text, ttl, files| zonefile::parse(text, &base, ttl, files));
            elsewhere.extend(parsed.into_iter().flat_map(|parsed| parsed.diagnostics));
            None
        }
    };
    let placed = |(service, entry): (Option<Service>, &Entry<'_>)| Some((service?, entry.span()));
    ZoneParts {
        zone,
        regions: read.into_iter().flatten().collect(),
        services: services.into_iter().zip(&service_entries).filter_map(placed).collect(),
        depends_on: by_region(depends_on, first_region),
        diagnostics: Vec::new(),
        known,
    }
}

/// Of each region that has any.
fn by_region(depends_on: Vec<Vec<Named>>, first: usize) -> Vec<(RegionId, Vec<Named>)> {
    let numbered = depends_on.into_iter().enumerate().filter(|(_, named)| !named.is_empty());
    numbered.map(|(index, named)| (region_id(first + index), named)).collect()
}

/// Beyond the limit nothing is loaded, so that the number does not matter.
fn region_id(index: usize) -> RegionId {
    RegionId(u16::try_from(index).unwrap_or(u16::MAX))
}

/// A region that others of its zone depend on is of use, though it may never be handed out.
fn use_as_dependency(name: &str, origin: &Name, known: &KnownRegions<'_>) {
    let (name, zone) = name.split_once('@').unwrap_or((name, ""));
    let is_here = zone.is_empty() || Name::parse_absolute(zone).is_ok_and(|zone| zone == *origin);
    if let Some(region) = known.get(name).filter(|_| is_here) {
        region.used.set(true);
    }
}

/// Any name, but no URL: every octet may stand in a name, so that one would pass for one.
fn zone_name(text: &str) -> Result<Name, String> {
    if text.contains("://") {
        return Err("this is a URL: write the name alone".to_owned());
    }
    Name::parse_absolute(text).map_err(|error| error.to_string())
}

/// Every octet may stand in a name (RFC 2181 section 11), but nobody asks for a space or a comma.
fn warn_of_odd_origin(key: &Value<'_>, origin: &Name) {
    // `/` stands in reverse zones of less than a /24 (RFC 2317 section 4).
    let usual = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'/');
    if let Some(&octet) = origin.labels().flatten().find(|octet| !usual(octet)) {
        let label = match octet {
            b' ' => "a space".to_owned(),
            b'!'..=b'~' => format!("the character `{}`", char::from(octet)),
            _ => format!("the octet {octet}"),
        };
        let odd = Diagnostic::warning("the origin holds a character that names of hosts do not have");
        key.report().push(odd.at(key.span(), label));
    }
}

fn entries<'a>(value: Option<Value<'a>>, expected: &str) -> Vec<Entry<'a>> {
    value.and_then(|value| value.entries(expected)).unwrap_or_default()
}

/// All regions of the file by name, also those with mistakes: services may name them.
fn known_regions<'a>(entries: &[Entry<'a>], first: usize) -> KnownRegions<'a> {
    let mut known = KnownRegions::new();
    let mut lowercase: HashMap<String, Span> = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Some(other) = lowercase.insert(entry.value.name.to_lowercase(), entry.span()) {
            let alike = Diagnostic::error("two regions of a zone differ only in upper and lower case");
            entry.value.report().push(alike.at(entry.span(), "this one").related(other, "and this one"));
        }
        let region = KnownRegion {
            name: entry.value.name,
            span: entry.span(),
            id: region_id(first + index),
            has_check: entry.value.has("check"),
            used: Cell::new(false),
        };
        known.insert(region.name, region);
    }
    known
}

fn warn_of_unused(root: &Table<'_>, known: &KnownRegions<'_>) {
    for region in known.values().filter(|region| !region.used.get()) {
        let unused = Diagnostic::warning(format!("no service uses region `{}`", region.name));
        root.report().push(unused.at(region.span.clone(), "never handed out"));
    }
}

/// The facts that the check of the records must know of the services.
fn owners(
    entries: &[Entry<'_>],
    services: &[Option<Service>],
    regions: &[Option<Region>],
    places: &[Span],
    first_region: usize,
) -> Vec<ServiceOwner> {
    let region = |id: &RegionId| {
        let index = id.index().checked_sub(first_region)?;
        Some((regions.get(index)?.as_ref()?, places.get(index)?))
    };
    let owner = |(entry, service): (&Entry<'_>, &Option<Service>)| {
        let service = service.as_ref()?;
        let mut has_addresses = false;
        let mut hosts = Vec::new();
        for (region, place) in service.regions.iter().filter_map(region) {
            for endpoint in &region.endpoints {
                match &endpoint.target {
                    EndpointTarget::Host(host) => hosts.push((host.clone(), place.clone())),
                    _ => has_addresses = true,
                }
            }
        }
        Some(ServiceOwner {
            name: service.name.clone(),
            span: entry.span(),
            hosts,
            has_addresses,
            https: service.https.is_some(),
        })
    };
    entries.iter().zip(services).filter_map(owner).collect()
}

/// Has the text of the static records read, from `records` or from `records_file`, with the TTL of the zone.
fn with_records<T>(
    root: &Table<'_>,
    mut files: RecordFiles<'_>,
    read: impl FnOnce(MasterText<'_>, Option<Ttl>, &mut RecordFiles<'_>) -> T,
) -> Option<T> {
    let ttl = root.get("ttl").and_then(|v| v.ttl());
    let key = root.one_of(&["records", "records_file"])?;
    let text = key.string("zone records (RFC 1035)")?;
    if key.is_broken() {
        return None;
    }
    if key.name == "records" {
        let file = root.report().file();
        let places = StringPlaces::new(&file.text, key.span().range, text);
        let locate = |range| places.locate(range);
        return Some(read(MasterText { file, text, locate: &locate }, ttl, &mut files));
    }
    match files.open(text, root.report().file()) {
        Ok(file) => Some(read(MasterText::whole(&file), ttl, &mut files)),
        Err(error) => key.error(error, "named here"),
    }
}

/// The nodes of a zone. Mistakes go to `elsewhere`: they may stand in other files.
fn keep_nodes(
    read: ZoneRead,
    origin_key: &Value<'_>,
    known: &mut Option<Arc<Known>>,
    elsewhere: &mut Vec<Diagnostic>,
) -> ZoneNodes {
    let unreadable = origin_key.report().is_broken() || read.of_text.iter().any(Diagnostic::is_error);
    elsewhere.extend(read.of_text);
    let origin_span = origin_key.span();
    // What the zone seems to lack, such as its SOA, may be among what could not be read.
    elsewhere.extend(read.of_zone.into_iter().filter(|each| !unreadable || each.span.as_ref() != Some(&origin_span)));
    *known = read.known;
    read.nodes
}

/// Tells whether a file of the zones directory is a zone file: `*.toml`, and not hidden as the
/// temporary files of editors are.
pub fn is_zone_file(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.ends_with(".toml") && !name.starts_with('.')
}
