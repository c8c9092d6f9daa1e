//! One record of a database as a place, whoever made the database.
//!
//! Two layouts are known: the nested one of GeoIP2 and GeoLite2 (`country.iso_code`,
//! `city.names.en`, `location.latitude`) and the flat ones of other vendors (`country_code`,
//! `city`, `latitude`). Keys are looked for by name, whatever the type says it is; what is
//! unknown, of an odd type or not wanted is passed over.

use std::str::FromStr;

use super::data::{Damage, Data, Value};
use super::sources::Detail;
use crate::model::{Continent, Coordinates, CountryCode};

/// The content of a record on a place, as it is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record<'a> {
    pub continent: Option<Continent>,
    country: Option<CountryCode>,
    /// The country where the network was registered: used where the country is not said.
    registered: Option<CountryCode>,
    /// An ISO 3166-2 code's part after the country.
    pub subdivision: Option<&'a str>,
    pub city: Option<&'a str>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    pub asn: Option<u32>,
}

impl<'a> Record<'a> {
    /// Reads the record at an offset of the data, as closely as is wanted.
    pub fn read(data: &mut Data<'a>, at: usize, wanted: Detail) -> Result<Record<'a>, Damage> {
        let mut record = Record::default();
        if let Value::Map(mut map) = data.value(at)? {
            while let Some((key, at)) = data.next_entry(&mut map)? {
                record.take(key, at, data, wanted)?;
                if record.says_all(wanted) {
                    break;
                }
            }
        }
        Ok(record)
    }

    /// Without what is not wanted.
    pub fn limited_to(self, wanted: Detail) -> Record<'a> {
        let nothing = Record::default();
        let operators = if wanted.operators { self.asn } else { None };
        let subdivision = if wanted.subdivisions { self.subdivision } else { None };
        let at = if wanted.positions { &self } else { &nothing };
        Record { city: at.city, latitude: at.latitude, longitude: at.longitude, asn: operators, subdivision, ..self }
    }

    pub fn country(&self) -> Option<CountryCode> {
        self.country.or(self.registered)
    }

    pub fn coordinates(&self) -> Option<Coordinates> {
        self.latitude.zip(self.longitude).and_then(|(latitude, longitude)| Coordinates::new(latitude, longitude))
    }

    /// Tells whether nothing can follow that is wanted and not said.
    fn says_all(&self, wanted: Detail) -> bool {
        let place = self.city.is_some() && self.latitude.is_some() && self.longitude.is_some();
        self.country.is_some()
            && self.continent.is_some()
            && (place || !wanted.positions)
            && (self.subdivision.is_some() || !wanted.subdivisions)
            && (self.asn.is_some() || !wanted.operators)
    }

