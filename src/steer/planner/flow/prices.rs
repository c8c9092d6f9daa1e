//! The least prices of a cheapest flow, found from prices that are near, or from none.
//!
//! ```text
//!   everyone where prices send them ─▶ regions above or below what their price says
//!       ─▶ cheapest chain of moves from one that has too much to one that has too little ─▶ repeat
//!       ─▶ lower all prices as far as nothing would move
//! ```
//!
//! The way there depends on the prices begun with, the outcome does not: of the prices that prove a cheapest flow,
//! one set is the least for every region at once.

use std::collections::BTreeMap;

use super::moves::{Moves, NEVER};
use super::problem::{FORBIDDEN, FlowError, MAX_COST, Problem, Road};
use super::smaller::{SMALL, sampled, together};

/// So many sources' nearest moves make the first window.
const LOOKED_AT: usize = 1_024;
/// The part of those whose move is in it.
const WITHIN: f64 = 0.25;
/// Prices that are found here are below this, so that with costs they fit into 32 bits.
const MOST: i64 = MAX_COST as i64;

/// The least prices of a cheapest flow, by region, and whether they were found from those said to be near.
///
/// # Errors
/// Where there is none, or none within the bounds that are kept here.
pub fn least(problem: &Problem, near: Option<&[i64]>) -> Result<(Vec<i64>, Road), FlowError> {
    match together(problem) {
        Some(together) => least_of_each(&together, near),
        None => least_of_each(problem, near),
    }
}

fn least_of_each(problem: &Problem, near: Option<&[i64]>) -> Result<(Vec<i64>, Road), FlowError> {
    if let Some(near) = near.filter(|near| near.len() == problem.regions) {
        let begin = Begin::at(problem, within_tiers(problem, near))?;
        // Prices that prove less than none do are farther.
        if begin.proven > problem.least
            && let Ok(prices) = least_from(problem, begin)
        {
            return Ok((prices, Road::Near));
        }
    }
    let prices = least_from(problem, Begin::at(problem, of_sample(problem))?)?;
    Ok((prices, Road::Anew))
}

fn least_from(problem: &Problem, begin: Begin) -> Result<Vec<i64>, FlowError> {
    let mut search = Search::new(problem, begin);
    // Each chain empties an excess, fills a tier or takes the last of a source from a region. Far fewer are needed; the
    // bound only keeps a mistake here from taking for ever.
    let most = 64 * (problem.supplies.len() as u64 + 16) * (problem.regions as u64 + 1);
    for _ in 0..most {
        match search.step()? {
            Step::Moved => {}
            Step::Narrow => search.widen(),
            Step::Done => return Ok(search.least_prices()),
        }
    }
    Err(FlowError::Endless)
}

/// Prices to begin with where none are known: those of a smaller problem, of some of the sources that stand for all.
fn of_sample(problem: &Problem) -> Vec<i64> {
    let sample = sampled(problem).and_then(|sample| least(&sample, None).ok());
    sample.map_or_else(|| vec![0; problem.regions], |(prices, _)| prices)
}

/// No price is below 0, or above what the last tier of a region without end asks for.
fn within_tiers(problem: &Problem, near: &[i64]) -> Vec<i64> {
    let most = |region: usize| {
        let endless = problem.tiers[region].iter().find(|tier| tier.room.is_none());
        endless.map_or(MOST / 2, |tier| i64::from(tier.cost))
    };
    near.iter().enumerate().map(|(region, &price)| price.clamp(0, most(region))).collect()
}

/// Everyone where prices send them.
struct Begin {
    prices: Vec<i64>,
    /// By source; [`NOWHERE`]: it is nothing.
    homes: Vec<u16>,
    loads: Vec<u64>,
    /// No flow costs less than this.
    proven: i128,
}

/// More regions than there are.
const NOWHERE: u16 = u16::MAX;
/// The source is in several.
const SPLIT: u16 = u16::MAX - 1;

impl Begin {
    fn at(problem: &Problem, prices: Vec<i64>) -> Result<Begin, FlowError> {
        let prices_32: Vec<i32> = prices.iter().map(|&price| price as i32).collect();
        let mut homes = Vec::with_capacity(problem.supplies.len());
        let mut loads = vec![0; problem.regions];
        let mut proven = 0;
        for (source, &supply) in problem.supplies.iter().enumerate() {
            if supply == 0 {
                homes.push(NOWHERE);
                continue;
            }
            let (home, least) = cheapest(problem.costs_of(source), &prices_32).ok_or(FlowError::Stranded)?;
            homes.push(home as u16);
            loads[home] += supply;
            proven += i128::from(supply) * i128::from(least);
        }
        for (tiers, &price) in problem.tiers.iter().zip(&prices) {
            for tier in tiers.iter().filter(|tier| i64::from(tier.cost) < price) {
                proven -= i128::from(tier.room.unwrap_or(0)) * i128::from(price - i64::from(tier.cost));
            }
        }
        Ok(Begin { prices, homes, loads, proven })
    }
}

