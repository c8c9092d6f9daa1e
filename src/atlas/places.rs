//! Distinct places, each kept once in 24 bytes, their names in one text.
//!
//! [`Collector`] gathers and combines locations while databases are compiled; [`Places`] is
//! what remains for serving. Place 0 is always the unknown one.

use std::collections::HashMap;

use super::centroid::{centroid, continent_of};
use super::record::Record;
use crate::model::{Continent, Coordinates, CountryCode, Location};

/// Names longer than this are cut: no real one is, and one location must not fill the memory.
const MAX_NAME_BYTES: usize = 256;

/// All that is known of the places of an atlas.
pub struct Places {
    table: Box<[PlaceRow]>,
    names: Names,
}

impl Places {
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Unknown for a number that is not one of these places.
    pub fn location(&self, place: u32) -> Location {
        self.table.get(place as usize).map_or_else(Location::default, |place| place.to_location(&self.names))
    }

    /// Its own, else the centroid of its country.
    pub fn coordinates(&self, place: u32) -> Option<Coordinates> {
        let place = self.table.get(place as usize)?;
        place.coordinates().or_else(|| centroid(place.country?))
    }

    /// The network operator (ASN) and the country.
    pub fn operator(&self, place: u32) -> (Option<u32>, Option<CountryCode>) {
        let Some(place) = self.table.get(place as usize) else { return (None, None) };
        ((place.asn != 0).then_some(place.asn), place.country)
    }

    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.table) + self.names.text.len() + size_of_val(&*self.names.ends)
    }
}

/// Gathers places; equal ones get the same number.
pub struct Collector {
    table: Vec<PlaceRow>,
    numbers: HashMap<PlaceRow, u32>,
    names: Names,
    name_numbers: HashMap<Box<str>, u32>,
}

impl Collector {
    pub fn new() -> Collector {
        let unknown = PlaceRow::default();
        Collector {
            table: vec![unknown],
            numbers: HashMap::from([(unknown, 0)]),
            names: Names { text: String::new(), ends: vec![0] },
            name_numbers: HashMap::new(),
        }
    }

    /// The number of this location. A country without a continent gets the continent it is in.
    pub fn add(&mut self, location: &Location) -> u32 {
        let place = PlaceRow {
            city: self.name(location.city.as_deref()),
            subdivision: self.name(location.subdivision.as_deref()),
            asn: location.asn.unwrap_or(0),
            country: location.country,
            continent: location.continent.or_else(|| continent_of(location.country?)),
            ..PlaceRow::at(location.coordinates)
        };
        self.number(place)
    }

    /// The number of what a record says.
    pub fn add_record(&mut self, record: &Record<'_>) -> u32 {
        let country = record.country();
        let place = PlaceRow {
            city: self.name(record.city),
            subdivision: self.name(record.subdivision),
            asn: record.asn.unwrap_or(0),
            country,
            continent: record.continent.or_else(|| continent_of(country?)),
            ..PlaceRow::at(record.coordinates())
        };
        self.number(place)
    }

    /// `first`, with what it leaves out filled from `second`.
    ///
    /// Where the two name different countries, only the network operator (ASN) is filled in:
    /// a city of one country must not appear in another.
    pub fn fill(&mut self, first: u32, second: u32) -> u32 {
        if first == 0 || second == 0 || first == second {
            return first.max(second);
        }
        let mut place = self.table[first as usize];
        let other = self.table[second as usize];
        place.asn = if place.asn == 0 { other.asn } else { place.asn };
        if place.country.is_none() || other.country.is_none() || place.country == other.country {
            place.country = place.country.or(other.country);
            place.continent = place.continent.or(other.continent);
            place.subdivision = if place.subdivision == 0 { other.subdivision } else { place.subdivision };
            place.city = if place.city == 0 { other.city } else { place.city };
            if place.latitude == NOWHERE {
                (place.latitude, place.longitude) = (other.latitude, other.longitude);
            }
        }
        self.number(place)
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// The size of the names' text, in bytes.
    pub fn text_bytes(&self) -> usize {
        self.names.text.len()
    }

    /// The places numbered as in `kept`, and no others.
    pub fn finish(self, kept: &[u32]) -> Places {
        let table = kept.iter().map(|&number| self.table[number as usize]).collect();
        let Names { mut text, mut ends } = self.names;
        text.shrink_to_fit();
        ends.shrink_to_fit();
        Places { table, names: Names { text, ends } }
    }

    fn number(&mut self, place: PlaceRow) -> u32 {
        let next = self.table.len() as u32;
        let number = *self.numbers.entry(place).or_insert(next);
        if number == next {
            self.table.push(place);
        }
        number
    }

    /// 0 for none.
    fn name(&mut self, name: Option<&str>) -> u32 {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return 0;
        };
        let cut = (0..=name.len().min(MAX_NAME_BYTES)).rev().find(|&at| name.is_char_boundary(at));
        let name = &name[..cut.unwrap_or(0)];
        if let Some(&number) = self.name_numbers.get(name) {
            return number;
        }
        let number = self.names.ends.len() as u32;
        self.names.text.push_str(name);
        self.names.ends.push(self.names.text.len() as u32);
        self.name_numbers.insert(name.into(), number);
        number
    }
}

