//! Who is told of events elsewhere: each by a task of its own, at least once, in order, and again until it takes.
//!
//! ```text
//!   history ─▶ cursor ─▶ batch ─▶ body ─▶ webhook ─▶ told: the cursor moves on ─▶ receivers.json
//!      ▲                          or command
//!      │                              └─▶ not told: wait, longer each time
//!      └── the queue: what falls out of it untold is counted
//! ```
//!
//! - [`mod@deliver`]: when it is tried, and how it went
//! - `body`: what is said
//! - `webhook`, `command`: by HTTP, or to a program
//! - `kept`: how far each has come, over restarts

mod body;
mod command;
pub mod deliver;
mod kept;
mod webhook;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::control::config::events::{Receiver, Target, origin};
use crate::control::save::{PATIENCE, tell_hanging, told_if_slow};
use crate::control::supervise::supervise;
use crate::control::troubles::{StateName, TroubleKind, Troubles};
use crate::control::vitals::{TaskKind, Vitals};

use super::cursors::Filter;
use super::history::Events;
use command::CommandSender;
use deliver::{Delivery, Progress, deliver};
use kept::{CursorStore, Positions};
use webhook::WebhookSender;
pub use webhook::read_webhook_secret;

/// Positions are kept at most so often: what is lost of them is told again.
const CALM: Duration = Duration::from_secs(1);
/// From a failed save to the next.
const AGAIN: Duration = Duration::from_secs(5);

/// All receivers of one server.
pub struct Receivers {
    events: Arc<Events>,
    store: CursorStore,
    troubles: Arc<Troubles>,
    vitals: Arc<Vitals>,
    state: Mutex<State>,
    positions: Arc<watch::Sender<Positions>>,
    /// The positions that are on disk.
    on_disk: watch::Sender<Positions>,
}

#[derive(Default)]
struct State {
    wanted: Vec<Receiver>,
    /// Nobody is told before it is known how far each had come.
    has_begun: bool,
    running: BTreeMap<String, Running>,
}

struct Running {
    receiver: Receiver,
    progress: Arc<Mutex<Progress>>,
    task: AbortHandle,
}

/// How one receiver does.
#[derive(Clone, Debug)]
pub struct ReceiverState {
    pub name: String,
    /// `scheme://host`, as the rest of a URL is a secret; or a program.
    pub to: String,
    pub is_command: bool,
    pub waiting: usize,
    /// Events that it was not told of because they fell out of the history: those not yet said to it.
    pub left_out: usize,
    pub progress: Progress,
}

impl Receivers {
    pub fn new(directory: &Path, events: Arc<Events>, troubles: Arc<Troubles>, vitals: Arc<Vitals>) -> Arc<Receivers> {
        Arc::new(Receivers {
            events,
            store: CursorStore::new(directory),
            troubles,
            vitals,
            state: Mutex::default(),
            positions: Arc::new(watch::Sender::new(Positions::new())),
            on_disk: watch::Sender::new(Positions::new()),
        })
    }

    /// Tells these, and no others. Who is as before goes on; who is new begins with what comes from here on.
    pub fn configure(&self, wanted: &[Receiver]) {
        let mut state = self.state();
        state.wanted = wanted.to_vec();
        if state.has_begun {
            self.follow(&mut state, None);
        }
    }

    /// Begins where each receiver had come to, and keeps how far they come, for as long as the server runs.
    pub async fn run(self: Arc<Receivers>) {
        let kept = self.load().await;
        self.events.joined().await;
        self.on_disk.send_replace(kept.clone());
        self.positions.send_replace(kept.clone());
        {
            let mut state = self.state();
            state.has_begun = true;
            self.follow(&mut state, Some(&kept));
        }
        self.keep().await;
    }

    /// Nobody is told any more; how far they have come stays.
    pub fn stop(&self) {
        self.state().running.values().for_each(|running| running.task.abort());
    }

    /// By name.
    pub fn states(&self) -> Vec<ReceiverState> {
        let state = self.state();
        let one = |(name, running): (&String, &Running)| {
            let (waiting, left_out) = self.events.waiting_for(name);
            let (to, is_command) = match &running.receiver.to {
                Target::Webhook(webhook) => (origin(&webhook.url), false),
                Target::Command(command) => (command.program.clone(), true),
            };
            let progress = running.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ReceiverState { name: name.clone(), to, is_command, waiting, left_out, progress }
        };
        state.running.iter().map(one).collect()
    }

