//! The ways that a score group's clients may go: what they cost from each location, and what becomes of a location.
//!
//! Hundreds of thousands of pairs of a group and a location are asked for, so what all of a group's have in common is
//! looked up once.

use crate::model::{RegionId, Weights};
use crate::steer::choice::cell::Share;
use crate::steer::latency::score::{cost_ms, latency_ms};

use super::flow::FORBIDDEN;
use super::planned::LocationPlan;
use super::score_group::ScoreGroup;
use super::situation::{Situation, micro};

/// Those of one score group.
pub struct Ways<'a> {
    situation: &'a Situation<'a>,
    weights: Weights,
    /// Prices are in the flow's tiers: all else is brought to the weight that they have by default.
    scale: f64,
    /// By region of the model, in milliseconds: the group's bias, and the part of the score that is the same from
    /// everywhere.
    fixed: Vec<(f64, f64)>,
    /// The group's regions that may be sent clients, and all others of the model.
    open: Vec<RegionId>,
    closed: Vec<RegionId>,
    /// Some region's load is not believed, so that it may be too far to send clients past it.
    guarded: bool,
    /// By location.
    before: &'a [LocationPlan],
}

impl<'a> Ways<'a> {
    pub fn of(situation: &'a Situation<'a>, group: &ScoreGroup) -> Ways<'a> {
        let model = situation.model;
        let weights = group.weights();
        let mut fixed: Vec<(f64, f64)> =
            model.regions.iter().map(|region| (0.0, cost_ms(weights, region.cost))).collect();
        for (index, id) in group.regions.iter().enumerate() {
            if let Some((bias_ms, _)) = fixed.get_mut(id.index()) {
                *bias_ms = group.bias_ms(index);
            }
        }
        let open: Vec<RegionId> = group.regions.iter().copied().filter(|&id| situation.is_eligible(id)).collect();
        let closed = model.region_ids().filter(|id| !open.contains(id)).collect();
        let previous = situation.previous.filter(|previous| previous.locations.same_as(situation.locations));
        let before = previous.and_then(|previous| previous.score_groups.get(group));
        Ways {
            situation,
            weights,
            scale: Weights::default().load / weights.load,
            fixed,
            guarded: model.steering.max_detour.is_some() && open.iter().any(|&id| !situation.is_believed(id)),
            open,
            closed,
            before: before.map(Vec::as_slice).unwrap_or_default(),
        }
    }

    /// Writes the cost of a location's clients in each region, in the milliseconds that prices are in.
    pub fn write_costs(&self, location: usize, costs: &mut Vec<i32>) {
        let rtts_ms = self.situation.locations.rtts_ms(location);
        costs.clear();
        costs.extend(rtts_ms.iter().zip(&self.fixed).map(|(&rtt_ms, &fixed)| micro(self.score_ms(rtt_ms, fixed))));
        if let Some(before) = self.before.get(location).filter(|before| !before.shares.is_empty()) {
            let stays_ms = before.stays_ms(self.situation.now);
            for share in &before.shares {
                let region = share.region.index();
                if let (Some(cost), Some(&rtt_ms), Some(&fixed)) =
                    (costs.get_mut(region), rtts_ms.get(region), self.fixed.get(region))
                {
                    *cost = micro(self.score_ms(rtt_ms, fixed) - stays_ms);
                }
            }
        }
        for id in &self.closed {
            if let Some(cost) = costs.get_mut(id.index()) {
                *cost = FORBIDDEN;
            }
        }
        if let Some(Guard { farthest_ms, .. }) = self.guard(location) {
            for (&rtt_ms, (cost, (bias_ms, _))) in rtts_ms.iter().zip(costs.iter_mut().zip(&self.fixed)) {
                if rtt_ms + bias_ms > farthest_ms {
                    *cost = FORBIDDEN;
                }
            }
        }
    }

    #[inline]
    fn score_ms(&self, rtt_ms: f64, (bias_ms, cost_ms): (f64, f64)) -> f64 {
        (latency_ms(self.weights, rtt_ms + bias_ms) + cost_ms) * self.scale
    }

    /// What becomes of a location whose clients are shared out like this, at these prices.
    pub fn place(&self, location: usize, shares: &[(u16, u64)], prices: &[i64]) -> LocationPlan {
        let total: u64 = shares.iter().map(|(_, amount)| amount).sum();
        let share =
            |&(region, amount): &(u16, u64)| Share { region: RegionId(region), weight: amount as f64 / total as f64 };
        let mut shares: Box<[Share]> = shares.iter().map(share).collect();
        shares.sort_by_key(|share| share.region);
        let before = self.before.get(location);
        let left = |share: &Share| {
            self.situation.is_eligible(share.region) && !shares.iter().any(|now| now.region == share.region)
        };
        let moved = before.is_some_and(|place| place.shares.iter().any(left));
        let moved_at = if moved { Some(self.situation.now) } else { before.and_then(|place| place.moved_at) };
        LocationPlan { shares, moved_at, kept_near: self.kept_near(location, prices) }
    }

    /// `None`: anywhere.
    ///
    /// To go past the nearest region by more than `steering.max_detour` takes believed evidence of what that has.
    fn guard(&self, location: usize) -> Option<Guard> {
        let detour_ms = self.situation.model.steering.max_detour.filter(|_| self.guarded)?.as_secs_f64() * 1000.0;
        let far = |&id: &RegionId| (self.far_ms(location, id), id);
        let (nearest_ms, nearest) = self.open.iter().map(far).min_by(|a, b| a.0.total_cmp(&b.0))?;
        (!self.situation.is_believed(nearest)).then_some(Guard { farthest_ms: nearest_ms + detour_ms, nearest })
    }

    /// How far a region is from a location, bias included.
    fn far_ms(&self, location: usize, id: RegionId) -> f64 {
        let bias_ms = self.fixed.get(id.index()).map_or(0.0, |(bias_ms, _)| *bias_ms);
        self.situation.locations.rtt_ms(location, id) + bias_ms
    }

    /// The region for want of whose load a location's clients are kept nearer than the plan's prices would send them:
    /// each is where cost and price sum to the least, so whoever has less elsewhere would be there.
    fn kept_near(&self, location: usize, prices: &[i64]) -> Option<RegionId> {
        let Guard { farthest_ms, nearest } = self.guard(location)?;
        let (mut near, mut far) = (i64::MAX, i64::MAX);
        let before = self.before.get(location);
        let stays_ms = before.map_or(0.0, |place| place.stays_ms(self.situation.now));
        for &id in &self.open {
            let (index, has) = (id.index(), before.is_some_and(|place| place.has(id)));
            let (Some(&fixed), Some(price)) = (self.fixed.get(index), prices.get(index)) else { continue };
            let score_ms = self.score_ms(self.situation.locations.rtt_ms(location, id), fixed);
            let sum = i64::from(micro(score_ms - if has { stays_ms } else { 0.0 })) + price;
            let least = if self.far_ms(location, id) <= farthest_ms { &mut near } else { &mut far };
            *least = sum.min(*least);
        }
        (far < near).then_some(nearest)
    }
}

/// The distance that a location's clients may be sent, and the region whose load is wanting.
struct Guard {
    farthest_ms: f64,
    nearest: RegionId,
}
