//! The screen of `meridian top`: what is known comes in, cells of a terminal go out.
//!
//! From above: the server and its state, queries, troubles, regions or one of them, services, events, keys. Where room is
//! short, columns and rows go, and what is said last of all are the regions.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Clear, Paragraph, Row, Table, TableState, Wrap};

use crate::admin::status::{RegionStatus, ServiceStatus, Status};
use crate::admin::summary::{Level, Trouble};
use crate::model::shown::printable;
use crate::steer::figure::{percent, rounded};
use crate::steer::health::effective::EffectiveState;
use crate::steer::policy::eligible::ServiceCondition;

use super::super::output::{self, duration};
use super::super::status::{condition, effective, policy, ttl, used};
use super::app::App;
use super::figures::Rates;

/// Troubles that are shown; `meridian status` has the others.
const MOST_TROUBLES: usize = 3;
/// From this width on there is room for loads and bars.
const WIDE: u16 = 78;
/// The cells of a bar.
const BAR: usize = 10;

/// Draws everything.
pub fn draw(frame: &mut Frame, app: &App, now: Instant) {
    let Some(status) = app.seen.status.as_deref() else { return draw_waiting(frame, app, now) };
    let troubles = status.summary.as_ref().map_or(0, |summary| summary.troubles.len().min(MOST_TROUBLES));
    let [head, queries, notes, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(u16::try_from(troubles).unwrap_or(0) + u16::from(app.lost.is_some())),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(title(app, Some(status)), head);
    frame.render_widget(queries_line(app), queries);
    frame.render_widget(Paragraph::new(notes_lines(app, status, now)), notes);
    if app.detailed && app.selected_region().is_some() {
        draw_region(frame, app, body);
    } else {
        draw_lists(frame, app, status, body);
    }
    frame.render_widget(footer(app, foot.width), foot);
    draw_asking(frame, app);
}

/// Nothing was heard yet.
fn draw_waiting(frame: &mut Frame, app: &App, now: Instant) {
    let lines = match &app.lost {
        Some(lost) => vec![title(app, None), Line::default(), lost_line(app, lost, now), Line::from("q quits")],
        None => vec![title(app, None), Line::default(), Line::from("connecting …")],
    };
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), frame.area());
}

fn title(app: &App, status: Option<&Status>) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled("meridian top", bold)];
    if app.paused {
        spans.push(Span::styled(" PAUSED ", Style::new().add_modifier(Modifier::REVERSED)));
    }
    spans.push(Span::raw(format!("  {}  ", printable(&app.server))));
    if let Some(status) = status {
        let summary = status.summary.clone().unwrap_or_default();
        let since = summary.since_s.map_or(String::new(), |since| format!(" for {}", duration(since)));
        let word = format!("{}{since}", summary.state.as_str().to_uppercase());
        spans.push(Span::styled(word, level_style(app, summary.state)));
        spans.push(Span::raw(format!("  up {}", duration(status.uptime_s))));
    }
    Line::from(spans)
}

/// `queries 1200/s: NOERROR 1100, NXDOMAIN 100; udp 1190, tcp 10`.
fn queries_line(app: &App) -> Line<'static> {
    let Some(Rates { queries, transports, rcodes, .. }) = &app.seen.rates else {
        return Line::from("queries: not counted yet");
    };
    let each = |of: &[(String, f64)]| {
        let told: Vec<String> = of.iter().map(|(name, rate)| format!("{name} {}", a_second(*rate))).collect();
        told.join(", ")
    };
    let mut text = format!("queries {}/s", a_second(*queries));
    for more in [each(rcodes), each(transports)].iter().filter(|more| !more.is_empty()) {
        text = format!("{text}  {more}");
    }
    Line::from(printable(&text).into_owned())
}

fn a_second(rate: f64) -> String {
    rounded(rate, if rate < 10.0 { 1 } else { 0 })
}

