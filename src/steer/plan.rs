//! The plan: for each service and each place clients can be in, the regions that share them.
//!
//! ```text
//!   model ─▶ Recipes ─┐
//!   states ─▶ Standing of each, at once ─┐
//!   sites, prices, planner's shares ─▶ Tables, part by part, in the background ─┴─▶ Plan
//! ```
//!
//! Comes from the model, the atlas and the regions' states; goes to the packet path as tables. News of a region's health
//! makes nothing but standings anew ([`follow`]): the tables of before are read under them, and made again part by part
//! ([`Plan::behind`]). Work that many places or services have in common is done once: see [`Sites`] and [`Recipes`].

pub mod classes;
pub mod code;
pub mod lives;
#[cfg(test)]
mod lost_tests;
pub mod part;
pub mod precomputed;
pub mod recipes;
pub mod site_codes;
pub mod table;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::atlas::Atlas;
use crate::model::{Model, RegionId, Service, ServiceId, Switched};

use self::classes::Classes;
use self::code::{Answer, Code};
use self::part::PartInputs;
pub use self::recipes::Offers;
use self::recipes::{Recipe, Recipes};
use self::table::{Basis, Follows, Table};
use super::choice::cell::Pick;
use super::haste::Haste;
use super::health::effective::RegionState;
use super::latency::rtt::{Latency, Measured, Rtt};
use super::latency::score::{Score, score};
use super::latency::sites::Sites;
use super::planner::Planned;
use super::planner::score_group_parts::ScoreGroupParts;
use super::policy::shape::Standing;

/// After a region of a service went down, began to drain or came back, answers stay short-lived
/// for this long.
pub const AFTERMATH: Duration = Duration::from_secs(300);

/// Of a model that is new, tables of so many parts are made before anything is answered; what the others decide is
/// worked out for whoever asks until theirs are made.
const PARTS_AT_ONCE: usize = 4;

/// Shares of every service, indexed by [`ServiceId`].
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub services: Vec<ServicePlan>,
    /// `None` only before anything was planned.
    recipes: Option<Arc<Recipes>>,
    /// By recipe.
    tables: Vec<Arc<Table>>,
    /// By recipe, what stood there before: regions that come to stand as they stood then bring it back.
    former: BTreeMap<usize, Arc<Table>>,
    /// All clients, where no table tells them apart.
    everybody: Option<Arc<Classes>>,
    /// Every site in a class of its own, where recipes are more than a part and ask how far anything is.
    by_site: Option<Arc<Classes>>,
    /// The parts whose tables would come out otherwise if they were made now; ascending.
    behind: Vec<usize>,
    /// What tables that are made now are made from.
    basis: Option<Arc<Basis>>,
    /// By standing of the recipes.
    standings: Vec<Arc<Standing>>,
    /// Lent to the next plan; `None` where no service goes by score.
    pub sites: Option<Arc<Sites>>,
    /// The distance of regions from clients, as this plan takes it.
    pub latency: Arc<Latency>,
    /// The seed of choices.
    pub seed: u64,
    /// The planner's decisions as of the time when this was made.
    pub planned: Option<Arc<Planned>>,
}

/// The inputs that a plan is made from.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    pub model: &'a Model,
    pub atlas: &'a Atlas,
    /// Indexed by [`RegionId`].
    pub states: &'a [RegionState],
    /// Round trips that were measured; may be empty.
    pub measured: &'a Arc<Measured>,
    /// The words of operators on services.
    pub switched: &'a BTreeMap<ServiceId, Switched>,
    /// Seeds choices: the same on all nodes, so that they agree.
    pub seed: u64,
    /// The planner's last decisions; `None`: clients are shared out by price.
    pub planned: Option<&'a Arc<Planned>>,
    /// The plan before, of the same atlas and a model that [steers alike](Model::steers_as): lends what need not be computed
    /// again.
    pub previous: Option<&'a Plan>,
    pub now: Instant,
}

#[derive(Clone, Debug)]
pub struct ServicePlan {
    /// Shared with earlier plans while nothing that decides it has changed, and with services decided alike.
    pub table: Arc<Table>,
    /// How much of the table holds as the regions stand now.
    pub follows: Follows,
    /// How its regions stand.
    pub standing: Arc<Standing>,
    /// The parts of its clients that the planner should know of; empty under policies without a score.
    pub parts: Arc<ScoreGroupParts>,
    /// The words of operators on it.
    pub switched: Switched,
    /// A region of the service changed within [`AFTERMATH`].
    pub aftermath: bool,
    /// Some region of the service is down or draining.
    pub reduced: bool,
    pub offers: Offers,
    /// Clients may be answered otherwise for where they are.
    pub depends_on_place: bool,
}

