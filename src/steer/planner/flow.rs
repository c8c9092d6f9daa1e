//! The cheapest way to share demand out among regions of limited capacity: a transport problem
//! with convex costs, solved exactly by successive shortest paths.
//!
//! In: what each source costs in each region, how much each source is, and the tiers in which a
//! region's capacity is priced. Out: who goes where, each region's price (its dual), and with
//! [`Flow::verify`] a proof that nothing is cheaper. Whole numbers throughout, so the same problem
//! has the same solution on every node, and the proof is exact.
//!
//! ```text
//!   everyone at their cheapest ─▶ a region over its tier? ─▶ cheapest chain of moves to room ─▶ repeat
//! ```
//!
//! Sources number hundreds of thousands, regions dozens. So chains of moves are searched among the
//! regions alone: the cheapest move from one to another is the top of a heap of its sources, made
//! when a search first leaves that region. Regions with room cost nothing but a sum.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A region a source may not use.
pub const FORBIDDEN: i32 = i32::MAX;

/// The dearest a source may be in a region, and a tier; keeps sums of them far from overflow.
pub const MAX_COST: i32 = 1 << 29;

/// The problem to be solved.
#[derive(Clone, Debug)]
pub struct Problem {
    regions: usize,
    /// By source, then by region; [`FORBIDDEN`] or within ±[`MAX_COST`].
    costs: Vec<i32>,
    /// By source.
    supplies: Vec<u64>,
    /// By region.
    tiers: Vec<Vec<Tier>>,
}

/// A part of a region's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// The amount that fits; `None`: no end.
    pub room: Option<u64>,
    /// The cost of each unit in it on top; not below that of the tier before it.
    pub cost: i32,
}

/// The reason why a problem has no solution here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    #[error("a source may use no region")]
    Stranded,
    #[error("the regions take no more")]
    Full,
    #[error("more moves than a solution can need")]
    Endless,
    #[error("a cost or an amount is out of range")]
    OutOfRange,
}

/// The flow from sources to regions.
#[derive(Clone, Debug)]
pub struct Flow {
    /// By source: regions and amounts above 0, summing to its supply; empty where that is 0.
    pub shares: Vec<Vec<(u16, u64)>>,
    /// By region: what one unit more would cost there, 0 or more. Every source is where its cost
    /// and the region's price sum to the least.
    pub prices: Vec<i64>,
    /// By region.
    pub loads: Vec<u64>,
}

impl Problem {
    /// Regions with these tiers, and no sources yet. A region without tiers has no room at all.
    pub fn new(tiers: Vec<Vec<Tier>>) -> Problem {
        Problem { regions: tiers.len(), costs: Vec::new(), supplies: Vec::new(), tiers }
    }

    /// Adds a source. `costs` as many as there are regions; missing ones are [`FORBIDDEN`].
    pub fn source(&mut self, supply: u64, costs: impl IntoIterator<Item = i32>) {
        self.supplies.push(supply);
        self.costs.extend(costs.into_iter().chain(std::iter::repeat(FORBIDDEN)).take(self.regions));
    }

    /// The cheapest flow.
    ///
    /// # Errors
    /// Where a source with a supply may go nowhere, all rooms together are too small, or a number
    /// is out of range; see [`FlowError`].
    pub fn solve(&self) -> Result<Flow, FlowError> {
        self.check()?;
        let mut search = Search::new(self)?;
        // Each move fills a tier, empties an excess or takes the last of a source from a region.
        // Far fewer happen; the bound only keeps a mistake here from stopping the writer.
        let most = 64 * (self.supplies.len() as u64 + 16) * (self.regions as u64 + 1);
        for _ in 0..most {
            let Some(from) = search.excess.iter().position(|&excess| excess > 0) else { return Ok(search.finish()) };
            if !search.search(from) {
                return Err(FlowError::Full);
            }
            search.augment(from);
        }
        Err(FlowError::Endless)
    }

    fn check(&self) -> Result<(), FlowError> {
        let in_range = |cost: i32| cost.unsigned_abs() <= MAX_COST as u32;
        let costs = self.costs.iter().all(|&cost| cost == FORBIDDEN || in_range(cost));
        let rising = |tiers: &Vec<Tier>| tiers.windows(2).all(|pair| pair[0].cost <= pair[1].cost);
        let tiers = self.tiers.iter().all(|tiers| rising(tiers) && tiers.iter().all(|tier| in_range(tier.cost)));
        let supplies = self.supplies.iter().try_fold(0u64, |sum, &supply| sum.checked_add(supply)).is_some();
        let mut rooms = self.tiers.iter().map(|tiers| tiers.iter().filter_map(|tier| tier.room));
        let rooms = rooms.all(|mut rooms| rooms.try_fold(0u64, u64::checked_add).is_some());
        let fits = self.supplies.len() <= u32::MAX as usize && self.regions <= usize::from(u16::MAX);
        if costs && tiers && supplies && rooms && fits { Ok(()) } else { Err(FlowError::OutOfRange) }
    }

