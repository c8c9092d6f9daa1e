//! The best that could be done with everything known: demand shared out over regions of hard
//! capacity at the least cost. Knows nothing of the planner, so that it can judge it.
//!
//! Each city first goes to its cheapest region. Then demand beyond a region's capacity is moved,
//! over the cheapest chain of cities that give way to each other, to where there is room, or
//! stays and fails where that is cheaper. Chains are cheapest paths of the residual graph, so what
//! comes out is a minimum-cost flow (successive shortest paths).

/// The cost of a failed request, in the milliseconds that all else is counted in.
pub const FAILED_MS: f64 = 1000.0;

/// Less demand than this part of all is not worth a move.
const NEGLIGIBLE: f64 = 1e-9;

/// Solves one minute after the other; keeps its tables between them.
#[derive(Default)]
pub struct Optimum {
    regions: usize,
    /// City by city, by region.
    costs: Vec<f64>,
    /// As `costs`: demand of the city that goes there.
    flows: Vec<f64>,
    loads: Vec<f64>,
    /// From region by region: the cheapest city to move, and what that adds per unit.
    moves: Vec<(f64, usize)>,
}

/// The cost of the best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Sum over all demand, in milliseconds times demand; failures included.
    pub cost: f64,
    /// Demand that fails even so.
    pub failed: f64,
}

impl Optimum {
    /// `costs`: city by city, by region, in milliseconds; finite.
    pub fn new(regions: usize, costs: Vec<f64>) -> Optimum {
        let flows = vec![0.0; costs.len()];
        Optimum { regions, costs, flows, loads: vec![0.0; regions], moves: vec![(0.0, 0); regions * regions] }
    }

    /// The least cost of serving this demand (by city) within these capacities (by region).
    pub fn solve(&mut self, demand: &[f64], capacity: &[f64]) -> Best {
        self.send_to_the_cheapest(demand);
        let least = demand.iter().sum::<f64>() * NEGLIGIBLE;
        for region in 0..self.regions {
            // Each round empties a city's flow, fills a region or ends the excess: few are needed.
            for _ in 0..self.flows.len() * 4 {
                let excess = self.loads[region] - capacity[region].max(0.0);
                if excess <= least || !self.relieve(region, excess, capacity, least) {
                    break;
                }
            }
        }
        let beyond = self.loads.iter().zip(capacity).map(|(load, capacity)| (load - capacity.max(0.0)).max(0.0));
        let failed = beyond.sum();
        let served: f64 = self.flows.iter().zip(&self.costs).map(|(flow, cost)| flow * cost).sum();
        Best { cost: served + failed * FAILED_MS, failed }
    }

    /// The cost of one unit of a city's demand in a region, failures apart.
    pub fn cost(&self, city: usize, region: usize) -> f64 {
        self.costs.get(city * self.regions + region).copied().unwrap_or(f64::INFINITY)
    }

    fn send_to_the_cheapest(&mut self, demand: &[f64]) {
        self.flows.fill(0.0);
        self.loads.fill(0.0);
        for (city, costs) in self.costs.chunks_exact(self.regions).enumerate() {
            let cheapest = (0..self.regions).min_by(|&a, &b| costs[a].total_cmp(&costs[b])).unwrap_or(0);
            self.flows[city * self.regions + cheapest] = demand[city];
            self.loads[cheapest] += demand[city];
        }
    }

    /// Moves some of a region's excess to where there is room, or where it fails at less cost; false
    /// where it may as well stay.
    fn relieve(&mut self, from: usize, excess: f64, capacity: &[f64], least: f64) -> bool {
        self.find_moves(least);
        let (cost, before) = self.cheapest_chains(from);
        let room = |region: usize| capacity[region] - self.loads[region];
        let ends = (0..self.regions).map(|region| match region != from && room(region) > least {
            true => (cost[region], region, room(region)),
            false => (cost[region] + FAILED_MS, region, f64::INFINITY),
        });
        let Some((_, target, room)) = ends.min_by(|a, b| a.0.total_cmp(&b.0)) else { return false };
        let mut amount = excess.min(room);
        let mut chain = Vec::new();
        let mut at = target;
        while at != from && chain.len() < self.regions {
            let (_, city) = self.moves[before[at] * self.regions + at];
            amount = amount.min(self.flows[city * self.regions + before[at]]);
            chain.push((city, before[at], at));
            at = before[at];
        }
        for (city, source, sink) in &chain {
            self.flows[city * self.regions + source] -= amount;
            self.flows[city * self.regions + sink] += amount;
        }
        self.loads[from] -= amount;
        self.loads[target] += amount;
        !chain.is_empty()
    }

