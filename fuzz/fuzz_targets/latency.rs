//! Any octets as a browser's report, and any text as a table of measurements: no panic, nothing but
//! sensible figures, and never more mistakes told than are read by anybody.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use meridian::control::config;
use meridian::control::rum::beacon;
use meridian::control::rum::import::{Format, read};
use meridian::model::Model;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/config/meridian.toml");

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| config::load(EXAMPLE.as_ref()).expect("the example").model)
}

fuzz_target!(|octets: &[u8]| {
    if let Ok(report) = beacon::parse(octets) {
        assert!(report.samples.len() <= 32 && report.samples.iter().all(|sample| sample.ms.is_finite()));
    }
    let Ok(text) = std::str::from_utf8(octets) else { return };
    for format in [Format::Csv, Format::Json] {
        match read(text, format, model(), 1_790_000_000) {
            Ok(figures) => assert!(figures.iter().all(|(_, _, figure)| figure.ms > 0.0 && figure.ms <= 5000.0)),
            Err(mistakes) => assert!((1..=101).contains(&mistakes.len())),
        }
    }
});
