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

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState as Folding;

use crate::atlas::{Atlas, PlaceId};
use crate::model::{Model, RegionId};
use crate::steer::choice::cell::{Cell, Cells};
use crate::steer::health::effective::RegionState;
use crate::steer::latency::sites::Sites;
use crate::steer::planner::score_group_parts::{ScoreGroupParts, ScoreGroupPartsBySite};
use crate::steer::policy::by_score::ByScore;
use crate::steer::policy::route::Route;
use crate::steer::policy::scan::{only_regions, reached};
use crate::steer::policy::shape::Standing;
use crate::steer::policy::{Picker, PlanInputs};

use super::classes::Classes;
use super::code::{Answer, Code, Codes, settled};
use super::recipes::{Recipe, Recipes};
use super::site_codes::{KnownPages, SiteCodes};
use super::table::{Basis, Table, TableParts};

/// Recipes whose tables are made together, at most.
pub const RECIPES: usize = 16;
/// The first so many recipes keep the picks of sites that several regions share; those of others are worked out for
/// whoever asks, since they are as many as there are sites, and differ from recipe to recipe.
const KEPT_PICKS: usize = 8;
/// Of the first so many parts tables are kept that were replaced; of others as far as they have no classes of their own.
const KEPT_CLASSES: usize = 4;
/// Codes kept by site, at most: an octet each where no other table says the same. The sites of recipes beyond are all
/// left open.
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
    /// By recipe, as they are so far.
    pub tables: &'a [Arc<Table>],
    /// Those before them.
    pub former: &'a BTreeMap<usize, Arc<Table>>,
    pub basis: &'a Arc<Basis>,
    pub seed: u64,
}

/// The parts of so many recipes.
pub fn count(recipes: &Recipes) -> usize {
    recipes.list().len().div_ceil(RECIPES)
}

/// Tells whether a table that another takes the place of is kept: regions may come to stand as they stood then.
pub fn is_kept(number: usize, table: &Table) -> bool {
    match table.codes() {
        Codes::ByClass(_) => number / RECIPES < KEPT_CLASSES && !table.is_of_nobody(),
        Codes::BySite(_) => true,
        Codes::Open(_) => false,
    }
}

/// Makes the tables of a part, in the order of its recipes. Those by site that would come out as they are stay.
pub fn make(inputs: &PartInputs<'_>, part: usize) -> Vec<Arc<Table>> {
    let recipes = inputs.recipes.list().iter().enumerate().skip(part * RECIPES).take(RECIPES);
    let as_it_is = |(number, recipe): (usize, &Recipe)| {
        let table = inputs.tables.get(number)?;
        let is_by_class = matches!(table.codes(), Codes::ByClass(_)); // of classes that are made with all of the part
        (!is_by_class && table.is_current(recipe, inputs.basis)).then(|| table.clone())
    };
    let kept: Vec<Option<Arc<Table>>> = recipes.clone().map(as_it_is).collect();
    let left = recipes.zip(&kept).filter(|(_, kept)| kept.is_none());
    let works: Vec<Work> = left.map(|((number, recipe), _)| Work::of(inputs, number, recipe)).collect();
    let mut made = made_anew(inputs, part, works).into_iter();
    kept.into_iter().filter_map(|kept| kept.or_else(|| made.next())).collect()
}

fn made_anew(inputs: &PartInputs<'_>, part: usize, works: Vec<Work<'_>>) -> Vec<Arc<Table>> {
    let (mut cells, mut pages) = (Cells::default(), KnownPages::default());
    let scanned = scanned(inputs, &works, &mut pages);
    let made: Vec<Made> =
        works.iter().zip(scanned).map(|(work, scanned)| work.make(inputs, scanned, &mut cells, &mut pages)).collect();
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
    let own = (!columns.is_empty()).then(|| Own::of(inputs, part, columns));
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

/// The only regions of the sites of a work.
enum Scanned {
    /// Of each; and the cells of before, by site, of those that keep one.
    Of(Vec<Option<RegionId>>, Vec<Option<u32>>),
    /// In place of those of before.
    Patched(SiteCodes),
}

/// Of the works that go by score alone the only region of each site, as far as tables of theirs are kept.
fn scanned(inputs: &PartInputs<'_>, works: &[Work<'_>], pages: &mut KnownPages) -> Vec<Option<Scanned>> {
    let services: Vec<Option<ByScore<'_>>> = works.iter().map(Work::scored).collect();
    let asked: Vec<bool> = services.iter().map(Option::is_some).collect();
    let Some(sites) = inputs.sites else { return asked.iter().map(|_| None).collect() };
    let places = LazyCell::new(|| examples(inputs.atlas, sites));
    let before = works.iter().zip(&asked).filter(|(_, asked)| **asked);
    let before: Option<Vec<Before<'_>>> =
        before.map(|(work, _)| Before::of(work.before?, inputs.basis, &places)).collect();
    let services: Vec<ByScore<'_>> = services.into_iter().flatten().collect();
    let only = |wanted: &[u32]| only_regions(&services, inputs.model, sites, wanted).into_iter();
    let found: Vec<Scanned> = match before {
        Some(before) => {
            let is_lost = |region| !inputs.basis.is_eligible(region);
            let moved = Before::moved(&before, is_lost);
            let moved = reached(&services, inputs.model, sites, &moved, is_lost);
            only(&moved).zip(before).map(|(only, before)| before.patched(&moved, &only, pages)).collect()
        }
        None => {
            let all: Vec<u32> = sites.ids().map(|site| site as u32).collect(); // at most one per place
            only(&all).map(|only| Scanned::Of(only, Vec::new())).collect()
        }
    };
    let mut found = found.into_iter();
    asked.into_iter().map(|asked| asked.then(|| found.next()).flatten()).collect()
}

