//! One record of a database as a [`Location`], whoever made the database.
//!
//! Two layouts are known: the nested one of GeoIP2 and GeoLite2 (`country.iso_code`,
//! `city.names.en`, `location.latitude`) and the flat ones of other vendors (`country_code`,
//! `city`, `latitude`). Keys are looked for by name, whatever the type says it is; what is
//! unknown or of an odd type is passed over.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::{Continent, Coordinates, CountryCode, Location};

/// What a record says of a place, as it is read.
#[derive(Default)]
pub struct Record<'a> {
    continent: Option<Continent>,
    country: Option<CountryCode>,
    /// Where the network was registered: used where the country is not said.
    registered: Option<CountryCode>,
    subdivision: Option<&'a str>,
    city: Option<&'a str>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    asn: Option<u32>,
}

impl Record<'_> {
    pub fn to_location(&self) -> Location {
        Location {
            continent: self.continent,
            country: self.country.or(self.registered),
            subdivision: self.subdivision.map(Box::from),
            city: self.city.map(Box::from),
            coordinates: self.latitude.zip(self.longitude).and_then(|(lat, lon)| Coordinates::new(lat, lon)),
            asn: self.asn,
        }
    }
}

impl<'a> Record<'a> {
    /// Reads the value of `key`. Of several keys that say the same, the first sensible one holds.
    fn read<M: MapAccess<'a>>(&mut self, key: &str, map: &mut M) -> Result<(), M::Error> {
        match key {
            "continent" | "continent_code" => keep(&mut self.continent, map.next_value::<Item>()?.parsed()),
            "country" | "country_code" | "country_iso_code" | "countryCode" => {
                keep(&mut self.country, map.next_value::<Item>()?.parsed());
            }
            "registered_country" => keep(&mut self.registered, map.next_value::<Item>()?.parsed()),
            "subdivisions" => keep(&mut self.subdivision, map.next_value::<First>()?.0.subdivision()),
            "subdivision" | "subdivision_code" | "region" | "region_code" | "state" | "state_code" => {
                keep(&mut self.subdivision, map.next_value::<Item>()?.subdivision());
            }
            "city" | "city_name" => keep(&mut self.city, map.next_value::<Item>()?.title()),
            "location" | "loc" => {
                let item = map.next_value::<Item>()?;
                keep(&mut self.latitude, item.latitude);
                keep(&mut self.longitude, item.longitude);
            }
            "latitude" | "lat" => keep(&mut self.latitude, map.next_value::<Scalar>()?.number()),
            "longitude" | "lon" | "lng" => keep(&mut self.longitude, map.next_value::<Scalar>()?.number()),
            "asn" | "as_number" | "autonomous_system_number" => {
                keep(&mut self.asn, map.next_value::<Scalar>()?.asn());
            }
            "traits" => keep(&mut self.asn, map.next_value::<Item>()?.asn),
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

fn keep<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

/// A value inside a record: a text or number, or a map with the keys of GeoIP2.
#[derive(Default)]
struct Item<'a> {
    /// The text itself, or the map's `iso_code` or `code`.
    code: Option<&'a str>,
    /// The text itself, or the map's `names.en` or `name`.
    name: Option<&'a str>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    asn: Option<u32>,
}

impl<'a> Item<'a> {
    fn parsed<T: std::str::FromStr>(&self) -> Option<T> {
        self.code.and_then(|code| code.trim().parse().ok())
    }

    fn title(&self) -> Option<&'a str> {
        self.name.map(str::trim).filter(|name| !name.is_empty() && *name != "-")
    }

    /// `CA` of `CA` and `US-CA`. Names of regions are no codes (ISO 3166-2: one to three letters
    /// or digits).
    fn subdivision(&self) -> Option<&'a str> {
        let code = self.code?.trim();
        let code = code.split_once('-').map_or(code, |(_, code)| code);
        let fits = (1..=3).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
        fits.then_some(code)
    }

    fn of_text(text: &'a str) -> Item<'a> {
        let (latitude, longitude) = match text.split_once(',') {
            Some((latitude, longitude)) => (latitude.trim().parse().ok(), longitude.trim().parse().ok()),
            None => (None, None),
        };
        Item { code: Some(text), name: Some(text), latitude, longitude, asn: None }
    }

    fn read<M: MapAccess<'a>>(&mut self, key: &str, map: &mut M) -> Result<(), M::Error> {
        match key {
            "iso_code" | "code" => keep(&mut self.code, map.next_value::<Scalar>()?.text()),
            "names" => keep(&mut self.name, map.next_value::<Names>()?.0),
            "name" => keep(&mut self.name, map.next_value::<Scalar>()?.text()),
            "latitude" => keep(&mut self.latitude, map.next_value::<Scalar>()?.number()),
            "longitude" => keep(&mut self.longitude, map.next_value::<Scalar>()?.number()),
            "autonomous_system_number" => keep(&mut self.asn, map.next_value::<Scalar>()?.asn()),
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// A text or a number; anything else is `Other`.
#[derive(Default)]
enum Scalar<'a> {
    Text(&'a str),
    Number(f64),
    #[default]
    Other,
}

impl<'a> Scalar<'a> {
    fn text(&self) -> Option<&'a str> {
        match self {
            Scalar::Text(text) => Some(text),
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Scalar::Text(text) => text.trim().parse().ok(),
            Scalar::Number(number) => Some(*number),
            Scalar::Other => None,
        }
    }

    /// `64496`, `"64496"`, `"AS64496"`. Number 0 is reserved (RFC 7607): as good as none.
    fn asn(&self) -> Option<u32> {
        let asn = match self {
            Scalar::Text(text) => text.trim().trim_start_matches(['A', 'S', 'a', 's']).parse().ok()?,
            Scalar::Number(number) if (1.0..=f64::from(u32::MAX)).contains(number) => *number as u32,
            _ => return None,
        };
        (asn != 0).then_some(asn)
    }
}

/// The first of a list; a lone item is its own list.
#[derive(Default)]
struct First<'a>(Item<'a>);

