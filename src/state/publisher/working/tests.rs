//! Plans that are made beside the publisher: begun, overtaken by news, taken, dropped, lost.

use std::time::Duration;

use super::*;
use crate::model::{Model, Name, RegionId, Zone, ZoneId};
use crate::state::memory::planning::role::Role;
use crate::state::publisher::testing::{AGE, ask, planned, probe, world};
use crate::state::{News, Replacement};
use crate::steer::decide::{Seen, decide};
use crate::steer::health::effective::EffectiveState;
use crate::steer::health::verdict::Verdict;
use crate::steer::planner::PERIOD;
use crate::steer::testing::moment;

const S: Duration = Duration::from_secs(1);

/// A publisher with a plan whose work is left, and the time.
fn leaving() -> (Publisher, Instant) {
    let now = Instant::now() + 1000 * S;
    let mut publisher = planned(now);
    publisher.leave_work();
    (publisher, now)
}

fn snapshot(publisher: &Publisher) -> Arc<Snapshot> {
    publisher.shared().load_full()
}

fn made_at(publisher: &Publisher) -> Option<Instant> {
    snapshot(publisher).plan.planned().map(|planned| planned.made_at)
}

fn state(publisher: &Publisher, region: usize) -> EffectiveState {
    snapshot(publisher).states[region].effective
}

/// The east falls, and a plan is begun for it.
fn fallen() -> (Publisher, Job, Instant) {
    let (mut publisher, now) = leaving();
    assert!(plan_job(&mut publisher, now, Haste::Unhurried).is_none(), "none is due");
    assert_eq!(probe(&mut publisher, "east", Verdict::Down, now), Urgency::Now);
    publisher.publish(moment(now));
    let job = plan_job(&mut publisher, now, Haste::Pressing).expect("a plan is due");
    assert_eq!(job.ticket().haste, Haste::Pressing);
    (publisher, job, now)
}

/// The next job that is a plan; tables that are due are made meanwhile.
fn plan_job(publisher: &mut Publisher, now: Instant, least: Haste) -> Option<Job> {
    loop {
        let job = publisher.next_job(now, least)?;
        match job.ticket().kind {
            Kind::Plan => return Some(job),
            Kind::Tables | Kind::Regroup => _ = publisher.apply(News::Done(job.run()), moment(now)),
        }
    }
}

fn tally(publisher: &Publisher) -> [u64; 3] {
    let [tally, ..] = publisher.work().tallies();
    assert_eq!(tally.given_up, 0);
    [tally.taken, tally.dropped, tally.failed]
}

#[test]
fn verdicts_are_published_while_a_plan_is_made_and_the_next_one_heeds_them() {
    let (mut publisher, job, began) = fallen();
    assert_eq!(state(&publisher, 2), EffectiveState::Down);
    assert_eq!(made_at(&publisher), Some(began - AGE), "the plan before holds");
    assert_eq!(publisher.unheeded_since(), Some(began));
    let later = began + 3 * S;
    assert_eq!(probe(&mut publisher, "west", Verdict::Down, later), Urgency::Now);
    publisher.publish(moment(later));
    assert_eq!(state(&publisher, 0), EffectiveState::Down);
    assert!(plan_job(&mut publisher, later, Haste::Unhurried).is_none(), "one is under way");
    assert!(publisher.next_change(later).is_none_or(|at| at > later), "that is waited for, without a step");
    let back = began + 9 * S;
    assert_eq!(publisher.apply(News::Done(job.run()), moment(back)), Urgency::Now);
    publisher.publish(moment(back));
    assert_eq!(made_at(&publisher), Some(began));
    assert_eq!(publisher.unheeded_since(), Some(later));
    let next = plan_job(&mut publisher, back, Haste::Pressing).expect("it did not know of the west");
    publisher.apply(News::Done(next.run()), moment(back));
    publisher.publish(moment(back));
    let current = snapshot(&publisher);
    assert_eq!(current.planning.as_ref().expect("a basis").eligible, [false, true, false]);
    assert_eq!((made_at(&publisher), publisher.unheeded_since()), (Some(back), None));
    assert_eq!(tally(&publisher), [2, 0, 0]);
}

#[test]
fn a_plan_that_is_only_due_by_time_is_not_pressing() {
    let (mut publisher, now) = leaving();
    let due = now - AGE + PERIOD;
    for second in (5..=25).step_by(5) {
        ask(&mut publisher, now + second as u32 * S);
        publisher.publish(moment(now + second as u32 * S));
    }
    assert!(plan_job(&mut publisher, due - S, Haste::Unhurried).is_none());
    assert!(plan_job(&mut publisher, due, Haste::Pressing).is_none());
    let later = due + 4 * S;
    assert_eq!(publisher.unheeded_since(), Some(due));
    assert!(publisher.next_change(later).is_none_or(|at| at > later), "it waits for time to make it");
    let job = plan_job(&mut publisher, later, Haste::Unhurried).expect("it is due");
    publisher.apply(News::Done(job.run()), moment(later));
    publisher.publish(moment(later));
    assert_eq!((made_at(&publisher), publisher.unheeded_since()), (Some(later), None));
}