/// The first of the regions where cost and price sum to the least, and that sum. Prices are 0 to [`MOST`].
pub fn cheapest(costs: &[i32], prices: &[i32]) -> Option<(usize, i32)> {
    let sums = || costs.iter().zip(prices).map(|(cost, price)| cost + price);
    let least = sums().fold(i32::MAX, i32::min);
    (least < FORBIDDEN).then(|| sums().position(|sum| sum == least).map(|region| (region, least)))?
}

/// The state of a search. Nodes are the regions and, as the last, the sink that takes what has room.
struct Search<'a> {
    problem: &'a Problem,
    /// By node; the sink's is 0.
    prices: Vec<i64>,
    homes: Vec<u16>,
    /// Sources in several regions.
    split: BTreeMap<usize, Vec<(u16, u64)>>,
    /// By region: what its tiers hold.
    tiers: Vec<Filled>,
    /// By node: what is there beyond that; below 0: what is missing.
    surplus: Vec<i128>,
    window: i64,
    moves: Moves,
    reached: Vec<Reached>,
}

/// How far a region's tiers are filled.
#[derive(Clone, Copy, Debug, Default)]
struct Filled {
    load: u64,
    /// What the next unit costs, and how many do.
    next: Option<(i64, u64)>,
    /// What the last unit cost, and how many did.
    last: Option<(i64, u64)>,
}

#[derive(Clone, Copy)]
struct Reached {
    distance: i64,
    before: usize,
    settled: bool,
    /// Its last move is not known, only that it costs no less.
    unknown: bool,
}

const UNREACHED: Reached = Reached { distance: NEVER, before: usize::MAX, settled: false, unknown: false };

