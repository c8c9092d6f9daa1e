//! Any octets from a browser: as HTTP on a connection, and as a token. No answer but those that are meant, and a
//! report counts only with a token that was handed to that network, and once. No change to a token
//! leaves it one.
//!
//! The first octet picks the kind, and the client. In HTTP, [`PLACEHOLDER`] stands for a token that is good.

#![no_main]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use meridian::atlas::Atlas;
use meridian::control::clock;
use meridian::control::config::RumSettings;
use meridian::control::rum::listener::Rum;
use meridian::control::rum::token::{LIFE_S, Refused, Signer, Spent};
use meridian::control::rum::{Event, Measurements, unix_now};
use meridian::state::Publisher;
use meridian_fuzz::{client, measured_model, pick, scratch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const KEY: &str = "a key of more than thirty-two characters";
/// As long as tokens are.
const PLACEHOLDER: &[u8] = b"TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKE";
const STATUSES: [&str; 9] = ["100", "200", "204", "400", "403", "404", "405", "429", "431"];

struct World {
    rum: Arc<Rum>,
    measurements: Arc<Measurements>,
    signer: Signer,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = scratch();
    let key = folder.path().join("key");
    fs::write(&key, KEY).expect("written");
    let settings = RumSettings {
        key_file: Some(key),
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
        per_network: 10_000,
        per_second: 100_000,
        ..RumSettings::default()
    };
    let publisher = Publisher::new(measured_model(), Atlas::empty(), "", 0, Default::default(), clock::read());
    let troubles = Arc::default();
    let measurements = Arc::new(Measurements::open(&settings, folder.path(), unix_now(), troubles));
    let rum = Rum::new(&settings, folder.path(), publisher.shared(), measurements.clone()).expect("a listener");
    World { rum: Arc::new(rum), measurements, signer: Signer::new(KEY.as_bytes()) }
});

fuzz_target!(|data: &[u8]| {
    let Some((chosen, octets)) = pick(data) else { return };
    let client = client(chosen >> 1);
    if chosen & 1 == 0 { converse(octets, client) } else { token(octets, client) }
});

/// `octets` replace some of a token's.
fn token(octets: &[u8], client: IpAddr) {
    let now = 1_790_000_000;
    let token = WORLD.signer.token(client, now).expect("random numbers");
    let (valid, mut spent) = (WORLD.signer.check(&token, client, now).expect("a token"), Spent::default());
    assert_eq!((spent.spend(valid, now), spent.spend(valid, now)), (Ok(()), Err(Refused::Spent)));
    assert_eq!(WORLD.signer.check(&token, client, now + LIFE_S + 1), Err(Refused::Expired));
    let Some((at, with)) = pick(octets) else { return };
    let mut changed = token.clone().into_bytes();
    let at = at % (changed.len() + 1);
    changed.splice(at..(at + with.len()).min(token.len()).max(at), with.iter().copied());
    let Ok(changed) = String::from_utf8(changed) else { return };
    let found = WORLD.signer.check(&changed, client, now);
    assert_eq!(found.is_ok(), changed == token, "{changed} for {token}: {found:?}");
}

fn converse(octets: &[u8], client: IpAddr) {
    let mut sent = octets.to_vec();
    let tokens = (0..8).take_while(|_| put_token(&mut sent, client)).count() as u64;
    let reports = WORLD.measurements.count(Event::Report);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    // The clock jumps ahead where nothing can be done: so who sends half a request is given up at once.
    let said = runtime.expect("a runtime").block_on(async {
        let (mut ours, theirs) = tokio::io::duplex(1 << 20);
        let asking = async {
            ours.write_all(&sent).await.expect("room");
            let mut said = Vec::new();
            let _ = ours.read_to_end(&mut said).await;
            said
        };
        tokio::join!(asking, WORLD.rum.converse(theirs, SocketAddr::new(client, 40_000))).0
    });
    let counted = WORLD.measurements.count(Event::Report) - reports;
    assert!(counted <= tokens, "{counted} reports with {tokens} tokens");
    if !said.is_empty() {
        let head = String::from_utf8_lossy(&said[..said.len().min(12)]);
        let status = head.strip_prefix("HTTP/1.1 ").or(head.strip_prefix("HTTP/1.0 "));
        assert!(status.is_some_and(|status| STATUSES.contains(&status)), "{head}");
    }
}

/// Whether there was a placeholder.
fn put_token(sent: &mut [u8], client: IpAddr) -> bool {
    let Some(at) = sent.windows(PLACEHOLDER.len()).position(|window| window == PLACEHOLDER) else { return false };
    let token = WORLD.signer.token(client, unix_now()).expect("random numbers");
    assert_eq!(token.len(), PLACEHOLDER.len());
    sent[at..at + token.len()].copy_from_slice(token.as_bytes());
    true
}
