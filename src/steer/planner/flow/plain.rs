//! The plain way to a solution: successive shortest paths from nothing.
//!
//! ```text
//!   everyone at their cheapest ─▶ a region over its tier? ─▶ cheapest chain of moves to room ─▶ repeat
//! ```
//!
//! Nothing is guessed and nothing is left out, which makes it the one to fall back on, and the one that
//! [`super::prices`] is tested against. Its prices are the least there are: each rises no further than the moves that
//! it takes. Chains of moves are searched among the regions alone: the cheapest move from one to another is the top
//! of a heap of its sources, made when a search first leaves that region.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::moves::{pack, unpack};
use super::problem::{FORBIDDEN, Flow, FlowError, Problem, Road, Tier};

/// The cheapest flow of a problem that was checked.
///
/// # Errors
/// Where a source with a supply may go nowhere, or all rooms together are too small; see [`FlowError`].
pub fn solve(problem: &Problem) -> Result<Flow, FlowError> {
    let mut search = Search::new(problem)?;
    // Each move fills a tier, empties an excess or takes the last of a source from a region.
    // Far fewer happen; the bound only keeps a mistake here from stopping the writer.
    let most = 64 * (problem.supplies.len() as u64 + 16) * (problem.regions as u64 + 1);
    for _ in 0..most {
        let Some(from) = search.excess.iter().position(|&excess| excess > 0) else { return Ok(search.finish()) };
        if !search.search(from) {
            return Err(FlowError::Full);
        }
        search.augment(from);
    }
    Err(FlowError::Endless)
}

/// The state of a solution in the making. Nodes of the search are the regions and, as the last,
/// the sink that takes what has room.
struct Search<'a> {
    problem: &'a Problem,
    shares: Vec<Vec<(u16, u64)>>,
    /// By region: what is there without room.
    excess: Vec<u64>,
    loads: Vec<u64>,
    /// By region: the first tier with room, and how much of it is used.
    filled: Vec<(usize, u64)>,
    /// By node: what makes every possible move cost 0 or more.
    potentials: Vec<i64>,
    /// By region: moves out of it. `None`: no search has left it yet.
    moves: Vec<Option<Moves>>,
    reached: Vec<Reached>,
}

/// By region moved to: sources, packed with what the move costs.
type Moves = Vec<BinaryHeap<Reverse<u64>>>;

/// The way a search got to a node.
#[derive(Clone, Copy)]
struct Reached {
    distance: i64,
    before: usize,
    settled: bool,
}

const UNREACHED: Reached = Reached { distance: i64::MAX, before: usize::MAX, settled: false };

