//! A part of the plan: the tables of a few recipes, made together.
//!
//! ```text
//!   recipes + sites + states ─▶ a column each: site or place ─▶ code ─┬─ first part: Classes of its columns ─▶ Tables
//!                                                                     └─ others: by site, as all of them ──▶ Tables
//! ```
//!
//! Classes are those of a part, not of all recipes: with hundreds of recipes, no two places are answered alike by all. Recipes
//! beyond the first part that go by score alone have no classes of their own: their tables are by site, and what finds the
//! site of an address is shared by all.

use std::collections::HashMap;
use std::sync::Arc;

use crate::atlas::{Atlas, PlaceId};
use crate::model::{Model, RegionId};
use crate::steer::choice::cell::{Cell, Cells};
use crate::steer::health::effective::RegionState;
use crate::steer::latency::sites::Sites;
use crate::steer::planner::score_group_parts::{ScoreGroupParts, ScoreGroupPartsBySite};
use crate::steer::policy::by_score::ByScore;
use crate::steer::policy::route::Route;
use crate::steer::policy::scan::only_regions;
use crate::steer::policy::shape::Standing;
use crate::steer::policy::{Picker, PlanInputs};

use super::classes::Classes;
use super::code::{Code, Codes, settled};
use super::recipes::{Recipe, Recipes};
use super::table::{Basis, Table, TableParts};

/// Recipes whose tables are made together, at most.
pub const RECIPES: usize = 16;
/// The first so many recipes keep the picks of sites that several regions share; those of others are worked out for
/// whoever asks, since they are as many as there are sites, and differ from recipe to recipe.
const KEPT_PICKS: usize = 8;
/// Codes kept by site, at most: two octets each. The sites of recipes beyond are all left open.
const MOST_BY_SITE: usize = 64 << 20;

/// The inputs that tables are made from.
#[derive(Clone, Copy)]
pub struct PartInputs<'a> {
    pub model: &'a Model,
    pub atlas: &'a Atlas,
    pub states: &'a [RegionState],
    /// `None` only where no service asks how far anything is.
    pub sites: Option<&'a Sites>,
    /// Every site in a class of its own; there where recipes are more than a part.
    pub by_site: Option<&'a Arc<Classes>>,
    pub recipes: &'a Recipes,
    /// By standing.
    pub standings: &'a [Arc<Standing>],
    pub basis: &'a Arc<Basis>,
    pub seed: u64,
}

/// The parts of so many recipes.
pub fn count(recipes: &Recipes) -> usize {
    recipes.list().len().div_ceil(RECIPES)
}

/// Makes the tables of a part, in the order of its recipes.
pub fn make(inputs: &PartInputs<'_>, part: usize) -> Vec<Arc<Table>> {
    let recipes = inputs.recipes.list().iter().enumerate().skip(part * RECIPES).take(RECIPES);
    let works: Vec<Work> = recipes.map(|(number, recipe)| Work::of(inputs, number, recipe)).collect();
    let mut cells = Cells::default();
    let made: Vec<Made> =
        works.iter().zip(scanned(inputs, &works)).map(|(work, only)| work.make(inputs, only, &mut cells)).collect();
    let cells: Arc<[Cell]> = cells.into_list().into();
    let (mut columns, mut rest) = (Vec::new(), Vec::new());
    for (work, Made { column, parts }) in works.iter().zip(made) {
        let at = match column {
            Column::Settled(classes, codes) => Err((classes, codes)),
            Column::Of(rows) => {
                columns.push(rows);
                Ok(columns.len() - 1)
            }
        };
        rest.push((at, parts, work.standing.is_normal));
    }
    let own = (!columns.is_empty()).then(|| Own::of(inputs, columns));
    let table = |(at, parts, was_normal)| {
        let (classes, codes) = match (&own, at) {
            (_, Err(settled)) => settled,
            (Some(own), Ok(column)) => (Some(own.classes.clone()), own.codes(column)),
            (None, Ok(_)) => (None, Codes::ByClass(Arc::from([]))), // there are classes where there are columns
        };
        let basis = inputs.basis.clone();
        Table::of(TableParts { classes, codes, cells: cells.clone(), parts, basis, was_normal })
    };
    rest.into_iter().map(table).collect()
}

