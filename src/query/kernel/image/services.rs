//! The answers of services: rows that have an answer for each class, where clients differ, and the answers themselves.
//!
//! ```text
//!   services ─▶ Facts ─▶ Choices: what each cell gets ─▶ row, answers ─▶ blocks
//!                 └─ as before: nothing is asked, nothing is decided, and where all are, nothing is written
//! ```
//!
//! Services with the same facts share choices and rows: ten thousand names of one policy take little more than their
//! entries. Address records are the same for every name, and asked for once. What proves that there are none holds
//! the name's zone: it is asked for name by name, once per lifetime, and last, so that the others need not wait for it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::RegionId;
use crate::state::Snapshot;
use crate::steer::choice::endpoint_set::EndpointSet;

use super::answers::{Area, Kept};
use super::block::{BLOCK_OCTETS, Block, ROOM, append_u32s};
use super::cells::{ByClass, Choice, Facts, TableId, changed_regions, choice};
use super::classes::ClassImage;
use super::names::{ANYBODY, FAMILIES, NameImage, ServiceName};
use super::question::{Questioner, Records};

/// Flags of an entry. A service's answer, which is sampled.
const SERVICE: u8 = 1;
/// It heeds ECS.
const ECS: u8 = 2;
/// A is answered from a row, by class.
const ROW_A: u8 = 4;
/// The same of AAAA.
const ROW_AAAA: u8 = 8;

/// The services of a configuration, as of the last snapshot.
#[derive(Debug, Default)]
pub struct ServiceImage {
    tables: HashMap<TableId, Arc<ByClass>>,
    choices: HashMap<Facts, Arc<Choices>>,
    /// By service, in the order of the names.
    of: Vec<Option<Arc<Choices>>>,
    /// Those that choices follow from.
    endpoint_sets: Vec<EndpointSet>,
    /// Answers that are asked once for all names. `None`: none that is kept.
    addresses: HashMap<(RegionId, u16, u32, usize), Option<Arc<Records>>>,
    /// Answers that are a name's own.
    own: HashMap<Own, Option<Arc<Records>>>,
    /// Of them, those to be asked yet, for a client in the cell.
    missing: Vec<(Own, IpAddr)>,
    blocks: Vec<Block>,
    entries: Vec<ServiceEntry>,
    is_laid: bool,
}

/// The part of a service's entry that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// The number of its block.
    pub at: u32,
    pub flags: u8,
    /// By family, A first.
    pub answers: [u32; 2],
}

/// The choices that follow from the same facts.
#[derive(Debug)]
struct Choices {
    facts: Facts,
    /// All regions that may be among them.
    regions: Vec<RegionId>,
    /// `None`: there is one cell.
    by_class: Option<Arc<ByClass>>,
    /// By cell: a client in it, and what all its clients get.
    cells: Vec<Option<(IpAddr, Choice)>>,
}

/// What the answer that a name has no address of a family follows from, whichever region has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Own {
    /// In the order of the names.
    service: usize,
    family: usize,
    ttl: u32,
    offers: [bool; 3],
}

impl Choices {
    fn has_row(&self) -> bool {
        self.by_class.as_ref().is_some_and(|by_class| !by_class.cells.is_empty())
    }
}

impl ServiceImage {
    /// Brings all in step with a snapshot. False: nothing has changed.
    pub fn update(
        &mut self,
        snapshot: &Snapshot,
        image: (&NameImage, &ClassImage),
        new_classes: bool,
        questioner: &mut Questioner,
    ) -> bool {
        let changed = changed_regions(&self.endpoint_sets, &snapshot.endpoint_sets);
        self.endpoint_sets.clone_from(&snapshot.endpoint_sets);
        if new_classes {
            self.tables.clear();
            self.choices.clear();
        }
        let touched = |region: &RegionId| changed.get(region.index()).is_none_or(|changed| *changed);
        self.choices.retain(|_, choices| !choices.regions.iter().any(touched));
        let before = std::mem::take(&mut self.of);
        let mut rows = HashSet::new();
        let services = image.0.services.iter();
        let of: Vec<_> = services.map(|named| self.choices_of(snapshot, named, image.1, &mut rows)).collect();
        let is_same = |(old, new): (&Option<Arc<Choices>>, &Option<Arc<Choices>>)| {
            old.as_ref().map(Arc::as_ptr) == new.as_ref().map(Arc::as_ptr)
        };
        let all_same = before.len() == of.len() && before.iter().zip(&of).all(is_same);
        self.of = of;
        drop(before);
        if all_same && self.missing.is_empty() && self.is_laid {
            return false;
        }
        self.forget_unused();
        self.lay(snapshot, image.0, questioner);
        true
    }