impl ServicePlan {
    /// Tells whether a code of its table holds as the regions stand; what is left open never does.
    #[inline]
    pub fn holds(&self, code: Code) -> bool {
        if self.follows == Follows::All {
            return !matches!(code.read(), Answer::Open { .. });
        }
        match code.read() {
            Answer::One(region) => self.follows.has(&Pick::One(region), &self.standing),
            Answer::Cell(number) => {
                self.table.cell(number).is_some_and(|cell| self.follows.has(&cell.pick, &self.standing))
            }
            Answer::Open { .. } => false,
        }
    }
}

/// The tables of a part, made anew.
#[derive(Clone, Debug)]
pub struct PartMade {
    part: usize,
    tables: Vec<Arc<Table>>,
    /// The recipes they are of.
    recipes: Arc<Recipes>,
}

impl PartMade {
    /// Its place among the parts.
    pub fn part(&self) -> usize {
        self.part
    }
}

/// The plan for the regions' present states, with all tables made for them.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let mut plan = follow(inputs, Vec::new());
    let made: Vec<PartMade> =
        plan.behind.iter().filter_map(|&part| plan.make(inputs.model, inputs.atlas, inputs.states, part)).collect();
    made.into_iter().for_each(|made| plan.take(made));
    plan.assemble(inputs);
    plan
}

/// As [`follow`], and with the tables of the first parts made anew: for whoever has the time, and lends it to a plan that
/// follows when regions may stand otherwise.
pub fn lead(inputs: &Inputs<'_>) -> Plan {
    let mut plan = follow(inputs, Vec::new());
    let first = plan.behind.iter().filter(|part| **part < PARTS_AT_ONCE);
    let made: Vec<PartMade> =
        first.filter_map(|&part| plan.make(inputs.model, inputs.atlas, inputs.states, part)).collect();
    made.into_iter().for_each(|made| plan.take(made));
    plan
}

/// The plan for the regions' present states at once: with the tables of before, and those that were made since. Those of
/// recipes that have none yet are made, as long as they are few.
pub fn follow(inputs: &Inputs<'_>, made: Vec<PartMade>) -> Plan {
    let Inputs { model, atlas, states, switched, seed, planned, previous: before, .. } = *inputs;
    let latency = latency(inputs);
    let sites = Sites::of_services(model, atlas, &latency, before.and_then(|plan| plan.sites.as_ref()));
    // Its sites are numbered as those it was made for.
    let planned = planned.filter(|planned| sites.as_ref().is_some_and(|sites| planned.is_of(sites)));
    let recipes = before.and_then(|plan| plan.recipes.clone()).filter(|recipes| recipes.fit(switched, seed));
    let lends = recipes.is_some();
    let recipes = recipes.unwrap_or_else(|| Arc::new(Recipes::of(model, switched, seed)));
    let basis = Arc::new(Basis::of(states, sites.as_ref(), planned, &latency));
    let old = before.filter(|_| lends).map(|plan| plan.standings.as_slice()).unwrap_or_default();
    let standing = |(number, recipe): (usize, &Recipe)| {
        let now = Standing::of(&recipe.shape, states);
        old.get(number).filter(|old| ***old == now).cloned().unwrap_or_else(|| Arc::new(now))
    };
    let standings = recipes.standings().enumerate().map(standing).collect();
    let mut plan = Plan {
        services: Vec::new(),
        tables: before.filter(|_| lends).map(|plan| plan.tables.clone()).unwrap_or_default(),
        former: before.filter(|_| lends).map(|plan| plan.former.clone()).unwrap_or_default(),
        everybody: before.filter(|_| lends).and_then(|plan| plan.everybody.clone()),
        by_site: by_site(atlas, sites.as_deref(), &recipes, before),
        behind: Vec::new(),
        recipes: Some(recipes),
        basis: Some(basis),
        standings,
        sites,
        latency,
        seed,
        planned: planned.cloned(),
    };
    plan.begin(inputs);
    made.into_iter().for_each(|made| plan.take(made));
    plan.assemble(inputs);
    plan
}

impl Plan {
    /// Recipes without tables get them; beyond the first parts, empty ones that hold for nobody.
    fn begin(&mut self, inputs: &Inputs<'_>) {
        let Some(recipes) = self.recipes.clone() else { return };
        if self.tables.len() == recipes.list().len() {
            return;
        }
        self.tables = vec![Table::of_nobody(); recipes.list().len()];
        let made: Vec<PartMade> = (0..part::count(&recipes).min(PARTS_AT_ONCE))
            .filter_map(|part| self.make(inputs.model, inputs.atlas, inputs.states, part))
            .collect();
        made.into_iter().for_each(|made| self.take(made));
    }