impl<'a> Search<'a> {
    /// Everyone at their cheapest, nothing of it with room yet.
    fn new(problem: &'a Problem) -> Result<Search<'a>, FlowError> {
        let mut excess = vec![0; problem.regions];
        let mut shares = Vec::with_capacity(problem.supplies.len());
        for (source, &supply) in problem.supplies.iter().enumerate() {
            if supply == 0 {
                shares.push(Vec::new());
                continue;
            }
            let costs = problem.costs_of(source).iter().enumerate();
            let cheapest = costs.filter(|(_, cost)| **cost != FORBIDDEN).min_by_key(|(_, cost)| **cost);
            let (region, _) = cheapest.ok_or(FlowError::Stranded)?;
            excess[region] += supply;
            shares.push(vec![(region as u16, supply)]);
        }
        let mut search = Search {
            problem,
            shares,
            excess,
            loads: vec![0; problem.regions],
            filled: vec![(0, 0); problem.regions],
            potentials: vec![0; problem.regions + 1],
            moves: (0..problem.regions).map(|_| None).collect(),
            reached: vec![UNREACHED; problem.regions + 1],
        };
        // Past the tiers that have no room at all.
        (0..problem.regions).for_each(|region| search.fill(region, 0));
        Ok(search)
    }

    fn finish(self) -> Flow {
        let sink = self.potentials[self.problem.regions];
        let prices = self.potentials[..self.problem.regions].iter().map(|potential| (sink - potential).max(0));
        Flow { prices: prices.collect(), shares: self.shares, loads: self.loads, road: Road::Plain }
    }

    /// Finds the cheapest chain of moves from a region to room, by Dijkstra's algorithm over
    /// reduced costs, and leaves it in `reached`. False where nothing that can be reached has room.
    fn search(&mut self, from: usize) -> bool {
        let sink = self.problem.regions;
        self.reached.fill(UNREACHED);
        self.reached[from].distance = 0;
        loop {
            let open = (0..=sink).filter(|&node| !self.reached[node].settled && self.reached[node].distance < i64::MAX);
            // Among equals the sink first, then the lowest number.
            let Some(node) = open.min_by_key(|&node| (self.reached[node].distance, node != sink)) else { return false };
            self.reached[node].settled = true;
            if node == sink {
                break;
            }
            if let Some(tier) = self.open_tier(node) {
                self.relax(node, sink, i64::from(tier.cost));
            }
            for to in 0..sink {
                if !self.reached[to].settled
                    && let Some((cost, _)) = self.cheapest_move(node, to)
                {
                    self.relax(node, to, cost);
                }
            }
        }
        let end = self.reached[sink].distance;
        for (potential, reached) in self.potentials.iter_mut().zip(&self.reached) {
            *potential += reached.distance.min(end);
        }
        true
    }

    fn relax(&mut self, from: usize, to: usize, cost: i64) {
        let distance = self.reached[from].distance + cost + self.potentials[from] - self.potentials[to];
        if distance < self.reached[to].distance {
            self.reached[to] = Reached { distance, before: from, settled: false };
        }
    }

    /// The first tier of a region with room.
    fn open_tier(&self, region: usize) -> Option<Tier> {
        self.problem.tiers[region].get(self.filled[region].0).copied()
    }

    /// The cost of the cheapest move of a source from one region to another, and the source.
    fn cheapest_move(&mut self, from: usize, to: usize) -> Option<(i64, usize)> {
        if self.moves[from].is_none() {
            self.moves[from] = Some(self.moves_out_of(from));
        }
        let heap = self.moves[from].as_mut()?.get_mut(to)?;
        while let Some(&Reverse(packed)) = heap.peek() {
            let (cost, source) = unpack(packed);
            if self.shares[source].iter().any(|&(region, _)| usize::from(region) == from) {
                return Some((cost, source));
            }
            heap.pop(); // it has left since
        }
        None
    }

    fn moves_out_of(&self, from: usize) -> Moves {
        let mut moves: Vec<Vec<Reverse<u64>>> = vec![Vec::new(); self.problem.regions];
        for (source, shares) in self.shares.iter().enumerate() {
            if shares.iter().any(|&(region, _)| usize::from(region) == from) {
                self.for_each_move(source, from, |to, packed| moves[to].push(Reverse(packed)));
            }
        }
        moves.into_iter().map(BinaryHeap::from).collect()
    }

    fn for_each_move(&self, source: usize, from: usize, mut each: impl FnMut(usize, u64)) {
        let costs = self.problem.costs_of(source);
        for (to, &cost) in costs.iter().enumerate() {
            if to != from && cost != FORBIDDEN {
                each(to, pack(cost - costs[from], source));
            }
        }
    }

    /// Sends as much as fits along the path that was found.
    fn augment(&mut self, from: usize) {
        let sink = self.problem.regions;
        let last = self.reached[sink].before;
        let mut amount = self.excess[from].min(self.room_left(last));
        let mut moves = Vec::new();
        let mut to = last;
        while to != from {
            let before = self.reached[to].before;
            let Some((_, source)) = self.cheapest_move(before, to) else { return };
            amount = amount.min(self.amount(source, before));
            moves.push((source, before, to));
            to = before;
        }
        for (source, before, to) in moves {
            self.shift(source, before, to, amount);
        }
        self.excess[from] -= amount;
        self.fill(last, amount);
    }

    fn amount(&self, source: usize, region: usize) -> u64 {
        self.shares[source].iter().find(|&&(of, _)| usize::from(of) == region).map_or(0, |&(_, amount)| amount)
    }

    fn room_left(&self, region: usize) -> u64 {
        let used = self.filled[region].1;
        self.open_tier(region).map_or(0, |tier| tier.room.map_or(u64::MAX, |room| room - used))
    }

    fn fill(&mut self, region: usize, amount: u64) {
        self.loads[region] += amount;
        let (tier, used) = &mut self.filled[region];
        *used += amount;
        let tiers = &self.problem.tiers[region];
        while tiers.get(*tier).is_some_and(|of| of.room.is_some_and(|room| *used >= room)) {
            (*tier, *used) = (*tier + 1, 0);
        }
    }

    fn shift(&mut self, source: usize, from: usize, to: usize, amount: u64) {
        let shares = &mut self.shares[source];
        if let Some(at) = shares.iter().position(|&(region, _)| usize::from(region) == from) {
            shares[at].1 -= amount;
            if shares[at].1 == 0 {
                shares.remove(at);
            }
        }
        match shares.iter_mut().find(|(region, _)| usize::from(*region) == to) {
            Some((_, there)) => *there += amount,
            None => {
                shares.push((to as u16, amount));
                if let Some(mut moves) = self.moves[to].take() {
                    self.for_each_move(source, to, |next, packed| moves[next].push(Reverse(packed)));
                    self.moves[to] = Some(moves);
                }
            }
        }
    }
}