    fn cost(&self, source: usize, region: usize) -> i32 {
        self.costs[source * self.regions + region]
    }

    fn costs_of(&self, source: usize) -> &[i32] {
        &self.costs[source * self.regions..][..self.regions]
    }
}

impl Flow {
    /// Tells whether this is a flow of the problem, and none is cheaper: by complementary slackness,
    /// from shares and prices alone. The error says what is wrong.
    pub fn verify(&self, problem: &Problem) -> Result<(), String> {
        let mut loads = vec![0u64; problem.regions];
        for (source, &supply) in problem.supplies.iter().enumerate() {
            let shares = self.shares.get(source).ok_or_else(|| format!("nothing is said of source {source}"))?;
            let total: u64 = shares.iter().map(|&(_, amount)| amount).sum();
            if total != supply {
                return Err(format!("source {source} is {supply}, and {total} are shared out"));
            }
            self.verify_source(problem, source)?;
            for &(region, amount) in shares {
                loads[usize::from(region)] += amount;
            }
        }
        if loads != self.loads {
            return Err("the loads are not the sums of the shares".to_owned());
        }
        (0..problem.regions).try_for_each(|region| self.verify_price(problem, region))
    }

    fn verify_source(&self, problem: &Problem, source: usize) -> Result<(), String> {
        let costs = problem.costs_of(source).iter().zip(&self.prices);
        let total = |(&cost, &price): (&i32, &i64)| (cost != FORBIDDEN).then_some(i64::from(cost) + price);
        let totals: Vec<Option<i64>> = costs.map(total).collect();
        let least = totals.iter().flatten().min();
        for &(region, _) in &self.shares[source] {
            let paid = totals.get(usize::from(region)).copied().flatten();
            if paid.is_none() || paid.as_ref() != least {
                return Err(format!("source {source} pays {paid:?} in region {region}, and the least is {least:?}"));
            }
        }
        Ok(())
    }

    /// The price lies between what the last unit cost and what the next one would.
    fn verify_price(&self, problem: &Problem, region: usize) -> Result<(), String> {
        let (price, mut load) = (self.prices[region], self.loads[region]);
        let (mut last, mut next) = (None, None);
        for tier in &problem.tiers[region] {
            let used = tier.room.map_or(load, |room| load.min(room));
            load -= used;
            if used > 0 {
                last = Some(i64::from(tier.cost));
            }
            if next.is_none() && tier.room.is_none_or(|room| used < room) {
                next = Some(i64::from(tier.cost));
            }
        }
        let fits = load == 0 && last.is_none_or(|last| price >= last) && next.is_none_or(|next| price <= next);
        // Nothing is there, and nobody is drawn by less than nothing.
        if fits { Ok(()) } else { Err(format!("region {region}: price {price}, last {last:?}, next {next:?}")) }
    }