    /// Makes the tables of a part anew, for the states that this plan is of.
    pub fn make(&self, model: &Model, atlas: &Atlas, states: &[RegionState], part: usize) -> Option<PartMade> {
        let (recipes, basis) = (self.recipes.as_ref()?, self.basis.as_ref()?);
        let inputs = PartInputs {
            model,
            atlas,
            states,
            sites: self.sites.as_deref(),
            by_site: self.by_site.as_ref(),
            recipes,
            standings: &self.standings,
            tables: &self.tables,
            former: &self.former,
            basis,
            seed: self.seed,
        };
        Some(PartMade { part, tables: part::make(&inputs, part), recipes: recipes.clone() })
    }

    /// Takes up tables that were made for these recipes; others are too late.
    fn take(&mut self, made: PartMade) {
        if !self.is_of(&made) {
            return;
        }
        let places = self.tables.iter_mut().enumerate().skip(made.part * part::RECIPES);
        for ((number, place), table) in places.zip(made.tables) {
            if Arc::ptr_eq(place, &table) {
                continue;
            }
            let before = std::mem::replace(place, table);
            if part::is_kept(number, &before) {
                self.former.insert(number, before);
            }
        }
    }

    /// Takes back the tables that would come out so if they were made now; lets go of those that never will again.
    fn recall(&mut self, recipes: &Recipes, basis: &Basis) {
        let recipe = |number: &usize| recipes.list().get(*number);
        self.former.retain(|number, former| recipe(number).is_some_and(|recipe| former.may_return(recipe, basis)));
        for (number, former) in &mut self.former {
            let Some((recipe, table)) = recipe(number).zip(self.tables.get_mut(*number)) else { continue };
            if !table.is_current(recipe, basis) && former.is_current(recipe, basis) {
                std::mem::swap(table, former);
            }
        }
    }

    /// Reads the tables as the regions stand.
    fn assemble(&mut self, inputs: &Inputs<'_>) {
        let (Some(recipes), Some(basis)) = (self.recipes.clone(), self.basis.clone()) else { return };
        self.recall(&recipes, &basis);
        let current = |(recipe, table): (&Recipe, &Arc<Table>)| table.is_current(recipe, &basis);
        let pairs: Vec<bool> = recipes.list().iter().zip(&self.tables).map(current).collect();
        let parts = pairs.chunks(part::RECIPES).enumerate();
        self.behind = parts.filter(|(_, current)| current.contains(&false)).map(|(part, _)| part).collect();
        let changes: Vec<Changes> =
            recipes.standings().map(|recipe| Changes::of(&recipe.regions, inputs.states, inputs.now)).collect();
        let follows: Vec<Follows> = recipes
            .list()
            .iter()
            .zip(&self.tables)
            .map(|(recipe, table)| table.follows(recipe, &self.standings[recipe.standing as usize], &basis))
            .collect();
        let service = |id: ServiceId| {
            let number = recipes.number(id)?;
            let recipe = recipes.list().get(number)?;
            let Changes { aftermath, reduced } = changes[recipe.standing as usize];
            Some(ServicePlan {
                table: self.tables[number].clone(),
                parts: self.tables[number].parts.clone(),
                follows: follows[number],
                standing: self.standings[recipe.standing as usize].clone(),
                switched: recipe.switched,
                aftermath,
                reduced,
                offers: recipe.offers,
                depends_on_place: recipe.depends_on_place,
            })
        };
        self.services = inputs.model.service_ids().filter_map(service).collect();
        if !self.tables.iter().any(|table| table.depends_on_place()) && self.everybody.is_none() {
            self.everybody =
                Some(Arc::new(Classes::of_groups(inputs.atlas, vec![0; inputs.atlas.place_count()].into())));
        }
    }

    /// What it may lend to the next, and no answers.
    pub fn without_services(&self) -> Plan {
        Plan { services: Vec::new(), ..self.clone() }
    }

    /// The classes that most services are answered by; of all clients where no service tells them apart. `None` only
    /// before anything was planned.
    pub fn classes(&self) -> Option<&Arc<Classes>> {
        let mut counts: HashMap<*const Classes, (usize, &Arc<Classes>)> = HashMap::new();
        for classes in self.services.iter().filter_map(|service| service.table.classes()) {
            counts.entry(Arc::as_ptr(classes)).or_insert((0, classes)).0 += 1;
        }
        // Of as many, those with fewer: they are looked at sooner.
        let most = counts.into_values().max_by_key(|(count, classes)| (*count, std::cmp::Reverse(classes.len())));
        most.map(|(_, classes)| classes).or(self.everybody.as_ref())
    }

    /// The parts whose tables would come out otherwise if they were made now: see [`Plan::make`].
    pub fn behind(&self) -> &[usize] {
        &self.behind
    }

