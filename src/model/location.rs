//! The location of a client or a region.

use std::fmt;
use std::str::FromStr;

/// The knowledge of a place. Every part may be missing: databases differ in what they say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Location {
    pub continent: Option<Continent>,
    pub country: Option<CountryCode>,
    /// ISO 3166-2 code without the country, such as `WA`.
    pub subdivision: Option<Box<str>>,
    /// English name.
    pub city: Option<Box<str>>,
    pub coordinates: Option<Coordinates>,
    /// Autonomous system number; never 0.
    pub asn: Option<u32>,
}

/// Degrees on the WGS 84 ellipsoid, both finite: latitude -90 to 90, longitude -180 to 180.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinates {
    latitude: f64,
    longitude: f64,
}

/// The mean radius of the Earth in kilometres (IUGG R1).
const EARTH_RADIUS_KM: f64 = 6371.0088;

impl Coordinates {
    /// `None` where either is not finite or out of range.
    pub fn new(latitude: f64, longitude: f64) -> Option<Coordinates> {
        let fits = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        fits.then_some(Coordinates { latitude, longitude })
    }

    pub fn latitude(self) -> f64 {
        self.latitude
    }

    pub fn longitude(self) -> f64 {
        self.longitude
    }

    /// Great-circle distance in kilometres, 0 to about 20,015 (haversine).
    pub fn distance_km(self, other: Coordinates) -> f64 {
        let (lat1, lat2) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_lat = (lat2 - lat1) / 2.0;
        let half_lon = (other.longitude - self.longitude).to_radians() / 2.0;
        let h = half_lat.sin().powi(2) + lat1.cos() * lat2.cos() * half_lon.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * h.clamp(0.0, 1.0).sqrt().asin()
    }
}

/// An ISO 3166-1 alpha-2 code in upper case. Any two letters: databases use user-assigned ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode([u8; 2]);

impl CountryCode {
    pub fn as_str(&self) -> &str {
        // Two ASCII letters, by construction.
        std::str::from_utf8(&self.0).unwrap_or("??")
    }
}

/// The text is not two letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a two-letter country code (ISO 3166-1)")]
pub struct NotACountry;

impl FromStr for CountryCode {
    type Err = NotACountry;

    fn from_str(text: &str) -> Result<CountryCode, NotACountry> {
        match text.as_bytes() {
            &[a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Ok(CountryCode([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => Err(NotACountry),
        }
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The seven continents, by the two-letter codes the databases use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Continent {
    Africa,
    Antarctica,
    Asia,
    Europe,
    NorthAmerica,
    Oceania,
    SouthAmerica,
}

impl Continent {
    pub const ALL: [Continent; 7] = [
        Continent::Africa,
        Continent::Antarctica,
        Continent::Asia,
        Continent::Europe,
        Continent::NorthAmerica,
        Continent::Oceania,
        Continent::SouthAmerica,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Continent::Africa => "AF",
            Continent::Antarctica => "AN",
            Continent::Asia => "AS",
            Continent::Europe => "EU",
            Continent::NorthAmerica => "NA",
            Continent::Oceania => "OC",
            Continent::SouthAmerica => "SA",
        }
    }
}

/// The text is not one of the seven continent codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a continent code (AF, AN, AS, EU, NA, OC, SA)")]
pub struct NotAContinent;

impl FromStr for Continent {
    type Err = NotAContinent;

    fn from_str(text: &str) -> Result<Continent, NotAContinent> {
        Continent::ALL.into_iter().find(|c| c.code().eq_ignore_ascii_case(text)).ok_or(NotAContinent)
    }
}

impl fmt::Display for Continent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// `KR Seoul (37.57, 126.98) AS4766`, as much of it as is known; `unknown` where nothing is.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match (self.country, &self.subdivision) {
            (Some(country), Some(subdivision)) => parts.push(format!("{country}-{subdivision}")),
            (Some(country), None) => parts.push(country.to_string()),
            (None, _) => parts.extend(self.continent.map(|c| c.to_string())),
        }
        parts.extend(self.city.as_deref().map(str::to_owned));
        parts.extend(self.coordinates.map(|c| format!("({:.2}, {:.2})", c.latitude, c.longitude)));
        parts.extend(self.asn.map(|asn| format!("AS{asn}")));
        if parts.is_empty() {
            parts.push("unknown".into());
        }
        f.pad(&parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn great_circle_distances_are_those_of_the_atlas_books() {
        let at = |lat, lon| Coordinates::new(lat, lon).expect("coordinates");
        let (seoul, frankfurt) = (at(37.57, 126.98), at(50.11, 8.68));
        assert!((seoul.distance_km(frankfurt) - 8_560.0).abs() < 30.0);
        assert!(seoul.distance_km(seoul) < 1e-6);
        assert!((at(0.0, 0.0).distance_km(at(0.0, 180.0)) - 20_015.0).abs() < 1.0);
        assert!((at(0.0, 179.5).distance_km(at(0.0, -179.5)) - 111.2).abs() < 0.1);
    }

    #[test]
    fn coordinates_must_be_on_the_globe() {
        for (lat, lon) in [(90.1, 0.0), (0.0, 180.1), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert!(Coordinates::new(lat, lon).is_none(), "{lat} {lon}");
        }
    }
}
