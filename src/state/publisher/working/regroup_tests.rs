//! Round trips that are measured while answers go on: gone by once a job is back, overtaken, discarded, lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::model::policy::Switched;
use crate::model::{GroupId, Prefix, ServiceId};
use crate::state::publisher::testing::{ask, planned, probe, world};
use crate::state::work::{Done, Job, Kind};
use crate::state::{News, Publisher, Replacement, Snapshot, Urgency};
use crate::steer::decide::{Decision, Seen, View, decide};
use crate::steer::haste::Haste;
use crate::steer::health::verdict::Verdict;
use crate::steer::latency::rtt::{ClientGroup, Estimate, Measured};
use crate::steer::plan::{Inputs, plan};
use crate::steer::testing::moment;

const S: Duration = Duration::from_secs(1);
const SERVICE: ServiceId = ServiceId(0);
/// Networks that may be measured; the last lies in another.
const NETWORKS: [&str; 4] = ["10.1.0.0/17", "10.2.64.0/18", "10.3.0.0/16", "10.3.128.0/20"];
const REGIONS: [&str; 3] = ["west", "middle", "east"];

/// A publisher of three regions that are up, whose work is left, and the time.
fn leaving() -> (Publisher, Instant) {
    let now = Instant::now() + 1000 * S;
    let world = world();
    let mut publisher = Publisher::new(world.model, world.atlas, "", 0, BTreeMap::new(), moment(now));
    publisher.assume_up(moment(now));
    publisher.leave_work();
    (publisher, now)
}

fn snapshot(publisher: &Publisher) -> Arc<Snapshot> {
    publisher.shared().load_full()
}

/// The region is this near to these networks.
fn near(region: &str, networks: &[&str], ms: f64) -> Arc<Measured> {
    let region = format!("{region}@gslb.example");
    let estimate = |network: &&str| {
        let network: Prefix = network.parse().expect("a network");
        (ClientGroup::Network(network), &*region, Estimate::given(ms))
    };
    Arc::new(Measured::of(networks.iter().map(estimate)))
}

fn measure(publisher: &mut Publisher, measured: &Arc<Measured>, now: Instant) {
    assert_eq!(publisher.apply(News::Measured(measured.clone()), moment(now)), Urgency::None);
}

/// The same, but for what a region costs: nothing in [`world`].
fn reload(publisher: &mut Publisher, cost: f64, now: Instant) {
    let mut model = world().model;
    model.regions[0].cost = cost;
    let replacement = Replacement { model, atlas: None, nsid: String::new(), seed: 0 };
    publisher.apply(News::Reload(Box::new(replacement)), moment(now));
    publisher.publish(moment(now));
}

/// The next job that makes classes anew; those before it are done.
fn regroup_job(publisher: &mut Publisher, now: Instant) -> Option<Job> {
    loop {
        let job = publisher.next_job(now, Haste::Unhurried)?;
        if job.ticket().kind == Kind::Regroup {
            return Some(job);
        }
        publisher.apply(News::Done(job.run()), moment(now));
        publisher.publish(moment(now));
    }
}

fn tally(publisher: &Publisher) -> [u64; 3] {
    let tally = publisher.work().tallies()[Kind::Regroup as usize];
    [tally.taken, tally.dropped, tally.failed]
}

/// The decisions for clients of all places.
fn answers(view: &View<'_>) -> Vec<Decision> {
    let of = |client: u32| decide(view, SERVICE, Seen::Subnet((10 << 24 | client << 12).to_be_bytes().into()));
    (0..4 << 4 << 4).map(|client| of(client).expect("a decision")).collect()
}