    /// The part to make next, of those that `wanted` is true of: that of the greatest load, first among those whose
    /// tables clients are answered without until then. `load`: of a service, 0 or more, in any unit.
    pub fn most_behind(
        &self,
        wanted: impl Fn(usize) -> bool,
        load: impl Fn(ServiceId) -> f64,
    ) -> Option<(usize, Haste)> {
        let recipes = self.recipes.as_ref()?;
        let mut sums: BTreeMap<usize, (Haste, f64)> =
            self.behind.iter().filter(|part| wanted(**part)).map(|part| (*part, (Haste::Unhurried, 0.0))).collect();
        for (id, service) in (0..).map(ServiceId).zip(&self.services) {
            let part = recipes.number(id).map(|number| number / part::RECIPES);
            if let Some((haste, sum)) = part.and_then(|part| sums.get_mut(&part)) {
                *sum += load(id);
                *haste = if service.follows == Follows::All { *haste } else { Haste::Pressing };
            }
        }
        let rank = |(part, (haste, sum)): &(usize, (Haste, f64))| (*haste, *sum, std::cmp::Reverse(*part));
        let most = sums.into_iter().max_by(|a, b| rank(a).partial_cmp(&rank(b)).unwrap_or(std::cmp::Ordering::Equal));
        most.map(|(part, (haste, _))| (part, haste))
    }

    /// Tells whether these tables are of its recipes.
    pub fn is_of(&self, made: &PartMade) -> bool {
        self.recipes.as_ref().is_some_and(|recipes| Arc::ptr_eq(recipes, &made.recipes))
    }

    pub fn recipes(&self) -> Option<&Arc<Recipes>> {
        self.recipes.as_ref()
    }
}

/// Every site in a class of its own: those of the plan before, where sites are numbered as then.
fn by_site(atlas: &Atlas, sites: Option<&Sites>, recipes: &Recipes, before: Option<&Plan>) -> Option<Arc<Classes>> {
    let sites = sites.filter(|_| recipes.list().len() > part::RECIPES)?;
    let lent = before.filter(|before| before.sites.as_ref().is_some_and(|before| before.numbered_as(sites)));
    lent.and_then(|before| before.by_site.clone()).or_else(|| {
        let class_of = sites.of_places().map(|site| site as u32); // at most one per place, and those are u32
        Some(Arc::new(Classes::of_groups(atlas, class_of.collect())))
    })
}

/// What happened to the regions of a service lately.
#[derive(Clone, Copy)]
struct Changes {
    aftermath: bool,
    reduced: bool,
}

impl Changes {
    fn of(regions: &[RegionId], states: &[RegionState], now: Instant) -> Changes {
        Changes { aftermath: aftermath(regions, states, now), reduced: reduced(regions, states) }
    }
}

/// That of the plan before, where nothing was measured since.
fn latency(inputs: &Inputs<'_>) -> Arc<Latency> {
    let before = inputs.previous.map(|plan| &plan.latency);
    match before.filter(|before| Arc::ptr_eq(before.measured(), inputs.measured)) {
        Some(before) => before.clone(),
        None => Arc::new(Latency::of(inputs.model, inputs.measured)),
    }
}

impl Plan {
    /// The planner's decisions as of the time when this was made, where it is heeded.
    pub fn planned(&self) -> Option<&Arc<Planned>> {
        self.planned.as_ref()
    }

    /// Tells whether some client of some service is answered with the region, as far as is known: where a table does not
    /// hold, every region that may be answered counts.
    pub fn answers(&self, region: RegionId) -> bool {
        let asked = |service: &ServicePlan| {
            service.standing.answers(region)
                && (service.follows == Follows::Nothing || service.table.may_answer(region))
        };
        self.services.iter().any(asked)
    }
}

/// The time when the plan's TTLs next change by the passing of time alone.
pub fn next_expiry(states: &[RegionState], now: Instant) -> Option<Instant> {
    states.iter().filter_map(|state| Some(state.changed_at? + AFTERMATH)).filter(|&at| at > now).min()
}

fn aftermath(regions: &[RegionId], states: &[RegionState], now: Instant) -> bool {
    let recent = |at: Instant| now.saturating_duration_since(at) < AFTERMATH;
    regions.iter().filter_map(|r| states.get(r.index())?.changed_at).any(recent)
}

fn reduced(regions: &[RegionId], states: &[RegionState]) -> bool {
    regions.iter().filter_map(|r| states.get(r.index())).any(|state| !state.effective.is_eligible())
}

/// The score of each region of the service, in its order, for clients these round trips away.
pub fn scores(model: &Model, service: &Service, states: &[RegionState], rtts: &[Rtt]) -> Vec<Score> {
    let one = |(&id, &rtt): (&RegionId, &Rtt)| {
        score(service.weights, rtt, service.bias_ms(id), price_ms(states, id), model.region(id).cost)
    };
    service.regions.iter().zip(rtts).map(one).collect()
}