/// The codes of a recipe before regions were lost, where nothing else is otherwise.
enum Before<'a> {
    BySite(&'a SiteCodes),
    /// Of a table of a part's own classes, for each site: its only region, and the cell that it has and keeps.
    Own {
        only: Vec<Option<RegionId>>,
        cells: Vec<Option<u32>>,
    },
}

impl<'a> Before<'a> {
    /// `places`: one of each site.
    fn of(
        table: &'a Table,
        now: &Basis,
        places: &LazyCell<Vec<PlaceId>, impl FnOnce() -> Vec<PlaceId>>,
    ) -> Option<Before<'a>> {
        match table.codes() {
            Codes::BySite(codes) => return Some(Before::BySite(codes)),
            Codes::Open(_) => return None,
            Codes::ByClass(_) => {}
        }
        let keeps = |cell: &Cell| cell.pick.all(&|region| now.is_eligible(region));
        let keeps: Vec<bool> = table.cells().iter().map(keeps).collect();
        let (mut only, mut cells) = (Vec::with_capacity(places.len()), Vec::with_capacity(places.len()));
        for place in places.iter() {
            let (region, cell) = match table.code(table.class_of(*place))?.read() {
                Answer::One(region) => (Some(region), None),
                Answer::Cell(number) => (None, keeps.get(number as usize)?.then_some(number)),
                Answer::Open { .. } => (None, None),
            };
            only.push(region);
            cells.push(cell);
        }
        Some(Before::Own { only, cells })
    }

    /// The sites, ascending, that may be decided otherwise by some of these now that such regions are lost.
    fn moved(before: &[Before<'_>], is_lost: impl Fn(RegionId) -> bool) -> Vec<u32> {
        let by_site = before.iter().filter_map(|before| match before {
            Before::BySite(codes) => Some(*codes),
            Before::Own { .. } => None,
        });
        let mut moved = SiteCodes::open_or_with(&by_site.collect::<Vec<_>>(), &is_lost);
        for before in before {
            if let Before::Own { only, cells } = before {
                let moves =
                    |(only, cell): (&Option<RegionId>, &Option<u32>)| cell.is_none() && only.is_none_or(&is_lost);
                let all = (0..).zip(only.iter().zip(cells));
                moved.extend(all.filter(|(_, had)| moves(*had)).map(|(site, _)| site));
            }
        }
        moved.sort_unstable();
        moved.dedup();
        moved
    }

    /// With the only regions that these sites have now.
    fn patched(self, moved: &[u32], now: &[Option<RegionId>], pages: &mut KnownPages) -> Scanned {
        match self {
            Before::BySite(codes) => Scanned::Patched(codes.patched(moved, now, pages)),
            Before::Own { mut only, cells } => {
                for (site, now) in moved.iter().zip(now) {
                    if let Some(only) = only.get_mut(*site as usize) {
                        *only = *now;
                    }
                }
                Scanned::Of(only, cells)
            }
        }
    }
}