    /// Asks for what was missing. False where nothing was, or as soon as it is not to `go_on`.
    pub fn complete(
        &mut self,
        snapshot: &Snapshot,
        names: &NameImage,
        questioner: &mut Questioner,
        go_on: impl Fn() -> bool,
    ) -> bool {
        if self.missing.is_empty() {
            return false;
        }
        for (own, client) in std::mem::take(&mut self.missing) {
            if !go_on() {
                self.missing.push((own, client)); // so that the next update knows of some
                return false;
            }
            let name = names.services.get(own.service).map_or(&[][..], |service| &service.name);
            let qtype = FAMILIES[own.family.min(1)];
            self.own.entry(own).or_insert_with(|| questioner.ask(snapshot, name, qtype, client));
        }
        self.lay(snapshot, names, questioner);
        true
    }

    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    pub fn entries(&self) -> &[ServiceEntry] {
        &self.entries
    }

    /// `rows`: the tables that have a row so far. Those that have no room in the image any more are left to the sockets.
    fn choices_of(
        &mut self,
        snapshot: &Snapshot,
        named: &ServiceName,
        classes: &ClassImage,
        rows: &mut HashSet<TableId>,
    ) -> Option<Arc<Choices>> {
        let facts = Facts::of(snapshot, named.id)?;
        if let Some(known) = self.choices.get(&facts) {
            rows.extend(known.has_row().then(|| facts.table()));
            return Some(known.clone());
        }
        let most = ROOM * BLOCK_OCTETS / size_of::<u32>() / classes.of.len().max(1);
        let has_room = rows.len() < most || rows.contains(&facts.table());
        let table = || Arc::new(if has_room { facts.by_class(classes) } else { facts.left_to_sockets() });
        let by_class = facts.depends_on_place().then(|| self.tables.entry(facts.table()).or_insert_with(table).clone());
        let of = |client: IpAddr| Some((client, choice(snapshot, named.id, client)?));
        let cells = match &by_class {
            Some(by_class) => by_class.examples.iter().map(|example| of((*example)?)).collect(),
            None => vec![of(ANYBODY)],
        };
        let regions = snapshot.model.service(named.id).regions.clone();
        let choices = Arc::new(Choices { facts: facts.clone(), regions, by_class, cells });
        rows.extend(choices.has_row().then(|| facts.table()));
        self.choices.insert(facts, choices.clone());
        Some(choices)
    }

    /// Tables live as long as choices that hold them.
    fn forget_unused(&mut self) {
        let used = |choices: &Arc<Choices>| Arc::strong_count(choices) > 1;
        self.choices.retain(|_, choices| used(choices));
        let tables: HashSet<TableId> = self.choices.values().map(|choices| choices.facts.table()).collect();
        self.tables.retain(|table, _| tables.contains(table));
        // Lifetimes come and go; of each name there are few at a time.
        if self.own.len() > 1_000 + 8 * self.of.len() {
            self.own.clear();
        }
    }

    /// Lays out rows and answers behind the names.
    fn lay(&mut self, snapshot: &Snapshot, names: &NameImage, questioner: &mut Questioner) {
        self.missing.clear();
        let mut layout = Layout {
            snapshot,
            questioner,
            area: Area::new(names.blocks.len()),
            rows: HashMap::new(),
            shared: HashMap::new(),
            addresses: &mut self.addresses,
            own: &self.own,
            missing: &mut self.missing,
        };
        let entry = |(service, (named, choices)): (usize, (&ServiceName, &Option<Arc<Choices>>))| {
            let (flags, answers) = match choices {
                Some(choices) => (
                    flags(snapshot, named, choices),
                    [0, 1].map(|family| layout.number(service, named, choices, family)),
                ),
                None => (0, [0; 2]),
            };
            ServiceEntry { at: named.entry, flags, answers }
        };
        self.entries = names.services.iter().zip(&self.of).enumerate().map(entry).collect();
        self.blocks = layout.area.blocks;
        self.is_laid = true;
    }
}

