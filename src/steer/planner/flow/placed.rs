//! The flow that prices ask for: each source where cost and price sum to the least, and of several such places the one
//! where it costs least by itself, as far as the regions' tiers are then filled as their prices say.
//!
//! It follows from the problem and the prices alone, whatever way these were found: so does a plan, then.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::prices::{bounds, cheapest};
use super::problem::{Flow, FlowError, MAX_COST, Problem, Road};

/// The flow at these prices.
///
/// # Errors
/// Where there is none: they are not the prices of a cheapest flow, or not from 0 to [`MAX_COST`].
pub fn flow(problem: &Problem, prices: &[i64]) -> Result<Flow, FlowError> {
    if prices.len() != problem.regions || prices.iter().any(|price| !(0..=i64::from(MAX_COST)).contains(price)) {
        return Err(FlowError::OutOfRange);
    }
    let mut placed = Placed::new(problem, prices)?;
    // Each chain takes the last of a source from a region, or gives a region all that it lacks or may have.
    let mut most = 64 * (placed.tied.len() as u64 + 16) * (problem.regions as u64 + 1);
    for region in 0..problem.regions {
        while placed.flow.loads[region] > placed.bounds[region].1 {
            most = most.checked_sub(1).ok_or(FlowError::Endless)?;
            placed.relieve(region)?;
        }
    }
    for region in 0..problem.regions {
        while placed.flow.loads[region] < placed.bounds[region].0 {
            most = most.checked_sub(1).ok_or(FlowError::Endless)?;
            placed.feed(region)?;
        }
    }
    Ok(placed.flow)
}

struct Placed {
    regions: usize,
    flow: Flow,
    /// By region: the least and the most it is to have.
    bounds: Vec<(u64, u64)>,
    /// Sources that may be in several regions, each with those.
    tied: Vec<(usize, Vec<u16>)>,
    /// By two regions: those of `tied` that may move from one to the other, and perhaps some that have left.
    movable: Vec<Movable>,
}

#[derive(Clone, Debug, Default)]
struct Movable {
    /// Who was there from the beginning, ascending: where all are alike, that is nearly everyone.
    first: VecDeque<u32>,
    came: BinaryHeap<Reverse<u32>>,
}

impl Placed {
    fn new(problem: &Problem, prices: &[i64]) -> Result<Placed, FlowError> {
        let regions = problem.regions;
        let prices_32: Vec<i32> = prices.iter().map(|&price| price as i32).collect();
        let mut placed = Placed {
            regions,
            flow: Flow {
                shares: Vec::with_capacity(problem.supplies.len()),
                prices: prices.to_vec(),
                loads: vec![0; regions],
                road: Road::default(),
            },
            bounds: (0..regions).map(|region| bounds(problem, region, prices[region])).collect(),
            tied: Vec::new(),
            movable: vec![Movable::default(); regions * regions],
        };
        for (source, &supply) in problem.supplies.iter().enumerate() {
            if supply == 0 {
                placed.flow.shares.push(Vec::new());
                continue;
            }
            let costs = problem.costs_of(source);
            let (first, least) = cheapest(costs, &prices_32).ok_or(FlowError::Stranded)?;
            let sums = || costs.iter().zip(&prices_32).map(|(cost, price)| cost + price);
            let mut home = first;
            if sums().filter(|&sum| sum == least).count() > 1 {
                let alike: Vec<u16> = (0..).zip(sums()).filter(|&(_, sum)| sum == least).map(|(at, _)| at).collect();
                home = alike.iter().map(|&at| usize::from(at)).min_by_key(|&at| costs[at]).unwrap_or(first);
                placed.tied.push((source, alike));
            }
            placed.flow.shares.push(vec![(home as u16, supply)]);
            placed.flow.loads[home] += supply;
        }
        for (tied, (source, alike)) in (0..).zip(&placed.tied) {
            for &(home, _) in &placed.flow.shares[*source] {
                for &to in alike.iter().filter(|&&to| to != home) {
                    placed.movable[usize::from(home) * regions + usize::from(to)].first.push_back(tied);
                }
            }
        }
        Ok(placed)
    }

