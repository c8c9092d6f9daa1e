//! A scenario file: a world, its demand, and what goes wrong in it, as people write it.
//!
//! A path comes in; a [`Scenario`] or every mistake in the file goes out. The regions are the
//! file's own, steered by score; or those of a service of a whole configuration, which is loaded
//! as `serve` would. See docs/simulation.md.
//!
//! - [`mod@incidents`]: what `[[incident]]` says

mod incidents;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::control::config::reader::{Entry, Table, Value, read_document};
use crate::control::config::{self, Disk, Files, location};
use crate::control::diagnostic::{Diagnostic, SourceFile, nearest};
use crate::model::{Model, Name, Ttl, Weights};

use super::cities::CITIES;
use super::day::Course;
use super::globe::{Drawing, Globe, USUAL_SKEW};
use super::incident::Incident;
use super::world::MAX_REGIONS;
use super::{Deployment, Simulation, Site, WorldError};

/// The simulation that a file describes.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub title: String,
    pub drawing: Drawing,
    pub course: Course,
    /// The configuration's service; `None`: the file's own regions, by score.
    deployment: Option<Deployment>,
    failover_ttl: Ttl,
    weights: Weights,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

impl Scenario {
    /// Loads the file.
    ///
    /// # Errors
    /// All mistakes in it, or in the configuration it names.
    pub fn load(path: &Path) -> Result<Scenario, Vec<Diagnostic>> {
        let shown = path.display().to_string();
        let text = Disk.read(path).map_err(|error| vec![Diagnostic::error(format!("{shown}: {error}"))])?;
        Scenario::read(&SourceFile::new(shown, text), path.parent().unwrap_or(Path::new("")))
    }

    /// As [`Scenario::load`], with the file's text; other files are found from `directory`.
    pub fn read(file: &Arc<SourceFile>, directory: &Path) -> Result<Scenario, Vec<Diagnostic>> {
        let (scenario, mistakes) = read_document(file, "the scenario", |root| scenario(root, directory));
        match scenario {
            Some(Ok(scenario)) if !mistakes.iter().any(Diagnostic::is_error) => Ok(scenario),
            Some(Err(of_config)) if mistakes.is_empty() => Err(of_config),
            _ => Err(mistakes),
        }
    }

    /// The world it is played in, drawn from its seed.
    pub fn globe(&self) -> Globe {
        let mut globe = Globe::draw(&self.drawing);
        (globe.world.failover_ttl, globe.world.weights) = (self.failover_ttl, self.weights);
        globe
    }

    /// The real steering of that world, at its beginning.
    ///
    /// # Errors
    /// See [`WorldError`].
    pub fn simulation(&self, globe: &Globe) -> Result<Simulation, WorldError> {
        let deployment = match &self.deployment {
            Some(deployment) => deployment.clone(),
            None => globe.world.deployment()?,
        };
        let mut simulation = Simulation::of(deployment, &globe.world)?;
        let regions = globe.world.regions.len().max(1);
        for (at, &ms) in globe.estimates_ms.iter().enumerate() {
            simulation.measure_rtt(at / regions, at % regions, ms);
        }
        Ok(simulation)
    }
}

/// The mistakes of a configuration that a scenario names are of other files.
type Read = Result<Scenario, Vec<Diagnostic>>;

fn scenario(root: &Table<'_>, directory: &Path) -> Option<Read> {
    let title = root.or("title", "A simulation", |v| v.string("a title")).to_owned();
    let seed = root.or("seed", 1, |v| v.integer(0..=u64::MAX));
    let begins_h = root.or("begins", 0.0, time_of_day);
    let length = root.or("length", 24 * HOUR, |v| v.duration(MINUTE..=72 * HOUR));
    let warm_up = root.or("warm_up", 15 * MINUTE, |v| v.duration(Duration::ZERO..=6 * HOUR));
    let demand = root.require("demand", "demand.peak = 100_000").and_then(demand);
    let estimate_error = root.or("rtt", Some(0.1), rtt);
    let capped_reports = root.or("capped_reports", false, |v| v.boolean());
    let regions = match root.one_of(&["region", "config"])? {
        value if value.name == "config" => configured(root, value, directory),
        value => own(root, value).map(Ok),
    };
    let regions = match regions? {
        Ok(regions) => regions,
        Err(of_config) => return Some(Err(of_config)),
    };
    let warm_up_s = warm_up.as_secs().next_multiple_of(60);
    let sites = &regions.sites;
    let incidents = root.get("incident").map_or(Some(Vec::new()), |v| incidents::read(v, sites, warm_up_s));
    let demand = demand?;
    Some(Ok(Scenario {
        title,
        drawing: Drawing {
            seed,
            regions: regions.sites,
            cities: demand.cities,
            resolvers: demand.resolvers,
            peak_demand: demand.peak,
            trough: demand.trough,
            estimate_error,
            skew: USUAL_SKEW,
            ttl_s: regions.ttl.as_secs(),
        },
        course: course(warm_up_s, length, begins_h, incidents?, capped_reports),
        deployment: regions.deployment,
        failover_ttl: regions.failover_ttl,
        weights: regions.weights,
    }))
}

