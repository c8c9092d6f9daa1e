//! A simulation as a page for people: figures, tables and charts, in one file that needs no other.

use std::fmt::Write as _;
use std::ops::Range;

use crate::steer::figure::{percent, rounded};

use super::World;
use super::chart::{Chart, Series, escaped};
use super::day::{Course, Minute, Record};
use super::incident::{Feed, Incident, What};
use super::summary::Summary;

/// The page. `title` is shown as text.
pub fn page(title: &str, world: &World, course: &Course, record: &Record, summary: &Summary) -> String {
    let title = escaped(title);
    let mut text =
        format!("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n");
    text += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    let _ = writeln!(text, "<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>");
    text += &tiles(summary);
    text += &incidents(world, course, summary);
    text += &charts(world, course, record);
    text += &regions(summary);
    text += "<p class=\"small\">Cost is round-trip time + 5 ms per dollar per million requests + 1000 ms per failed \
             request. The optimum knows everything and acts every minute. Made by <code>meridian simulate</code>.</p>\n";
    text += "</body>\n</html>\n";
    text
}

fn tiles(summary: &Summary) -> String {
    let moved = summary.moved_per_minute.map_or("–".into(), |moved| percent(moved, 3));
    let tiles = [
        ("Round-trip time", format!("{} ms", rounded(summary.rtt_ms, 1)), "mean over all demand"),
        ("Cost", format!("{} ms", rounded(summary.cost_ms, 1)), "RTT, dollars and failures"),
        ("Against the optimum", format!("× {:.3}", summary.ratio()), "1 is the best there is"),
        ("Overload", format!("{} s", rounded(summary.overload_s, 2)), "of the whole world's demand"),
        ("Failed", percent(summary.failed, 4), "of all demand"),
        ("Moved", moved, "per minute, when steady"),
    ];
    let tile = |(name, figure, what): &(&str, String, &str)| {
        format!("<div><span>{name}</span><b>{figure}</b><span class=\"small\">{what}</span></div>\n")
    };
    format!("<section class=\"tiles\">\n{}</section>\n", tiles.iter().map(tile).collect::<String>())
}

fn incidents(world: &World, course: &Course, summary: &Summary) -> String {
    if course.incidents.is_empty() {
        return String::new();
    }
    let row = |incident: &Incident| {
        let until = match incident.until_s < course.warm_up_s + course.length_s {
            true => clock(course, incident.until_s),
            false => "the end".into(),
        };
        let (from, what) = (clock(course, incident.from_s), escaped(&told(world, incident)));
        format!("<tr><td>{from} – {until}</td><td>{what}</td></tr>\n")
    };
    let mut text: String = course.incidents.iter().map(row).collect();
    for loss in &summary.losses {
        let last = loss.last_answer_s.map_or("no answer named it after its death".into(), |s| {
            format!("the last answer that named it came {s} s after its death")
        });
        let ample = if loss.ample { "" } else { " (the others had too little room for them)" };
        let (at, region) = (clock(course, loss.at_s + course.warm_up_s), escaped(&loss.region));
        let _ = writeln!(
            text,
            "<tr><td>{at}</td><td>{region} lost: {last}; {:.3} × its clients moved{ample}</td></tr>",
            loss.moved
        );
    }
    format!("<h2>What happened</h2>\n<table>\n{text}</table>\n")
}

/// An incident in words.
pub fn told(world: &World, incident: &Incident) -> String {
    let name = |region: &usize| world.regions.get(*region).map_or("?", |site| site.name.as_str());
    match &incident.what {
        What::Dead { region, .. } => format!("{} is dead", name(region)),
        What::BrownOut { region, part } => format!("{} has {:.0} % of its capacity", name(region), 100.0 * part),
        What::Flapping { region, up_s, down_s } => format!("{} flaps: {down_s} s dead, {up_s} s alive", name(region)),
        What::FlashCrowd { cities, factor, .. } => {
            let first = cities.iter().find_map(|&city| world.locations.get(city)).map_or("?", |place| &place.name);
            let others =
                if cities.len() > 1 { format!(" and {} cities more", cities.len() - 1) } else { String::new() };
            format!("demand × {factor} in {first}{others}")
        }
        What::Feed { region, trouble } => {
            let who = region.as_ref().map_or("every region", name);
            format!("{who} reports {}", told_feed(trouble))
        }
    }
}

fn told_feed(trouble: &Feed) -> String {
    match trouble {
        Feed::Silent => "no load".to_owned(),
        Feed::Lies { factor } => format!("{factor} × its load"),
        Feed::Frozen => "the same load over and over".to_owned(),
        Feed::Late { late_s } => format!("its load {late_s} s late"),
        Feed::Capped => "no more load than its capacity".to_owned(),
        Feed::Rounded { part } => format!("its load rounded to {:.0} % of its capacity", 100.0 * part),
        Feed::Constant { part } => format!("{:.0} % of its capacity as its load", 100.0 * part),
        Feed::Waves { period_s, low, high } => format!("{low} to {high} × its load and back, in turns of {period_s} s"),
        Feed::Sawtooth { period_s, low, high } => format!("{low} to {high} × its load, in turns of {period_s} s"),
        Feed::Capacity { factor } => format!("{factor} × its capacity"),
        Feed::NoCapacity => "no capacity".to_owned(),
        Feed::Garbage => "anything".to_owned(),
    }
}

/// The time of the day, UTC.
pub fn clock(course: &Course, second: u64) -> String {
    let minute = (course.begins_h * 60.0 + second as f64 / 60.0).rem_euclid(1440.0) as u64;
    format!("{:02}:{:02}", minute / 60 % 24, minute % 60)
}

