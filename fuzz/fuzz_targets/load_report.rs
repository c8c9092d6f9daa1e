//! Any text as a load report: no panic, and nothing but finite, sensible figures.
//!
//! `cargo +nightly fuzz run load_report`

#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian::control::load_report::{parse_haproxy, parse_json};
use meridian::model::HaproxyField;

fuzz_target!(|text: &str| {
    let fields = [HaproxyField::Sessions, HaproxyField::SessionRate, HaproxyField::RequestRate];
    let samples = fields.into_iter().map(|field| parse_haproxy(text, "web", field));
    for sample in samples.chain([parse_json(text.as_bytes(), "/load", Some("/capacity"))]).flatten() {
        assert!(sample.load.is_finite() && sample.load >= 0.0);
        assert!(sample.capacity.is_none_or(|capacity| capacity.is_finite() && capacity > 0.0));
    }
});