/// What becomes of a plan that is made when this happens, and whether another is begun.
fn overtaken(happens: impl Fn(&mut Publisher, Instant)) -> (Publisher, bool) {
    let (mut publisher, job, began) = fallen();
    let (before, now) = (made_at(&publisher), began + S);
    happens(&mut publisher, now);
    assert!(plan_job(&mut publisher, now, Haste::Unhurried).is_none(), "one is under way, though it does not fit");
    assert_eq!(publisher.apply(News::Done(job.run()), moment(now)), Urgency::None);
    assert_eq!(tally(&publisher), [0, 1, 0]);
    publisher.publish(moment(now));
    assert!(made_at(&publisher) != Some(began) || before == Some(began));
    let anew = plan_job(&mut publisher, now, Haste::Unhurried).is_some();
    (publisher, anew)
}

fn reload(publisher: &mut Publisher, now: Instant) {
    let replacement = Replacement { model: world().model, atlas: Some(world().atlas), nsid: String::new(), seed: 0 };
    publisher.apply(News::Reload(Box::new(replacement)), moment(now));
    publisher.publish(moment(now));
}

#[test]
fn results_that_do_not_fit_any_more_are_dropped_and_the_plan_is_begun_anew() {
    let (publisher, anew) = overtaken(reload);
    assert!(anew && publisher.unheeded_since().is_some());
    let (_, anew) = overtaken(|publisher, now| {
        reload(publisher, now);
        publisher.publish(moment(now)); // under the new numbers
    });
    assert!(anew);
    let (_, anew) = overtaken(|publisher, now| {
        let moved = [("10.1.0.0/16", -70.0), ("10.9.0.0/16", 30.0)];
        let moved = moved.map(|(network, longitude)| (network, crate::steer::testing::at(0.0, longitude)));
        publisher.apply(News::Atlas(Box::new(world().clients(&moved).atlas)), moment(now));
        publisher.publish(moment(now));
        publisher.publish(moment(now));
    });
    assert!(anew, "sites have other numbers");
    let role = |role| move |publisher: &mut Publisher, now| _ = publisher.apply(News::Role(role), moment(now));
    let (publisher, anew) = overtaken(role(Role::Follower));
    assert!(!anew && publisher.unheeded_since().is_none(), "another node plans");
    let (_, anew) = overtaken(role(Role::Leader));
    assert!(anew, "its plans are proposed");
    let (_, anew) = overtaken(|publisher, now| {
        let kept = Arc::new(publisher.planning().kept(&moment(now)).expect("a plan"));
        publisher.apply(News::Role(Role::Follower), moment(now));
        assert_eq!(publisher.apply(News::Adopted(kept, moment(now)), moment(now)), Urgency::Now);
        publisher.publish(moment(now));
        publisher.apply(News::Role(Role::Alone), moment(now));
        publisher.publish(moment(now));
    });
    assert!(!anew, "a plan was adopted, and the next is due in its time");
}

#[test]
fn a_leader_proposes_what_is_back_and_it_is_unheeded_until_all_agree() {
    let (mut publisher, now) = leaving();
    publisher.apply(News::Role(Role::Leader), moment(now));
    probe(&mut publisher, "east", Verdict::Down, now);
    publisher.publish(moment(now));
    let job = plan_job(&mut publisher, now, Haste::Pressing).expect("a plan is due");
    assert!(publisher.planning().take_proposal(&moment(now)).is_none(), "none is made yet");
    let back = now + 4 * S;
    assert_eq!(publisher.apply(News::Done(job.run()), moment(back)), Urgency::Now);
    publisher.publish(moment(back));
    assert_eq!((made_at(&publisher), publisher.unheeded_since()), (Some(now - AGE), Some(now)));
    let proposal = publisher.planning().take_proposal(&moment(back)).expect("proposed");
    assert_eq!(publisher.apply(News::Agreed(proposal.number), moment(back)), Urgency::Now);
    publisher.publish(moment(back));
    assert_eq!((made_at(&publisher), publisher.unheeded_since()), (Some(now), None));
}

