//! Maps of the geoip plugin: places, and the datacenters for each in order.

use std::collections::BTreeMap;
use std::path::Path;

use crate::control::config::Files;
use crate::control::import::draft::{Child, GeoDraft, Place, RuleDraft};
use crate::control::import::left::Leftovers;
use crate::control::import::vscf::{self, Entry, Kind, Value};
use crate::model::Prefix;

const CONTINENTS: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];

/// A map as it was read.
pub struct Map {
    /// In their order.
    pub datacenters: Vec<String>,
    pub places: BTreeMap<String, Place>,
    pub database: Option<(String, vscf::Place)>,
    pub ecs: bool,
    default: Order,
    /// By kind of place and place; those of more specific kinds first.
    lists: Vec<(&'static str, String, Order)>,
}

/// The order for a place.
#[derive(Clone, PartialEq)]
enum Order {
    /// By distance.
    Auto,
    List(Vec<String>),
}

impl Map {
    pub fn read(entry: &Entry, files: &dyn Files, folder: &Path, left: &mut Leftovers) -> Map {
        let hash = &entry.value;
        let datacenters: Vec<String> = hash
            .get("datacenters")
            .map(Value::items)
            .unwrap_or_default()
            .iter()
            .filter_map(|item| Some(item.text()?.to_owned()))
            .collect();
        let places = places(hash.get("auto_dc_coords"));
        let usual = if hash.get("auto_dc_coords").is_some() { Order::Auto } else { Order::List(datacenters.clone()) };
        let database = hash.get("geoip2_db").and_then(|value| Some((value.text()?.to_owned(), value.at.clone())));
        let ecs = !hash.get("ignore_ecs").is_some_and(Value::is_true);
        let mut map = Map { datacenters, places, database, ecs, default: usual, lists: Vec::new() };
        for setting in hash.entries() {
            match setting.key.as_str() {
                "geoip2_db" | "datacenters" | "auto_dc_coords" | "ignore_ecs" | "auto_dc_limit" => {}
                "map" => map.world(&setting.value, left),
                "nets" => map.networks(&setting.value, files, folder, left),
                key => left.push(
                    &setting.at.file,
                    setting.at.line,
                    format!("map {}: {key}", entry.key),
                    "has no counterpart",
                ),
            }
        }
        let rank =
            |kind: &str| ["network", "subdivision", "country", "continent"].iter().position(|known| *known == kind);
        let length =
            |place: &str| place.split_once('/').and_then(|(_, length)| length.parse::<u8>().ok()).unwrap_or_default();
        map.lists.sort_by_key(|(kind, place, _)| (rank(kind), std::cmp::Reverse(length(place)), place.clone()));
        map
    }

    /// Continents, countries in them, and what is inside those.
    fn world(&mut self, world: &Value, left: &mut Leftovers) {
        for entry in world.entries() {
            match entry.key.as_str() {
                "default" => self.default = self.order(&entry.value, left).unwrap_or(self.default.clone()),
                continent if CONTINENTS.contains(&continent) => {
                    let inner = entry.value.entries();
                    let own = if inner.is_empty() { Some(&entry.value) } else { entry.value.get("default") };
                    self.add("continent", continent.to_owned(), own, left);
                    inner.iter().filter(|inner| inner.key != "default").for_each(|country| self.country(country, left));
                }
                other => left.push(&entry.at.file, entry.at.line, other, "is no continent"),
            }
        }
    }

    fn country(&mut self, entry: &Entry, left: &mut Leftovers) {
        let inner = entry.value.entries();
        let own = if inner.is_empty() { Some(&entry.value) } else { entry.value.get("default") };
        self.add("country", entry.key.clone(), own, left);
        self.inside(&entry.key, inner, left);
    }

    /// Subdivisions, at any depth; what has no code is a city.
    fn inside(&mut self, country: &str, entries: &[Entry], left: &mut Leftovers) {
        for entry in entries.iter().filter(|entry| entry.key != "default") {
            let inner = entry.value.entries();
            let is_code = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
            if (1..=3).contains(&entry.key.len()) && entry.key.bytes().all(is_code) {
                let own = if inner.is_empty() { Some(&entry.value) } else { entry.value.get("default") };
                self.add("subdivision", format!("{country}-{}", entry.key), own, left);
            } else if inner.is_empty() {
                let why = "cities have no lists here: a [[service.NAME.rule]] can name their networks";
                left.push(&entry.at.file, entry.at.line, format!("{country}: {}", entry.key), why);
            }
            self.inside(country, inner, left);
        }
    }

