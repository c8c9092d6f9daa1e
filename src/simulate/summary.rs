//! The outcome of a simulation, in figures.

use serde::Serialize;

use super::World;
use super::day::{Loss, Minute, Record};

/// The whole of it. Means are over all demand.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub minutes: usize,
    pub queries: u64,
    pub rtt_ms: f64,
    /// Per million requests.
    pub dollars: f64,
    /// Part of the demand that failed.
    pub failed: f64,
    /// RTT + 5·dollars + 1000·failed.
    pub cost_ms: f64,
    /// The same, had everything been known and done every minute.
    pub best_ms: f64,
    /// Demand beyond capacity, in seconds of the whole world's.
    pub overload_s: f64,
    /// Part of the demand that changed its region in a minute, in the mean of all steady ones;
    /// `None`: there was none.
    pub moved_per_minute: Option<f64>,
    pub regions: Vec<OfRegion>,
    pub losses: Vec<OfLoss>,
}

/// One region.
#[derive(Clone, Debug, Serialize)]
pub struct OfRegion {
    pub name: String,
    pub capacity: f64,
    /// In the mean of the minutes it lived in.
    pub utilisation: f64,
    pub peak_utilisation: f64,
    /// Minutes in which it ended above its capacity.
    pub overloaded_minutes: usize,
}

/// One region's death.
#[derive(Clone, Debug, Serialize)]
pub struct OfLoss {
    pub region: String,
    /// In seconds since counting began.
    pub at_s: u64,
    /// After its death; `None`: it was not named again.
    pub last_answer_s: Option<u64>,
    /// Demand that changed its region within two minutes, over the demand that was there.
    pub moved: f64,
    /// True where the others had room for all who were lost.
    pub ample: bool,
}

impl Summary {
    /// `warm_up_s`: when counting began.
    pub fn of(world: &World, record: &Record, warm_up_s: u64) -> Summary {
        let demand: f64 = record.minutes.iter().map(|minute| minute.demand).sum();
        let mean = |of: fn(&Minute) -> f64| {
            let sum: f64 = record.minutes.iter().map(|minute| of(minute) * minute.demand).sum();
            sum / demand.max(f64::MIN_POSITIVE)
        };
        let steady: Vec<f64> =
            record.minutes.iter().filter(|minute| minute.steady).map(|minute| minute.moved).collect();
        let regions = world.regions.iter().enumerate();
        Summary {
            minutes: record.minutes.len(),
            queries: record.minutes.iter().map(|minute| minute.queries).sum(),
            rtt_ms: mean(|minute| minute.rtt_ms),
            dollars: mean(|minute| minute.dollars),
            failed: mean(|minute| minute.failed),
            cost_ms: mean(|minute| minute.cost_ms),
            best_ms: mean(|minute| minute.best_ms),
            overload_s: record.minutes.iter().map(|minute| minute.overload_s).sum(),
            moved_per_minute: (!steady.is_empty()).then(|| steady.iter().sum::<f64>() / steady.len() as f64),
            regions: regions.map(|(index, site)| of_region(index, site, record)).collect(),
            losses: record.losses.iter().map(|loss| of_loss(loss, world, warm_up_s)).collect(),
        }
    }

    /// The cost over the least it could have been.
    pub fn ratio(&self) -> f64 {
        self.cost_ms / self.best_ms.max(f64::MIN_POSITIVE)
    }
}

fn of_region(index: usize, site: &super::Site, record: &Record) -> OfRegion {
    let all = record.minutes.iter().filter_map(|minute| minute.utilisation.get(index).copied());
    let alive: Vec<f64> = all.filter(|utilisation| utilisation.is_finite()).collect();
    OfRegion {
        name: site.name.clone(),
        capacity: site.capacity,
        utilisation: alive.iter().sum::<f64>() / alive.len().max(1) as f64,
        peak_utilisation: alive.iter().copied().fold(0.0, f64::max),
        overloaded_minutes: alive.iter().filter(|&&utilisation| utilisation > 1.0).count(),
    }
}

fn of_loss(loss: &Loss, world: &World, warm_up_s: u64) -> OfLoss {
    OfLoss {
        region: world.regions.get(loss.region).map(|site| site.name.clone()).unwrap_or_default(),
        at_s: loss.at_s.saturating_sub(warm_up_s),
        last_answer_s: loss.last_answer_s,
        moved: if loss.lost > 0.0 { loss.moved / loss.lost } else { 0.0 },
        ample: loss.ample,
    }
}