enum Step {
    Moved,
    /// The cheapest chain may be of moves beyond the window.
    Narrow,
    Done,
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem, begin: Begin) -> Search<'a> {
        let Begin { mut prices, homes, loads, .. } = begin;
        let regions = problem.regions;
        let mut surplus = Vec::with_capacity(regions + 1);
        let mut tiers = Vec::with_capacity(regions);
        for (region, &load) in loads.iter().enumerate() {
            let (least, most) = bounds(problem, region, prices[region]);
            let filled = Filled::by(problem, region, load.clamp(least, most));
            surplus.push(i128::from(load) - i128::from(filled.load));
            tiers.push(filled);
        }
        surplus.push(-surplus.iter().sum::<i128>());
        prices.push(0);
        let window = if problem.costs.len() <= SMALL { NEVER } else { first_window(problem, &prices, &homes) };
        let known = homes.iter().enumerate().filter(|(_, home)| **home != NOWHERE);
        let moves = Moves::gather(problem, &prices, window, known.map(|(source, home)| (source, usize::from(*home))));
        let reached = vec![UNREACHED; regions + 1];
        Search { problem, prices, homes, split: BTreeMap::new(), tiers, surplus, window, moves, reached }
    }

    fn widen(&mut self) {
        self.window = self.window.saturating_mul(2).min(NEVER);
        let Search { problem, prices, homes, split, .. } = &*self;
        self.moves = Moves::gather(problem, prices, self.window, places(homes, split));
    }

    /// Moves along one chain, if that is still to be done and its moves are known.
    fn step(&mut self) -> Result<Step, FlowError> {
        if !self.surplus.iter().any(|&surplus| surplus > 0) {
            return Ok(Step::Done);
        }
        let end = self.search()?;
        if self.reached[end].unknown {
            return Ok(Step::Narrow);
        }
        self.raise(self.reached[end].distance);
        if self.prices.iter().any(|&price| price >= MOST) {
            return Err(FlowError::OutOfRange);
        }
        self.augment(end)?;
        Ok(Step::Moved)
    }

    /// Finds the cheapest chain of moves from where there is too much to where there is too little, by Dijkstra's
    /// algorithm over what moves cost at these prices, and leaves it in `reached`. Gives the node it ends at, or the first
    /// that is reached by moves that are not known.
    fn search(&mut self) -> Result<usize, FlowError> {
        let sink = self.problem.regions;
        for (reached, &surplus) in self.reached.iter_mut().zip(&self.surplus) {
            *reached = UNREACHED;
            if surplus > 0 {
                reached.distance = 0;
            }
        }
        loop {
            let open = (0..=sink).filter(|&node| !self.reached[node].settled && self.reached[node].distance < NEVER);
            let node = open.min_by_key(|&node| self.reached[node].distance).ok_or(FlowError::Full)?;
            if self.reached[node].unknown || self.surplus[node] < 0 {
                return Ok(node);
            }
            self.reached[node].settled = true;
            self.relax_from(node);
        }
    }

    fn relax_from(&mut self, node: usize) {
        let sink = self.problem.regions;
        let base = self.reached[node].distance - self.prices[node];
        if node == sink {
            for (region, filled) in self.tiers.iter().enumerate() {
                if let Some((cost, _)) = filled.last {
                    reach(&mut self.reached[region], base - cost + self.prices[region], node, false);
                }
            }
            return;
        }
        if let Some((cost, _)) = self.tiers[node].next {
            reach(&mut self.reached[sink], base + cost, node, false);
        }
        let costs = self.moves.out_of(node).iter().zip(&self.prices);
        for (to, ((&cost, &price), reached)) in costs.zip(&mut self.reached).enumerate() {
            let distance = base + cost + price;
            if distance < reached.distance {
                reach(reached, distance, node, self.moves.source(node, to).is_none());
            }
        }
    }

    /// Raises prices until the chain that was found costs nothing.
    fn raise(&mut self, end: i64) {
        let rise = |reached: &Reached| (end - reached.distance).max(0);
        let of_sink = rise(&self.reached[self.problem.regions]);
        for (price, reached) in self.prices.iter_mut().zip(&self.reached) {
            // Where nothing is, nothing keeps a price from falling; 0 is low enough.
            *price = (*price + rise(reached) - of_sink).max(0);
        }
    }

    /// Sends as much as fits along the chain that was found.
    fn augment(&mut self, end: usize) -> Result<(), FlowError> {
        let sink = self.problem.regions;
        let mut amount = u64::try_from(-self.surplus[end]).unwrap_or(u64::MAX);
        let mut chain = Vec::new();
        let mut to = end;
        while self.reached[to].before != usize::MAX {
            let from = self.reached[to].before;
            let source = if from == sink || to == sink { None } else { self.moves.source(from, to) };
            let most = match source {
                Some(source) => self.amount(source, from),
                None if to == sink => self.tiers[from].next.map_or(0, |(_, room)| room),
                None => self.tiers[to].last.map_or(0, |(_, used)| used),
            };
            amount = amount.min(most);
            chain.push((from, to, source));
            to = from;
            if chain.len() > sink {
                return Err(FlowError::Endless); // no chain goes anywhere twice
            }
        }
        let begin = to;
        amount = amount.min(u64::try_from(self.surplus[begin]).unwrap_or(u64::MAX));
        for (from, to, source) in chain {
            match source {
                Some(source) => self.shift(source, from, to, amount),
                None if to == sink => self.fill(from, self.tiers[from].load.saturating_add(amount)),
                None => self.fill(to, self.tiers[to].load.saturating_sub(amount)),
            }
        }
        self.surplus[begin] -= i128::from(amount);
        self.surplus[end] += i128::from(amount);
        Ok(())
    }

    fn fill(&mut self, region: usize, load: u64) {
        self.tiers[region] = Filled::by(self.problem, region, load);
    }

    fn amount(&self, source: usize, region: usize) -> u64 {
        match self.homes[source] {
            SPLIT => {
                let shares = self.split.get(&source).map(Vec::as_slice).unwrap_or_default();
                shares.iter().find(|share| usize::from(share.0) == region).map_or(0, |share| share.1)
            }
            home if usize::from(home) == region => self.problem.supplies[source],
            _ => 0,
        }
    }

    fn shift(&mut self, source: usize, from: usize, to: usize, amount: u64) {
        if amount == 0 {
            return;
        }
        let was_there = self.amount(source, to) > 0;
        let whole = self.problem.supplies[source];
        let mut shares = match self.homes[source] {
            SPLIT => self.split.remove(&source).unwrap_or_default(),
            home => vec![(home, whole)],
        };
        match shares.iter_mut().find(|share| usize::from(share.0) == to) {
            Some(share) => share.1 += amount,
            None => shares.push((to as u16, amount)),
        }
        shares.iter_mut().filter(|share| usize::from(share.0) == from).for_each(|share| share.1 -= amount);
        shares.retain(|share| share.1 > 0);
        let left = !shares.iter().any(|share| usize::from(share.0) == from);
        match shares[..] {
            [(home, _)] => self.homes[source] = home,
            _ => {
                self.homes[source] = SPLIT;
                self.split.insert(source, shares);
            }
        }
        if !was_there {
            self.moves.come(self.problem, source, to);
        }
        if left {
            let Search { homes, split, moves, .. } = self;
            moves.go(source, from, |source, region| is_in(homes, split, source, region));
        }
    }

    /// The least prices at which nobody would move and every tier is filled as it is.
    fn least_prices(mut self) -> Vec<i64> {
        let regions = self.problem.regions;
        let all = Moves::gather(self.problem, &self.prices, -NEVER, places(&self.homes, &self.split));
        // How far each may fall by itself, then with those that would follow.
        let last = |filled: &Filled| filled.last.map_or(0, |(cost, _)| cost);
        let mut falls: Vec<i64> =
            self.tiers.iter().zip(&self.prices).map(|(filled, price)| price - last(filled)).collect();
        let mut open: Vec<usize> = (0..regions).collect();
        while let Some(at) = (0..open.len()).min_by_key(|&at| falls[open[at]]) {
            let from = open.swap_remove(at);
            let base = falls[from] - self.prices[from];
            for (to, &cost) in all.out_of(from).iter().enumerate() {
                falls[to] = falls[to].min(base + cost + self.prices[to]);
            }
        }
        self.prices.truncate(regions);
        self.prices.iter_mut().zip(falls).for_each(|(price, fall)| *price -= fall);
        self.prices
    }
}