fn flags(snapshot: &Snapshot, named: &ServiceName, choices: &Choices) -> u8 {
    let heeds_ecs = snapshot.model.services.get(named.id.index()).is_some_and(|service| service.ecs);
    let ecs = if heeds_ecs { ECS } else { 0 };
    SERVICE | ecs | if choices.by_class.is_some() { ROW_A | ROW_AAAA } else { 0 }
}

/// Rows and answers in the making.
struct Layout<'a> {
    snapshot: &'a Snapshot,
    questioner: &'a mut Questioner,
    area: Area,
    /// By table, and answers by cell.
    rows: HashMap<(TableId, Vec<u32>), u32>,
    /// Of choices and a family: what all their services are answered with.
    shared: HashMap<(*const Choices, usize), u32>,
    addresses: &'a mut HashMap<(RegionId, u16, u32, usize), Option<Arc<Records>>>,
    own: &'a HashMap<Own, Option<Arc<Records>>>,
    missing: &'a mut Vec<(Own, IpAddr)>,
}

impl Layout<'_> {
    /// The number of an answer, or of a row of answers where there are cells; 0 where there is none.
    fn number(&mut self, service: usize, named: &ServiceName, choices: &Arc<Choices>, family: usize) -> u32 {
        let key = (Arc::as_ptr(choices), family);
        if let Some(&number) = self.shared.get(&key) {
            return number;
        }
        let answers: Vec<u32> = choices
            .cells
            .iter()
            .map(|cell| cell.map_or(0, |cell| self.answer(service, named, choices, cell, family)))
            .collect();
        let number = match &choices.by_class {
            Some(by_class) => self.row(choices.facts.table(), by_class, answers),
            None => answers.first().copied().unwrap_or(0),
        };
        if choices.cells.iter().flatten().all(|(_, choice)| choice.has[family]) {
            self.shared.insert(key, number);
        }
        number
    }

    fn answer(
        &mut self,
        service: usize,
        named: &ServiceName,
        choices: &Choices,
        (client, choice): (IpAddr, Choice),
        family: usize,
    ) -> u32 {
        let Choice { region, endpoint, ttl, has } = choice;
        let (snapshot, qtype) = (self.snapshot, FAMILIES[family]);
        let records = if has[family] {
            let ask = || {
                self.questioner.ask(snapshot, &named.name, qtype, client).filter(|records| holds_for_all_names(records))
            };
            self.addresses.entry((region, endpoint, ttl, family)).or_insert_with(ask).as_ref()
        } else {
            let own = Own { service, family, ttl, offers: choices.facts.offers() };
            let known = self.own.get(&own);
            if known.is_none() {
                self.missing.push((own, client));
            }
            known.and_then(Option::as_ref)
        };
        records.map_or(0, |records| self.area.keep(&Kept { records: records.clone(), region: region.0, ttl }))
    }

    fn row(&mut self, table: TableId, by_class: &ByClass, answers: Vec<u32>) -> u32 {
        let key = (table, answers);
        if let Some(&row) = self.rows.get(&key) {
            return row;
        }
        let blocks = by_class.cells.len().div_ceil(16);
        if !self.area.has_room(blocks) || key.1.iter().all(|&answer| answer == 0) {
            return 0;
        }
        let row = self.area.next();
        let answer_of = |&cell: &u32| key.1.get(cell as usize).copied().unwrap_or(0);
        append_u32s(&mut self.area.blocks, by_class.cells.iter().map(answer_of));
        self.rows.insert(key, row);
        row
    }
}

/// Records of the question's own name, whatever that is, and nothing else.
fn holds_for_all_names(records: &Records) -> bool {
    records.counts[0] > 0 && records.counts[1..] == [0, 0]
}