fn course(warm_up_s: u64, length: Duration, begins_h: f64, incidents: Vec<Incident>, capped_reports: bool) -> Course {
    Course {
        warm_up_s,
        length_s: length.as_secs().next_multiple_of(60),
        begins_h: begins_h - warm_up_s as f64 / 3600.0,
        incidents,
        capped_reports,
        ..Course::default()
    }
}

/// `"17:30"`: hours of the day, UTC.
fn time_of_day(value: Value<'_>) -> Option<f64> {
    value.text("a time of the day (UTC) such as \"17:30\"", |text| {
        let (hours, minutes) = text.split_once(':').ok_or("not HH:MM")?;
        let number = |text: &str, below: u8| text.parse::<u8>().ok().filter(|number| *number < below);
        let (hours, minutes) = (number(hours, 24).ok_or("not HH:MM")?, number(minutes, 60).ok_or("not HH:MM")?);
        Ok::<f64, &str>(f64::from(hours) + f64::from(minutes) / 60.0)
    })
}

/// `[demand]`.
struct Demand {
    peak: f64,
    trough: f64,
    cities: usize,
    resolvers: usize,
}

fn demand(value: Value<'_>) -> Option<Demand> {
    value.table("`demand`", |table| {
        let peak = table.require("peak", "peak = 100_000");
        let peak = peak.and_then(|v| v.number("a number above 0, up to 1e12", |n| n > 0.0 && n <= 1e12));
        let trough = table.or("trough", 0.4, |v| v.number("a part of the peak, 0 to 1", |n| (0.0..=1.0).contains(&n)));
        let cities = table.or("cities", CITIES.len(), |v| v.small(1..=CITIES.len() as u64));
        let resolvers = table.or("resolvers", 2000, |v| v.small(1..=100_000));
        Some(Demand { peak: peak?, trough, cities, resolvers })
    })
}

/// The error of estimates; `None`: there are none.
fn rtt(value: Value<'_>) -> Option<Option<f64>> {
    value.table("`rtt`", |table| {
        let measured = table.or("measured", true, |v| v.boolean());
        let error = table.or("error", 0.1, |v| v.number("a part, 0 to 0.9", |n| (0.0..=0.9).contains(&n)));
        Some(measured.then_some(error))
    })
}

/// The regions, and how they are steered.
struct Regions {
    sites: Vec<Site>,
    deployment: Option<Deployment>,
    ttl: Ttl,
    failover_ttl: Ttl,
    weights: Weights,
}

fn own(root: &Table<'_>, value: Value<'_>) -> Option<Regions> {
    let entries = value.entries("tables: [region.NAME]")?;
    if entries.is_empty() || entries.len() > MAX_REGIONS {
        return value.unfit(&format!("1 to {MAX_REGIONS} regions"));
    }
    let sites: Vec<Option<Site>> = entries.iter().map(site).collect();
    let (ttl, failover_ttl, weights) = root.or("service", DEFAULTS, service);
    let sites = sites.into_iter().collect::<Option<Vec<Site>>>()?;
    Some(Regions { sites, deployment: None, ttl, failover_ttl, weights })
}

const DEFAULTS: (Ttl, Ttl, Weights) =
    (Ttl::saturating(30), Ttl::saturating(5), Weights { latency: 0.5, load: 0.3, cost: 0.2 });