/// Holds that all parts of a snapshot are of one moment: answers are those of a plan that is made from nothing but its own
/// model, atlas, states and measurements, and its atlas tells those networks apart that were measured.
fn hold_to_itself(current: &Snapshot) {
    let told_apart = |network: &str| {
        let network: Prefix = network.parse().expect("a network");
        current.atlas.network(current.atlas.locate(network.address()).place) == Some(network)
    };
    for network in NETWORKS {
        let group = ClientGroup::Network(network.parse().expect("a network"));
        assert_eq!(told_apart(network), current.measured.has(&group), "{network}");
    }
    assert!(Arc::ptr_eq(current.plan.latency.measured(), &current.measured));
    let sites = current.plan.sites.as_ref().expect("sites");
    assert_eq!(sites.of_places().count(), current.atlas.place_count());
    let anew = plan(&Inputs {
        model: &current.model,
        atlas: &current.atlas,
        states: &current.states,
        measured: &current.measured,
        switched: &BTreeMap::new(),
        seed: current.seed,
        planned: current.plan.planned(),
        previous: None,
        now: current.made_at,
    });
    let expected = answers(&View { plan: &anew, ..current.view() });
    for (client, (found, expected)) in answers(&current.view()).into_iter().zip(expected).enumerate() {
        let told = |decision: &Decision| (decision.region, decision.endpoint, decision.ttl);
        assert_eq!(told(&found), told(&expected), "client {client}");
        // What is worked out for a place alone holds for no more than that.
        assert!(found.scope >= expected.scope, "client {client}: {} for {}", found.scope, expected.scope);
    }
}

#[test]
fn the_old_grouping_stands_until_the_new_one_is_there_and_verdicts_do_not_wait_for_it() {
    let (mut publisher, began) = leaving();
    let before = snapshot(&publisher);
    let measured = near("east", &NETWORKS[..2], 1.0);
    measure(&mut publisher, &measured, began);
    publisher.publish(moment(began));
    assert!(Arc::ptr_eq(&before.atlas, &snapshot(&publisher).atlas) && snapshot(&publisher).measured.is_empty());
    assert_eq!(publisher.ungrouped_since(), Some(began));
    let job = regroup_job(&mut publisher, began).expect("it is due");
    let later = began + S;
    assert_eq!(probe(&mut publisher, "west", Verdict::Down, later), Urgency::Now);
    publisher.publish(moment(later));
    let meanwhile = snapshot(&publisher);
    assert!(Arc::ptr_eq(&before.atlas, &meanwhile.atlas) && meanwhile.measured.is_empty());
    assert!(answers(&meanwhile.view()).iter().all(|decision| decision.region.index() != 0), "the west is lost");
    hold_to_itself(&meanwhile);
    assert!(publisher.next_job(later, Haste::Unhurried).is_none_or(|job| job.ticket().kind != Kind::Regroup));
    let back = began + 2 * S;
    assert_eq!(publisher.apply(News::Done(job.run()), moment(back)), Urgency::Now);
    assert!(Arc::ptr_eq(&meanwhile, &snapshot(&publisher)), "nothing of it holds before it is published");
    publisher.publish(moment(back));
    let after = snapshot(&publisher);
    assert!(Arc::ptr_eq(&after.measured, &measured) && publisher.ungrouped_since().is_none());
    let first = decide(&after.view(), SERVICE, Seen::Subnet([10, 1, 0, 0].into())).expect("a decision");
    assert_eq!((first.region.index(), first.scope), (2, 17), "the east is near the first network now");
    hold_to_itself(&after);
    assert_eq!(tally(&publisher), [1, 0, 0]);
}

#[test]
fn whoever_brings_it_in_makes_tables_ahead_and_the_writer_none() {
    let (mut publisher, now) = leaving();
    measure(&mut publisher, &near("east", &NETWORKS, 1.0), now);
    let job = regroup_job(&mut publisher, now).expect("it is due");
    publisher.apply(News::Done(job.run()), moment(now));
    publisher.publish(moment(now));
    let first = snapshot(&publisher);
    assert_eq!((first.plan.behind(), publisher.behind_since()), (&[][..], None));
    publisher.publish(moment(now));
    assert!(Arc::ptr_eq(&first.plan.services[0].table, &snapshot(&publisher).plan.services[0].table));
    // Other figures of the same networks: the atlas stays, and so do the numbers of sites.
    measure(&mut publisher, &near("middle", &NETWORKS, 2.0), now);
    let job = regroup_job(&mut publisher, now).expect("it is due");
    publisher.apply(News::Done(job.run()), moment(now));
    publisher.publish(moment(now));
    let second = snapshot(&publisher);
    assert!(Arc::ptr_eq(&first.atlas, &second.atlas) && second.plan.behind().is_empty());
    assert!(first.plan.sites.as_ref().zip(second.plan.sites.as_ref()).is_some_and(|(a, b)| a.numbered_as(b)));
    hold_to_itself(&second);
}