impl Filled {
    fn by(problem: &Problem, region: usize, load: u64) -> Filled {
        let mut filled = Filled { load, ..Filled::default() };
        let mut left = load;
        for tier in &problem.tiers[region] {
            let used = tier.room.map_or(left, |room| left.min(room));
            left -= used;
            if used > 0 {
                filled.last = Some((tier.cost.into(), used));
            }
            let room = tier.room.map_or(u64::MAX, |room| room - used);
            if room > 0 && filled.next.is_none() {
                filled.next = Some((tier.cost.into(), room));
            }
        }
        filled
    }
}

/// The least and the most that a region's tiers hold at a price.
pub fn bounds(problem: &Problem, region: usize, price: i64) -> (u64, u64) {
    let room = |below: i64| {
        let tiers = problem.tiers[region].iter().filter(|tier| i64::from(tier.cost) < below);
        tiers.fold(0u64, |sum, tier| sum.saturating_add(tier.room.unwrap_or(u64::MAX)))
    };
    (room(price), room(price.saturating_add(1)))
}

fn reach(reached: &mut Reached, distance: i64, before: usize, unknown: bool) {
    if distance < reached.distance {
        *reached = Reached { distance, before, settled: false, unknown };
    }
}

fn is_in(homes: &[u16], split: &BTreeMap<usize, Vec<(u16, u64)>>, source: usize, region: usize) -> bool {
    match homes[source] {
        SPLIT => split.get(&source).is_some_and(|shares| shares.iter().any(|share| usize::from(share.0) == region)),
        home => usize::from(home) == region,
    }
}

/// Each source with each region it is in.
fn places<'a>(
    homes: &'a [u16],
    split: &'a BTreeMap<usize, Vec<(u16, u64)>>,
) -> impl Iterator<Item = (usize, usize)> + 'a {
    let whole = homes.iter().enumerate().filter(|(_, home)| **home < SPLIT);
    let whole = whole.map(|(source, home)| (source, usize::from(*home)));
    let split = split.iter().flat_map(|(&source, shares)| shares.iter().map(move |share| (source, share.0.into())));
    whole.chain(split)
}

/// Wide enough for the nearest moves of some sources.
fn first_window(problem: &Problem, prices: &[i64], homes: &[u16]) -> i64 {
    let step = homes.len().div_ceil(LOOKED_AT).max(1);
    let mut gaps: Vec<i64> = Vec::with_capacity(LOOKED_AT);
    for source in (0..homes.len()).step_by(step).filter(|&source| homes[source] != NOWHERE) {
        let costs = problem.costs_of(source).iter().zip(prices).filter(|(cost, _)| **cost != FORBIDDEN);
        let mut sums: Vec<i64> = costs.map(|(&cost, price)| i64::from(cost) + price).collect();
        sums.sort_unstable();
        if let [first, second, ..] = sums[..] {
            gaps.push(second - first);
        }
    }
    gaps.sort_unstable();
    gaps.get((gaps.len() as f64 * WITHIN) as usize).copied().unwrap_or(1).max(1)
}
