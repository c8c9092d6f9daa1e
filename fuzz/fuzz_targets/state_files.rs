//! Any octets as a file of the state directory: refused with a reason that names the file, or taken up, and what
//! was taken up is the same when it is kept and read again. A publisher that takes up what was kept for a
//! warm start answers afterwards, whatever it was.
//!
//! The first octet picks the file. What is kept for a warm start gets a whole container, which chance never makes.

#![no_main]

use std::cell::RefCell;
use std::fs;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use meridian::control::overrides::OverrideStore;
use meridian::control::rum::kept_measurements;
use meridian::control::switches::SwitchStore;
use meridian::control::warm::{VERSION, WarmStart, WarmStore, container};
use meridian::query::counters::CounterSet;
use meridian::query::{Client, Transport, answer};
use meridian::state::memory::kept::Kept;
use meridian::steer::kept::Clock;
use meridian_fuzz::dns::Ask;
use meridian_fuzz::{client, packets, pick, scratch};

const NOW_MS: u64 = 1_790_000_000_000;

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(scratch());
}

fuzz_target!(|data: &[u8]| {
    let Some((chosen, octets)) = pick(data) else { return };
    FOLDER.with_borrow(|folder| match chosen % 5 {
        0 => overrides(folder, octets),
        1 => switches(folder, octets),
        2 => measurements(folder, octets),
        3 => container_alone(octets),
        _ => warm(folder, octets),
    });
});

fn overrides(folder: &tempfile::TempDir, octets: &[u8]) {
    let (store, file) = (OverrideStore::new(folder.path()), folder.path().join("overrides.json"));
    fs::write(&file, octets).expect("written");
    match store.load() {
        Err(error) => assert!(error.to_string().contains("overrides.json"), "{error}"),
        Ok(kept) => {
            store.save(&kept).expect("kept");
            assert_eq!(store.load().expect("read"), kept);
        }
    }
}

fn switches(folder: &tempfile::TempDir, octets: &[u8]) {
    let (store, file) = (SwitchStore::new(folder.path()), folder.path().join("switches.json"));
    fs::write(&file, octets).expect("written");
    match store.load() {
        Err(error) => assert!(error.to_string().contains("switches.json"), "{error}"),
        Ok(switches) => {
            store.save(&switches).expect("kept");
            assert_eq!(store.load().expect("read"), switches);
        }
    }
}

fn measurements(folder: &tempfile::TempDir, octets: &[u8]) {
    fs::write(folder.path().join("latency.json"), octets).expect("written");
    if let Err(why) = kept_measurements(&Default::default(), folder.path(), NOW_MS / 1000) {
        assert!(why.contains("latency.json"), "{why}");
    }
}

fn container_alone(octets: &[u8]) {
    if let Ok(opened) = container::open(octets, 0..=VERSION) {
        assert_eq!(container::seal(opened.version, opened.saved_at_ms, opened.body), octets);
    }
}

/// `octets` are the body: the container around it is whole.
fn warm(folder: &tempfile::TempDir, octets: &[u8]) {
    let store = WarmStore::new(folder.path());
    fs::write(folder.path().join("steering.kept"), container::seal(VERSION, NOW_MS, octets)).expect("written");
    let clock = Clock::new(Instant::now(), NOW_MS + 1_000);
    let mut publisher = packets::publisher(clock);
    match store.restore(&mut publisher, clock) {
        WarmStart::First => panic!("the file is there"),
        WarmStart::Cold(error) => assert!(error.to_string().contains("steering.kept"), "{error}"),
        WarmStart::Warm { restored, .. } => {
            assert!(restored.regions <= 6, "{restored:?}");
            publisher.publish(clock);
            let kept: Kept = publisher.kept(&clock);
            let again = postcard::to_stdvec(&kept).expect("octets");
            assert!(postcard::from_bytes::<Kept>(&again).is_ok_and(|read| same(&read, &again)), "{kept:?}");
        }
    }
    let snapshot = publisher.shared().load_full();
    for state in &snapshot.states {
        let in_range = (0.0..=250.0).contains(&state.price_ms) && (0.0..=1.0).contains(&state.shed);
        assert!(in_range && (0.1..=1.0).contains(&state.offered), "{state:?}");
    }
    for name in ["app.gslb.example", "shares.gslb.example", "first.gslb.example"] {
        let (packet, mut out) = (Ask::new(name, "A").wire(), [0; 512]);
        let asker = Client { address: client(1), transport: Transport::Udp };
        let length = answer(&snapshot, &packet, asker, &mut out, &CounterSet::new().shared());
        assert!(length > 12 && out[3] & 15 == 0 && out[7] > 0, "{name}: {:02x?}", &out[..length]);
    }
}

/// By octets: figures that are no numbers are not equal to themselves.
fn same(read: &Kept, octets: &[u8]) -> bool {
    postcard::to_stdvec(read).is_ok_and(|again| again == octets)
}
