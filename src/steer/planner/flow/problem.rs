//! The problem, its solution, and the proof that nothing is cheaper.

/// A region a source may not use.
pub const FORBIDDEN: i32 = 1 << 30;

/// The dearest a source may be in a region, and a tier; with a price as high, it is less than [`FORBIDDEN`].
pub const MAX_COST: i32 = (1 << 29) - 1;

/// Two numbers of regions stand for something else.
const MOST_REGIONS: u16 = u16::MAX - 1;

/// The problem to be solved.
#[derive(Clone, Debug)]
pub struct Problem {
    pub(super) regions: usize,
    /// By source, then by region; [`FORBIDDEN`] or within ±[`MAX_COST`].
    pub(super) costs: Vec<i32>,
    /// By source.
    pub(super) supplies: Vec<u64>,
    /// By region.
    pub(super) tiers: Vec<Vec<Tier>>,
    /// Some cost is out of range.
    pub(super) unsound: bool,
    /// The cost of everyone at their cheapest.
    pub(super) least: i128,
}

/// A part of a region's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// The amount that fits; `None`: no end.
    pub room: Option<u64>,
    /// The cost of each unit in it on top: 0 to [`MAX_COST`], and not below that of the tier before it.
    pub cost: i32,
}

/// The reason why a problem has no solution here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    #[error("a source may use no region")]
    Stranded,
    #[error("the regions take no more")]
    Full,
    #[error("more moves than a solution can need")]
    Endless,
    #[error("a cost or an amount is out of range")]
    OutOfRange,
    #[error("the solution did not prove right: {0}")]
    Unproven(String),
}

/// The way a solution was found. It does not change which it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Road {
    /// From the prices that were given.
    Near,
    /// From none: there were none, or they were farther.
    #[default]
    Anew,
    /// By the plain way, since the quick one failed.
    Plain,
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
    pub road: Road,
}

impl Problem {
    /// Regions with these tiers, and no sources yet. A region without tiers has no room at all.
    pub fn new(tiers: Vec<Vec<Tier>>) -> Problem {
        let (costs, supplies) = Default::default();
        Problem { regions: tiers.len(), costs, supplies, tiers, unsound: false, least: 0 }
    }

    /// Makes room for so many sources.
    pub fn reserve(&mut self, sources: usize) {
        self.costs.reserve_exact(sources * self.regions);
        self.supplies.reserve_exact(sources);
    }

    /// Adds a source. `costs` as many as there are regions; missing ones are [`FORBIDDEN`].
    pub fn source(&mut self, supply: u64, costs: &[i32]) {
        let costs = costs.get(..self.regions).unwrap_or(costs);
        self.supplies.push(supply);
        self.costs.extend_from_slice(costs);
        self.costs.resize(self.supplies.len() * self.regions, FORBIDDEN);
        let out = |cost: i32| cost != FORBIDDEN && !(-MAX_COST..=MAX_COST).contains(&cost);
        self.unsound |= costs.iter().fold(false, |unsound, &cost| unsound | out(cost));
        let least = costs.iter().fold(FORBIDDEN, |least, &cost| least.min(cost));
        self.least += i128::from(supply) * i128::from(least);
    }

    /// Tells whether everything is within the range that solutions count with.
    pub(super) fn check(&self) -> Result<(), FlowError> {
        let in_range = |tier: &Tier| (0..=MAX_COST).contains(&tier.cost);
        let rising = |tiers: &Vec<Tier>| tiers.windows(2).all(|pair| pair[0].cost <= pair[1].cost);
        let tiers = self.tiers.iter().all(|tiers| rising(tiers) && tiers.iter().all(in_range));
        let supplies = self.supplies.iter().try_fold(0u64, |sum, &supply| sum.checked_add(supply)).is_some();
        let mut rooms = self.tiers.iter().map(|tiers| tiers.iter().filter_map(|tier| tier.room));
        let rooms = rooms.all(|mut rooms| rooms.try_fold(0u64, u64::checked_add).is_some());
        let fits = self.supplies.len() < u32::MAX as usize && self.regions <= usize::from(MOST_REGIONS);
        if !self.unsound && tiers && supplies && rooms && fits { Ok(()) } else { Err(FlowError::OutOfRange) }
    }

    pub(super) fn cost(&self, source: usize, region: usize) -> i32 {
        self.costs[source * self.regions + region]
    }

    pub(super) fn costs_of(&self, source: usize) -> &[i32] {
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
        let costs = problem.costs_of(source);
        let total = |(&cost, &price): (&i32, &i64)| if cost == FORBIDDEN { i64::MAX } else { i64::from(cost) + price };
        let least = costs.iter().zip(&self.prices).map(total).fold(i64::MAX, i64::min);
        for &(region, _) in &self.shares[source] {
            let paid = costs.get(usize::from(region)).zip(self.prices.get(usize::from(region))).map(total);
            if paid.is_none_or(|paid| paid == i64::MAX || paid != least) {
                return Err(format!("source {source} pays {paid:?} in region {region}, and the least is {least}"));
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
