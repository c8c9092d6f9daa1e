//! The screen of `meridian top` over a status that was recorded, at the sizes people have, and what keys do.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::app::{App, Asking, Next, Sort};
use super::draw::draw;
use super::feed::News;
use super::figures::Figures;
use crate::admin::status::Status;
use crate::control::events::event::Event;
use crate::steer::health::effective::Override;

/// Of the demo, with São Paulo down, Seoul drained and Sydney full.
const STATUS: &str = include_str!("recorded.json");

fn app(color: bool) -> App {
    let mut app = App::new("http://127.0.0.1:8053".to_owned(), color);
    let status: Status = serde_json::from_str(STATUS).expect("a status");
    let event = serde_json::json!({
        "id": 7, "at": "2026-11-21T04:30:00Z", "kind": "region", "region": "saopaulo@gslb.example", "before": "suspect",
        "after": "down", "cause": "probes", "override": "auto", "endpoints": 1, "endpoints_down": 1,
        "probes": [{ "endpoint": "127.200.55.1", "verdict": "down", "last_probe": "\u{1b}[2Jconnection refused", "age_s": 0.1,
            "connect_ms": null }],
        "services": ["www.gslb.example"], "services_in_all": 1,
    });
    let event: Event = serde_json::from_value(event).expect("an event");
    let before = "meridian_queries_total{transport=\"udp\"} 0\n";
    let after = "meridian_queries_total{transport=\"udp\"} 2400\nmeridian_responses_total{rcode=\"NOERROR\"} 2200\n\
        meridian_responses_total{rcode=\"NXDOMAIN\"} 200\n\
        meridian_answers_total{service=\"www.gslb.example.\",region=\"virginia@gslb.example\"} 1800\n";
    let rates = Figures::read(after).since(&Figures::read(before), Duration::from_secs(2));
    for news in [News::Status(Arc::new(status)), News::Event(Arc::new(event)), News::Rates(rates)] {
        app.take(news, Instant::now());
    }
    app
}

/// The lines of a screen of this size.
fn lines(app: &App, (width, height): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(frame, app, Instant::now())).expect("drawn");
    let buffer = terminal.backend().buffer().clone();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

