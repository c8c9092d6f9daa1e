//! Heartbeats by the prober's eyes: when they are missed, what they say, and what a restart does to nobody.

use super::reloads::{model, next};
use super::*;

fn pushed() -> Option<Check> {
    let (interval, kind) = (Duration::from_secs(1), CheckKind::Push { max_age: Duration::from_secs(30) });
    Some(Check { interval, fall: 2, rise: 2, ..Check::new(kind) })
}

fn key(endpoint: &str) -> EndpointKey {
    EndpointKey::only("seoul@gslb.example", endpoint)
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_up_by_its_heartbeat_and_down_without_or_by_its_word() {
    let (sink, mut reports) = mpsc::channel(1_000);
    let mut prober = Prober::new(sink, ProbeLimits::default());
    prober.configure(&model(&["192.0.2.1"], pushed()));
    timeout(Duration::from_secs(1), prober.first_round()).await.expect("no heartbeat is waited for");
    tokio::time::sleep(Duration::from_secs(28)).await;
    assert!(reports.try_recv().is_err(), "none is missed yet");
    prober.heartbeats().take(key("192.0.2.1"), Ok(()));
    let report = next(&mut reports).await;
    assert_eq!((report.verdict, report.streak), (Verdict::Up, 1));
    let begun = tokio::time::Instant::now();
    let down = loop {
        let report = next(&mut reports).await;
        if report.verdict == Verdict::Down {
            break report;
        }
    };
    let late = begun.elapsed();
    assert!(late > Duration::from_secs(28) && late < Duration::from_secs(33), "{late:?}");
    assert!(down.outcome.expect_err("late").to_string().ends_with("s; max_age is 30 s"));
    for health in [Ok(()), Err("disk full")] {
        prober.heartbeats().take(key("192.0.2.1"), health);
        let wanted = if health.is_ok() { Verdict::Up } else { Verdict::Down };
        let begun = tokio::time::Instant::now();
        while next(&mut reports).await.verdict != wanted {}
        assert!(begun.elapsed() < Duration::from_secs(3), "{wanted}");
    }
    let unhealthy = next(&mut reports).await.outcome.expect_err("unhealthy").to_string();
    assert_eq!(unhealthy, "its heartbeat says that it is unhealthy: disk full");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_heard_is_missed_after_its_time_and_others_heartbeats_do_not_count() {
    let (sink, mut reports) = mpsc::channel(1_000);
    let mut prober = Prober::new(sink, ProbeLimits::default());
    prober.configure(&model(&["192.0.2.1"], pushed()));
    prober.heartbeats().take(key("192.0.2.2"), Ok(()));
    let begun = tokio::time::Instant::now();
    let report = timeout(Duration::from_secs(60), reports.recv()).await.expect("missed").expect("a prober");
    assert!(begun.elapsed() > Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(report.outcome.expect_err("missed").to_string(), "no heartbeat yet");
    assert_eq!(prober.faults().count(), 0, "that is no fault of this machine");
}