fn price_ms(states: &[RegionState], id: RegionId) -> f64 {
    states.get(id.index()).map_or(0.0, |state| state.price_ms)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::super::decide::{View, cell_at_place};
    use super::super::policy::tiers;
    use super::super::testing::{SERVICE, World, at};
    use super::*;
    use crate::model::{GeoPlace, GeoRules, Location, Policy, Weight, Weights};
    use crate::steer::health::effective::{EffectiveState, Override};
    use crate::steer::health::verdict::Verdict;
    use crate::steer::latency::rtt::{ClientGroup, Estimate};
    use crate::steer::policy::eligible::ServiceCondition;

    const SEOUL: (f64, f64) = (37.57, 126.98);
    const TOKYO: (f64, f64) = (35.68, 139.69);
    const FRANKFURT: (f64, f64) = (50.11, 8.68);

    fn three(policy: Policy) -> World {
        let place = |(latitude, longitude)| at(latitude, longitude);
        World::new(policy, &[("seoul", place(SEOUL)), ("tokyo", place(TOKYO)), ("frankfurt", place(FRANKFURT))])
            .clients(&[("10.82.0.0/16", place(SEOUL)), ("10.49.0.0/16", place(FRANKFURT))])
    }

    fn client(octet: u8, network: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, octet, network, 0))
    }

    #[test]
    fn clients_get_the_region_near_them_and_the_next_one_when_it_is_lost() {
        let mut world = three(Policy::Score);
        let regions = |world: &World, octet| -> Vec<String> {
            let plan = world.plan(Instant::now());
            let mut names: Vec<_> = (0..=255).map(|n| plan.region_of(client(octet, n)).to_owned()).collect();
            names.sort();
            names.dedup();
            names
        };
        assert_eq!(regions(&world, 49), ["frankfurt"]);
        assert!(regions(&world, 82).contains(&"seoul".to_owned()));
        world.down(2);
        let moved = regions(&world, 49);
        assert!(!moved.is_empty() && !moved.contains(&"frankfurt".to_owned()), "{moved:?}");
    }

    #[test]
    fn clients_without_a_location_follow_the_default_one() {
        let mut world = three(Policy::Score);
        let unknown = |world: &World| {
            let plan = world.plan(Instant::now());
            (0..=255).filter(|&n| plan.region_of(IpAddr::V4(Ipv4Addr::new(11, 0, n, 0))) == "frankfurt").count()
        };
        assert!((50..120).contains(&unknown(&world)), "a third, not {}", unknown(&world));
        let coordinates = Some(at(FRANKFURT.0, FRANKFURT.1));
        world.model.default_location = Some(crate::model::Location { coordinates, ..Default::default() });
        assert_eq!(unknown(&world), 256);
    }

    #[test]
    fn tiers_are_cut_over_all_regions_whatever_their_health() {
        assert_eq!(tiers(&[10.0, 25.0, 31.0, 200.0]), [0, 0, 1, 2]);
        assert_eq!(tiers(&[200.0, 10.0, 31.0, 25.0]), [2, 0, 1, 0]);
        assert_eq!(tiers(&[]), [] as [u32; 0]);
    }

    #[test]
    fn something_is_always_answered() {
        let mut world = three(Policy::Score);
        let condition = |world: &World| world.plan(Instant::now()).plan.services[0].standing.condition;
        assert_eq!(condition(&world), ServiceCondition::Normal);
        for region in 0..3 {
            world.down(region);
        }
        assert_eq!(condition(&world), ServiceCondition::Panic);
        for region in 0..3 {
            world.say(region, if region == 1 { Override::Drain } else { Override::Down });
        }
        assert_eq!(condition(&world), ServiceCondition::OnlyDraining);
        assert_eq!(world.plan(Instant::now()).region_of(client(49, 0)), "tokyo");
        world.say(1, Override::Down);
        assert_eq!(condition(&world), ServiceCondition::AllWithdrawn);
        assert_eq!(world.plan(Instant::now()).region_of(client(49, 0)), "frankfurt");
    }

    #[test]
    fn panic_leaves_out_what_the_operator_withdrew() {
        let mut world = three(Policy::Score);
        world.down(0);
        world.down(1);
        world.say(2, Override::Down);
        let plan = world.plan(Instant::now());
        assert!((0..=255).all(|network| plan.region_of(client(49, network)) != "frankfurt"));
    }

    #[test]
    fn a_draining_region_that_is_up_serves_before_dead_ones_do() {
        let mut world = three(Policy::Score);
        let condition = |world: &World| world.plan(Instant::now()).plan.services[0].standing.condition;
        for region in 0..2 {
            world.down(region);
            world.states[region].verdict = Verdict::Down;
        }
        world.say(2, Override::Drain);
        assert_eq!(condition(&world), ServiceCondition::OnlyDraining);
        assert_eq!(world.plan(Instant::now()).region_of(client(82, 0)), "frankfurt");
        world.states[2].verdict = Verdict::Down; // nothing answers its probes: it may be the prober
        assert_eq!(condition(&world), ServiceCondition::Panic);
        let plan = world.plan(Instant::now());
        assert!((0..=255).all(|network| plan.region_of(client(82, network)) != "frankfurt"));
    }

    #[test]
    fn failover_answers_the_first_eligible_in_order() {
        let mut world = three(Policy::Failover);
        assert_eq!(world.plan(Instant::now()).region_of(client(49, 0)), "seoul");
        world.down(0);
        assert_eq!(world.plan(Instant::now()).region_of(client(49, 0)), "tokyo");
        world.say(1, Override::Drain);
        assert_eq!(world.plan(Instant::now()).region_of(client(49, 0)), "frankfurt");
    }

    #[test]
    fn weighted_shares_follow_the_weights_and_no_weights_share_alike() {
        let weights = [3.0, 1.0, 0.0].map(|weight| Weight::new(weight).expect("a weight"));
        let mut world = three(Policy::Weighted(weights.into()));
        let count = |world: &World, name: &str| {
            let plan = world.plan(Instant::now());
            (0..=u16::MAX).filter(|n| plan.region_of(client((n >> 8) as u8, *n as u8)) == name).count() as f64
                / 65_536.0
        };
        assert!((count(&world, "seoul") - 0.75).abs() < 0.02);
        assert_eq!(count(&world, "frankfurt"), 0.0);
        world.down(0);
        assert_eq!(count(&world, "tokyo"), 1.0);
        world.down(1); // only a region of weight 0 is left: better than nothing
        assert_eq!(count(&world, "frankfurt"), 1.0);
    }

    #[test]
    fn geo_answers_the_operators_list_then_the_default_then_anything() {
        let [seoul, tokyo, frankfurt] = [0, 1, 2];
        let korea = GeoPlace::Country("KR".parse().expect("a country"));
        let lists = GeoRules { rules: [(korea, vec![tokyo, seoul])].into(), default: vec![frankfurt] };
        let mut world = three(Policy::Geo(lists));
        let country = Some("KR".parse().expect("a country"));
        let networks = [("10.82.0.0/16".parse().expect("a prefix"), Location { country, ..Location::default() })];
        world.atlas = Atlas::build(&[], &networks).expect("an atlas");
        let answers = |world: &World| {
            let plan = world.plan(Instant::now());
            [82, 49].map(|octet| plan.region_of(client(octet, 1)).to_owned())
        };
        assert_eq!(answers(&world), ["tokyo", "frankfurt"]);
        world.down(1);
        assert_eq!(answers(&world), ["seoul", "frankfurt"]);
        world.down(0);
        assert_eq!(answers(&world), ["frankfurt", "frankfurt"]);
        world.states[0].effective = EffectiveState::Up;
        world.down(2);
        assert_eq!(answers(&world), ["seoul", "seoul"]);
    }

    #[test]
    fn services_that_are_alike_share_their_cells() {
        let mut world = three(Policy::Score);
        let twin = world.model.services[0].clone();
        let other = Service { weights: Weights { cost: 1.0, ..Weights::default() }, ..twin.clone() };
        world.model.services.extend([twin, other]);
        let plan = world.plan(Instant::now()).plan;
        assert!(Arc::ptr_eq(&plan.services[0].table, &plan.services[1].table));
        assert!(!Arc::ptr_eq(&plan.services[0].table, &plan.services[2].table));
    }

    #[test]
    fn sites_that_are_numbered_anew_are_answered_as_what_they_are() {
        let mut world = three(Policy::Score);
        let one = world.model.services[0].clone();
        let unlike = |n: u32| Service {
            weights: Weights { latency: 0.5 + f64::from(n) / 1e3, ..Weights::default() },
            ..one.clone()
        };
        world.model.services.extend((1..12).map(unlike));
        // Two operators' clients at each position are one site until one of them is measured.
        let network = |n: u8| {
            let operator = (!n.is_multiple_of(2)).then_some(4766);
            let coordinates = Some(at(36.0, f64::from(n / 2) * 12.0 - 180.0));
            let location = Location { asn: operator, country: "KR".parse().ok(), coordinates, ..Location::default() };
            (format!("10.{n}.0.0/16").parse().expect("a prefix"), location)
        };
        world.atlas = Atlas::build(&[], &(0..60).map(network).collect::<Vec<_>>()).expect("an atlas");
        let now = Instant::now();
        let before = world.plan(now).plan;
        let group = ClientGroup::Operator { asn: 4766, country: "KR".parse().expect("a country") };
        let times = [("seoul@gslb.example", 90.0), ("tokyo@gslb.example", 90.0), ("frankfurt@gslb.example", 2.0)];
        world.measured = Arc::new(Measured::of(times.map(|(region, ms)| (group, region, Estimate::given(ms)))));
        let (at_once, anew) = (world.follow_after(&before, now), world.plan(now));
        let [old, new] = [&before, &at_once.plan].map(|plan| plan.sites.clone().expect("sites"));
        assert!(!new.numbered_as(&old));
        for service in world.model.service_ids() {
            for network in 0..60 {
                let seen = crate::steer::decide::Seen::Subnet(client(network, 1));
                let decide = |of: &crate::steer::testing::Moment<'_>| {
                    crate::steer::decide::decide(&of.view(), service, seen).expect("a decision").region
                };
                assert_eq!(decide(&at_once), decide(&anew), "{service:?}, 10.{network}.0.0");
            }
        }
    }

    #[test]
    fn a_dear_region_is_left_for_a_cheap_one() {
        let mut world = three(Policy::Score);
        world.states[2].price_ms = 250.0;
        let plan = world.plan(Instant::now());
        assert_ne!(plan.region_of(client(49, 0)), "frankfurt");
    }

    #[test]
    fn cells_are_kept_while_nothing_that_decides_them_changes() {
        let mut world = three(Policy::Score);
        let now = Instant::now();
        let first = world.plan(now).plan;
        world.states[0].effective = EffectiveState::Suspect;
        let next = world.plan_after(Some(&first), now);
        assert!(Arc::ptr_eq(&first.services[0].table, &next.services[0].table));
        world.states[0].price_ms = 3.0;
        let next = world.plan_after(Some(&first), now);
        assert!(!Arc::ptr_eq(&first.services[0].table, &next.services[0].table));
    }

    #[test]
    fn cells_kept_from_before_are_those_a_fresh_plan_would_have() {
        let now = Instant::now();
        let mut rng = fastrand::Rng::with_seed(5);
        let mut world = three(Policy::Score);
        let mut before = world.plan(now).plan;
        for _ in 0..2_000 {
            let region = rng.usize(..3);
            match rng.u8(..3) {
                0 => world.states[region].price_ms = f64::from(rng.u8(..3)) * 30.0,
                1 => {
                    world.states[region].verdict =
                        [Verdict::Up, Verdict::Suspect, Verdict::Down, Verdict::Unknown][rng.usize(..4)];
                    world.say(region, world.states[region].operator_override);
                }
                _ => world.say(region, [Override::Auto, Override::Up, Override::Down, Override::Drain][rng.usize(..4)]),
            }
            let next = world.plan_after(Some(&before), now);
            let fresh = world.plan(now);
            for place in world.atlas.places() {
                let kept = cell_at_place(&View { plan: &next, ..fresh.view() }, SERVICE, place);
                assert_eq!(kept, cell_at_place(&fresh.view(), SERVICE, place), "{:?}", world.states);
            }
            before = next;
        }
    }

    #[test]
    fn services_alike_share_one_table_and_others_have_their_own() {
        let mut world = three(Policy::Score);
        let mut alike = world.model.services[0].clone();
        alike.failover_ttl = crate::model::Ttl::saturating(1);
        let mut other = alike.clone();
        other.weights.load = 0.0;
        world.model.services.extend([alike, other]);
        let plan = world.plan(Instant::now()).plan;
        assert!(Arc::ptr_eq(&plan.services[0].table, &plan.services[1].table));
        assert!(!Arc::ptr_eq(&plan.services[0].table, &plan.services[2].table));
    }

    #[test]
    fn the_plan_is_what_the_scores_that_are_explained_say() {
        let mut world = three(Policy::Score);
        world.states[1].price_ms = 7.5;
        // Only one of the two networks is of an operator that is measured.
        let kt = Location {
            asn: Some(4766),
            country: "KR".parse().ok(),
            coordinates: Some(at(SEOUL.0, SEOUL.1)),
            ..Location::default()
        };
        let networks = [("10.82.0.0/16", kt.clone()), ("10.49.0.0/16", Location { asn: None, ..kt })];
        let networks = networks.map(|(prefix, location)| (prefix.parse().expect("a prefix"), location));
        world.atlas = Atlas::build(&[], &networks).expect("an atlas");
        let group = ClientGroup::Operator { asn: 4766, country: "KR".parse().expect("a country") };
        let times = [("seoul@gslb.example", 90.0), ("tokyo@gslb.example", 90.0), ("frankfurt@gslb.example", 2.0)];
        let measured = times.map(|(region, ms)| (group, region, Estimate::given(ms)));
        world.measured = Arc::new(Measured::of(measured));
        let planned = world.plan(Instant::now());
        let service = &world.model.services[0];
        for place in world.atlas.places() {
            let rtts = planned.plan.latency.rtts_at(&world.model, &world.atlas, place, &service.regions);
            let scores = scores(&world.model, service, &world.states, &rtts);
            let totals: Vec<f64> = scores.iter().map(|score| score.total_ms).collect();
            let first = tiers(&totals).into_iter().map(|tier| tier == 0);
            let best = totals.iter().copied().fold(f64::INFINITY, f64::min);
            let weight = |(total, first): (&f64, bool)| if first { (-(total - best) / 5.0).exp() } else { 0.0 };
            let weights: Vec<f64> = totals.iter().zip(first).map(weight).collect();
            let cell = cell_at_place(&planned.view(), SERVICE, place).expect("a cell");
            for (region, part) in cell.fractions() {
                let expected = weights[region.index()] / weights.iter().sum::<f64>();
                // Scores count in steps here.
                assert!((part - expected).abs() < 0.004, "{place:?}, {region:?}: {part} for {expected}");
            }
        }
        let moment = world.plan(Instant::now());
        assert_eq!(moment.region_of(client(82, 1)), "frankfurt", "measured nearer");
        assert_ne!(moment.region_of(client(49, 1)), "frankfurt", "at the same place, by distance");
    }

    #[test]
    fn new_figures_make_a_new_plan_and_the_same_groups_keep_the_numbers_of_sites() {
        let mut world = three(Policy::Score);
        let country = ClientGroup::Country("KR".parse().expect("a country"));
        let measured = |ms| Arc::new(Measured::of([(country, "frankfurt@gslb.example", Estimate::given(ms))]));
        let next = |world: &World, before: &Plan| world.plan_after(Some(before), Instant::now());
        let sites = |plan: &Plan| plan.sites.clone().expect("sites");
        let before = world.plan(Instant::now()).plan;
        assert!(Arc::ptr_eq(&sites(&before), &sites(&next(&world, &before))), "nothing was measured");
        world.measured = measured(2.0);
        let first = next(&world, &before);
        assert!(
            !sites(&first).numbered_as(&sites(&before))
                && !Arc::ptr_eq(&first.services[0].table, &before.services[0].table)
        );
        world.measured = measured(200.0);
        let second = next(&world, &first);
        assert!(sites(&second).numbered_as(&sites(&first)) && !Arc::ptr_eq(&sites(&second), &sites(&first)));
        assert!(!Arc::ptr_eq(&second.services[0].table, &first.services[0].table));
    }

    /// Regions anywhere on the globe, with prices.
    fn anywhere() -> impl Strategy<Value = Vec<((f64, f64), f64)>> {
        let place = (-80.0f64..80.0, -180.0f64..180.0);
        // Near one another as often as not, so that tiers are shared.
        prop::collection::vec((prop_oneof![place, (34.0f64..38.0, 125.0f64..140.0)], 0.0f64..60.0), 2..7)
    }

    fn world_of(regions: &[((f64, f64), f64)], order: &[usize]) -> World {
        let names: Vec<String> = order.iter().map(|index| format!("region{index}")).collect();
        let placed: Vec<_> =
            order.iter().zip(&names).map(|(&i, name)| (name.as_str(), at(regions[i].0.0, regions[i].0.1))).collect();
        let mut world = World::new(Policy::Score, &placed).clients(&[("10.0.0.0/8", at(36.0, 130.0))]);
        for (state, &index) in world.states.iter_mut().zip(order) {
            state.price_ms = regions[index].1;
        }
        world
    }

    proptest! {
        #[test]
        fn a_lost_region_moves_only_its_own_clients(regions in anywhere(), lost in 0usize..7) {
            let order: Vec<usize> = (0..regions.len()).collect();
            let mut world = world_of(&regions, &order);
            let lost = lost % regions.len();
            let names = |world: &World| -> Vec<String> {
                let plan = world.plan(Instant::now());
                (0..200).map(|n| plan.region_of(client(n, 7)).to_owned()).collect()
            };
            let before = names(&world);
            world.down(lost);
            for (before, after) in before.iter().zip(names(&world)) {
                prop_assert!(*before == after || *before == format!("region{lost}"), "{} to {}", before, after);
                prop_assert_ne!(after, format!("region{lost}"));
            }
        }

        #[test]
        fn the_order_in_the_file_is_irrelevant(regions in anywhere(), turn in 0usize..7) {
            let straight: Vec<usize> = (0..regions.len()).collect();
            let mut turned = straight.clone();
            turned.rotate_left(turn % regions.len());
            let (one, other) = (world_of(&regions, &straight), world_of(&regions, &turned));
            let (one, other) = (one.plan(Instant::now()), other.plan(Instant::now()));
            for n in 0..100 {
                prop_assert_eq!(one.region_of(client(n, 3)), other.region_of(client(n, 3)));
            }
        }
    }
}
