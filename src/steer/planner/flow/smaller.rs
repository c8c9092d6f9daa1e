//! Smaller problems: with the very prices of a large one, or with prices that are near.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::problem::{FORBIDDEN, Problem};

/// Problems of at most so many costs are looked at whole.
pub const SMALL: usize = if cfg!(test) { 1 << 6 } else { 1 << 14 };
/// So many sources tell whether many are alike.
const LOOKED_AT: usize = 1_024;
/// One source in so many, at most, is in a sample.
const SAMPLED: usize = 16;

/// The same problem with sources taken together that no region tells apart: what they cost differs by as much in each.
/// `None`: hardly any are alike.
pub fn together(problem: &Problem) -> Option<Problem> {
    let sources = problem.supplies.len();
    let looked_at: Vec<usize> = (0..sources).step_by(sources.div_ceil(LOOKED_AT).max(1)).collect();
    let unlike: HashSet<Vec<i32>> = looked_at.iter().map(|&source| beyond_least(problem.costs_of(source))).collect();
    if problem.costs.len() <= SMALL || unlike.len() > looked_at.len() / 2 {
        return None;
    }
    let mut numbers: HashMap<Vec<i32>, usize> = HashMap::new();
    let mut together = Problem::new(problem.tiers.clone());
    for (source, &supply) in problem.supplies.iter().enumerate().filter(|(_, supply)| **supply > 0) {
        match numbers.entry(beyond_least(problem.costs_of(source))) {
            Entry::Occupied(known) => together.supplies[*known.get()] += supply,
            Entry::Vacant(new) => {
                together.source(supply, new.key());
                new.insert(together.supplies.len() - 1);
            }
        }
    }
    together.least = 0; // each is at nothing where it is cheapest
    (!together.unsound).then_some(together)
}

/// What each region costs beyond the cheapest.
fn beyond_least(costs: &[i32]) -> Vec<i32> {
    let least = costs.iter().copied().min().unwrap_or(0);
    costs.iter().map(|&cost| if cost == FORBIDDEN { FORBIDDEN } else { cost - least }).collect()
}

/// One of so many sources or fewer, chosen by what they are: each stands for as much as the next, and all for the whole.
/// `None`: the problem is small already, or its amounts are.
pub fn sampled(problem: &Problem) -> Option<Problem> {
    let total: u64 = problem.supplies.iter().sum();
    let each = total / (problem.supplies.len() / SAMPLED).max(1) as u64;
    if problem.costs.len() <= SMALL || each == 0 || total > u64::MAX / 4 {
        return None;
    }
    let mut sample = Problem::new(problem.tiers.clone());
    let mut passed = each / 2;
    for (source, &supply) in problem.supplies.iter().enumerate() {
        let stands_for = (passed + supply) / each - passed / each;
        if stands_for > 0 {
            sample.source(stands_for * each, problem.costs_of(source));
        }
        passed += supply;
    }
    // So few that a few large ones stand for themselves alone: nothing would be gained.
    (sample.supplies.len() < problem.supplies.len() / 2).then_some(sample)
}
