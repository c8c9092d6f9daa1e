//! One recipe's answers by class of clients, and whether they still hold.
//!
//! ```text
//!   address ─▶ Classes ─▶ class ─▶ Code ─┬─ one region
//!                                        ├─ a cell, left to each client
//!                                        └─ open: worked out for the client's site when it asks
//! ```
//!
//! A table is made for regions as they stood: its [`Basis`]. When a region is lost, nothing of it is made again at once:
//! [`Follows`] says which of its codes still hold, and the others are worked out for whoever asks, until the table has
//! been made anew in the background.

use std::net::IpAddr;
use std::sync::Arc;

use crate::atlas::PlaceId;
use crate::model::RegionId;
use crate::steer::choice::cell::{Cell, Pick};
use crate::steer::health::effective::RegionState;
use crate::steer::latency::rtt::Latency;
use crate::steer::latency::sites::Sites;
use crate::steer::planner::Planned;
use crate::steer::planner::score_group_parts::ScoreGroupParts;
use crate::steer::policy::eligible::EligibilityTier;
use crate::steer::policy::shape::Standing;

use super::classes::Classes;
use super::code::{Answer, Code, Codes, Found};
use super::recipes::Recipe;

/// The answers of one recipe.
#[derive(Debug)]
pub struct Table {
    /// `None` where all clients are in one class.
    classes: Option<Arc<Classes>>,
    /// By class.
    codes: Codes,
    /// Shared with the other tables of its part.
    cells: Arc<[Cell]>,
    /// What its codes come to.
    named: Named,
    /// The parts of its clients that the planner should know of; empty under policies without a score.
    pub parts: Arc<ScoreGroupParts>,
    basis: Arc<Basis>,
    /// All its clients were on [`ServiceCondition::Normal`](crate::steer::policy::eligible::ServiceCondition::Normal).
    was_normal: bool,
}

/// What the codes of a table come to.
#[derive(Debug, Default)]
struct Named {
    /// By [`RegionId`]: whether some code names it.
    regions: Vec<bool>,
    /// Each code once; without the open ones.
    codes: Box<[Code]>,
    has_open: bool,
}

impl Named {
    fn of(codes: &Codes, cells: &[Cell], regions: usize) -> Named {
        let mut named = Named { regions: vec![false; regions], codes: Box::default(), has_open: false };
        // Codes are as many as classes, and all but a few are one of the regions.
        let (mut only, mut in_cells) = (vec![false; regions], Vec::new());
        match codes {
            Codes::ByClass(codes) => codes.iter().for_each(|code| match code.read() {
                Answer::One(region) => mark(&mut only, region),
                Answer::Cell(number) => in_cells.push(number),
                Answer::Open { .. } => named.has_open = true,
            }),
            Codes::BySite(codes) => {
                codes.regions().for_each(|region| mark(&mut only, region));
                named.has_open = codes.has_open();
            }
            Codes::Open(sites) => named.has_open = *sites > 0,
        }
        in_cells.sort_unstable();
        in_cells.dedup();
        for cell in in_cells.iter().filter_map(|&number| cells.get(number as usize)) {
            cell.pick.for_each_region(&mut |region| mark(&mut named.regions, region));
        }
        named.regions.iter_mut().zip(&only).for_each(|(named, only)| *named |= only);
        let only = (0..).map(RegionId).zip(only).filter(|(_, only)| *only).map(|(region, _)| Code::one(region));
        named.codes = in_cells.into_iter().map(Code::cell).chain(only).collect();
        named
    }
}

fn mark(marks: &mut [bool], region: RegionId) {
    if let Some(mark) = marks.get_mut(region.index()) {
        *mark = true;
    }
}

/// What a table is made of: see [`Table`].
pub struct TableParts {
    pub classes: Option<Arc<Classes>>,
    pub codes: Codes,
    pub cells: Arc<[Cell]>,
    pub parts: ScoreGroupParts,
    pub basis: Arc<Basis>,
    pub was_normal: bool,
}

impl Table {
    pub fn of(parts: TableParts) -> Arc<Table> {
        let TableParts { classes, codes, cells, parts, basis, was_normal } = parts;
        let named = Named::of(&codes, &cells, basis.facts.len());
        Arc::new(Table { classes, codes, cells, named, parts: Arc::new(parts), basis, was_normal })
    }