/// The English one of a map of names.
#[derive(Default)]
struct Names<'a>(Option<&'a str>);

/// What can be made of each kind of value. The defaults pass over it, so that no vendor's oddity
/// fails a record.
trait FromAny<'a>: Default {
    fn from_text(_: &'a str) -> Self {
        Self::default()
    }

    fn from_number(_: f64) -> Self {
        Self::default()
    }

    fn from_list<S: SeqAccess<'a>>(mut list: S) -> Result<Self, S::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    fn from_map<M: MapAccess<'a>>(mut map: M) -> Result<Self, M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

impl<'a> FromAny<'a> for Record<'a> {
    fn from_map<M: MapAccess<'a>>(mut map: M) -> Result<Record<'a>, M::Error> {
        let mut record = Record::default();
        while let Some(key) = map.next_key::<&str>()? {
            record.read(key, &mut map)?;
        }
        Ok(record)
    }
}

impl<'a> FromAny<'a> for Item<'a> {
    fn from_text(text: &'a str) -> Item<'a> {
        Item::of_text(text)
    }

    fn from_map<M: MapAccess<'a>>(mut map: M) -> Result<Item<'a>, M::Error> {
        let mut item = Item::default();
        while let Some(key) = map.next_key::<&str>()? {
            item.read(key, &mut map)?;
        }
        Ok(item)
    }
}

impl<'a> FromAny<'a> for Scalar<'a> {
    fn from_text(text: &'a str) -> Scalar<'a> {
        Scalar::Text(text)
    }

    fn from_number(number: f64) -> Scalar<'a> {
        Scalar::Number(number)
    }
}

impl<'a> FromAny<'a> for First<'a> {
    fn from_text(text: &'a str) -> First<'a> {
        First(Item::of_text(text))
    }

    fn from_list<S: SeqAccess<'a>>(mut list: S) -> Result<First<'a>, S::Error> {
        let first = list.next_element()?.unwrap_or_default();
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(First(first))
    }
}

impl<'a> FromAny<'a> for Names<'a> {
    fn from_map<M: MapAccess<'a>>(mut map: M) -> Result<Names<'a>, M::Error> {
        let mut english = None;
        while let Some(key) = map.next_key::<&str>()? {
            match key {
                "en" => english = map.next_value::<Scalar>()?.text(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Names(english))
    }
}

/// Hands each kind of value to `T`'s [`FromAny`].
struct Any<T>(PhantomData<T>);

impl<'de, T: FromAny<'de>> Visitor<'de> for Any<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<T, E> {
        Ok(T::from_text(text))
    }

    fn visit_f64<E>(self, number: f64) -> Result<T, E> {
        Ok(T::from_number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<T, E> {
        Ok(T::from_number(number as f64))
    }

    fn visit_u128<E>(self, number: u128) -> Result<T, E> {
        Ok(T::from_number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<T, E> {
        Ok(T::from_number(number as f64))
    }

    fn visit_bool<E>(self, _: bool) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, list: S) -> Result<T, S::Error> {
        T::from_list(list)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<T, M::Error> {
        T::from_map(map)
    }
}

macro_rules! deserialize_any {
    ($($type:ident)*) => {$(
        impl<'de> Deserialize<'de> for $type<'de> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type<'de>, D::Error> {
                deserializer.deserialize_any(Any(PhantomData))
            }
        }
    )*};
}

deserialize_any!(Record Item Scalar First Names);

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a record written as JSON: the same kinds of value, without a file around it.
    fn read(json: &str) -> Location {
        serde_json::from_str::<Record>(json).expect("a record").to_location()
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
}
