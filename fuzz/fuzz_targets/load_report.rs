//! Any octets as a load report of every format: no panic, and nothing but finite, sensible figures
//! that are not of the future.
//!
//! The first octet picks the format, the rest is the report.

#![no_main]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use meridian::control::load_report::{Errors, PushedLoad, read, read_health};
use meridian::model::{
    EnvoyField, HaproxyField, HealthPlace, JsonTime, LoadFormat, LoadObjectCapacity, MetricSelector, NginxField,
    NginxPlusField, NginxPlusPart,
};

fuzz_target!(|data: &[u8]| {
    let Some((&pick, body)) = data.split_first() else { return };
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let formats = formats();
    let sample = match formats.get(usize::from(pick) % (formats.len() + 1)) {
        Some(format) => {
            check_health(format, body);
            read(format, body, now)
        }
        None => {
            let Ok(pushed) = serde_json::from_slice::<PushedLoad>(body) else { return };
            if let Ok(Some(health)) = pushed.health() {
                assert!([health.up, health.errors].into_iter().flatten().all(|share| (0.0..=1.0).contains(&share)));
            }
            pushed.sample(now)
        }
    };
    match sample {
        Ok(sample) => {
            assert!(sample.load.is_finite() && sample.load >= 0.0);
            assert!(sample.capacity.is_none_or(|capacity| capacity.is_finite() && capacity > 0.0));
            assert!(sample.at.is_none_or(|at: SystemTime| at <= now));
        }
        // Errors are shown to people: they stay short, whatever came.
        Err(error) => assert!(error.to_string().len() < 16 * 1024),
    }
});

/// Shares are parts of a whole, counts finite, and errors short.
fn check_health(format: &LoadFormat, body: &[u8]) {
    let place = match format {
        LoadFormat::Json { .. } => HealthPlace::Pointers { up: Some("/load".into()), errors: Some("/age".into()) },
        _ => HealthPlace::Usual,
    };
    match read_health(format, &place, body) {
        Ok(sample) => {
            let told = sample.told(None);
            assert!(told.up.is_none_or(|up| (0.0..=1.0).contains(&up)), "{told:?}");
            match sample.errors {
                Errors::Unknown => {}
                Errors::Share(share) => assert!((0.0..=1.0).contains(&share)),
                Errors::Counts { errors, answers } => {
                    assert!(errors.is_finite() && answers.is_finite() && errors >= 0.0 && answers >= 0.0);
                }
            }
        }
        Err(error) => assert!(error.to_string().len() < 16 * 1024),
    }
}

fn formats() -> Vec<LoadFormat> {
    let haproxy = |field| LoadFormat::Haproxy { proxy: "web".into(), field };
    let plus = |part, field| LoadFormat::NginxPlus { part, field };
    let envoy = |field| LoadFormat::Envoy { cluster: "web".into(), field };
    let selector = |text: &str| MetricSelector::parse(text).expect("a selector");
    let json = |time| LoadFormat::Json { load: "/load".into(), capacity: Some("/capacity".into()), time };
    let object = |name: Option<&str>, capacity| LoadFormat::LoadObject {
        datacenter: None,
        resource: name.map(str::to_owned),
        capacity,
    };
    vec![
        haproxy(HaproxyField::Sessions),
        haproxy(HaproxyField::SessionRate),
        haproxy(HaproxyField::RequestRate),
        LoadFormat::Nginx { field: NginxField::Connections },
        LoadFormat::Nginx { field: NginxField::Busy },
        LoadFormat::Nginx { field: NginxField::RequestRate },
        plus(NginxPlusPart::Connections, NginxPlusField::Active),
        plus(NginxPlusPart::ServerZone("web".into()), NginxPlusField::RequestRate),
        plus(NginxPlusPart::Upstream("web".into()), NginxPlusField::Active),
        plus(NginxPlusPart::Upstream("web".into()), NginxPlusField::RequestRate),
        envoy(EnvoyField::Requests),
        envoy(EnvoyField::Connections),
        LoadFormat::Prometheus { load: selector("a"), capacity: None, rate: true },
        LoadFormat::Prometheus { load: selector("a{b!=\"c\"}"), capacity: Some(selector("d{e=\"f\"}")), rate: false },
        json(None),
        json(Some(JsonTime::Age("/age".into()))),
        json(Some(JsonTime::Timestamp("/at".into()))),
        object(None, LoadObjectCapacity::Max),
        object(Some("web"), LoadObjectCapacity::Target),
    ]
}