    /// One that was made for no regions, and so holds for nobody.
    pub(super) fn of_nobody() -> Arc<Table> {
        let basis = Basis { facts: Box::default(), sites: None, planned: None, latency: Arc::default() };
        Table::of(TableParts {
            classes: None,
            codes: Codes::ByClass(Arc::from([Code::cell(u32::MAX >> 2)])),
            cells: Arc::from([]),
            parts: ScoreGroupParts::default(),
            basis: Arc::new(basis),
            was_normal: false,
        })
    }

    /// See [`Table::of_nobody`].
    pub(super) fn is_of_nobody(&self) -> bool {
        self.basis.facts.is_empty()
    }

    /// False where it ignores location: then there is one class.
    pub fn depends_on_place(&self) -> bool {
        self.classes.is_some()
    }

    pub fn classes(&self) -> Option<&Arc<Classes>> {
        self.classes.as_ref()
    }

    #[inline]
    pub fn find(&self, address: IpAddr) -> Found {
        match &self.classes {
            Some(classes) => classes.find(address),
            None => Found { class: 0, widest: 0 },
        }
    }

    /// The code of a class; `None` only for a class of other tables.
    #[inline]
    pub fn code(&self, class: u32) -> Option<Code> {
        self.codes.get(class)
    }

    /// The code of each class.
    pub fn codes(&self) -> &Codes {
        &self.codes
    }

    pub fn class_of(&self, place: PlaceId) -> u32 {
        self.classes.as_ref().map_or(0, |classes| classes.of_place(place))
    }

    #[inline]
    pub fn cell(&self, number: u32) -> Option<&Cell> {
        self.cells.get(number as usize)
    }

    /// Those of its part.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Tells whether the choice of some class is worked out when somebody asks.
    pub fn has_open(&self) -> bool {
        self.named.has_open
    }

    /// Each code once, but those that are open.
    pub fn distinct_codes(&self) -> &[Code] {
        &self.named.codes
    }

    /// Tells whether some class may get the region.
    pub fn may_answer(&self, region: RegionId) -> bool {
        self.named.has_open || self.named.regions.get(region.index()).is_some_and(|named| *named)
    }

    /// Whether its codes hold for regions that stand so.
    pub(super) fn follows(&self, recipe: &Recipe, standing: &Standing, now: &Basis) -> Follows {
        if recipe.measures && !self.basis.numbers_sites_as(now) {
            return Follows::Nothing; // codes that are left open name other sites
        }
        if let Codes::Open(_) = self.codes {
            return Follows::All;
        }
        let (now, mut lost) = (&now.facts, false);
        for region in &recipe.regions {
            match (self.basis.facts.get(region.index()), now.get(region.index())) {
                (Some(before), Some(now)) if before.answers == now.answers => {}
                (Some(before), Some(now)) if before.is_eligible() && !now.is_eligible() => lost = true,
                (Some(before), Some(now)) if !before.is_eligible() && !now.is_eligible() => {}
                _ => return Follows::Nothing,
            }
        }
        match lost {
            _ if self.was_normal != standing.is_normal => Follows::Nothing,
            // Which of the worse regions are answered is told from their tiers alone, which are the same.
            false if standing.is_normal || self.same_tiers(recipe, now) => Follows::All,
            true if standing.is_normal && !recipe.shape.compares_groups() => Follows::Eligible,
            _ => Follows::Nothing,
        }
    }

    /// Tells whether nothing that decides its codes is otherwise now but that regions were lost: then clients who had none
    /// of those, and no others to choose from, have what they had.
    pub(super) fn only_lost(&self, recipe: &Recipe, standing: &Standing, now: &Basis) -> bool {
        let of_region = |region: &RegionId| {
            let of = |basis: &Basis| basis.facts.get(region.index()).copied();
            let (Some(before), Some(now)) = (of(&self.basis), of(now)) else { return false };
            let alike = before.answers == now.answers || (before.is_eligible() && !now.is_eligible());
            alike && before.price_ms == now.price_ms
        };
        let on_the_best = self.was_normal && standing.is_normal;
        let same_sites = self.basis.numbers_sites_as(now) && self.basis.measured_alike(now);
        on_the_best && same_sites && recipe.regions.iter().all(of_region)
    }

