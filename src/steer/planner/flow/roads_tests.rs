//! Every road ends at the same flow, whatever the problem and whatever prices it begins with.

use proptest::prelude::*;

use super::*;

/// Few regions and sources with all that is awkward: ties, no room, nothing to place, nowhere to go, no end.
fn problem(seed: u64) -> Problem {
    let mut chance = fastrand::Rng::with_seed(seed);
    let regions = chance.usize(1..10);
    let dearest = [1, 3, 60, 100_000, 1 << 25][chance.usize(..5)];
    let (most_room, most_supply) = ([1, 4, 1_000][chance.usize(..3)], [1, 3, 1_000][chance.usize(..3)]);
    let has_end = chance.u32(..3) == 0;
    let tiers = (0..regions).map(|_| {
        let (count, mut cost) = (chance.usize(..4), 0);
        let mut tiers = Vec::new();
        for _ in 0..count {
            tiers.push(Tier { room: Some(chance.u64(..=most_room)), cost });
            cost += chance.i32(0..dearest / 8 + 2);
        }
        if !has_end && chance.u32(..8) > 0 {
            tiers.push(Tier { room: None, cost });
        }
        tiers
    });
    let mut problem = Problem::new(tiers.collect());
    for _ in 0..chance.usize(..60) {
        let mut cost = || if chance.u32(..6) == 0 { FORBIDDEN } else { chance.i32(0..=dearest) };
        let costs: Vec<i32> = (0..regions).map(|_| cost()).collect();
        problem.source(chance.u64(..=most_supply), &costs);
    }
    problem
}

/// Prices to begin with: its own, its own with mistakes, another problem's, and such as no problem has.
fn beginnings(own: &[i64], seed: u64) -> Vec<Vec<i64>> {
    let mut chance = fastrand::Rng::with_seed(seed ^ 1);
    let extremes = [i64::MIN, -5, 0, 1 << 29, 1 << 40, i64::MAX];
    let nearly = own.iter().map(|price| price + chance.i64(-2..=2)).collect();
    let most = 1 << [8, 20, 29][chance.usize(..3)];
    let others = own.iter().map(|_| chance.i64(0..most)).collect();
    let extreme = own.iter().map(|_| extremes[chance.usize(..extremes.len())]).collect();
    vec![own.to_vec(), nearly, others, extreme, vec![1 << 29; own.len()], vec![7; own.len() + 1]]
}

fn splits(flow: &Flow) -> usize {
    flow.shares.iter().map(|shares| shares.len().max(1) - 1).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn the_quick_road_has_the_prices_and_the_cost_of_the_plain_one(seed: u64) {
        let problem = problem(seed);
        match (plain::solve(&problem), quickly(&problem, None)) {
            (Ok(plain), Ok(quick)) => {
                prop_assert_eq!(plain.verify(&problem), Ok(()));
                prop_assert_eq!(quick.verify(&problem), Ok(()));
                prop_assert_eq!(&plain.prices, &quick.prices);
                prop_assert_eq!(plain.total_cost(&problem), quick.total_cost(&problem));
            }
            (Err(_), Err(_)) => {}
            (plain, quick) => prop_assert!(false, "{:?} {:?}", plain, quick),
        }
    }

    #[test]
    fn whatever_prices_it_begins_with_the_flow_is_the_same(seed: u64) {
        let problem = problem(seed);
        let Ok(flow) = solve(&problem, None) else { return Ok(()) };
        for near in beginnings(&flow.prices, seed) {
            let other = solve(&problem, Some(&near)).expect("a solution, as before");
            prop_assert_ne!(other.road, Road::Plain);
            prop_assert_eq!((&other.shares, &other.prices, &other.loads), (&flow.shares, &flow.prices, &flow.loads));
        }
    }
}

#[test]
fn prices_that_prove_more_than_none_are_begun_with() {
    let full = Tier { room: Some(10), cost: 0 };
    let mut problem = Problem::new(vec![vec![full, Tier { room: None, cost: 300 }]; 2]);
    problem.source(8, &[10, 90]);
    problem.source(8, &[10, 30]);
    let road = |near: Option<&[i64]>| solve(&problem, near).expect("a solution").road;
    assert_eq!(road(None), Road::Anew);
    assert_eq!(road(Some(&[20, 0])), Road::Near);
    assert_eq!(road(Some(&[15, 0])), Road::Near);
    assert_eq!(road(Some(&[0, 20])), Road::Anew, "they prove less than nothing does");
    assert_eq!(road(Some(&[20])), Road::Anew, "they are of another number of regions");
}

#[test]
fn prices_too_high_for_the_quick_road_are_found_on_the_plain_one() {
    // Only the last region has room, and each is left for the next alone, at the dearest there is.
    for regions in [2, 3, 6] {
        let room = |region: usize| Some(u64::from(region + 1 == regions));
        let mut problem = Problem::new((0..regions).map(|at| vec![Tier { room: room(at), cost: 0 }]).collect());
        let costs: Vec<i32> = (0..regions).map(|at| if at == 0 { 0 } else { MAX_COST }).collect();
        problem.source(1, &costs);
        assert_eq!(solve(&problem, None).map(|flow| flow.road), Ok(Road::Plain), "{regions}");
        assert_eq!(quickly(&problem, None).err(), Some(FlowError::OutOfRange));
    }
}

#[test]
fn prices_of_no_cheapest_flow_place_nobody() {
    let mut problem = Problem::new(vec![vec![Tier { room: Some(5), cost: 0 }]; 2]);
    problem.source(8, &[10, 30]);
    assert_eq!(placed::flow(&problem, &[20, 0]).map(|flow| flow.shares), Ok(vec![vec![(0, 5), (1, 3)]]));
    for wrong in [[0, 0], [19, 0], [21, 0]] {
        let flow = placed::flow(&problem, &wrong).and_then(|flow| proven(&problem, flow));
        assert!(flow.is_err(), "{wrong:?}: {flow:?}");
    }
}

#[test]
fn who_is_alike_is_split_no_more_than_there_are_regions() {
    let tiers = |room: u64| vec![Tier { room: Some(room), cost: 0 }, Tier { room: None, cost: 1_000 }];
    let mut problem = Problem::new((0..8).map(|region| tiers(900 + 50 * region)).collect());
    for source in 0..2_000 {
        problem.source(source % 7 + 1, &[500; 8]);
    }
    let flow = solve(&problem, None).expect("a solution");
    assert_eq!(flow.road, Road::Anew);
    assert!(splits(&flow) <= 7, "{}", splits(&flow));
    assert!(flow.loads.iter().zip(0..).all(|(load, region)| *load <= 900 + 50 * region), "{:?}", flow.loads);
}