fn notes_lines(app: &App, status: &Status, now: Instant) -> Vec<Line<'static>> {
    let mut lines: Vec<Line> = app.lost.iter().map(|lost| lost_line(app, lost, now)).collect();
    let troubles = status.summary.iter().flat_map(|summary| &summary.troubles).take(MOST_TROUBLES);
    lines.extend(troubles.map(|Trouble { level, of, what, since_s, .. }| {
        let word = if *level == Level::Ok { "note" } else { level.as_str() };
        let since = since_s.map_or(String::new(), |since| format!(", {}", duration(since)));
        let text = printable(&format!(" {}{since}: {what}", bare(of))).into_owned();
        Line::from(vec![Span::styled(format!("{word:<8}"), level_style(app, *level)), Span::raw(text)])
    }));
    lines
}

fn lost_line(app: &App, (why, since): &(String, Instant), now: Instant) -> Line<'static> {
    let ago = duration(now.saturating_duration_since(*since).max(Duration::ZERO).as_secs_f64());
    let text = format!("NO ANSWER for {ago}, asking again: {why}");
    Line::styled(printable(&text).into_owned(), level_style(app, Level::Panic))
}

fn draw_lists(frame: &mut Frame, app: &App, status: &Status, area: Rect) {
    // Each with the line of its titles. Events keep three lines where that leaves regions five.
    let wanted = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).saturating_add(1);
    let services = wanted(status.services.len()).min(area.height / 4).max(2);
    let events = 3.min(area.height.saturating_sub(services + 5));
    let regions = wanted(status.regions.len()).min(area.height.saturating_sub(services + events));
    let has_room = regions + services + 2 + events <= area.height;
    let gap = Constraint::Length(u16::from(has_room));
    let [regions, _, services, _, events] =
        Layout::vertical([Constraint::Length(regions), gap, Constraint::Length(services), gap, Constraint::Min(0)])
            .areas(area);
    draw_regions(frame, app, regions);
    draw_services(frame, app, status, services);
    draw_events(frame, app, events);
}

fn draw_regions(frame: &mut Frame, app: &App, area: Rect) {
    let is_wide = area.width >= WIDE;
    let regions = app.regions();
    let names = shown_names(&regions);
    let states: Vec<String> = regions.iter().map(|region| printable(&effective(region)).into_owned()).collect();
    let widest = |of: &[String], least: u16| {
        let widest = of.iter().map(|text| text.chars().count()).max().unwrap_or(0);
        u16::try_from(widest).unwrap_or(u16::MAX).max(least)
    };
    let name = widest(&names, 6).min(area.width / 3);
    let figures: &[(&str, u16)] = match is_wide {
        true => &[("used", 16), ("load", 8), ("answers/s", 9), ("endpoints", 9)],
        false => &[("used", 6), ("answers/s", 9), ("endpoints", 9)],
    };
    // Each column has a space before it.
    let taken: u16 = figures.iter().map(|(_, width)| width + 1).sum();
    let state = widest(&states, 5).min(area.width.saturating_sub(name + 1 + taken));
    let row = |((region, name_of), state_of): ((&&RegionStatus, &String), &String)| {
        let load = region.load.load.map_or("-".to_owned(), |load| rounded(load, 0));
        let mut cells = vec![
            Cell::from(cut(name_of, name)),
            Cell::from(cut(state_of, state)).style(state_style(app, region.effective)),
            used_cell(app, region, is_wide),
        ];
        cells.extend(is_wide.then(|| right(load)));
        cells.push(right(app.answers(&region.name).map_or("-".to_owned(), a_second)));
        cells.push(right(endpoints_up(region)));
        Row::new(cells)
    };
    let rows = regions.iter().zip(&names).zip(&states).map(row);
    let titles = figures.iter().map(|(title, _)| match *title {
        "used" => Cell::from("used"),
        title => right(title.to_owned()),
    });
    let titles = [Cell::from("region"), Cell::from("state")].into_iter().chain(titles);
    let widths = [name, state].into_iter().chain(figures.iter().map(|(_, width)| *width)).map(Constraint::Length);
    let table = Table::new(rows, widths)
        .header(Row::new(titles).style(Style::new().add_modifier(Modifier::UNDERLINED)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(app.selected_index()));
}

/// Without their zones where that leaves no two alike.
fn shown_names(regions: &[&RegionStatus]) -> Vec<String> {
    let bare_ones: BTreeSet<&str> = regions.iter().map(|region| bare(&region.name)).collect();
    let whole = bare_ones.len() < regions.len();
    let name = |region: &&RegionStatus| if whole { region.name.clone() } else { bare(&region.name).to_owned() };
    regions.iter().map(|region| printable(&name(region)).into_owned()).collect()
}

/// So much of a text as there is room for: what is cut off is told.
fn cut(text: &str, width: u16) -> String {
    let width = usize::from(width);
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

fn used_cell(app: &App, region: &RegionStatus, is_wide: bool) -> Cell<'static> {
    let Some(part) = region.load.utilisation else { return Cell::from("-") };
    let text = percent(part, 0);
    let full = (part.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR - full));
    let style = match part {
        // Neither an old figure nor that of a region without clients is worth a colour.
        _ if region.load.stale || region.effective == EffectiveState::Down => Style::new().add_modifier(Modifier::DIM),
        part if part >= 0.95 => colored(app, Color::Red),
        part if part >= 0.8 => colored(app, Color::Yellow),
        _ => colored(app, Color::Green),
    };
    Cell::from(if is_wide { format!("{bar} {text}") } else { text }).style(style)
}

