//! The cheapest way to share demand out among regions of limited capacity: a transport problem
//! with convex costs, solved exactly.
//!
//! In: what each source costs in each region, how much each source is, and the tiers in which a
//! region's capacity is priced. Out: who goes where, each region's price (its dual), and with
//! [`Flow::verify`] a proof that nothing is cheaper. Whole numbers throughout, so the same problem
//! has the same solution on every node, and the proof is exact.
//!
//! ```text
//!   problem, prices that may be near ─▶ prices: the least that prove a cheapest flow ─▶ placed: who goes where ─▶ verify
//!                                            └── anything amiss ─▶ plain: all of it from nothing ──────────────────┘
//! ```
//!
//! Sources number hundreds of thousands, regions dozens, and from one plan to the next little changes. So prices are
//! sought from those of before, which changes how soon they are found and never which: the least prices are one set,
//! and who goes where follows from them alone.

mod moves;
mod placed;
mod plain;
mod prices;
mod problem;
mod smaller;

pub use problem::{FORBIDDEN, Flow, FlowError, MAX_COST, Problem, Road, Tier};

/// The cheapest flow, proven by [`Flow::verify`]. `near`: prices by region that may be close to its own, such as
/// those of a problem that was nearly the same. They change how soon it is found, not which it is.
///
/// # Errors
/// Where a source with a supply may go nowhere, all rooms together are too small, or a number
/// is out of range; see [`FlowError`].
pub fn solve(problem: &Problem, near: Option<&[i64]>) -> Result<Flow, FlowError> {
    problem.check()?;
    quickly(problem, near).or_else(|_| plainly(problem))
}

fn quickly(problem: &Problem, near: Option<&[i64]>) -> Result<Flow, FlowError> {
    let (prices, road) = prices::least(problem, near)?;
    proven(problem, Flow { road, ..placed::flow(problem, &prices)? })
}

fn plainly(problem: &Problem) -> Result<Flow, FlowError> {
    let plain = plain::solve(problem)?;
    let placed = placed::flow(problem, &plain.prices);
    let placed = placed.and_then(|flow| proven(problem, Flow { road: Road::Plain, ..flow }));
    placed.or_else(|_| proven(problem, plain))
}

fn proven(problem: &Problem, flow: Flow) -> Result<Flow, FlowError> {
    flow.verify(problem).map_err(FlowError::Unproven)?;
    Ok(flow)
}

