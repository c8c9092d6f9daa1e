//! `meridian top`: a running server on a terminal, as it is now.
//!
//! ```text
//!   feed ─▶ News ─┐
//!                 ├─▶ App ─▶ draw ─▶ terminal
//!   keys ─────────┘    └───▶ a change, once it is said yes to
//! ```
//!
//! - [`feed`], [`figures`]: what the server tells, and rates made of its counters
//! - [`app`]: what is known and what is shown, by news and keys
//! - [`draw`]: how that looks

mod app;
mod draw;
mod feed;
mod figures;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event as Input};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::admin::client::AdminClient;
use crate::steer::health::effective::Override;

use super::live::Server;
use super::output::{self, Failure, Outcome};
use app::{App, Asking, Next};
use feed::News;

/// Watch a running server: queries, regions, services, troubles and events as they come
///
/// Keys: q quits, s sorts the regions, p pauses, ↑ and ↓ select a region, Enter shows all of it, and d drains it or
/// ends what was said of it, once you say yes.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian top
  meridian top --admin unix:/run/meridian/admin.sock
  NO_COLOR=1 meridian top

A server that does not answer is asked again. For scripts: meridian live --json, meridian status --watch.")]
pub struct Top {
    #[command(flatten)]
    server: Server,
}

/// News and keys that wait to be drawn.
const WAITING: usize = 256;
/// It is drawn anew at least so often: ages grow.
const TICK: Duration = Duration::from_secs(1);

impl Top {
    pub fn run(&self) -> Outcome {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            let failure = Failure::new("top needs a terminal to draw on and to take keys from");
            return Err(
                failure.help("for scripts there are `meridian live --json` and `meridian status --watch --json`")
            );
        }
        self.server.with(async |server| {
            let mut screen = Screen::begin()?;
            run(&mut screen.terminal, server, App::new(server.address().to_owned(), output::color_wanted())).await
        })
    }
}

/// The terminal while it is ours; given back as it was when this goes, also by a panic.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn begin() -> Outcome<Screen> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Screen { terminal }),
            Err(error) => {
                ratatui::restore();
                Err(not_drawn(error))
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where it has gone there is nothing to give back.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

fn not_drawn(error: io::Error) -> Failure {
    Failure::new(format!("cannot draw on this terminal: {error}"))
}

async fn run(terminal: &mut DefaultTerminal, server: &AdminClient, mut app: App) -> Outcome {
    let (tell, mut news) = mpsc::channel(WAITING);
    let mut feeding = pin!(feed::feed(server, &tell));
    let mut keys = keys();
    let mut stops = Stops::new()?;
    let mut ticks = tokio::time::interval(TICK);
    loop {
        terminal.draw(|frame| draw::draw(frame, &app, Instant::now())).map_err(not_drawn)?;
        let next = tokio::select! {
            () = &mut feeding => return Ok(()), // never, while its news are heard
            Some(told) = news.recv() => {
                app.take(told, Instant::now());
                Next::Draw
            }
            input = keys.recv() => match input {
                Some(Input::Key(key)) => app.key(key),
                Some(_) => Next::Draw, // such as another size
                None => Next::Quit, // the terminal has gone
            },
            () = stops.stop() => Next::Quit,
            _ = ticks.tick() => Next::Draw,
        };
        take_what_waits(&mut app, &mut news);
        match next {
            Next::Draw => {}
            Next::Quit => return Ok(()),
            Next::Look { region, said } => look(server, &mut app, region, said).await,
            Next::Say(asking) => app.note = Some(say(server, &asking).await),
        }
    }
}

/// What came together is drawn together.
fn take_what_waits(app: &mut App, news: &mut mpsc::Receiver<News>) {
    while let Ok(told) = news.try_recv() {
        app.take(told, Instant::now());
    }
}

/// Looks at a region before its change is asked about: the change holds only while that is still so.
async fn look(server: &AdminClient, app: &mut App, region: String, said: Override) {
    match server.look(&["v1", "regions", &region]).await {
        Ok((_, tag)) => app.asking = Some(Asking { region, said, tag }),
        Err(error) => app.note = Some(error.to_string()),
    }
}

async fn say(server: &AdminClient, Asking { region, said, tag }: &Asking) -> String {
    match server.say(region, *said, false, tag.as_deref()).await {
        Ok(done) => format!("{}: override {}, now {}", done.region, done.operator_override.as_str(), done.effective),
        Err(error) => format!("not done: {error}"),
    }
}

/// Keys and sizes as they come, from a thread that waits for them.
fn keys() -> mpsc::Receiver<Input> {
    let (tell, keys) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        while let Ok(input) = event::read() {
            if tell.blocking_send(input).is_err() {
                return;
            }
        }
    });
    keys
}

/// The signals that end it in good order.
struct Stops {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Stops {
    fn new() -> Outcome<Stops> {
        let of = |kind| signal(kind).map_err(|error| Failure::new(format!("cannot listen for signals: {error}")));
        Ok(Stops {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
            hangup: of(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