    /// For each pair of regions: the city whose move from one to the other is cheapest.
    fn find_moves(&mut self, least: f64) {
        self.moves.fill((f64::INFINITY, 0));
        let cities = self.flows.chunks_exact(self.regions).zip(self.costs.chunks_exact(self.regions));
        for (city, (flows, costs)) in cities.enumerate() {
            for from in (0..self.regions).filter(|&from| flows[from] > least) {
                for (to, best) in self.moves[from * self.regions..][..self.regions].iter_mut().enumerate() {
                    let added = costs[to] - costs[from];
                    if added < best.0 {
                        *best = (added, city);
                    }
                }
            }
        }
    }

    /// The cost that moving one unit from here to each region adds, and over which region before it.
    /// Bellman-Ford: moves may cost less than nothing, but no circle of them does.
    fn cheapest_chains(&self, from: usize) -> (Vec<f64>, Vec<usize>) {
        let mut cost = vec![f64::INFINITY; self.regions];
        let mut before = vec![from; self.regions];
        cost[from] = 0.0;
        for _ in 1..self.regions.max(2) {
            for at in (0..self.regions).filter(|&at| cost[at].is_finite()).collect::<Vec<_>>() {
                for to in 0..self.regions {
                    let through = cost[at] + self.moves[at * self.regions + to].0;
                    if to != from && to != at && through < cost[to] - 1e-9 {
                        (cost[to], before[to]) = (through, at);
                    }
                }
            }
        }
        (cost, before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn everybody_goes_send_to_the_cheapest_while_there_is_room() {
        let mut optimum = Optimum::new(2, vec![10.0, 50.0, 60.0, 20.0]);
        assert_eq!(optimum.solve(&[1.0, 2.0], &[5.0, 5.0]), Best { cost: 50.0, failed: 0.0 });
    }

    #[test]
    fn those_give_way_who_lose_least() {
        // Three of the first region's four must go; the second city loses 5 ms by it, the first 40.
        let mut optimum = Optimum::new(2, vec![10.0, 50.0, 20.0, 25.0]);
        let best = optimum.solve(&[2.0, 2.0], &[1.0, 9.0]);
        assert_eq!(best, Best { cost: 10.0 + 50.0 + 50.0, failed: 0.0 });
    }

    #[test]
    fn what_fits_nowhere_fails() {
        let mut optimum = Optimum::new(2, vec![10.0, 50.0]);
        assert_eq!(optimum.solve(&[5.0], &[1.0, 1.0]), Best { cost: 40.0 + 50.0 + 3000.0, failed: 3.0 });
        assert_eq!(optimum.solve(&[5.0], &[0.0, 0.0]), Best { cost: 50.0 + 5000.0, failed: 5.0 });
    }

    #[test]
    fn failing_is_cheaper_than_going_too_far() {
        let mut optimum = Optimum::new(2, vec![10.0, 2000.0]);
        assert_eq!(optimum.solve(&[2.0], &[1.0, 9.0]), Best { cost: 1020.0, failed: 1.0 });
    }

    /// Places one unit after the other in every way: slow, and sure.
    fn by_trying_all(costs: &[Vec<u32>], units: &[usize], room: &mut [usize]) -> u32 {
        let Some((&city, rest)) = units.split_first() else { return 0 };
        let cheapest = *costs[city].iter().min().expect("a region");
        let mut best = cheapest + FAILED_MS as u32 + by_trying_all(costs, rest, room);
        for region in 0..room.len() {
            if room[region] > 0 {
                room[region] -= 1;
                best = best.min(costs[city][region] + by_trying_all(costs, rest, room));
                room[region] += 1;
            }
        }
        best
    }

    proptest! {
        #[test]
        fn it_is_the_least_of_all_ways(
            costs in prop::collection::vec(prop::collection::vec(1u32..300, 3), 1..5),
            units in prop::collection::vec(0usize..5, 1..7),
            mut room in prop::collection::vec(0usize..4, 3),
        ) {
            let units: Vec<usize> = units.iter().map(|unit| unit % costs.len()).collect();
            let mut demand = vec![0.0; costs.len()];
            units.iter().for_each(|&city| demand[city] += 1.0);
            let capacity: Vec<f64> = room.iter().map(|&room| room as f64).collect();
            let mut optimum = Optimum::new(3, costs.iter().flatten().map(|&cost| f64::from(cost)).collect());
            let best = optimum.solve(&demand, &capacity);
            let expected = f64::from(by_trying_all(&costs, &units, &mut room));
            prop_assert!((best.cost - expected).abs() < 1e-6, "{} instead of {}", best.cost, expected);
        }
    }
}