#[cfg(test)]
mod roads_tests;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tier(room: u64, cost: i32) -> Tier {
        Tier { room: Some(room), cost }
    }

    const BEYOND: Tier = Tier { room: None, cost: 300 };

    fn solved(problem: &Problem) -> Flow {
        let flow = solve(problem, None).expect("a solution");
        flow.verify(problem).expect("a proof");
        flow
    }

    #[test]
    fn everyone_goes_where_it_is_cheapest_while_there_is_room() {
        let mut problem = Problem::new(vec![vec![tier(10, 0), BEYOND], vec![tier(10, 0), BEYOND]]);
        problem.source(4, &[10, 50]);
        problem.source(5, &[80, 20]);
        let flow = solved(&problem);
        assert_eq!(flow.shares, [vec![(0, 4)], vec![(1, 5)]]);
        assert_eq!((flow.prices, flow.loads), (vec![0, 0], vec![4, 5]));
    }

    #[test]
    fn whoever_loses_least_makes_room() {
        let mut problem = Problem::new(vec![vec![tier(10, 0), BEYOND], vec![tier(100, 0), BEYOND]]);
        problem.source(8, &[10, 90]);
        problem.source(8, &[10, 30]);
        let flow = solved(&problem);
        assert_eq!(flow.shares[0], [(0, 8)]);
        assert_eq!(flow.shares[1], [(0, 2), (1, 6)]);
        assert_eq!(flow.prices, [20, 0]);
    }

    #[test]
    fn room_is_found_by_a_chain_of_moves() {
        // Only the second source can reach the third region; the first makes it go there.
        let mut problem = Problem::new(vec![vec![tier(5, 0)], vec![tier(5, 0)], vec![tier(5, 0)]]);
        problem.source(10, &[1, 5, FORBIDDEN]);
        problem.source(5, &[FORBIDDEN, 1, 9]);
        let flow = solved(&problem);
        assert_eq!(flow.shares, [vec![(0, 5), (1, 5)], vec![(2, 5)]]);
    }

    #[test]
    fn what_is_beyond_all_room_is_paid_for_or_refused() {
        let mut problem = Problem::new(vec![vec![tier(5, 0), BEYOND]]);
        problem.source(9, &[7]);
        let flow = solved(&problem);
        assert_eq!((flow.loads.clone(), flow.prices.clone()), (vec![9], vec![300]));
        assert_eq!(flow.total_cost(&problem), 9 * 7 + 4 * 300);
        let mut full = Problem::new(vec![vec![tier(5, 0)]]);
        full.source(9, &[7]);
        assert_eq!(solve(&full, None).err(), Some(FlowError::Full));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut stranded = Problem::new(vec![vec![BEYOND]]);
        stranded.source(1, &[FORBIDDEN]);
        assert_eq!(solve(&stranded, None).err(), Some(FlowError::Stranded));
        let mut dear = Problem::new(vec![vec![BEYOND]]);
        dear.source(1, &[MAX_COST + 1]);
        assert_eq!(solve(&dear, None).err(), Some(FlowError::OutOfRange));
        let paid_for = Problem::new(vec![vec![tier(1, -1)]]);
        assert_eq!(solve(&paid_for, None).err(), Some(FlowError::OutOfRange));
        let falling = Problem::new(vec![vec![tier(1, 5), tier(1, 4)]]);
        assert_eq!(solve(&falling, None).err(), Some(FlowError::OutOfRange));
        let mut much = Problem::new(vec![vec![BEYOND]]);
        much.source(u64::MAX, &[1]);
        much.source(1, &[1]);
        assert_eq!(solve(&much, None).err(), Some(FlowError::OutOfRange));
    }

    #[test]
    fn nobody_and_nowhere_are_problems_too() {
        let nobody = Problem::new(vec![vec![BEYOND]]);
        assert_eq!(solved(&nobody).loads, [0]);
        let mut idle = Problem::new(vec![vec![BEYOND], vec![]]);
        idle.source(0, &[1]);
        assert_eq!(solved(&idle).shares, [vec![]]);
    }

    #[test]
    fn a_false_proof_is_seen() {
        let mut problem = Problem::new(vec![vec![tier(10, 0), BEYOND], vec![tier(10, 0), BEYOND]]);
        problem.source(4, &[10, 50]);
        let flow = solved(&problem);
        let spoilt = |spoil: &dyn Fn(&mut Flow)| {
            let mut flow = flow.clone();
            spoil(&mut flow);
            flow.verify(&problem).is_err()
        };
        assert!(spoilt(&|flow| flow.shares[0] = vec![(1, 4)]));
        assert!(spoilt(&|flow| flow.shares[0] = vec![(0, 3)]));
        assert!(spoilt(&|flow| (flow.shares[0], flow.loads) = (vec![(1, 4)], vec![0, 4])));
        assert!(spoilt(&|flow| flow.prices[0] = 1));
        assert!(spoilt(&|flow| flow.loads[0] = 5));
    }

    /// The least cost by trying everything, one unit at a time.
    fn least(problem: &Problem, source: usize, loads: &mut Vec<u64>) -> Option<i128> {
        let Some(&supply) = problem.supplies.get(source) else { return Some(0) };
        let mut rest = problem.clone();
        rest.supplies[source] = supply.saturating_sub(1);
        if supply == 0 {
            return least(problem, source + 1, loads);
        }
        let mut best = None;
        for region in 0..problem.regions {
            let cost = problem.cost(source, region);
            let mut before = 0;
            let open = problem.tiers[region].iter().find(|tier| {
                before += tier.room.unwrap_or(u64::MAX / 2);
                loads[region] < before
            });
            let (Some(open), true) = (open, cost != FORBIDDEN) else { continue };
            loads[region] += 1;
            if let Some(others) = least(&rest, source, loads) {
                let total = others + i128::from(cost) + i128::from(open.cost);
                best = Some(best.map_or(total, |best: i128| best.min(total)));
            }
            loads[region] -= 1;
        }
        best
    }

    fn problems(sources: usize, most: u64) -> impl Strategy<Value = Problem> {
        let tiers = prop::collection::vec((0u64..4, 0i32..30), 0..3);
        let cost = prop_oneof![5 => 0i32..60, 1 => Just(FORBIDDEN)];
        let source = (0..=most, prop::collection::vec(cost, 3));
        (prop::collection::vec(tiers, 3), prop::collection::vec(source, 0..sources)).prop_map(|(tiers, sources)| {
            let rising = |tiers: Vec<(u64, i32)>| {
                let mut cost = 0;
                let step = |(room, more): (u64, i32)| {
                    cost += more;
                    tier(room, cost)
                };
                tiers.into_iter().map(step).chain([]).collect::<Vec<_>>()
            };
            let mut problem = Problem::new(tiers.into_iter().map(rising).collect());
            for (supply, costs) in sources {
                problem.source(supply, &costs);
            }
            problem
        })
    }

    proptest! {
        #[test]
        fn nothing_is_cheaper_than_the_solution(problem in problems(4, 2)) {
            let least = least(&problem, 0, &mut vec![0; 3]);
            match solve(&problem, None) {
                Ok(flow) => {
                    prop_assert_eq!(flow.verify(&problem), Ok(()));
                    prop_assert_eq!(Some(flow.total_cost(&problem)), least);
                }
                Err(FlowError::Full | FlowError::Stranded) => prop_assert_eq!(least, None),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }

        #[test]
        fn every_solution_is_proven(mut problem in problems(60, 1_000)) {
            problem.tiers.iter_mut().for_each(|tiers| tiers.push(BEYOND));
            problem.costs.chunks_mut(3).for_each(|costs| if costs == [FORBIDDEN; 3] { costs[0] = 1; });
            (problem.least, problem.unsound) = (0, false);
            let flow = solve(&problem, None).expect("room without end");
            prop_assert_eq!(flow.verify(&problem), Ok(()));
            prop_assert!(flow.shares.iter().map(|shares| shares.len().max(1) - 1).sum::<usize>() <= 3 * 4);
        }
    }
}