#[test]
fn what_is_measured_while_a_job_runs_supersedes_it() {
    let (mut publisher, began) = leaving();
    let [one, other, last] = [0, 1, 2].map(|at| near("east", &NETWORKS[at..=at], 1.0));
    measure(&mut publisher, &one, began);
    let job = regroup_job(&mut publisher, began).expect("it is due");
    measure(&mut publisher, &other, began + S);
    measure(&mut publisher, &last, began + S);
    let before = snapshot(&publisher);
    assert_eq!(publisher.apply(News::Done(job.run()), moment(began + 2 * S)), Urgency::None);
    publisher.publish(moment(began + 2 * S));
    assert!(Arc::ptr_eq(&before.atlas, &snapshot(&publisher).atlas) && snapshot(&publisher).measured.is_empty());
    assert_eq!((tally(&publisher), publisher.ungrouped_since()), ([0, 1, 0], Some(began)));
    let job = regroup_job(&mut publisher, began + 2 * S).expect("the last one is due");
    publisher.apply(News::Done(job.run()), moment(began + 3 * S));
    publisher.publish(moment(began + 3 * S));
    assert!(Arc::ptr_eq(&snapshot(&publisher).measured, &last));
    hold_to_itself(&snapshot(&publisher));
    assert!(regroup_job(&mut publisher, began + 3 * S).is_none() && publisher.ungrouped_since().is_none());
}

#[test]
fn measurements_that_come_faster_than_jobs_are_gone_by_within_minutes() {
    let (mut publisher, began) = leaving();
    let mut taken = 0;
    for second in (0..200).step_by(10) {
        let now = began + second * S;
        measure(&mut publisher, &near("east", &NETWORKS[..1], f64::from(second + 1)), now);
        let job = regroup_job(&mut publisher, now).expect("it is due");
        measure(&mut publisher, &near("east", &NETWORKS[1..2], 1.0), now);
        publisher.apply(News::Done(job.run()), moment(now));
        publisher.publish(moment(now));
        taken += usize::from(!snapshot(&publisher).measured.is_empty());
        hold_to_itself(&snapshot(&publisher));
    }
    let [times, dropped, _] = tally(&publisher);
    assert_eq!((times, dropped), (3, 17), "once a minute");
    assert_eq!(taken, 14, "from the first minute on");
}

/// Networks are measured, and the job for them is begun.
fn begun() -> (Publisher, Instant, Arc<Measured>, Job) {
    let (mut publisher, now) = leaving();
    let measured = near("east", &NETWORKS, 1.0);
    measure(&mut publisher, &measured, now);
    let job = regroup_job(&mut publisher, now).expect("it is due");
    (publisher, now, measured, job)
}

/// What becomes of a job when this happens before it is back.
fn overtaken(happens: impl Fn(&mut Publisher, Instant)) {
    let (mut publisher, began, measured, job) = begun();
    let now = began + S;
    happens(&mut publisher, now);
    let before = snapshot(&publisher);
    assert_eq!(publisher.apply(News::Done(job.run()), moment(now)), Urgency::None);
    publisher.publish(moment(now));
    assert!(snapshot(&publisher).measured.is_empty() && Arc::ptr_eq(&before.atlas, &snapshot(&publisher).atlas));
    assert_eq!((tally(&publisher), publisher.ungrouped_since()), ([0, 1, 0], Some(began)));
    let job = regroup_job(&mut publisher, now).expect("it is begun anew");
    publisher.apply(News::Done(job.run()), moment(now));
    publisher.publish(moment(now));
    let after = snapshot(&publisher);
    assert!(Arc::ptr_eq(&after.measured, &measured) && Arc::ptr_eq(&after.model, &before.model));
    assert_eq!((tally(&publisher), publisher.ungrouped_since()), ([1, 1, 0], None));
}

