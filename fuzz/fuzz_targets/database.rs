//! Any octets as a GeoIP database: refused, or an atlas that answers.
//!
//! `cargo +nightly fuzz run database`

#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian::atlas::{Atlas, Database, Detail};

fuzz_target!(|bytes: &[u8]| {
    let database = Database { path: "fuzz.mmdb".into(), bytes: bytes.to_vec() };
    for detail in [Detail::ALL, Detail::COUNTRIES] {
        let Ok(atlas) = Atlas::build_for(detail, std::slice::from_ref(&database), &[]) else { continue };
        for address in ["127.82.0.1", "255.255.255.255", "::1", "2001:db8::1"] {
            let Ok(address) = address.parse() else { continue };
            atlas.location(atlas.locate(address).place);
        }
    }
});