    /// Networks, in the file itself or in one of their own.
    fn networks(&mut self, value: &Value, files: &dyn Files, folder: &Path, left: &mut Leftovers) {
        let read;
        let entries = match value.text() {
            None => value.entries(),
            Some(path) => match vscf::read(files, &folder.join(path)) {
                Ok(found) => {
                    read = found;
                    read.entries()
                }
                Err(error) => return left.push(&value.at.file, value.at.line, format!("nets {path}"), error),
            },
        };
        for entry in entries {
            match entry.key.parse::<Prefix>() {
                Ok(prefix) => self.add("network", prefix.to_string(), Some(&entry.value), left),
                Err(error) => left.push(&entry.at.file, entry.at.line, &entry.key, error.to_string()),
            }
        }
    }

    fn add(&mut self, kind: &'static str, place: String, value: Option<&Value>, left: &mut Leftovers) {
        let Some(order) = value.and_then(|value| self.order(value, left)) else { return };
        self.lists.push((kind, place, order));
    }

    fn order(&self, value: &Value, left: &mut Leftovers) -> Option<Order> {
        if value.text() == Some("auto") {
            return Some(Order::Auto);
        }
        let names: Vec<String> = value.items().iter().filter_map(|item| Some(item.text()?.to_owned())).collect();
        if names.is_empty() {
            left.push(
                &value.at.file,
                value.at.line,
                "an empty list",
                "answers nobody there: here these clients get what the place around theirs gets",
            );
        }
        (!names.is_empty()).then_some(Order::List(names))
    }

    /// The policy over these datacenters: lists alone are `geo`; where distances decide, lists are rules.
    pub fn steer(&self, children: &BTreeMap<String, Child>) -> (&'static str, GeoDraft, Vec<RuleDraft>) {
        let named = |names: &[String]| -> Vec<String> {
            names.iter().filter_map(|name| Some(children.get(name)?.name().to_owned())).collect()
        };
        let all = || named(&self.datacenters);
        let is_auto = |order: &Order| *order == Order::Auto;
        let mixed = is_auto(&self.default) || self.lists.iter().any(|(_, _, order)| is_auto(order));
        let mut geo = GeoDraft::default();
        if !mixed {
            if let Order::List(names) = &self.default {
                geo.default = named(names);
            }
            for (kind, place, order) in &self.lists {
                let Order::List(names) = order else { continue };
                let names = named(names);
                if !names.is_empty() {
                    geo.lists.insert((kind, place.clone()), names);
                }
            }
            return ("geo", geo, Vec::new());
        }
        let rule = |(kind, place, order): &(&'static str, String, Order)| {
            let (policy, regions) = match order {
                Order::Auto => ("nearest", all()),
                Order::List(names) => ("failover", named(names)),
            };
            (!regions.is_empty()).then(|| RuleDraft { clients: (kind, place.clone()), policy, regions })
        };
        let rules = self.lists.iter().filter_map(rule).collect();
        (if is_auto(&self.default) { "nearest" } else { "failover" }, geo, rules)
    }
}

/// `auto_dc_coords`: latitude and longitude by datacenter.
fn places(value: Option<&Value>) -> BTreeMap<String, Place> {
    let place = |entry: &Entry| {
        let Kind::Array(items) = &entry.value.kind else { return None };
        let [latitude, longitude] = items.as_slice() else { return None };
        let [latitude, longitude] =
            [latitude, longitude].map(|value| value.text().and_then(|text| text.parse::<f64>().ok()));
        let (latitude, longitude) = latitude.zip(longitude)?;
        let fits = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        fits.then(|| (entry.key.clone(), Place { latitude, longitude }))
    };
    value.map(Value::entries).unwrap_or_default().iter().filter_map(place).collect()
}