/// `3/4`.
fn endpoints_up(region: &RegionStatus) -> String {
    let up = region.endpoints.iter().filter(|endpoint| endpoint.verdict.as_deref().is_none_or(|word| word == "up"));
    format!("{}/{}", up.count(), region.endpoints.len())
}

fn draw_services(frame: &mut Frame, app: &App, status: &Status, area: Rect) {
    let named = status.services.iter().map(|service| service.name.chars().count()).max().unwrap_or(0).clamp(7, 32);
    // Where room is short, there is none for the policy.
    let policies = if area.width >= WIDE { 14 } else { 0 };
    let widths = [
        Constraint::Length(u16::try_from(named).unwrap_or(32)),
        Constraint::Length(10),
        Constraint::Length(7),
        Constraint::Length(policies),
        Constraint::Min(0),
    ];
    // The worst first: the others may have no room.
    let mut services: Vec<&ServiceStatus> = status.services.iter().collect();
    services.sort_by_key(|service| service.condition == ServiceCondition::Normal);
    let row = |service: &&ServiceStatus| {
        let calm = service.condition == ServiceCondition::Normal;
        let shares = service.regions.iter().filter_map(|region| {
            let share = region.mean_share.filter(|share| *share > 0.0)?;
            Some(format!("{} {}", bare(&region.name), percent(share, 0)))
        });
        Row::new(vec![
            Span::raw(printable(&service.name).into_owned()),
            Span::styled(condition(service), colored(app, if calm { Color::Green } else { Color::Red })),
            Span::raw(ttl(service)),
            Span::raw(printable(&policy(service)).into_owned()),
            Span::raw(printable(&shares.collect::<Vec<_>>().join(", ")).into_owned()),
        ])
    };
    let titles = Row::new(["service", "condition", "TTL", "policy", "shares of places"]);
    let table = Table::new(services.iter().map(row), widths)
        .header(titles.style(Style::new().add_modifier(Modifier::UNDERLINED)));
    frame.render_widget(table, area);
}

