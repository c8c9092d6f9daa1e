//! How values are written: what several settings have in common.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// One value, or an array of them.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
pub enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// A value, or `"off"`.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
pub enum OrOff<T> {
    On(T),
    Off(Off),
}

/// A place on Earth. It needs coordinates, or a country whose middle is known.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "location")]
pub struct Location {
    /// The continent: AF, AN, AS, EU, NA, OC or SA.
    ///
    /// Default: that of the country.
    pub continent: Option<String>,
    /// ISO 3166-1 code, two letters.
    pub country: Option<String>,
    /// The part of the ISO 3166-2 code after the country, such as `"WA"`.
    ///
    /// Range: 1 to 3 letters and digits.
    pub subdivision: Option<String>,
    /// Its English name.
    pub city: Option<String>,
    /// Degrees; together with `longitude`.
    ///
    /// Default: the middle of the country.
    #[schemars(range(min = -90, max = 90))]
    pub latitude: Option<f64>,
    /// Degrees; together with `latitude`.
    ///
    /// Default: the middle of the country.
    #[schemars(range(min = -180, max = 180))]
    pub longitude: Option<f64>,
}

/// A kind of text with a name of its own.
macro_rules! text {
    ($(#[doc = $doc:literal] $kind:ident = $title:literal $(, $key:literal = $value:expr)*;)*) => {
        $(
            #[doc = $doc]
            pub struct $kind;

            impl JsonSchema for $kind {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($kind).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({
                        "title": $title,
                        "description": $doc.trim(),
                        "type": "string"
                        $(, $key: $value)*
                    })
                }
            }
        )*
    };
}

text! {
    /// Whole numbers with units `us`, `ms`, `s`, `m`, `h`, which add up: `"500ms"`, `"5s"`, `"1m30s"`.
    Duration = "duration", "pattern" = "^([0-9]+(us|ms|s|m|h))+$";
    /// A path: relative to the directory of the file that it is said to be relative to, or absolute.
    Path = "path", "minLength" = 1;
    /// A name: relative to the zone's origin, or absolute with a dot at its end.
    Name = "name", "minLength" = 1;
    /// An IPv4 or IPv6 address.
    Address = "address", "minLength" = 2;
    /// An address and port, such as `"192.0.2.1:53"` or `"[2001:db8::1]:53"`.
    AddressPort = "address and port", "pattern" = ":[0-9]+$";
    /// A network, such as `"10.0.0.0/8"` or `"2001:db8::/32"`.
    Network = "network", "minLength" = 2;
    /// A URL.
    Url = "URL", "pattern" = "^https?://";
    /// A JSON pointer (RFC 6901), such as `"/load"`.
    Pointer = "JSON pointer", "pattern" = "^(/.*)?$";
    /// Turns something off.
    Off = "\"off\"", "const" = "off";
    /// All there are.
    All = "\"all\"", "const" = "all";
}

/// Whole seconds, or a string with units.
pub struct Ttl;

impl JsonSchema for Ttl {
    fn schema_name() -> Cow<'static, str> {
        "Ttl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "TTL",
            "description": "Whole seconds (`300`), or a string with units `s`, `m`, `h`, `d`, `w`: `\"5m\"`, `\"1h30m\"`; up to 2147483647 s.",
            "anyOf": [
                { "type": "integer", "minimum": 0, "maximum": 2_147_483_647 },
                { "type": "string", "pattern": "^([0-9]+[smhdwSMHDW]?)+$" }
            ]
        })
    }
}