#[test]
fn a_reload_a_database_or_a_switch_discards_what_was_made_for_what_was_before() {
    overtaken(|publisher, now| reload(publisher, 1.0, now));
    overtaken(|publisher, now| {
        publisher.apply(News::Atlas(Box::new(world().atlas)), moment(now));
        publisher.publish(moment(now));
    });
    // As it is between a switch and the snapshot with it.
    overtaken(|publisher, _| {
        publisher.switched = BTreeMap::from([(SERVICE, Switched { stage: Some(GroupId(0)), ..Switched::default() })]);
    });
}

#[test]
fn a_reload_between_a_job_and_the_snapshot_with_it_discards_it_too() {
    let (mut publisher, now, measured, job) = begun();
    assert_eq!(publisher.apply(News::Done(job.run()), moment(now)), Urgency::Now);
    reload(&mut publisher, 1.0, now);
    assert!(snapshot(&publisher).measured.is_empty());
    hold_to_itself(&snapshot(&publisher));
    let job = regroup_job(&mut publisher, now).expect("it is begun anew");
    publisher.apply(News::Done(job.run()), moment(now));
    publisher.publish(moment(now));
    assert!(Arc::ptr_eq(&snapshot(&publisher).measured, &measured));
    hold_to_itself(&snapshot(&publisher));
}

#[test]
fn what_was_made_outlives_a_reload_that_steers_alike() {
    let (mut publisher, now, measured, job) = begun();
    reload(&mut publisher, 0.0, now);
    assert_eq!(publisher.apply(News::Done(job.run()), moment(now)), Urgency::Now);
    reload(&mut publisher, 0.0, now);
    assert!(Arc::ptr_eq(&snapshot(&publisher).measured, &measured));
    assert_eq!((tally(&publisher), publisher.ungrouped_since()), ([1, 0, 0], None));
    hold_to_itself(&snapshot(&publisher));
}

#[test]
fn a_job_that_came_to_nothing_is_begun_anew() {
    let (mut publisher, now) = leaving();
    measure(&mut publisher, &near("east", &NETWORKS, 1.0), now);
    let job = regroup_job(&mut publisher, now).expect("it is due");
    assert_eq!(publisher.apply(News::Done(job.ticket().failed()), moment(now)), Urgency::None);
    assert_eq!((tally(&publisher), publisher.ungrouped_since()), ([0, 0, 1], Some(now)));
    assert!(regroup_job(&mut publisher, now).is_some());
}

#[test]
fn tables_of_clients_who_are_answered_without_any_come_first() {
    let (mut publisher, now) = leaving();
    measure(&mut publisher, &near("east", &NETWORKS, 1.0), now);
    assert!(publisher.next_job(now, Haste::Pressing).is_none(), "what was measured is not pressing");
    probe(&mut publisher, "west", Verdict::Down, now);
    publisher.publish(moment(now));
    let kinds = std::iter::from_fn(|| {
        let job = publisher.next_job(now, Haste::Unhurried)?;
        let kind = job.ticket().kind;
        publisher.apply(News::Done(job.run()), moment(now));
        publisher.publish(moment(now));
        Some(kind)
    });
    assert_eq!(kinds.collect::<Vec<_>>(), [Kind::Tables, Kind::Regroup]);
}