/// The newest first.
fn draw_events(frame: &mut Frame, app: &App, area: Rect) {
    let title = Line::styled("latest events", Style::new().add_modifier(Modifier::UNDERLINED));
    let told = app.seen.events.iter().rev().take(usize::from(area.height)).map(|event| {
        let time: String = event.at.to_string().chars().skip(11).take(8).collect();
        Line::from(format!("{time} {}", printable(&event.change.to_string())))
    });
    let lines: Vec<Line> = std::iter::once(title).chain(told).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

/// All that is known of the selected region.
fn draw_region(frame: &mut Frame, app: &App, area: Rect) {
    let Some(region) = app.selected_region() else { return };
    let whole = |known: Option<f64>| known.map_or("unknown".to_owned(), |known| rounded(known, 0));
    let load = &region.load;
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let field = |name: &str, value: String| Line::from(format!("  {name:<10} {}", printable(&value)));
    let mut lines = vec![
        Line::styled(printable(&region.name).into_owned(), bold),
        Line::from(vec![
            Span::raw(format!("  {:<10} ", "state")),
            Span::styled(printable(&effective(region)).into_owned(), state_style(app, region.effective)),
        ]),
        field("override", region.operator_override.as_str().to_owned()),
        field("location", region.location.clone()),
        field("load", format!("{} of {}, {}", whole(load.load), whole(load.capacity), used(load))),
        field(
            "planned",
            format!("{}; one client more costs {} ms", whole(region.planned_load), rounded(region.price_ms, 1)),
        ),
        field("answers", app.answers(&region.name).map_or("-".to_owned(), |rate| format!("{}/s", a_second(rate)))),
    ];
    if let Some(told) = load.heard.told(load.load, load.capacity).filter(|_| load.configured) {
        lines.push(field("reports", told));
    }
    lines.push(Line::styled(
        format!("  {}", output::count(region.endpoints.len(), "endpoint")),
        Style::new().add_modifier(Modifier::UNDERLINED),
    ));
    for endpoint in &region.endpoints {
        let verdict = endpoint.verdict.as_deref().unwrap_or("not probed");
        let since = endpoint.since_s.map_or(String::new(), |since| format!(" for {}", duration(since)));
        let text = format!("  {} {verdict}{since}: {}", endpoint.label, endpoint.last_probe);
        lines.push(Line::from(printable(&text).into_owned()));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn footer(app: &App, width: u16) -> Line<'static> {
    if let Some(note) = &app.note {
        return Line::from(printable(note).into_owned());
    }
    let back = if app.detailed { "Esc back" } else { "Enter details" };
    let sort = app.sort.as_str();
    let keys = match width {
        0..70 => format!("q quit  s sort:{sort}  p pause  ↑↓  {back}  d drain"),
        _ => format!("q quit   s sort: {sort}   p pause   ↑↓ region   {back}   d drain or end it"),
    };
    Line::styled(keys, Style::new().add_modifier(Modifier::DIM))
}

/// The question before a change, over everything else.
fn draw_asking(frame: &mut Frame, app: &App) {
    let Some(asking) = &app.asking else { return };
    let (area, width) = (frame.area(), frame.area().width.min(60));
    let said = asking.said.as_str();
    let lines = vec![
        Line::from(printable(&format!(" Say `{said}` of {}?", asking.region)).into_owned()),
        Line::from(" y does it, any other key does not"),
    ];
    let middle = Rect::new((area.width - width) / 2, area.height.saturating_sub(4) / 2, width, area.height.min(4));
    frame.render_widget(Clear, middle);
    let block = ratatui::widgets::Block::bordered().title(" sure? ");
    frame.render_widget(Paragraph::new(lines).block(block), middle);
}

/// `seoul` of `seoul@gslb.example`.
fn bare(name: &str) -> &str {
    name.split('@').next().unwrap_or_default()
}

fn colored(app: &App, color: Color) -> Style {
    if app.color { Style::new().fg(color) } else { Style::new() }
}

fn level_style(app: &App, level: Level) -> Style {
    match level {
        Level::Ok => colored(app, Color::Green),
        Level::Degraded => colored(app, Color::Yellow).add_modifier(Modifier::BOLD),
        Level::Panic => colored(app, Color::Red).add_modifier(Modifier::BOLD),
    }
}

fn state_style(app: &App, state: EffectiveState) -> Style {
    match state {
        EffectiveState::Up => colored(app, Color::Green),
        EffectiveState::Suspect | EffectiveState::Unknown => colored(app, Color::Yellow),
        EffectiveState::Drain => colored(app, Color::Cyan),
        EffectiveState::Down => colored(app, Color::Red).add_modifier(Modifier::BOLD),
    }
}
