//! Work that may wait: it is begun by the publisher, run by whoever has the time for it, and comes back as news.
//!
//! ```text
//!   Publisher ─▶ next_job ─▶ Job ─▶ run, on any thread ─▶ Done ─▶ News::Done ─▶ Publisher
//! ```
//!
//! A job owns all that it reads, asks for no time and waits for nothing. Of each kind one is under way at most: what is
//! wanted meanwhile is made from the facts there are once it is back. A result that fits no more is dropped, and the work
//! is begun anew.

use std::sync::Arc;

use crate::steer::plan::PartMade;

use super::Snapshot;
use super::memory::planning::job::{PlanDone, PlanJob};
use super::regroup::{RegroupJob, Regrouped};
use crate::steer::haste::Haste;

/// A piece of work, ready to be run.
#[derive(Debug)]
pub struct Job {
    ticket: Ticket,
    task: Task,
}

/// The work of each [`Kind`].
#[derive(Debug)]
pub(super) enum Task {
    Plan(Box<PlanJob>),
    Tables(TablesJob),
    Regroup(RegroupJob),
}

/// The tables of a part of a snapshot's plan are to be made for the states of that snapshot.
#[derive(Debug)]
pub(super) struct TablesJob {
    pub of: Arc<Snapshot>,
    pub part: usize,
}

/// A job that is back.
#[derive(Debug)]
pub struct Done {
    pub(super) ticket: Ticket,
    pub(super) outcome: Result<Outcome, Lost>,
}

/// Why a job came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// By a panic, which is a bug.
    Failed,
    /// It was left too little CPU time to wait for it.
    GivenUp,
}

/// What comes of a [`Task`].
#[derive(Debug)]
pub(super) enum Outcome {
    Plan(Box<PlanDone>),
    /// `None`: there was nothing to make them from.
    Tables(Option<PartMade>),
    Regrouped(Box<Regrouped>),
}

/// The kinds of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A new plan of where clients are sent.
    Plan,
    /// The tables of cells of a part of the services.
    Tables,
    /// Classes of clients by what was measured.
    Regroup,
}

/// Tells a job from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub kind: Kind,
    /// Grows with each job.
    pub number: u64,
    pub haste: Haste,
}

impl Job {
    pub(super) fn new(ticket: Ticket, task: Task) -> Job {
        Job { ticket, task }
    }

    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Does it. May take seconds.
    pub fn run(self) -> Done {
        let outcome = match self.task {
            Task::Plan(job) => Outcome::Plan(Box::new(job.run())),
            Task::Tables(TablesJob { of, part }) => {
                Outcome::Tables(of.plan.make(&of.model, &of.atlas, &of.states, part))
            }
            Task::Regroup(job) => Outcome::Regrouped(Box::new(job.run())),
        };
        Done { ticket: self.ticket, outcome: Ok(outcome) }
    }
}

impl Ticket {
    /// The job panicked: it is begun anew.
    pub fn failed(self) -> Done {
        Done { ticket: self, outcome: Err(Lost::Failed) }
    }

    /// Nobody waits for the job any more: it is begun anew.
    pub fn given_up(self) -> Done {
        Done { ticket: self, outcome: Err(Lost::GivenUp) }
    }
}

impl Done {
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    pub fn is_failed(&self) -> bool {
        matches!(self.outcome, Err(Lost::Failed))
    }
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Plan, Kind::Tables, Kind::Regroup];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Plan => "plan",
            Kind::Tables => "tables",
            Kind::Regroup => "regroup",
        }
    }
}

/// The jobs of one kind so far, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Their results were taken.
    pub taken: u64,
    /// Their results did not fit any more.
    pub dropped: u64,
    /// They came to nothing by a panic.
    pub failed: u64,
    /// They were left too little CPU time.
    pub given_up: u64,
}

/// The jobs that are under way, and what became of the others.
#[derive(Debug, Default)]
pub struct Ledger {
    numbers: u64,
    under_way: [Option<u64>; Kind::ALL.len()],
    tallies: [Tally; Kind::ALL.len()],
}

impl Ledger {
    /// The number of the next job of this kind; `None`: one is under way.
    pub(super) fn vacant(&self, kind: Kind) -> Option<u64> {
        self.under_way[kind as usize].is_none().then_some(self.numbers + 1)
    }

    pub(super) fn begin(&mut self, ticket: Ticket) {
        self.numbers = ticket.number;
        self.under_way[ticket.kind as usize] = Some(ticket.number);
    }

    /// Tells whether this job is under way, which it is no more.
    pub(super) fn end(&mut self, ticket: Ticket) -> bool {
        self.under_way[ticket.kind as usize].take_if(|number| *number == ticket.number).is_some()
    }

    pub(super) fn tally_mut(&mut self, kind: Kind) -> &mut Tally {
        &mut self.tallies[kind as usize]
    }

    /// By [`Kind`], in the order of [`Kind::ALL`].
    pub fn tallies(&self) -> [Tally; Kind::ALL.len()] {
        self.tallies
    }
}