/// Of the works that go by score alone the only region of each site, as far as tables of theirs are kept.
fn scanned(inputs: &PartInputs<'_>, works: &[Work<'_>]) -> Vec<Option<Vec<Option<RegionId>>>> {
    let services: Vec<Option<ByScore<'_>>> = works.iter().map(Work::scored).collect();
    let asked: Vec<bool> = services.iter().map(Option::is_some).collect();
    let services: Vec<ByScore<'_>> = services.into_iter().flatten().collect();
    let mut found = match inputs.sites {
        Some(sites) => only_regions(&services, inputs.model, sites).into_iter(),
        None => Vec::new().into_iter(),
    };
    asked.into_iter().map(|asked| asked.then(|| found.next()).flatten()).collect()
}

/// The classes of a part's own columns.
struct Own {
    classes: Arc<Classes>,
    columns: Vec<Vec<Code>>,
    /// By place.
    row_of: Vec<u32>,
}

impl Own {
    /// By site, where all columns are; else by place.
    fn of(inputs: &PartInputs<'_>, columns: Vec<Rows>) -> Own {
        let all_by_site = columns.iter().all(|rows| matches!(rows, Rows::BySite(_)));
        let sites: Vec<u32> = inputs.sites.iter().flat_map(|sites| sites.of_places()).map(|site| site as u32).collect();
        let codes = |rows: Rows| match rows {
            Rows::BySite(codes) if !all_by_site => sites.iter().map(|&site| codes[site as usize]).collect(),
            Rows::BySite(codes) | Rows::ByPlace(codes) => codes,
        };
        let columns: Vec<Vec<Code>> = columns.into_iter().map(codes).collect();
        let row_of = if all_by_site { sites } else { inputs.atlas.places().map(|place| place.0).collect() };
        Own { classes: Arc::new(Classes::of(inputs.atlas, &columns, &row_of)), columns, row_of }
    }

    fn codes(&self, column: usize) -> Codes {
        let code = |place: &PlaceId| self.columns[column][self.row_of[place.index()] as usize];
        Codes::ByClass(self.classes.examples().iter().map(code).collect())
    }
}

/// One recipe's codes.
enum Column {
    /// As they will be kept.
    Settled(Option<Arc<Classes>>, Codes),
    /// Yet to be told by class.
    Of(Rows),
}

enum Rows {
    /// For every site.
    BySite(Vec<Code>),
    /// For every place of the atlas.
    ByPlace(Vec<Code>),
}

struct Made {
    column: Column,
    parts: ScoreGroupParts,
}

/// A recipe whose table is being made.
struct Work<'a> {
    number: usize,
    /// `None` where it does not ask how far anything is.
    measured: Option<&'a Sites>,
    locates: bool,
    standing: &'a Standing,
    picker: Picker<'a>,
}

