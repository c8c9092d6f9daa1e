//! What `meridian top` knows and shows: news and keys come in, nothing goes out but what to ask of the server.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::admin::status::{RegionStatus, Status};
use crate::control::events::event::Event;
use crate::steer::health::effective::{EffectiveState, Override};

use super::feed::News;
use super::figures::Rates;

/// Events that are remembered.
const MOST_EVENTS: usize = 200;

/// Everything that decides what the screen looks like, but for its size and the time.
pub struct App {
    /// Where the server is.
    pub server: String,
    /// What is shown.
    pub seen: Seen,
    /// The latest, which is not shown while it is paused.
    latest: Seen,
    pub paused: bool,
    /// Why the server cannot be asked, and since when.
    pub lost: Option<(String, Instant)>,
    pub sort: Sort,
    /// By name.
    selected: Option<String>,
    /// The selected region is shown with all that is known of it.
    pub detailed: bool,
    /// The change that awaits a yes.
    pub asking: Option<Asking>,
    /// What became of the last change.
    pub note: Option<String>,
    pub color: bool,
}

/// One moment.
#[derive(Clone, Default)]
pub struct Seen {
    pub status: Option<Arc<Status>>,
    /// Oldest first.
    pub events: VecDeque<Arc<Event>>,
    pub rates: Option<Rates>,
}

/// The order of regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Name,
    /// The worst first.
    State,
    /// The fullest first.
    Used,
    /// The most answered first.
    Answers,
}

/// A change that somebody is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    pub region: String,
    pub said: Override,
    /// The version that was looked at.
    pub tag: Option<String>,
}

/// What is to be done after a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// To draw.
    Draw,
    Quit,
    /// To look at this region before asking whether to say that of it.
    Look {
        region: String,
        said: Override,
    },
    /// To say it.
    Say(Asking),
}

impl Sort {
    pub fn as_str(self) -> &'static str {
        match self {
            Sort::Name => "name",
            Sort::State => "state",
            Sort::Used => "used",
            Sort::Answers => "answers",
        }
    }

    fn next(self) -> Sort {
        match self {
            Sort::Name => Sort::State,
            Sort::State => Sort::Used,
            Sort::Used => Sort::Answers,
            Sort::Answers => Sort::Name,
        }
    }
}

impl App {
    pub fn new(server: String, color: bool) -> App {
        App {
            server,
            seen: Seen::default(),
            latest: Seen::default(),
            paused: false,
            lost: None,
            sort: Sort::Name,
            selected: None,
            detailed: false,
            asking: None,
            note: None,
            color,
        }
    }

    pub fn take(&mut self, news: News, now: Instant) {
        match news {
            News::Lost(why) => {
                let since = self.lost.take().map_or(now, |(_, since)| since);
                self.lost = Some((why, since));
                self.latest.rates = None;
            }
            News::Status(status) => {
                self.lost = None;
                self.latest.status = Some(status);
            }
            News::Event(event) => {
                self.latest.events.push_back(event);
                let excess = self.latest.events.len().saturating_sub(MOST_EVENTS);
                self.latest.events.drain(..excess);
            }
            News::Rates(rates) => self.latest.rates = rates,
        }
        if !self.paused {
            self.seen = self.latest.clone();
        }
    }

    /// The regions in the order they are shown in.
    pub fn regions(&self) -> Vec<&RegionStatus> {
        let Some(status) = &self.seen.status else { return Vec::new() };
        let mut regions: Vec<&RegionStatus> = status.regions.iter().collect();
        let answers = |region: &RegionStatus| self.answers(&region.name).unwrap_or(0.0);
        let used = |region: &RegionStatus| region.load.utilisation.unwrap_or(-1.0);
        regions.sort_by(|a, b| {
            let order = match self.sort {
                Sort::Name => std::cmp::Ordering::Equal,
                Sort::State => rank(a.effective).cmp(&rank(b.effective)),
                Sort::Used => used(b).total_cmp(&used(a)),
                Sort::Answers => answers(b).total_cmp(&answers(a)),
            };
            order.then_with(|| a.name.cmp(&b.name))
        });
        regions
    }

    /// The answers a second that send clients to a region.
    pub fn answers(&self, region: &str) -> Option<f64> {
        let rates = self.seen.rates.as_ref()?;
        Some(rates.regions.get(region).copied().unwrap_or(0.0))
    }

    /// The place of the selected region among all.
    pub fn selected_index(&self) -> Option<usize> {
        let wanted = self.selected.as_deref()?;
        self.regions().iter().position(|region| region.name == wanted)
    }

    pub fn selected_region(&self) -> Option<&RegionStatus> {
        self.regions().get(self.selected_index()?).copied()
    }

    pub fn key(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Draw;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Next::Quit } else { Next::Draw };
        }
        if let Some(asking) = self.asking.take() {
            return match key.code {
                KeyCode::Char('y' | 'Y') => Next::Say(asking),
                _ => Next::Draw,
            };
        }
        self.note = None;
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('p' | ' ') => self.pause(),
            KeyCode::Down | KeyCode::Char('j') => self.select(1),
            KeyCode::Up | KeyCode::Char('k') => self.select(-1),
            KeyCode::Enter => self.detailed = self.selected_region().is_some(),
            KeyCode::Esc if self.detailed => self.detailed = false,
            KeyCode::Esc => self.selected = None,
            KeyCode::Char('d') => return self.drain(),
            _ => {}
        }
        Next::Draw
    }

    fn pause(&mut self) {
        self.paused = !self.paused;
        if !self.paused {
            self.seen = self.latest.clone();
        }
    }

    fn select(&mut self, by: isize) {
        let count = self.regions().len();
        let next = match self.selected_index() {
            Some(at) => at.saturating_add_signed(by).min(count.saturating_sub(1)),
            None => 0,
        };
        self.selected = self.regions().get(next).map(|region| region.name.clone());
    }

    /// Begins to drain the selected region, or to end what was said of it.
    fn drain(&mut self) -> Next {
        let Some(region) = self.selected_region() else {
            self.note = Some("select a region first: ↑ ↓".to_owned());
            return Next::Draw;
        };
        let said = if region.operator_override == Override::Auto { Override::Drain } else { Override::Auto };
        Next::Look { region: region.name.clone(), said }
    }
}

/// The worst first.
fn rank(state: EffectiveState) -> u8 {
    match state {
        EffectiveState::Down => 0,
        EffectiveState::Suspect => 1,
        EffectiveState::Unknown => 2,
        EffectiveState::Drain => 3,
        EffectiveState::Up => 4,
    }
}