fn site(entry: &Entry<'_>) -> Option<Site> {
    entry.value.table(format!("region `{}`", entry.value.name), |table| {
        let place = table.require("location", location::EXAMPLE).and_then(location::read);
        let capacity = table.require("capacity", "capacity = 20_000");
        let capacity = capacity.and_then(|v| v.number("a number above 0, up to 1e15", |n| n > 0.0 && n <= 1e15));
        let cost = table
            .or("cost", 0.0, |v| v.number("dollars per million requests, 0 to 1000000", |n| (0.0..=1e6).contains(&n)));
        Some(Site { name: entry.value.name.to_owned(), at: place?.coordinates?, cost, capacity: capacity? })
    })
}

fn service(value: Value<'_>) -> Option<(Ttl, Ttl, Weights)> {
    value.table("`service`", |table| {
        let (ttl, failover_ttl, weights) = DEFAULTS;
        let ttl = table.or("ttl", ttl, |v| v.ttl());
        let failover_ttl = table.or("failover_ttl", failover_ttl, |v| v.ttl());
        let weights = table.or("weights", weights, |v| {
            v.table("`weights`", |table| {
                let weight =
                    |key, default| table.or(key, default, |v| v.number("0 to 100", |n| (0.0..=100.0).contains(&n)));
                let Weights { latency, load, cost } = weights;
                Some(Weights {
                    latency: weight("latency", latency),
                    load: weight("load", load),
                    cost: weight("cost", cost),
                })
            })
        });
        Some((ttl, failover_ttl, weights))
    })
}

/// `config = "meridian.toml"` and `service = "www.gslb.example.com"`.
fn configured(root: &Table<'_>, value: Value<'_>, directory: &Path) -> Option<Result<Regions, Vec<Diagnostic>>> {
    let path = value.string("the path of a configuration")?;
    let service = root.require("service", "service = \"www.gslb.example.com\"")?;
    let wanted = service.text("the whole name of a service", Name::parse_absolute)?;
    let loaded = match config::load(&directory.join(path)) {
        Ok(loaded) => loaded,
        Err(mistakes) => return Some(Err(mistakes)),
    };
    let model = loaded.model;
    let Some(id) = model.service_ids().find(|&id| model.service(id).name == wanted) else {
        return unknown_service(service, &wanted, &model);
    };
    let sites: Option<Vec<Site>> =
        model.service(id).regions.iter().map(|&region| configured_site(&model, region, value)).collect();
    let (ttl, weights, failover_ttl) = {
        let service = model.service(id);
        (service.ttl, service.weights, service.failover_ttl)
    };
    let sites = sites?;
    Some(Ok(Regions { sites, deployment: Some(Deployment { model, service: id }), ttl, failover_ttl, weights }))
}

fn unknown_service<T>(value: Value<'_>, wanted: &Name, model: &Model) -> Option<T> {
    let known: Vec<String> = model.services.iter().map(|service| service.name.to_string()).collect();
    let mut unknown = Diagnostic::error(format!("the configuration has no service {wanted}"))
        .at(value.span(), "expected the name of one that it has");
    if let Some(name) = nearest(&wanted.to_string(), known.iter().map(String::as_str)) {
        unknown = unknown.help(format!("did you mean {name:?}?"));
    }
    value.report().push(unknown);
    None
}