impl<'a> Work<'a> {
    fn of(inputs: &PartInputs<'a>, number: usize, recipe: &'a Recipe) -> Work<'a> {
        let service = inputs.model.service(recipe.example);
        let standing = &inputs.standings[recipe.standing as usize]; // there is one for each
        let picker = Picker::of(inputs.picks(), service, &recipe.shape, standing);
        let locates = service.policies.locates() || picker.splits_score_groups();
        Work { number, measured: inputs.sites.filter(|_| recipe.measures), locates, standing, picker }
    }

    /// All clients of a site are sent the same way, and come to the same decision by score, if any.
    fn sites(&self) -> Option<&'a Sites> {
        self.measured.filter(|_| !self.locates)
    }

    /// `None` where nothing is kept of what its clients get, or more than scores decides.
    fn scored(&self) -> Option<ByScore<'a>> {
        self.sites().filter(|_| self.is_kept()).and_then(|_| self.picker.scored())
    }

    /// False for a recipe so late that its sites are left open if it goes by score alone.
    fn is_kept(&self) -> bool {
        let sites = self.measured.map_or(0, |sites| sites.ids().len());
        self.number < RECIPES || (self.number - RECIPES).saturating_mul(sites) < MOST_BY_SITE
    }

    /// `only`: as of [`scanned`].
    fn make(&self, inputs: &PartInputs<'_>, only: Option<Vec<Option<RegionId>>>, cells: &mut Cells) -> Made {
        let Some(sites) = self.sites() else {
            return match self.locates {
                true => by_route(inputs.atlas, self.measured, &self.picker, cells),
                false => {
                    let code = code(self.picker.cell(0, &self.picker.route_of_all()), cells);
                    let column = Column::Settled(None, Codes::ByClass(Arc::from([code])));
                    Made { column, parts: ScoreGroupParts::default() }
                }
            };
        };
        let late = inputs.by_site.filter(|_| self.number >= RECIPES && self.picker.scored().is_some());
        let column = match (late, only) {
            (Some(classes), Some(only)) => Column::Settled(Some(classes.clone()), Codes::by_site(&only)),
            (Some(classes), None) => Column::Settled(Some(classes.clone()), Codes::Open(sites.ids().len())),
            (None, only) => Column::Of(Rows::BySite(self.by_site(sites, only, cells))),
        };
        let parts = ScoreGroupParts::everywhere(self.picker.score_groups(0, &self.picker.route_of_all()));
        Made { column, parts }
    }

    fn by_site(&self, sites: &Sites, only: Option<Vec<Option<RegionId>>>, cells: &mut Cells) -> Vec<Code> {
        let (picker, route) = (&self.picker, self.picker.route_of_all());
        let (only, mut alike) = (only.unwrap_or_default(), picker.alike());
        let mut of_site = |site: usize| match (only.get(site), &mut alike) {
            (Some(Some(region)), _) => Code::one(*region),
            (Some(None), _) if self.number >= KEPT_PICKS => Code::open(site as u32), // as many as places at most
            (_, Some(alike)) => alike.number(site, || code(picker.cell(site, &route), cells)),
            (_, None) => code(picker.cell(site, &route), cells),
        };
        sites.ids().map(&mut of_site).collect()
    }
}

impl<'a> PartInputs<'a> {
    fn picks(&self) -> PlanInputs<'a> {
        PlanInputs {
            model: self.model,
            states: self.states,
            identities: &self.recipes.identities,
            sites: self.sites,
            planned: self.basis.planned.as_deref(),
            seed: self.seed,
        }
    }
}

fn code(cell: Cell, cells: &mut Cells) -> Code {
    settled(&cell).unwrap_or_else(|| Code::cell(cells.number(cell)))
}

/// A code, and the decisions by score that its clients come to, with their parts.
type Answered = (Code, Vec<(u32, f64)>);

/// Many places are at one site and sent the same way: each such pair is looked at once.
fn by_route(atlas: &Atlas, sites: Option<&Sites>, picker: &Picker<'_>, cells: &mut Cells) -> Made {
    let mut parts = ScoreGroupPartsBySite::default();
    let mut known: HashMap<Route, HashMap<usize, Answered>> = HashMap::new();
    let mut of_place = |place, site| {
        let route = picker.route(atlas, place);
        if let Some((code, score_groups)) = known.get(&route).and_then(|sites| sites.get(&site)) {
            parts.add(site, score_groups);
            return *code;
        }
        let code = code(picker.cell(site, &route), cells);
        let score_groups = parts.number(picker.score_groups(site, &route));
        parts.add(site, &score_groups);
        known.entry(route).or_default().insert(site, (code, score_groups));
        code
    };
    let by_place = match sites {
        Some(sites) => atlas.places().zip(sites.of_places()).map(|(place, site)| of_place(place, site)).collect(),
        None => atlas.places().map(|place| of_place(place, 0)).collect(),
    };
    Made { column: Column::Of(Rows::ByPlace(by_place)), parts: parts.finish() }
}