    fn same_tiers(&self, recipe: &Recipe, now: &[RegionFacts]) -> bool {
        let answers = |facts: &[RegionFacts], region: &RegionId| facts.get(region.index()).map(|facts| facts.answers);
        recipe.regions.iter().all(|region| answers(&self.basis.facts, region) == answers(now, region))
    }

    /// False where measurements or the planner's shares are others than it was made from, which do not come back as regions
    /// do: it would keep them in memory, and the distances to all sites.
    pub(super) fn may_return(&self, recipe: &Recipe, now: &Basis) -> bool {
        !recipe.measures || self.basis.measured_alike(now)
    }

    /// Tells whether it would come out as it is if it were made now.
    pub(super) fn is_current(&self, recipe: &Recipe, now: &Basis) -> bool {
        if let Codes::Open(_) = self.codes {
            return self.basis.numbers_sites_as(now);
        }
        let facts = |of: &Basis, region: &RegionId| of.facts.get(region.index()).copied();
        let same_regions = recipe.regions.iter().all(|region| facts(&self.basis, region) == facts(now, region));
        same_regions && (!recipe.measures || self.basis.measured_alike(now))
    }
}

/// The codes of a table that still hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// All.
    All,
    /// Those that name no region but eligible ones: some were lost, and none came back.
    Eligible,
    /// None: regions came back, or the service is on worse ones than before, or on better ones, or sites are numbered anew.
    Nothing,
}

impl Follows {
    /// Tells whether the pick of a cell holds as it is.
    pub fn has(self, pick: &Pick, standing: &Standing) -> bool {
        match self {
            Follows::All => true,
            Follows::Eligible => pick.all(&|region| standing.answers(region)),
            Follows::Nothing => false,
        }
    }
}

/// The facts that a table was made from.
#[derive(Debug)]
pub struct Basis {
    /// By [`RegionId`].
    pub facts: Box<[RegionFacts]>,
    pub sites: Option<Arc<Sites>>,
    pub planned: Option<Arc<Planned>>,
    pub latency: Arc<Latency>,
}

impl Basis {
    pub fn of(
        states: &[RegionState],
        sites: Option<&Arc<Sites>>,
        planned: Option<&Arc<Planned>>,
        latency: &Arc<Latency>,
    ) -> Basis {
        Basis {
            facts: states.iter().map(RegionFacts::of).collect(),
            sites: sites.cloned(),
            planned: planned.cloned(),
            latency: latency.clone(),
        }
    }

    /// Tells whether a region is as it has to be for
    /// [`ServiceCondition::Normal`](crate::steer::policy::eligible::ServiceCondition::Normal).
    pub(super) fn is_eligible(&self, region: RegionId) -> bool {
        self.facts.get(region.index()).is_some_and(RegionFacts::is_eligible)
    }

    fn numbers_sites_as(&self, other: &Basis) -> bool {
        match (&self.sites, &other.sites) {
            (Some(sites), Some(others)) => sites.numbered_as(others),
            (sites, others) => sites.is_none() && others.is_none(),
        }
    }

    fn measured_alike(&self, other: &Basis) -> bool {
        self.planned.as_ref().map(Arc::as_ptr) == other.planned.as_ref().map(Arc::as_ptr)
            && Arc::ptr_eq(&self.latency, &other.latency)
    }
}

/// A region's state, as far as cells follow from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegionFacts {
    /// Whether it is answered at all, and to which part of clients it is not.
    pub answers: (EligibilityTier, u64),
    price_ms: f64,
}

impl RegionFacts {
    fn of(state: &RegionState) -> RegionFacts {
        RegionFacts { answers: (EligibilityTier::of(state), state.shed.to_bits()), price_ms: state.price_ms }
    }

    /// As a region has to be for [`ServiceCondition::Normal`](crate::steer::policy::eligible::ServiceCondition::Normal).
    fn is_eligible(&self) -> bool {
        self.answers.0 == EligibilityTier::Eligible
    }
}