    /// Of several keys that say the same, the first sensible one holds.
    fn take(&mut self, key: &[u8], at: usize, data: &mut Data<'a>, wanted: Detail) -> Result<(), Damage> {
        match key {
            b"continent" | b"continent_code" => keep(&mut self.continent, parsed(code(data, at)?)),
            b"country" | b"country_code" | b"country_iso_code" | b"countryCode" => {
                keep(&mut self.country, parsed(code(data, at)?));
            }
            b"registered_country" => keep(&mut self.registered, parsed(code(data, at)?)),
            b"subdivisions" if wanted.subdivisions => {
                let code = first(data, at)?.map(|at| code(data, at)).transpose()?;
                keep(&mut self.subdivision, subdivision(code.flatten()));
            }
            b"subdivision" | b"subdivision_code" | b"region" | b"region_code" | b"state" | b"state_code"
                if wanted.subdivisions =>
            {
                keep(&mut self.subdivision, subdivision(code(data, at)?));
            }
            b"city" | b"city_name" if wanted.positions => keep(&mut self.city, title(data, at)?),
            b"location" | b"loc" if wanted.positions => self.take_location(at, data)?,
            b"latitude" | b"lat" if wanted.positions => keep(&mut self.latitude, number(data.value(at)?)?),
            b"longitude" | b"lon" | b"lng" if wanted.positions => keep(&mut self.longitude, number(data.value(at)?)?),
            b"asn" | b"as_number" | b"autonomous_system_number" if wanted.operators => {
                keep(&mut self.asn, asn(data.value(at)?)?);
            }
            b"traits" if wanted.operators => {
                if let Some(at) = find(data, at, &[b"autonomous_system_number"])? {
                    keep(&mut self.asn, asn(data.value(at)?)?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A map of both, or a text such as `51.5,-0.1`.
    fn take_location(&mut self, at: usize, data: &mut Data<'a>) -> Result<(), Damage> {
        match data.value(at)? {
            Value::Map(mut map) => {
                while let Some((key, at)) = data.next_entry(&mut map)? {
                    match key {
                        b"latitude" => keep(&mut self.latitude, number(data.value(at)?)?),
                        b"longitude" => keep(&mut self.longitude, number(data.value(at)?)?),
                        _ => {}
                    }
                }
            }
            Value::Text(octets) => {
                let (latitude, longitude) = text(octets)?.split_once(',').unzip();
                keep(&mut self.latitude, parsed(latitude));
                keep(&mut self.longitude, parsed(longitude));
            }
            _ => {}
        }
        Ok(())
    }
}

fn keep<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

/// The text itself, or a map's `iso_code` or `code`.
fn code<'a>(data: &mut Data<'a>, at: usize) -> Result<Option<&'a str>, Damage> {
    named(data, at, &[b"iso_code", b"code"])
}

/// A text itself, or the first text among a map's values of these keys.
fn named<'a>(data: &mut Data<'a>, at: usize, keys: &[&[u8]]) -> Result<Option<&'a str>, Damage> {
    match data.value(at)? {
        Value::Text(octets) => Ok(Some(text(octets)?)),
        Value::Map(mut map) => {
            while let Some((key, at)) = data.next_entry(&mut map)? {
                if keys.contains(&key)
                    && let Value::Text(octets) = data.value(at)?
                {
                    return Ok(Some(text(octets)?));
                }
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// A name that says something: the text itself, or a map's `names.en` or `name`.
fn title<'a>(data: &mut Data<'a>, at: usize) -> Result<Option<&'a str>, Damage> {
    let names = find(data, at, &[b"names"])?;
    let mut english = None;
    if let Some(names) = names
        && let Some(at) = find(data, names, &[b"en"])?
        && let Value::Text(octets) = data.value(at)?
    {
        english = Some(text(octets)?);
    }
    let name = if english.is_some() { english } else { named(data, at, &[b"name"])? };
    Ok(name.map(str::trim).filter(|name| !name.is_empty() && *name != "-"))
}

/// The offset of the value of the first of these keys, if this is a map that has one.
fn find(data: &mut Data<'_>, at: usize, keys: &[&[u8]]) -> Result<Option<usize>, Damage> {
    if let Value::Map(mut map) = data.value(at)? {
        while let Some((key, at)) = data.next_entry(&mut map)? {
            if keys.contains(&key) {
                return Ok(Some(at));
            }
        }
    }
    Ok(None)
}

/// The first of a list; a lone text is its own list.
fn first(data: &mut Data<'_>, at: usize) -> Result<Option<usize>, Damage> {
    match data.value(at)? {
        Value::List(mut list) => data.next_item(&mut list),
        Value::Text(_) => Ok(Some(at)),
        _ => Ok(None),
    }
}

/// `CA` of `CA` and `US-CA`. Names of regions are no codes (ISO 3166-2: one to three letters
/// or digits).
fn subdivision(code: Option<&str>) -> Option<&str> {
    let code = code?.trim();
    let code = code.split_once('-').map_or(code, |(_, code)| code);
    let fits = (1..=3).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
    fits.then_some(code)
}

fn parsed<T: FromStr>(text: Option<&str>) -> Option<T> {
    text.and_then(|text| text.trim().parse().ok())
}

fn number(value: Value<'_>) -> Result<Option<f64>, Damage> {
    Ok(match value {
        Value::Text(octets) => parsed(Some(text(octets)?)),
        Value::Number(number) => Some(number),
        _ => None,
    })
}

/// `64496`, `"64496"`, `"AS64496"`. Number 0 is reserved (RFC 7607): as good as none.
fn asn(value: Value<'_>) -> Result<Option<u32>, Damage> {
    let asn = match value {
        Value::Text(octets) => text(octets)?.trim().trim_start_matches(['A', 'S', 'a', 's']).parse().ok(),
        Value::Number(number) if (1.0..=f64::from(u32::MAX)).contains(&number) => Some(number as u32),
        _ => None,
    };
    Ok(asn.filter(|&asn| asn != 0))
}

fn text(octets: &[u8]) -> Result<&str, Damage> {
    std::str::from_utf8(octets).map_err(|_| Damage { reason: "a text that is no UTF-8", at: 0 })
}

#[cfg(test)]
mod tests {
    use super::super::places::Collector;
    use super::*;
    use crate::model::Location;

    /// Reads a record written as JSON, as a data section has it.
    fn read(json: &str) -> Location {
        read_as(json, Detail::ALL)
    }

    fn read_as(json: &str, wanted: Detail) -> Location {
        let mut bytes = Vec::new();
        encode(&serde_json::from_str(json).expect("JSON"), &mut bytes);
        let record = Record::read(&mut Data::new(&bytes, 1000), 0, wanted).expect("a record");
        let mut collector = Collector::new();
        let number = collector.add_record(&record);
        collector.finish(&[number]).location(0)
    }

    /// Texts, lists and maps below 29 octets or entries go by their control octet alone.
    fn encode(value: &serde_json::Value, into: &mut Vec<u8>) {
        use serde_json::Value as Json;
        match value {
            Json::String(text) => into.extend([&[2 << 5 | text.len() as u8], text.as_bytes()].concat()),
            Json::Number(number) if number.is_u64() => {
                into.extend([&[6 << 5 | 4], &(number.as_u64().expect("whole") as u32).to_be_bytes()[..]].concat());
            }
            Json::Number(number) => {
                into.extend([&[3 << 5 | 8], &number.as_f64().expect("a number").to_be_bytes()[..]].concat());
            }
            Json::Bool(truth) => into.extend([u8::from(*truth), 7]),
            Json::Null => into.extend([4 << 5]),
            Json::Array(items) => {
                into.extend([items.len() as u8, 4]);
                items.iter().for_each(|item| encode(item, into));
            }
            Json::Object(entries) => {
                into.push(7 << 5 | entries.len() as u8);
                for (key, value) in entries {
                    encode(&Json::from(key.as_str()), into);
                    encode(value, into);
                }
            }
        }
    }

    fn london() -> Location {
        Location {
            continent: Some(Continent::Europe),
            country: "GB".parse().ok(),
            subdivision: Some("ENG".into()),
            city: Some("London".into()),
            coordinates: Coordinates::new(51.5142, -0.0931),
            asn: Some(20712),
        }
    }

    #[test]
    fn the_layout_of_geoip2() {
        let location = read(
            r#"{"city": {"geoname_id": 2643743, "names": {"de": "Londres", "en": "London"}},
                "continent": {"code": "EU", "names": {"en": "Europe"}}, "country": {"iso_code": "GB"},
                "location": {"accuracy_radius": 10, "latitude": 51.5142, "longitude": -0.0931},
                "registered_country": {"iso_code": "US"}, "traits": {"autonomous_system_number": 20712},
                "subdivisions": [{"iso_code": "ENG", "names": {"en": "England"}}, {"iso_code": "LND"}]}"#,
        );
        assert_eq!(location, london());
    }

    #[test]
    fn the_flat_layouts_of_others() {
        for json in [
            r#"{"continent_code": "EU", "country_code": "GB", "region": "ENG", "city": "London",
                "latitude": "51.5142", "longitude": "-0.0931", "asn": "AS20712"}"#,
            r#"{"continent": "Europe", "continent_code": "EU", "country": "United Kingdom", "country_code": "gb",
                "state": "GB-ENG", "city": "London", "loc": "51.5142,-0.0931", "asn": "20712"}"#,
            r#"{"continent": "EU", "country": "GB", "region_code": "ENG", "region": "England", "city": {"name": "London"},
                "lat": 51.5142, "lng": -0.0931, "autonomous_system_number": 20712, "organization": ["x", {"y": 1}]}"#,
        ] {
            assert_eq!(read(json), london(), "{json}");
        }
    }

    #[test]
    fn where_the_country_is_not_said_the_registered_one_is_used() {
        assert_eq!(read(r#"{"registered_country": {"iso_code": "SE"}}"#).country, "SE".parse().ok());
    }

    #[test]
    fn odd_values_are_passed_over() {
        let json = r#"{"city": [1, [2]], "country": true, "continent": {"code": 7}, "location": [], "asn": "AS0",
            "latitude": 91, "longitude": "east", "subdivisions": {"iso_code": "X"}, "state": "England", "traits": 1,
            "postal": {"code": "x"}, "registered_country": -3}"#;
        assert_eq!(read(json), Location::default());
        for json in ["{}", "[]", "[[[1]]]", "7", "true", r#""GB""#] {
            assert_eq!(read(json), Location::default(), "{json}");
        }
    }

    #[test]
    fn what_is_not_wanted_is_passed_over() {
        let json = r#"{"city": {"names": {"en": "London"}}, "continent": {"code": "EU"}, "country": {"iso_code": "GB"},
            "location": {"latitude": 51.5142, "longitude": -0.0931}, "traits": {"autonomous_system_number": 20712},
            "subdivisions": [{"iso_code": "ENG"}]}"#;
        let country =
            Location { continent: Some(Continent::Europe), country: "GB".parse().ok(), ..Location::default() };
        assert_eq!(read_as(json, Detail::COUNTRIES), country);
        let operators = Detail { operators: true, ..Detail::COUNTRIES };
        assert_eq!(read_as(json, operators), Location { asn: Some(20712), ..country.clone() });
        let subdivisions = Detail { subdivisions: true, ..Detail::COUNTRIES };
        assert_eq!(read_as(json, subdivisions), Location { subdivision: Some("ENG".into()), ..country });
        assert_eq!(read_as(json, Detail::ALL), london());
    }
}