    /// Takes from a region that has too much, by the shortest chain to one that may have more.
    fn relieve(&mut self, region: usize) -> Result<(), FlowError> {
        let room = |placed: &Placed, at: usize| placed.bounds[at].1.saturating_sub(placed.flow.loads[at]);
        let chain = self.chain(region, |placed, at| room(placed, at) > 0, |at, next| (at, next))?;
        let most = (self.flow.loads[region] - self.bounds[region].1).min(room(self, chain.end));
        self.send(&chain.moves, most);
        Ok(())
    }

    /// Gives to a region that has too little, by the shortest chain from one that may have less.
    fn feed(&mut self, region: usize) -> Result<(), FlowError> {
        let spare = |placed: &Placed, at: usize| placed.flow.loads[at].saturating_sub(placed.bounds[at].0);
        let chain = self.chain(region, |placed, at| spare(placed, at) > 0, |at, next| (next, at))?;
        let most = (self.bounds[region].0 - self.flow.loads[region]).min(spare(self, chain.end));
        self.send(&chain.moves, most);
        Ok(())
    }

    /// The shortest chain of moves between a region and one that will do, the lowest numbers first. `way`: the move
    /// between two that a chain goes from and to.
    fn chain(
        &mut self,
        begin: usize,
        will_do: impl Fn(&Placed, usize) -> bool,
        way: impl Fn(usize, usize) -> (usize, usize),
    ) -> Result<Chain, FlowError> {
        let mut before = vec![usize::MAX; self.regions];
        before[begin] = begin;
        let mut open = VecDeque::from([begin]);
        while let Some(at) = open.pop_front() {
            for next in 0..self.regions {
                let (from, to) = way(at, next);
                if before[next] != usize::MAX || self.movable(from, to).is_none() {
                    continue;
                }
                before[next] = at;
                if will_do(self, next) {
                    let mut moves = Vec::new();
                    let mut step = next;
                    while step != begin {
                        moves.push(way(before[step], step));
                        step = before[step];
                    }
                    return Ok(Chain { end: next, moves });
                }
                open.push_back(next);
            }
        }
        Err(FlowError::Full)
    }

    /// The first of the sources that may move from one region to another.
    fn movable(&mut self, from: usize, to: usize) -> Option<usize> {
        let Placed { regions, flow, tied, movable, .. } = self;
        let is_there = |number: u32| {
            let shares = &flow.shares[tied[number as usize].0];
            shares.iter().any(|share| usize::from(share.0) == from)
        };
        let Movable { first, came } = &mut movable[from * *regions + to];
        while first.front().is_some_and(|&number| !is_there(number)) {
            first.pop_front();
        }
        while came.peek().is_some_and(|&Reverse(number)| !is_there(number)) {
            came.pop();
        }
        let came = came.peek().map(|Reverse(number)| number);
        first.front().into_iter().chain(came).min().map(|&number| number as usize)
    }

    /// Sends so much, or as much as the sources are, along a chain.
    fn send(&mut self, moves: &[(usize, usize)], most: u64) {
        let mut amount = most;
        let mut sent = Vec::with_capacity(moves.len());
        for &(from, to) in moves {
            let Some(tied) = self.movable(from, to) else { return };
            let shares = &self.flow.shares[self.tied[tied].0];
            amount = amount.min(shares.iter().find(|share| usize::from(share.0) == from).map_or(0, |share| share.1));
            sent.push((tied, from, to));
        }
        for (tied, from, to) in sent {
            self.shift(tied, from, to, amount);
        }
    }

    fn shift(&mut self, tied: usize, from: usize, to: usize, amount: u64) {
        let shares = &mut self.flow.shares[self.tied[tied].0];
        if let Some(at) = shares.iter().position(|share| usize::from(share.0) == from) {
            shares[at].1 -= amount;
            if shares[at].1 == 0 {
                shares.remove(at);
            }
        }
        self.flow.loads[from] -= amount;
        self.flow.loads[to] += amount;
        match shares.iter_mut().find(|share| usize::from(share.0) == to) {
            Some(share) => share.1 += amount,
            None => {
                shares.push((to as u16, amount));
                self.come(tied, to);
            }
        }
    }

    /// A source has come to a region.
    fn come(&mut self, tied: usize, from: usize) {
        for &to in self.tied[tied].1.iter().filter(|&&to| usize::from(to) != from) {
            self.movable[from * self.regions + usize::from(to)].came.push(Reverse(tied as u32));
        }
    }
}

/// Moves from one region to the next, in either order.
struct Chain {
    end: usize,
    moves: Vec<(usize, usize)>,
}
