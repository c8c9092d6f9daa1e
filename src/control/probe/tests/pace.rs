//! Watches under a paused clock, many together and one into the publisher: the spread of their probes, and what becomes
//! of an endpoint that flaps.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::loss::{endpoint, shared};
use super::*;
use crate::atlas::Atlas;
use crate::control::probe::watch::watch;
use crate::model::{Policy, RegionId, Service};
use crate::state::{EndpointNews, News, Publisher};
use crate::steer::health::effective::EffectiveState;
use crate::steer::testing::moment;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// How many probes begin in each 100 ms, of endpoints whose first ones are spread over so long.
async fn starts(endpoints: usize, first_spread: Duration, lasts: Duration) -> Vec<u32> {
    let (sink, mut reports) = mpsc::channel(100_000);
    let (begun, mut tasks) = (Instant::now(), JoinSet::new());
    let buckets = Arc::new(Mutex::new(vec![0; (lasts.as_millis() / 100) as usize]));
    for number in 0..endpoints {
        let (watched, shared) = (endpoint("seoul", number, first_spread.mul_f64(fastrand::f64())), shared(&sink));
        let buckets = buckets.clone();
        tasks.spawn(watch(watched, shared, move || {
            let index = (begun.elapsed().as_millis() / 100) as usize;
            buckets.lock().expect("no panic").get_mut(index).into_iter().for_each(|bucket| *bucket += 1);
            async { Ok(Timings::default()) }
        }));
    }
    while let Ok(Some(_)) = tokio::time::timeout_at(begun + lasts, reports.recv()).await {}
    let buckets = buckets.lock().expect("no panic");
    buckets.clone()
}

#[tokio::test(start_paused = true)]
async fn from_its_second_probe_on_no_endpoint_marches_in_step_with_others() {
    fastrand::seed(3);
    let starts = starts(2_000, 200 * MS, 120 * S).await;
    let mean = 2_000.0 / 50.0;
    assert_eq!(starts[..2].iter().sum::<u32>() / 1_900, 1, "{:?}", &starts[..2]);
    // Of 40 in the mean, chance alone makes it 65 once in 100 s.
    let most = *starts[2..].iter().max().expect("some");
    assert!(f64::from(most) < 2.0 * mean, "{most}: {starts:?}");
}

/// The times, in seconds, when the first of two regions is found to be sent clients: its only endpoint answers for the first half of
/// each period, and always from `healed` on.
async fn served(period: Duration, healed: Duration, lasts: Duration) -> Vec<u64> {
    let (sink, mut reports) = mpsc::channel(100);
    let (begun, mut tasks) = (Instant::now(), JoinSet::new());
    for number in [0, 1] {
        let flaps = move |at: Duration| {
            number == 0 && at < healed && at.as_millis() % period.as_millis() * 2 >= period.as_millis()
        };
        let watched = endpoint(&format!("r{number}@gslb.example"), number, Duration::ZERO);
        tasks.spawn(watch(watched, shared(&sink), move || {
            let outcome = if flaps(begun.elapsed()) { Err(ProbeError::Refused) } else { Ok(Timings::default()) };
            async { outcome }
        }));
    }
    let mut publisher = Publisher::new(two(), Atlas::empty(), "", 0, BTreeMap::new(), moment(begun.into_std()));
    let mut served = Vec::new();
    while let Ok(Some(report)) = tokio::time::timeout_at(begun + lasts, reports.recv()).await {
        let now = Instant::now().into_std();
        while let Some(due) = publisher.next_change(publisher.shared().load().made_at).filter(|&due| due <= now) {
            publisher.publish(moment(due));
        }
        let news = EndpointNews::of_only_probe(&report.key.region, &report.key.endpoint, report.verdict);
        publisher.apply(News::Probe(news), moment(now));
        publisher.publish(moment(now));
        if publisher.shared().load().states[0].effective == EffectiveState::Up {
            served.push(begun.elapsed().as_secs());
        }
    }
    served
}

/// Two regions of one endpoint each, and a service that has both.
fn two() -> Model {
    let origin = Name::parse_absolute("gslb.example").expect("a name");
    let at = Coordinates::new(37.57, 126.98).expect("on the globe");
    let region = |number: usize| Region {
        checks: Some(check(CheckKind::Tcp { port: 80 }).into()),
        ..Region::new(
            format!("r{number}"),
            ZoneId(0),
            at,
            vec![Endpoint::at(format!("192.0.2.{number}").parse().expect("an address"))],
        )
    };
    let name = Name::parse("www", &origin).expect("a name");
    Model {
        services: vec![Service::flat(name, ZoneId(0), Policy::Failover, vec![RegionId(0), RegionId(1)])],
        regions: (0..2).map(region).collect(),
        zones: vec![Zone { origin, nodes: Default::default() }],
        ..Model::default()
    }
}

#[tokio::test(start_paused = true)]
async fn forty_seconds_up_and_forty_down_end_damped_until_it_is_quiet() {
    for seed in 0..5 {
        fastrand::seed(seed);
        let (healed, end): (u64, u64) = (3_600, 5_400);
        let served = served(80 * S, Duration::from_secs(healed), Duration::from_secs(end)).await;
        // Down at 47, 127 and 207 s at the latest. One half-life between falls is not enough to be forgiven the third.
        let from_third_fall = served.iter().filter(|&&at| at > 207);
        let back = *from_third_fall.min().expect("it is used again");
        assert!(served.iter().any(|&at| (60..127).contains(&at)), "once is no flapping: {served:?}");
        assert!((healed..healed + 1_200).contains(&back), "seed {seed}: back at {back} s");
    }
}