/// A place of each site.
fn examples(atlas: &Atlas, sites: &Sites) -> Vec<PlaceId> {
    let mut examples = vec![PlaceId::UNKNOWN; sites.ids().len()];
    for (place, site) in atlas.places().zip(sites.of_places()) {
        examples[site] = place;
    }
    examples
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
    fn of(inputs: &PartInputs<'_>, part: usize, columns: Vec<Rows>) -> Own {
        let all_by_site = columns.iter().all(|rows| matches!(rows, Rows::BySite(_)));
        let sites: Vec<u32> = inputs.sites.iter().flat_map(|sites| sites.of_places()).map(|site| site as u32).collect();
        let codes = |rows: Rows| match rows {
            Rows::BySite(codes) if !all_by_site => sites.iter().map(|&site| codes[site as usize]).collect(),
            Rows::BySite(codes) | Rows::ByPlace(codes) => codes,
        };
        let columns: Vec<Vec<Code>> = columns.into_iter().map(codes).collect();
        let row_of = if all_by_site { sites } else { inputs.atlas.places().map(|place| place.0).collect() };
        let classes = Classes::of(inputs.atlas, &columns, &row_of, &inputs.own_classes(part));
        Own { classes, columns, row_of }
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
    /// Its table before regions were lost, where nothing else is otherwise.
    before: Option<&'a Table>,
    picker: Picker<'a>,
}

impl<'a> Work<'a> {
    fn of(inputs: &PartInputs<'a>, number: usize, recipe: &'a Recipe) -> Work<'a> {
        let service = inputs.model.service(recipe.example);
        let standing = &inputs.standings[recipe.standing as usize]; // there is one for each
        let picker = Picker::of(inputs.picks(), service, &recipe.shape, standing);
        let locates = service.policies.locates() || picker.splits_score_groups();
        let before = inputs.tables.get(number).filter(|table| table.only_lost(recipe, standing, inputs.basis));
        Work {
            number,
            measured: inputs.sites.filter(|_| recipe.measures),
            locates,
            standing,
            before: before.map(Arc::as_ref),
            picker,
        }
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

    /// `scanned`: its own.
    fn make(
        &self,
        inputs: &PartInputs<'_>,
        scanned: Option<Scanned>,
        cells: &mut Cells,
        pages: &mut KnownPages,
    ) -> Made {
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
        let settled = |classes: &Arc<Classes>, codes| Column::Settled(Some(classes.clone()), codes);
        let column = match (late, scanned) {
            (Some(classes), Some(Scanned::Patched(codes))) => settled(classes, Codes::BySite(codes)),
            (Some(classes), Some(Scanned::Of(only, _))) => settled(classes, Codes::BySite(SiteCodes::of(&only, pages))),
            (Some(classes), None) => settled(classes, Codes::Open(sites.ids().len())),
            (None, Some(Scanned::Of(only, kept))) => Column::Of(Rows::BySite(self.by_site(sites, &only, &kept, cells))),
            (None, _) => Column::Of(Rows::BySite(self.by_site(sites, &[], &[], cells))),
        };
        let parts = ScoreGroupParts::everywhere(self.picker.score_groups(0, &self.picker.route_of_all()));
        Made { column, parts }
    }

    /// `only` and `kept` as of [`Scanned::Of`]; both may be empty.
    fn by_site(&self, sites: &Sites, only: &[Option<RegionId>], kept: &[Option<u32>], cells: &mut Cells) -> Vec<Code> {
        let (picker, route, mut alike) = (&self.picker, self.picker.route_of_all(), self.picker.alike());
        let before = self.before.map(Table::cells).unwrap_or_default();
        // By number before.
        let mut numbers: Vec<Option<Code>> = vec![None; before.len()];
        let mut of_site = |site: usize| {
            match only.get(site) {
                Some(Some(region)) => return Code::one(*region),
                Some(None) if self.number >= KEPT_PICKS => return Code::open(site as u32), // as many as places at most
                Some(None) | None => {}
            }
            let kept = kept.get(site).copied().flatten().map(|number| number as usize);
            if let Some((cell, number)) = kept.and_then(|kept| Some((before.get(kept)?, numbers.get_mut(kept)?))) {
                return *number.get_or_insert_with(|| code(cell.clone(), cells));
            }
            match &mut alike {
                Some(alike) => alike.number(site, || code(picker.cell(site, &route), cells)),
                None => code(picker.cell(site, &route), cells),
            }
        };
        sites.ids().map(&mut of_site).collect()
    }
}

impl<'a> PartInputs<'a> {
    /// The classes of a part's own columns, as they are and as they were.
    fn own_classes(&self, part: usize) -> Vec<&'a Arc<Classes>> {
        let of_part = |number: &usize| number / RECIPES == part;
        let tables = self.tables.iter().enumerate().filter(|(number, _)| of_part(number)).map(|(_, table)| table);
        let former = self.former.iter().filter(|(number, _)| of_part(number)).map(|(_, table)| table);
        let own = |table: &&Arc<Table>| matches!(table.codes(), Codes::ByClass(_));
        let mut classes: Vec<_> = tables.chain(former).filter(own).filter_map(|table| table.classes()).collect();
        classes.dedup_by_key(|classes| Arc::as_ptr(classes));
        classes
    }

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
    let mut known: HashMap<Route, HashMap<usize, Answered, Folding>> = HashMap::new();
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