/// The site that the configuration makes of a region; where it says no capacity, nothing can be simulated.
fn configured_site(model: &Model, id: crate::model::RegionId, value: Value<'_>) -> Option<Site> {
    let region = model.region(id);
    let name = region.name.to_string();
    match region.capacity {
        Some(capacity) => Some(Site { name, at: region.coordinates, cost: region.cost, capacity }),
        None => value.error(
            format!("the region {name} of this configuration has no `capacity`"),
            "without one nobody knows when it is overloaded",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Scenario, String> {
        let file = SourceFile::new("scenario.toml", text);
        let told = |mistakes: Vec<Diagnostic>| mistakes.iter().map(|mistake| mistake.render(false)).collect();
        Scenario::read(&file, Path::new("examples")).map_err(told)
    }

    const SMALL: &str = "[demand]\npeak = 10\n[region.a]\nlocation = { country = \"DE\" }\ncapacity = 5\n";

    #[test]
    fn little_need_be_said() {
        let scenario = read(SMALL).expect("a scenario");
        assert_eq!((scenario.course.length_s, scenario.course.warm_up_s), (86_400, 900));
        assert_eq!((scenario.drawing.seed, scenario.drawing.estimate_error), (1, Some(0.1)));
        assert_eq!(scenario.globe().world.failover_ttl.as_secs(), 5);
    }

    #[test]
    fn incidents_count_from_the_end_of_the_warm_up() {
        let text = format!("{SMALL}[[incident]]\nat = \"1m\"\nlasts = \"10s\"\nfeed_loss = {{ region = \"a\" }}\n");
        let scenario = read(&text).expect("a scenario");
        assert_eq!((scenario.course.incidents[0].from_s, scenario.course.incidents[0].until_s), (960, 970));
    }

    #[test]
    fn everything_may_be_said() {
        let text = "title = \"t\"\nseed = 7\nbegins = \"06:30\"\nlength = \"90s\"\nwarm_up = \"0s\"\ncapped_reports = true\n\
             rtt.measured = false\nservice = { ttl = \"20s\", failover_ttl = 2, weights = { cost = 1 } }\n";
        let incidents = "[[incident]]\nat = \"1m\"\nlasts = \"30s\"\nfailure = { region = \"a\", cold = \"0s\" }\n\
             [[incident]]\nat = \"0s\"\nflash_crowd = { city = \"Lagos\", radius_km = 0 }\n";
        let scenario = read(&format!("{text}{SMALL}{incidents}")).expect("a scenario");
        assert_eq!(scenario.course.length_s, 120, "whole minutes");
        assert!((scenario.course.begins_h - 6.5).abs() < 1e-9 && scenario.course.capped_reports);
        assert_eq!(scenario.drawing.estimate_error, None);
        let world = scenario.globe().world;
        assert_eq!((world.ttl.as_secs(), world.failover_ttl.as_secs(), world.weights.cost), (20, 2, 1.0));
        let dead = What::Dead { region: 0, cold_s: 0 };
        assert_eq!(scenario.course.incidents[0], Incident { from_s: 60, until_s: 90, what: dead });
        assert!(matches!(&scenario.course.incidents[1].what, What::FlashCrowd { cities, .. } if cities.len() == 1));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = "begins = \"25:00\"\nlenght = \"1h\"\n[demand]\npeak = 0\n[region.a]\ncapacity = 5\n[region.b]\n\
             location = { country = \"DE\" }\ncapacity = -1\n[[incident]]\nat = \"1m\"\nfailure = { region = \"c\" }\n\
             [[incident]]\nbrown_out = { region = \"a\", capacity = 2 }\nfeed_loss = {}\n\
             [[incident]]\nat = \"1m\"\nflash_crowd = { city = \"Seol\" }\n";
        let told = read(text).expect_err("mistakes");
        for mistake in [
            "not HH:MM",
            "did you mean `length`?",
            "`peak` is out of range",
            "`location` is missing in region `a`",
            "`capacity` is out of range",
        ] {
            assert!(told.contains(mistake), "{mistake}: {told}");
        }
        let told = read(&format!("{SMALL}{}", &text[text.find("[[").expect("incidents")..])).expect_err("mistakes");
        for mistake in [
            "no region is called \"c\"",
            "`at` is missing",
            "`brown_out` and `feed_loss` cannot both stand",
            "did you mean \"Seoul\"?",
        ] {
            assert!(told.contains(mistake), "{mistake}: {told}");
        }
    }

    #[test]
    fn the_regions_may_be_those_of_a_configuration() {
        let text = "[demand]\npeak = 10\n";
        let told = read(&format!("config = \"nowhere.toml\"\nservice = \"www.gslb.example\"\n{text}"));
        assert!(told.expect_err("a mistake").contains("nowhere.toml"));
        let both = read(&format!("config = \"x.toml\"\n{SMALL}")).expect_err("a mistake");
        assert!(both.contains("`region` and `config` cannot both stand"), "{both}");
        let told = read(&format!("config = \"config/meridian.toml\"\nservice = \"ww.gslb.example\"\n{text}"));
        assert!(told.expect_err("a mistake").contains("has no service ww.gslb.example"));
    }

    use super::super::incident::What;
}