#[test]
fn a_job_that_came_to_nothing_is_begun_anew_and_the_old_plan_holds_for_its_time() {
    let (mut publisher, job, began) = fallen();
    let (ticket, mut now) = (job.ticket(), began + 10 * S);
    assert_eq!(publisher.apply(News::Done(ticket.failed()), moment(now)), Urgency::None);
    assert_eq!(publisher.apply(News::Done(job.run()), moment(now)), Urgency::None, "it was given up");
    assert_eq!((tally(&publisher), made_at(&publisher)), ([0, 0, 1], Some(began - AGE)));
    assert_eq!(publisher.unheeded_since(), Some(began));
    while made_at(&publisher).is_some() {
        let job = plan_job(&mut publisher, now, Haste::Unhurried).expect("it is begun anew");
        publisher.apply(News::Done(job.ticket().failed()), moment(now));
        publisher.publish(moment(now));
        now += 30 * S;
    }
    assert!((300..400).contains(&(now - began).as_secs()), "then prices alone decide");
    assert_eq!(publisher.unheeded_since(), Some(began));
}

/// The region and TTL of clients of all places.
fn answers(publisher: &Publisher) -> Vec<(RegionId, u32)> {
    let current = snapshot(publisher);
    let of = |network: u8| {
        let client = Seen::Subnet([10, network, 0, 0].into());
        let decision = decide(&current.view(), ServiceId(0), client).expect("a decision");
        (decision.region, decision.ttl.as_secs())
    };
    (0..=255).map(of).collect()
}

#[test]
fn answers_leave_a_lost_region_before_any_table_is_made_and_stay_as_they_are_when_all_are() {
    let (mut publisher, now) = leaving();
    let east = snapshot(&publisher).region_id("east@gslb.example").expect("a region");
    assert!(answers(&publisher).iter().any(|(region, _)| *region == east));
    let table = |publisher: &Publisher| snapshot(publisher).plan.services[0].table.clone();
    let before = table(&publisher);
    probe(&mut publisher, "east", Verdict::Down, now);
    publisher.publish(moment(now));
    assert!(Arc::ptr_eq(&before, &table(&publisher)), "no table was made");
    assert_eq!((snapshot(&publisher).plan.behind(), publisher.behind_since()), (&[0][..], Some(now)));
    let at_once = answers(&publisher);
    assert!(at_once.iter().all(|(region, _)| *region != east), "{at_once:?}");
    let tables = loop {
        let job = publisher.next_job(now, Haste::Pressing).expect("tables are due");
        if job.ticket().kind == Kind::Tables {
            break job;
        }
    };
    assert_eq!(publisher.apply(News::Done(tables.run()), moment(now)), Urgency::Now);
    publisher.publish(moment(now));
    assert!(!Arc::ptr_eq(&before, &table(&publisher)));
    assert_eq!((snapshot(&publisher).plan.behind(), publisher.behind_since()), (&[][..], None));
    assert_eq!(answers(&publisher), at_once);
}

/// Another static zone before all others, so that zones have other numbers; then what `more` does.
fn reload_records(publisher: &mut Publisher, now: Instant, more: impl Fn(&mut Model)) {
    let mut model = Model::clone(&snapshot(publisher).model);
    let origin = Name::parse_absolute("a.example").expect("a name");
    model.zones.insert(0, Zone { origin, nodes: Default::default() });
    model.regions.iter_mut().for_each(|region| region.zone = ZoneId(1));
    model.services.iter_mut().for_each(|service| service.zone = ZoneId(1));
    more(&mut model);
    let replacement = Replacement { model, atlas: None, nsid: String::new(), seed: 0 };
    publisher.apply(News::Reload(Box::new(replacement)), moment(now));
    publisher.publish(moment(now));
}

#[test]
fn a_reload_of_records_alone_moves_nobody_and_makes_nothing_anew() {
    let (mut publisher, now) = leaving();
    let (before, had, planned_at) = (snapshot(&publisher), answers(&publisher), made_at(&publisher));
    reload_records(&mut publisher, now, |_| ());
    let after = snapshot(&publisher);
    assert_eq!((after.model.zones.len(), after.reloads, made_at(&publisher)), (2, 1, planned_at));
    assert!(planned_at.is_some() && Arc::ptr_eq(&before.plan.services[0].table, &after.plan.services[0].table));
    assert_eq!((after.plan.behind(), answers(&publisher)), (&[][..], had));
    assert!(publisher.next_job(now, Haste::Unhurried).is_none());

    // What decides is otherwise: all of it is made anew.
    reload_records(&mut publisher, now, |model| model.regions[0].cost += 1.0);
    assert!(!Arc::ptr_eq(&after.plan.services[0].table, &snapshot(&publisher).plan.services[0].table));
}

#[test]
fn a_plan_that_is_being_made_outlives_a_reload_of_records_alone() {
    let (mut publisher, job, began) = fallen();
    let now = began + S;
    reload_records(&mut publisher, now, |_| ());
    assert_eq!(publisher.apply(News::Done(job.run()), moment(now)), Urgency::Now);
    publisher.publish(moment(now));
    assert_eq!((made_at(&publisher), tally(&publisher)), (Some(began), [1, 0, 0]));
}