#[test]
fn a_plan_made_for_other_sites_is_dropped_and_demand_goes_on() {
    let now = Instant::now() + 1000 * S;
    let mut publisher = planned(now);
    publisher.leave_work();
    probe(&mut publisher, "west", Verdict::Down, now);
    publisher.publish(moment(now));
    publisher.publish(moment(now));
    let of_plan = publisher.next_job(now, Haste::Unhurried).expect("a plan is due");
    assert_eq!(of_plan.ticket().kind, Kind::Plan);
    measure(&mut publisher, &near("east", &NETWORKS, 1.0), now);
    let job = regroup_job(&mut publisher, now).expect("it is due");
    publisher.apply(News::Done(job.run()), moment(now));
    publisher.publish(moment(now));
    hold_to_itself(&snapshot(&publisher));
    assert!(snapshot(&publisher).plan.planned().is_none(), "its sites are others");
    assert_eq!(publisher.apply(News::Done(of_plan.run()), moment(now)), Urgency::None);
    for second in (5..=30).step_by(5) {
        let now = now + second * S;
        ask(&mut publisher, now);
        publisher.publish(moment(now));
        while let Some(job) = publisher.next_job(now, Haste::Unhurried) {
            publisher.apply(News::Done(job.run()), moment(now));
            publisher.publish(moment(now));
        }
    }
    let after = snapshot(&publisher);
    assert!(after.plan.planned().is_some(), "{:?}", after.planning.as_ref().map(|basis| &basis.error));
}

/// Something that happens to a publisher.
#[derive(Clone, Debug)]
enum Event {
    /// So many of the networks are measured, from there on, to be so near that region.
    Measured(usize, usize, usize, u8),
    Probe(usize, bool),
    /// A region costs so much from there on: with the cost it has, nothing that decides is otherwise.
    Reload(u8),
    Atlas,
    /// The next job is begun, unless one is under way.
    Begin,
    /// The job that is under way is back, published at once or with what comes next.
    Back(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..4_usize, 0..5_usize, 0..3_usize, 1..100_u8).prop_map(|(from, count, region, ms)| Event::Measured(from, count, region, ms)),
        2 => (0..3_usize, any::<bool>()).prop_map(|(region, up)| Event::Probe(region, up)),
        2 => (0..3_u8).prop_map(Event::Reload),
        1 => Just(Event::Atlas),
        5 => Just(Event::Begin),
        5 => any::<bool>().prop_map(Event::Back),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_answer_is_by_a_mixed_state_whatever_happens_while_jobs_run(events in prop::collection::vec(event(), 1..40)) {
        let (mut publisher, mut now) = leaving();
        let mut under_way: Option<Done> = None;
        let mut wanted = Arc::<Measured>::default();
        for event in events {
            now += S;
            match event {
                Event::Measured(from, count, region, ms) => {
                    let networks: Vec<&str> = NETWORKS.into_iter().skip(from).take(count).collect();
                    wanted = near(REGIONS[region], &networks, f64::from(ms));
                    measure(&mut publisher, &wanted, now);
                }
                Event::Probe(region, up) => {
                    let verdict = if up { Verdict::Up } else { Verdict::Down };
                    probe(&mut publisher, REGIONS[region], verdict, now);
                }
                Event::Reload(cost) => reload(&mut publisher, f64::from(cost), now),
                Event::Atlas => drop(publisher.apply(News::Atlas(Box::new(world().atlas)), moment(now))),
                Event::Begin if under_way.is_none() => {
                    under_way = publisher.next_job(now, Haste::Unhurried).map(Job::run);
                    continue;
                }
                Event::Begin => continue,
                Event::Back(at_once) => {
                    let Some(done) = under_way.take() else { continue };
                    publisher.apply(News::Done(done), moment(now));
                    if !at_once {
                        continue;
                    }
                }
            }
            publisher.publish(moment(now));
            hold_to_itself(&snapshot(&publisher));
        }
        under_way.into_iter().for_each(|done| _ = publisher.apply(News::Done(done), moment(now)));
        publisher.publish(moment(now));
        while let Some(job) = publisher.next_job(now, Haste::Unhurried) {
            publisher.apply(News::Done(job.run()), moment(now));
            publisher.publish(moment(now));
        }
        let after = snapshot(&publisher);
        prop_assert_eq!(after.measured.networks(), wanted.networks());
        prop_assert!(publisher.ungrouped_since().is_none() && after.plan.behind().is_empty());
        hold_to_itself(&after);
    }
}