    /// Waits until all positions of now are on disk.
    pub async fn kept(&self) {
        let positions = self.positions.borrow().clone();
        // An error cannot be: the sender is held here.
        let _ = self.on_disk.subscribe().wait_for(|on_disk| *on_disk == positions).await;
    }

    /// `kept`: the positions from before the start; `None`: it is a reload.
    fn follow(&self, state: &mut State, kept: Option<&Positions>) {
        let State { wanted, running, .. } = state;
        running.retain(|name, known| {
            let stays = wanted.contains(&known.receiver);
            if !stays {
                known.task.abort();
            }
            if !wanted.iter().any(|receiver| receiver.name == *name) {
                self.events.forget(name);
            }
            stays
        });
        self.positions.send_if_modified(|positions| {
            let before = positions.len();
            positions.retain(|name, _| wanted.iter().any(|receiver| receiver.name == *name));
            positions.len() != before
        });
        for receiver in wanted.iter().filter(|receiver| !running.contains_key(&receiver.name)).collect::<Vec<_>>() {
            let after = kept.map(|kept| kept.get(&receiver.name).copied().unwrap_or(self.events.before_start()));
            let filter = Filter { regions: receiver.regions.clone(), least: receiver.least };
            let at = self.events.follow(&receiver.name, filter, after);
            // Also of one that was told nothing yet: a restart must not begin later.
            self.positions.send_modify(|positions| _ = positions.insert(receiver.name.clone(), at));
            let progress = Arc::new(Mutex::new(Progress { last_delivered_id: at, ..Progress::default() }));
            let task = self.begin(receiver, progress.clone());
            running.insert(receiver.name.clone(), Running { receiver: receiver.clone(), progress, task });
        }
    }

    fn begin(&self, receiver: &Receiver, progress: Arc<Mutex<Progress>>) -> AbortHandle {
        let delivery = Delivery {
            name: receiver.name.clone(),
            events: self.events.clone(),
            progress,
            positions: self.positions.clone(),
        };
        let (name, vitals) = (receiver.name.clone(), self.vitals.clone());
        let running = match &receiver.to {
            Target::Webhook(webhook) => {
                let sender = Arc::new(WebhookSender::new(webhook.clone()));
                let task = move || deliver(delivery.clone(), sender.clone());
                tokio::spawn(supervise(TaskKind::Receiver, name, vitals, task))
            }
            Target::Command(command) => {
                let sender = Arc::new(CommandSender(command.clone()));
                let task = move || deliver(delivery.clone(), sender.clone());
                tokio::spawn(supervise(TaskKind::Receiver, name, vitals, task))
            }
        };
        running.abort_handle()
    }

    /// A disk that hangs is not waited for: then who was told what before is not known.
    async fn load(&self) -> Positions {
        let (store, troubles) = (self.store.clone(), self.troubles.clone());
        let loading = tokio::task::spawn_blocking(move || store.load_at_start(&troubles));
        match timeout(PATIENCE, loading).await {
            Ok(loaded) => loaded.unwrap_or_default(), // stopping
            Err(_) => {
                tell_hanging(StateName::Receivers, &self.troubles);
                Positions::new()
            }
        }
    }

    async fn keep(&self) {
        let mut news = self.positions.subscribe();
        loop {
            let positions = news.borrow_and_update().clone();
            if *self.on_disk.borrow() == positions {
                // An error cannot be: the sender is held here.
                let _ = news.changed().await;
                continue;
            }
            let (store, saving) = (self.store.clone(), positions.clone());
            let job = tokio::task::spawn_blocking(move || store.save(saving));
            match told_if_slow(job, StateName::Receivers, &self.troubles).await {
                Some(Ok(())) => {
                    self.troubles.end(StateName::Receivers, TroubleKind::Unwritable);
                    self.on_disk.send_replace(positions);
                    tokio::time::sleep(CALM).await;
                }
                Some(Err(error)) => {
                    let instead = "a restart tells receivers again what they were told since";
                    self.troubles.begin(StateName::Receivers, TroubleKind::Unwritable, &error.to_string(), instead);
                    tokio::time::sleep(AGAIN).await;
                }
                None => return,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.stop();
    }
}