/// One place. Numbers of names; 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PlaceRow {
    city: u32,
    subdivision: u32,
    /// Millionths of a degree (11 cm); [`NOWHERE`] for none.
    latitude: i32,
    longitude: i32,
    /// 0 for none.
    asn: u32,
    country: Option<CountryCode>,
    continent: Option<Continent>,
}

const NOWHERE: i32 = i32::MIN;

impl Default for PlaceRow {
    fn default() -> PlaceRow {
        PlaceRow {
            city: 0,
            subdivision: 0,
            latitude: NOWHERE,
            longitude: NOWHERE,
            asn: 0,
            country: None,
            continent: None,
        }
    }
}

impl PlaceRow {
    /// Known by its coordinates alone, if by anything.
    fn at(coordinates: Option<Coordinates>) -> PlaceRow {
        let Some(at) = coordinates else { return PlaceRow::default() };
        PlaceRow { latitude: to_micro(at.latitude()), longitude: to_micro(at.longitude()), ..PlaceRow::default() }
    }

    fn to_location(self, names: &Names) -> Location {
        Location {
            continent: self.continent,
            country: self.country,
            subdivision: names.get(self.subdivision).map(Box::from),
            city: names.get(self.city).map(Box::from),
            coordinates: self.coordinates(),
            asn: (self.asn != 0).then_some(self.asn),
        }
    }

    fn coordinates(self) -> Option<Coordinates> {
        let known = self.latitude != NOWHERE && self.longitude != NOWHERE;
        known.then(|| Coordinates::new(f64::from(self.latitude) / 1e6, f64::from(self.longitude) / 1e6)).flatten()
    }
}

/// Degrees to millionths of a degree: within ±180,000,000.
fn to_micro(degrees: f64) -> i32 {
    (degrees * 1e6).round() as i32
}

/// Name `n` is the text from the end of name `n - 1` to its own.
struct Names {
    text: String,
    /// The first is 0: the end of "no name".
    ends: Vec<u32>,
}

impl Names {
    /// `None` for number 0.
    fn get(&self, number: u32) -> Option<&str> {
        let before = (number as usize).checked_sub(1)?;
        let (start, end) = (*self.ends.get(before)?, *self.ends.get(before + 1)?);
        self.text.get(start as usize..end as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(country: &str, city: Option<&str>, asn: Option<u32>) -> Location {
        Location {
            continent: country.parse().ok().and_then(continent_of),
            country: country.parse().ok(),
            city: city.map(Box::from),
            asn,
            ..Location::default()
        }
    }

    #[test]
    fn equal_places_are_kept_once_and_come_back_as_they_were() {
        let mut collector = Collector::new();
        let seoul = Location {
            continent: Some(Continent::Asia),
            country: "KR".parse().ok(),
            subdivision: Some("11".into()),
            city: Some("Seoul".into()),
            coordinates: Coordinates::new(37.5112, 126.9741),
            asn: Some(4766),
        };
        let number = collector.add(&seoul);
        assert_eq!((number, collector.add(&seoul)), (1, 1));
        assert_eq!(collector.add(&Location::default()), 0);
        let places = collector.finish(&[0, 1]);
        assert_eq!(places.location(1), seoul);
        assert_eq!(places.location(0), Location::default());
        assert_eq!(places.location(99), Location::default());
    }

    #[test]
    fn a_later_database_fills_gaps_and_never_mixes_countries() {
        let mut collector = Collector::new();
        let country = collector.add(&place("DE", None, None));
        let city = collector.add(&place("DE", Some("Berlin"), None));
        let abroad = collector.add(&place("FR", Some("Paris"), Some(3215)));
        let filled = collector.fill(country, city);
        let mixed = collector.fill(country, abroad);
        let places = collector.finish(&[filled, mixed]);
        assert_eq!(places.location(0), place("DE", Some("Berlin"), None));
        assert_eq!(places.location(1), place("DE", None, Some(3215)));
    }

    #[test]
    fn a_place_takes_24_bytes_and_a_long_name_is_cut() {
        assert_eq!(size_of::<PlaceRow>(), 24);
        let mut collector = Collector::new();
        let number = collector.add(&place("DE", Some(&"é".repeat(1000)), None));
        let city = collector.finish(&[number]).location(0).city.expect("a city");
        assert_eq!(&*city, "é".repeat(128));
    }

    #[test]
    fn a_country_alone_has_the_coordinates_of_its_centroid() {
        let mut collector = Collector::new();
        let number = collector.add(&place("KR", None, None));
        let places = collector.finish(&[number]);
        assert_eq!(places.location(0).coordinates, None);
        assert!((places.coordinates(0).expect("a centroid").latitude() - 36.0).abs() < 1.5);
    }
}
