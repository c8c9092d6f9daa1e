//! The image that a program in the kernel answers plain questions from: a snapshot, compiled into flat arrays.
//!
//! Two arrays of 64-octet blocks, since a block is what such a program gets at a step, and one line
//! of a core's cache:
//!
//! ```text
//!   names     head │ entries: names │ fixed answers: octets │ hash table ┊ rows: class ─▶ answer │ services' answers
//!             made once per configuration                                ┊ made anew where a service's choices change
//!   classes   head │ index, ranges of IPv4 │ index, ranges of upper halves of IPv6
//!             made anew where classes change
//! ```
//!
//! Answers are had by asking [`answer()`](crate::query::answer()) itself, once for whoever is answered alike, so they
//! are the same octet by octet. What is not here is for somebody else to answer: names that are not
//! served, aliases, wildcards, referrals, and services where it matters which client asks.
//! No I/O: [`super::maps`] puts the arrays where the kernel finds them. The layout is told once more, in C,
//! by `bpf/image.bpf.h`; tests with the real program hold them together.
//!
//! - `names`: all that a configuration decides
//! - `services`: what follows from the plan and from health
//! - `cells`: the plan as it is read here
//! - `classes`: addresses
//! - `answers`, `question`, `block`: how an answer is had, and kept

mod answers;
mod block;
mod cells;
mod classes;
mod names;
mod question;
mod services;

use std::sync::Arc;

use crate::state::Snapshot;

use classes::ClassImage;
use names::NameImage;
use question::Questioner;
use services::ServiceImage;

pub use block::{BLOCK_OCTETS, Block, ROOM};
pub use names::Passed;
pub use services::ServiceEntry;

/// Images of one snapshot after the other, of which only what changes is made anew.
#[derive(Debug, Default)]
pub struct Image {
    questioner: Questioner,
    classes: Option<ClassImage>,
    /// Those before: a region that comes back brings them back.
    former: Option<ClassImage>,
    names: Option<NameImage>,
    services: ServiceImage,
}

/// Blocks of classes that are kept once there are others: 8 MiB.
const KEPT_BLOCKS: usize = 1 << 17;

/// The parts in which an image differs from the one before.
#[derive(Debug)]
pub struct Update<'a> {
    /// Of the snapshot.
    pub generation: u64,
    /// All classes; `None` where they are as they were.
    pub classes: Option<&'a [Block]>,
    /// Blocks of the names, with the number of the first of each run.
    pub names: Vec<(usize, &'a [Block])>,
    pub services: &'a [ServiceEntry],
}

impl Update<'_> {
    /// Tells whether everything is as it was, but for the snapshot.
    pub fn is_empty(&self) -> bool {
        self.classes.is_none() && self.names.is_empty() && self.services.is_empty()
    }
}

impl Image {
    /// Brings the image in step with a snapshot. `None` for one without a plan, from which nothing is answered.
    ///
    /// Answers that are each name's own may be missing at first: [`Image::complete`] has them.
    pub fn update(&mut self, snapshot: &Snapshot) -> Option<Update<'_>> {
        let of = snapshot.plan.classes()?;
        let new_classes = self.classes.as_ref().is_none_or(|classes| !Arc::ptr_eq(&classes.of, of));
        if new_classes {
            let former = self.former.take().filter(|former| Arc::ptr_eq(&former.of, of));
            let before = self.classes.replace(former.unwrap_or_else(|| ClassImage::new(of)));
            self.former = before.filter(|before| before.blocks.len() <= KEPT_BLOCKS);
        }
        let new_names = self.names.as_ref().is_none_or(|names| !Arc::ptr_eq(&names.of, &snapshot.configured));
        if new_names {
            self.names = Some(NameImage::new(snapshot, &mut self.questioner));
            self.services = ServiceImage::default();
        }
        let (classes, names) = (self.classes.as_ref()?, self.names.as_ref()?);
        let new_services = self.services.update(snapshot, (names, classes), new_classes, &mut self.questioner);
        self.parts(snapshot.generation, new_classes, new_names, new_services)
    }

    /// Has the answers that were missing after [`Image::update`] to the same snapshot. `None` where none were, or as
    /// soon as it is not to `go_on`; what was had by then is kept for the next update.
    pub fn complete(&mut self, snapshot: &Snapshot, go_on: impl Fn() -> bool) -> Option<Update<'_>> {
        let had = self.services.complete(snapshot, self.names.as_ref()?, &mut self.questioner, go_on);
        if had { self.parts(snapshot.generation, false, false, true) } else { None }
    }

    /// Those parts that are new.
    fn parts(&self, generation: u64, classes: bool, names: bool, services: bool) -> Option<Update<'_>> {
        let (all, fixed) = (self.classes.as_ref()?, self.names.as_ref()?);
        let steered = (fixed.blocks.len(), self.services.blocks());
        let parts = [names.then_some((0, &fixed.blocks[..])), services.then_some(steered)];
        Some(Update {
            generation,
            classes: classes.then_some(&all.blocks[..]),
            names: parts.into_iter().flatten().collect(),
            services: if services { self.services.entries() } else { &[] },
        })
    }

    /// The number of questions asked so far.
    pub fn asked(&self) -> u64 {
        self.questioner.asked
    }

    /// The names in the image.
    pub fn names(&self) -> usize {
        self.names.as_ref().map_or(0, |names| names.names)
    }

    /// The names that are not in it.
    pub fn passed(&self) -> Passed {
        self.names.as_ref().map_or_else(Passed::default, |names| names.passed)
    }
}