fn press(app: &mut App, code: KeyCode) -> Next {
    app.key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn all_that_matters_is_there_at_the_sizes_people_have() {
    for size in [(80, 24), (60, 20), (120, 40), (200, 60)] {
        let shown = lines(&app(true), size);
        println!("{}x{}\n{}\n", size.0, size.1, shown.join("\n"));
        let text = shown.join("\n");
        for wanted in [
            "DEGRADED for 75 s",
            "queries 1200/s  NOERROR 1100, NXDOMAIN 100",
            "saopaulo, 75 s: down: 1 of 1 endpoint",
            "seoul     drain, safe in 21 s",
            "virginia  up",
            "35 %",
            "97 %",
            "0/1",
            "900",
            "www.gslb.example",
            "normal",
            "04:30:00 region saopaulo@gslb.example down",
            "q quit",
        ] {
            assert!(text.contains(wanted), "{size:?} lacks `{wanted}`:\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "what an endpoint said does nothing to a terminal");
    }
    // Nothing fits, and nothing fails.
    for size in [(1, 1), (10, 3), (20, 5), (300, 2)] {
        lines(&app(true), size);
    }
}

#[test]
fn no_color_means_none() {
    let colors = |color| {
        let mut app = app(color);
        app.detailed = press(&mut app, KeyCode::Down) == Next::Draw;
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
        terminal.draw(|frame| draw(frame, &app, Instant::now())).expect("drawn");
        let cells = terminal.backend().buffer().content.clone();
        cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert_eq!((colors(true), colors(false)), (true, false));
}

#[test]
fn a_server_that_is_away_is_said_so_and_what_was_known_stays() {
    let mut lost = App::new("http://127.0.0.1:8053".to_owned(), false);
    let began = Instant::now();
    lost.take(News::Lost("cannot connect".to_owned()), began);
    assert!(lines(&lost, (80, 24)).join("\n").contains("NO ANSWER for 0 s, asking again: cannot connect"));
    let mut app = app(false);
    app.take(News::Lost("connection refused".to_owned()), began);
    app.take(News::Lost("connection refused".to_owned()), began + Duration::from_secs(9));
    assert_eq!(app.lost.as_ref().map(|(_, since)| *since), Some(began), "since the first");
    let text = lines(&app, (80, 24)).join("\n");
    assert!(text.contains("NO ANSWER for ") && text.contains("virginia"), "{text}");
    assert!(text.contains("queries: not counted"), "{text}");
    let status: Status = serde_json::from_str(STATUS).expect("a status");
    app.take(News::Status(Arc::new(status)), began);
    assert!(!lines(&app, (80, 24)).join("\n").contains("NO ANSWER"));
}

#[test]
fn keys_sort_select_pause_and_quit() {
    let mut app = app(false);
    let first = |app: &App| app.regions()[0].name.clone();
    assert_eq!(first(&app), "frankfurt@gslb.example");
    let mut orders = Vec::new();
    for _ in 0..4 {
        assert_eq!(press(&mut app, KeyCode::Char('s')), Next::Draw);
        orders.push((app.sort, first(&app).split('@').next().unwrap_or_default().to_owned()));
    }
    let wanted =
        [(Sort::State, "saopaulo"), (Sort::Used, "sydney"), (Sort::Answers, "virginia"), (Sort::Name, "frankfurt")];
    assert_eq!(orders, wanted.map(|(sort, name)| (sort, name.to_owned())));

    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Enter);
    let text = lines(&app, (80, 24)).join("\n");
    assert!(text.contains("127.200.55.1 down for 75 s: connection refused") && text.contains("location"), "{text}");
    press(&mut app, KeyCode::Esc);
    (0..9).for_each(|_| _ = press(&mut app, KeyCode::Up));
    assert_eq!(app.selected_index(), Some(0));

    press(&mut app, KeyCode::Char('p'));
    let mut status: Status = serde_json::from_str(STATUS).expect("a status");
    status.regions.truncate(1);
    app.take(News::Status(Arc::new(status)), Instant::now());
    assert_eq!(app.regions().len(), 5, "paused");
    assert!(lines(&app, (60, 20))[0].contains("PAUSED"));
    press(&mut app, KeyCode::Char('p'));
    assert_eq!(app.regions().len(), 1);

    assert_eq!(press(&mut app, KeyCode::Char('q')), Next::Quit);
    assert_eq!(app.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Next::Quit);
}

#[test]
fn a_region_is_drained_only_by_a_yes() {
    let mut app = app(false);
    assert_eq!(press(&mut app, KeyCode::Char('d')), Next::Draw, "none is selected");
    assert!(app.note.as_deref().is_some_and(|note| note.contains("select")));
    press(&mut app, KeyCode::Down);
    let region = "frankfurt@gslb.example".to_owned();
    assert_eq!(press(&mut app, KeyCode::Char('d')), Next::Look { region: region.clone(), said: Override::Drain });
    let asking = Asking { region, said: Override::Drain, tag: Some("\"7\"".to_owned()) };
    for (key, next) in [(KeyCode::Enter, Next::Draw), (KeyCode::Esc, Next::Draw), (KeyCode::Char('q'), Next::Draw)] {
        app.asking = Some(asking.clone());
        assert!(lines(&app, (60, 20)).join("\n").contains("Say `drain` of frankfurt@gslb.example?"));
        assert_eq!((press(&mut app, key), &app.asking), (next, &None));
    }
    app.asking = Some(asking.clone());
    assert_eq!(press(&mut app, KeyCode::Char('y')), Next::Say(asking));
    // Of what was said of already, the end is offered.
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Down);
    let region = "seoul@gslb.example".to_owned();
    assert_eq!(press(&mut app, KeyCode::Char('d')), Next::Look { region, said: Override::Auto });
}

/// Names this test's other half, which has a terminal.
const ON_A_TERMINAL: &str = "MERIDIAN_TEST_TOP_PANICS";

/// The other half: draws on its terminal, and panics.
#[test]
fn panics_where_it_has_a_terminal() {
    if std::env::var_os(ON_A_TERMINAL).is_some() {
        let mut screen = super::Screen::begin().unwrap_or_else(|_| panic!("no terminal"));
        let app = app(true);
        screen.terminal.draw(|frame| draw(frame, &app, Instant::now())).expect("drawn");
        panic!("of all things");
    }
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_is_told() {
    let (mut ours, mut theirs) = (-1, -1);
    let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: both descriptors are written by the call, and are ours alone from then on.
    let (ours, line) = unsafe {
        let none = std::ptr::null_mut();
        assert_eq!(libc::openpty(&mut ours, &mut theirs, none, std::ptr::null(), &raw const size), 0);
        (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    };
    let end = || Stdio::from(line.try_clone().expect("a second handle"));
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "cli::top::tests::panics_where_it_has_a_terminal", "--nocapture"]);
    command.env(ON_A_TERMINAL, "yes").env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
    // SAFETY: both are calls that may be made between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            libc::ioctl(0, libc::TIOCSCTTY, 0);
            Ok(())
        })
    };
    let mut child = command.spawn().expect("it starts");
    // What it draws is read until it has ended; our own end of its line would keep that from being seen.
    let kept = line.try_clone().expect("a second handle");
    let reading = std::thread::spawn(move || {
        let (mut seen, mut octets) = (Vec::new(), [0; 4096]);
        let mut screen = File::from(ours);
        while !seen.ends_with(b"\nEND") {
            let count = screen.read(&mut octets).expect("the line is open");
            seen.extend_from_slice(&octets[..count]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    });
    assert!(!child.wait().expect("a child").success());
    // SAFETY: the descriptor is open, and the attributes are written by the call.
    let attributes = unsafe {
        let mut attributes = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(kept.as_raw_fd(), &mut attributes), 0);
        attributes
    };
    assert_eq!(attributes.c_lflag & (libc::ICANON | libc::ECHO), libc::ICANON | libc::ECHO, "as shells have it");
    File::from(kept).write_all(b"\nEND").expect("written");
    let seen = reading.join().expect("read").replace('\r', "");
    let at = |what: &str| seen.find(what).unwrap_or_else(|| panic!("no {what:?} in {seen:?}"));
    assert!(at("\u{1b}[?1049h") < at("frankfurt"), "it was drawn on the other screen");
    assert!(at("frankfurt") < at("\u{1b}[?1049l"), "which was left");
    assert!(at("\u{1b}[?1049l") < at("of all things"), "before the panic was told, or nobody would read it");
}