fn charts(world: &World, course: &Course, record: &Record) -> String {
    let minute = |second: u64| (second.saturating_sub(course.warm_up_s) / 60) as usize;
    let bands: Vec<(Range<usize>, String)> =
        course.incidents.iter().map(|i| (minute(i.from_s)..minute(i.until_s), told(world, i))).collect();
    let begins = (course.begins_h * 60.0 + course.warm_up_s as f64 / 60.0).rem_euclid(1440.0) as u32;
    let of = |value: &dyn Fn(&Minute) -> f64| record.minutes.iter().map(value).collect::<Vec<f64>>();
    let chart = |title: &str, unit: &str, series: Vec<Series<'_>>, limit: Option<(f64, &str)>| {
        Chart { title, unit, series, limit, bands: &bands, begins }.render()
    };
    let one = |name, values| vec![Series { name, color: 0, values }];
    let percent_of = |region: usize| of(&|minute| 100.0 * minute.utilisation.get(region).copied().unwrap_or(f64::NAN));
    let regions = world.regions.iter().enumerate();
    let utilisation: Vec<Series<'_>> =
        regions.map(|(color, site)| Series { name: &site.name, color, values: percent_of(color) }).collect();
    let cost = vec![
        Series { name: "cost", color: 0, values: of(&|minute| minute.cost_ms) },
        Series { name: "optimum", color: 2, values: of(&|minute| minute.best_ms) },
    ];
    [
        chart("Utilisation of each region", " %", utilisation, Some((100.0, "capacity"))),
        chart("Round-trip time, mean", " ms", one("round-trip time", of(&|minute| minute.rtt_ms)), None),
        chart("Cost, and the least it could be", " ms", cost, None),
        chart("Demand that moved in each minute", " %", one("moved", of(&|minute| 100.0 * minute.moved)), None),
        chart(
            "Overload: the part of all demand beyond capacity",
            " %",
            one("overload", of(&|m| 100.0 * m.overload_s / 60.0)),
            None,
        ),
        chart("Demand", "", one("demand", of(&|minute| minute.demand)), None),
    ]
    .concat()
}

fn regions(summary: &Summary) -> String {
    let row = |region: &super::summary::OfRegion| {
        let mut row = format!("<tr><td>{}</td>", escaped(&region.name));
        let _ = write!(row, "<td>{:.0}</td><td>{:.0} %</td>", region.capacity, 100.0 * region.utilisation);
        let _ = writeln!(
            row,
            "<td>{:.0} %</td><td>{}</td></tr>",
            100.0 * region.peak_utilisation,
            region.overloaded_minutes
        );
        row
    };
    let rows: String = summary.regions.iter().map(row).collect();
    format!(
        "<h2>Regions</h2>\n<table class=\"figures\">\n<tr><th>region</th><th>capacity</th><th>mean use</th>\
         <th>highest</th><th>minutes above</th></tr>\n{rows}</table>\n"
    )
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --faint: #6a737d; --line: #e3e6ea; --band: #f6b26b33; --limit: #c0392b;
  --c0: #0b66c3; --c1: #d9730d; --c2: #2a8f5b; --c3: #a6339e; --c4: #8a6d00; --c5: #c2334d; --c6: #0f8b95; --c7: #6b5bd2 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #15181c; --faint: #9aa4ae; --line: #2c3238; --band: #f6b26b26; --limit: #ff7b6b;
  --c0: #5aa9ff; --c1: #ffa357; --c2: #5fd39a; --c3: #e58be0; --c4: #d8bd4a; --c5: #ff8196; --c6: #5fd3dc; --c7: #aa9dff } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 0 1rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem }
.tiles div { border: 1px solid var(--line); border-radius: 8px; padding: .6rem .8rem; display: flex; flex-direction: column }
.tiles b { font-size: 1.35rem; font-variant-numeric: tabular-nums }
.small { color: var(--faint); font-size: .85rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td:first-child { white-space: nowrap } .figures td:not(:first-child), .figures th:not(:first-child) { text-align: right; font-variant-numeric: tabular-nums }
figure { margin: 1.75rem 0 0 } figcaption { font-weight: 600 } svg { width: 100%; height: auto; display: block }
.legend { margin: .2rem 0; display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .85rem }
.legend i { display: inline-block; width: 1.1rem; height: 0; border-top: 3px solid; margin-right: .35rem; vertical-align: middle }
.legend i.dashed { border-top-style: dashed }
path { fill: none; stroke-width: 1.75; stroke-linejoin: round } path.dashed { stroke-dasharray: 5 4 }
.grid { stroke: var(--line) } .limit { stroke: var(--limit); stroke-dasharray: 3 3 } .band { fill: var(--band) }
svg text { fill: var(--faint); font-size: 11px } .at-y { text-anchor: end } .at-x { text-anchor: middle }
path.c0 { stroke: var(--c0) } path.c1 { stroke: var(--c1) } path.c2 { stroke: var(--c2) } path.c3 { stroke: var(--c3) }
path.c4 { stroke: var(--c4) } path.c5 { stroke: var(--c5) } path.c6 { stroke: var(--c6) } path.c7 { stroke: var(--c7) }
i.c0 { border-color: var(--c0) } i.c1 { border-color: var(--c1) } i.c2 { border-color: var(--c2) } i.c3 { border-color: var(--c3) }
i.c4 { border-color: var(--c4) } i.c5 { border-color: var(--c5) } i.c6 { border-color: var(--c6) } i.c7 { border-color: var(--c7) }
";
