//! A part of the plan: the tables of a few recipes, made together.
//!
//! ```text
//!   recipes + sites + states ─▶ a column each: place ─▶ code ─▶ Classes of all columns ─▶ Tables
//! ```
//!
//! Classes are those of a part, not of all recipes: with hundreds of recipes, no two places are answered alike by all.

use std::collections::HashMap;
use std::sync::Arc;

use crate::atlas::Atlas;
use crate::model::Model;
use crate::steer::choice::cell::{Cell, Cells};
use crate::steer::health::effective::RegionState;
use crate::steer::latency::sites::Sites;
use crate::steer::planner::score_group_parts::{ScoreGroupParts, ScoreGroupPartsBySite};
use crate::steer::policy::route::Route;
use crate::steer::policy::shape::Standing;
use crate::steer::policy::{Picker, PlanInputs};

use super::classes::Classes;
use super::code::{Code, settled};
use super::recipes::{Recipe, Recipes};
use super::table::{Basis, Table};

/// Recipes whose tables are made together, at most.
pub const RECIPES: usize = 16;
/// The first so many recipes keep the picks of sites that several regions share; those of others are worked out for
/// whoever asks, since they are as many as there are sites, and differ from recipe to recipe.
const KEPT_PICKS: usize = 8;

/// The inputs that tables are made from.
#[derive(Clone, Copy)]
pub struct PartInputs<'a> {
    pub model: &'a Model,
    pub atlas: &'a Atlas,
    pub states: &'a [RegionState],
    /// `None` only where no service asks how far anything is.
    pub sites: Option<&'a Sites>,
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
    let mut cells = Cells::default();
    let first = part * RECIPES;
    let recipes = inputs.recipes.list().iter().enumerate().skip(first).take(RECIPES);
    let made: Vec<Made> = recipes.map(|(number, recipe)| Made::of(inputs, number, recipe, &mut cells)).collect();
    let cells: Arc<[Cell]> = cells.into_list().into();
    let (mut columns, mut rest) = (Vec::new(), Vec::new());
    for Made { column, parts, was_normal } in made {
        let at = match column {
            Column::Everywhere(code) => Err(code),
            Column::ByPlace(codes) => {
                columns.push(codes);
                Ok(columns.len() - 1)
            }
        };
        rest.push((at, Arc::new(parts), was_normal));
    }
    let classes = (!columns.is_empty()).then(|| Arc::new(Classes::of(inputs.atlas, &columns)));
    let codes = |at: Result<usize, Code>| match (&classes, at) {
        (Some(classes), Ok(column)) => {
            let codes = classes.examples().iter().map(|place| columns[column][place.index()]).collect();
            (Some(classes.clone()), codes)
        }
        (_, Err(code)) => (None, Arc::from([code])),
        (None, Ok(_)) => (None, Arc::from([])), // there are classes where there are columns
    };
    let table = |(at, parts, was_normal)| {
        let (classes, codes) = codes(at);
        Arc::new(Table { classes, codes, cells: cells.clone(), parts, basis: inputs.basis.clone(), was_normal })
    };
    rest.into_iter().map(table).collect()
}

/// One recipe's codes.
enum Column {
    /// Whatever the place.
    Everywhere(Code),
    /// For every place of the atlas.
    ByPlace(Vec<Code>),
}

struct Made {
    column: Column,
    parts: ScoreGroupParts,
    was_normal: bool,
}

impl Made {
    fn of(inputs: &PartInputs<'_>, number: usize, recipe: &Recipe, cells: &mut Cells) -> Made {
        let service = inputs.model.service(recipe.example);
        let standing = &inputs.standings[recipe.standing as usize]; // there is one for each
        let picker = Picker::of(inputs.picks(), service, &recipe.shape, standing);
        let sites = inputs.sites.filter(|_| recipe.measures);
        let (column, parts) = match (sites, service.policies.locates() || picker.splits_score_groups()) {
            (sites, true) => by_route(inputs.atlas, sites, &picker, cells),
            (Some(sites), false) => by_site(sites, &picker, number < KEPT_PICKS, cells),
            (None, false) => {
                let cell = picker.cell(0, &picker.route_of_all());
                (Column::Everywhere(code(cell, cells)), ScoreGroupParts::default())
            }
        };
        Made { column, parts, was_normal: standing.is_normal }
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

/// All clients of a site are sent the same way, and come to the same decision by score, if any.
fn by_site(sites: &Sites, picker: &Picker<'_>, keeps: bool, cells: &mut Cells) -> (Column, ScoreGroupParts) {
    let route = picker.route_of_all();
    let by_site: Vec<Code> = match (picker.scored(), picker.alike()) {
        (Some(by_score), _) if !keeps => sites
            .ids()
            .zip(by_score.only_of(sites.ids()))
            .map(|(site, only)| only.map_or(Code::open(site as u32), Code::one))
            .collect(),
        (_, Some(mut alike)) => {
            let number = |site| alike.number(site, || code(picker.cell(site, &route), cells));
            sites.ids().map(number).collect()
        }
        (_, None) => sites.ids().map(|site| code(picker.cell(site, &route), cells)).collect(),
    };
    let by_place = sites.of_places().map(|site| by_site[site]).collect();
    (Column::ByPlace(by_place), ScoreGroupParts::everywhere(picker.score_groups(0, &route)))
}

/// A code, and the decisions by score that its clients come to, with their parts.
type Answered = (Code, Vec<(u32, f64)>);

/// Many places are at one site and sent the same way: each such pair is looked at once.
fn by_route(atlas: &Atlas, sites: Option<&Sites>, picker: &Picker<'_>, cells: &mut Cells) -> (Column, ScoreGroupParts) {
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
    (Column::ByPlace(by_place), parts.finish())
}