    /// The whole cost, of sources and tiers.
    pub fn total_cost(&self, problem: &Problem) -> i128 {
        let moved = self.shares.iter().enumerate().flat_map(|(source, shares)| {
            shares.iter().map(move |&(region, amount)| {
                i128::from(problem.cost(source, usize::from(region))) * i128::from(amount)
            })
        });
        let tiers = problem.tiers.iter().zip(&self.loads).map(|(tiers, &load)| {
            let mut left = load;
            let of_tier = |tier: &Tier| {
                let used = tier.room.map_or(left, |room| left.min(room));
                left -= used;
                i128::from(tier.cost) * i128::from(used)
            };
            tiers.iter().map(of_tier).sum::<i128>()
        });
        moved.sum::<i128>() + tiers.sum::<i128>()
    }
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
        Flow { prices: prices.collect(), shares: self.shares, loads: self.loads }
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

/// A move as a number that orders by cost, then by source.
fn pack(cost: i32, source: usize) -> u64 {
    u64::from(cost as u32 ^ 1 << 31) << 32 | source as u64
}

fn unpack(packed: u64) -> (i64, usize) {
    let cost = ((packed >> 32) as u32 ^ 1 << 31) as i32;
    (i64::from(cost), packed as u32 as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tier(room: u64, cost: i32) -> Tier {
        Tier { room: Some(room), cost }
    }

    const BEYOND: Tier = Tier { room: None, cost: 300 };

    fn solved(problem: &Problem) -> Flow {
        let flow = problem.solve().expect("a solution");
        flow.verify(problem).expect("a proof");
        flow
    }

    #[test]
    fn everyone_goes_where_it_is_cheapest_while_there_is_room() {
        let mut problem = Problem::new(vec![vec![tier(10, 0), BEYOND], vec![tier(10, 0), BEYOND]]);
        problem.source(4, [10, 50]);
        problem.source(5, [80, 20]);
        let flow = solved(&problem);
        assert_eq!(flow.shares, [vec![(0, 4)], vec![(1, 5)]]);
        assert_eq!((flow.prices, flow.loads), (vec![0, 0], vec![4, 5]));
    }

    #[test]
    fn whoever_loses_least_makes_room() {
        let mut problem = Problem::new(vec![vec![tier(10, 0), BEYOND], vec![tier(100, 0), BEYOND]]);
        problem.source(8, [10, 90]);
        problem.source(8, [10, 30]);
        let flow = solved(&problem);
        assert_eq!(flow.shares[0], [(0, 8)]);
        assert_eq!(flow.shares[1], [(0, 2), (1, 6)]);
        assert_eq!(flow.prices, [20, 0]);
    }

    #[test]
    fn room_is_found_by_a_chain_of_moves() {
        // Only the second source can reach the third region; the first makes it go there.
        let mut problem = Problem::new(vec![vec![tier(5, 0)], vec![tier(5, 0)], vec![tier(5, 0)]]);
        problem.source(10, [1, 5, FORBIDDEN]);
        problem.source(5, [FORBIDDEN, 1, 9]);
        let flow = solved(&problem);
        assert_eq!(flow.shares, [vec![(0, 5), (1, 5)], vec![(2, 5)]]);
    }

    #[test]
    fn what_is_beyond_all_room_is_paid_for_or_refused() {
        let mut problem = Problem::new(vec![vec![tier(5, 0), BEYOND]]);
        problem.source(9, [7]);
        let flow = solved(&problem);
        assert_eq!((flow.loads.clone(), flow.prices.clone()), (vec![9], vec![300]));
        assert_eq!(flow.total_cost(&problem), 9 * 7 + 4 * 300);
        let mut full = Problem::new(vec![vec![tier(5, 0)]]);
        full.source(9, [7]);
        assert_eq!(full.solve().err(), Some(FlowError::Full));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut stranded = Problem::new(vec![vec![BEYOND]]);
        stranded.source(1, [FORBIDDEN]);
        assert_eq!(stranded.solve().err(), Some(FlowError::Stranded));
        let mut dear = Problem::new(vec![vec![BEYOND]]);
        dear.source(1, [MAX_COST + 1]);
        assert_eq!(dear.solve().err(), Some(FlowError::OutOfRange));
        let falling = Problem::new(vec![vec![tier(1, 5), tier(1, 4)]]);
        assert_eq!(falling.solve().err(), Some(FlowError::OutOfRange));
        let mut much = Problem::new(vec![vec![BEYOND]]);
        much.source(u64::MAX, [1]);
        much.source(1, [1]);
        assert_eq!(much.solve().err(), Some(FlowError::OutOfRange));
    }

    #[test]
    fn nobody_and_nowhere_are_problems_too() {
        let nobody = Problem::new(vec![vec![BEYOND]]);
        assert_eq!(solved(&nobody).loads, [0]);
        let mut idle = Problem::new(vec![vec![BEYOND], vec![]]);
        idle.source(0, [1]);
        assert_eq!(solved(&idle).shares, [vec![]]);
    }

    #[test]
    fn a_false_proof_is_seen() {
        let mut problem = Problem::new(vec![vec![tier(10, 0), BEYOND], vec![tier(10, 0), BEYOND]]);
        problem.source(4, [10, 50]);
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
                problem.source(supply, costs);
            }
            problem
        })
    }

    proptest! {
        #[test]
        fn nothing_is_cheaper_than_the_solution(problem in problems(4, 2)) {
            let least = least(&problem, 0, &mut vec![0; 3]);
            match problem.solve() {
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
            let flow = problem.solve().expect("room without end");
            prop_assert_eq!(flow.verify(&problem), Ok(()));
            prop_assert!(flow.shares.iter().map(|shares| shares.len().max(1) - 1).sum::<usize>() <= 3 * 4);
        }
    }
}
