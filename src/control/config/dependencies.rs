//! `depends_on` of regions, once all zones are read: names come in, [`Dependencies`] go out, or which names are unknown, are
//! several, or lead in a circle.

use std::collections::{BTreeMap, HashMap};

use crate::control::diagnostic::{Diagnostic, Span, nearest};
use crate::model::{Dependencies, Dependency, Model, RegionId, ZoneId};

/// A name in `depends_on`, and its place.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    pub span: Span,
}

/// So many unknown names are compared with those that there are.
const MOST_COMPARED: usize = 100;

/// The dependencies of these regions of the model.
pub fn resolve(
    model: &Model,
    depends_on: &[(RegionId, Vec<Named>)],
    diagnostics: &mut Vec<Diagnostic>,
) -> Dependencies {
    if depends_on.is_empty() {
        return Dependencies::default();
    }
    let names = Names::of(model);
    let mut of: BTreeMap<RegionId, Vec<Dependency>> = BTreeMap::new();
    let mut places: HashMap<(RegionId, Dependency), &Span> = HashMap::new();
    let mut mistakes = 0;
    for (region, named) in depends_on {
        let zone = model.region(*region).zone;
        for Named { name, span } in named {
            let found = names.find(zone, name);
            if let [on] = *found {
                places.entry((*region, on)).or_insert(span);
                of.entry(*region).or_default().push(on);
                continue;
            }
            mistakes += 1;
            diagnostics.push(match found.is_empty() {
                true => names.unknown(zone, name, mistakes <= MOST_COMPARED).at(span.clone(), NAME),
                false => several(model, name, &found).at(span.clone(), "say which by its whole name"),
            });
        }
    }
    Dependencies::new(of, &model.services).unwrap_or_else(|circle| {
        let [Dependency::Region(first), ..] = *circle else { return Dependencies::default() };
        let place = places.get(&(first, *circle.get(1).unwrap_or(&circle[0])));
        let error = in_a_circle(model, &circle);
        diagnostics.push(match place {
            Some(place) => error.at((*place).clone(), "the circle goes on here"),
            None => error,
        });
        Dependencies::default()
    })
}

const NAME: &str =
    "expected a service (its whole name, or what comes before the origin), or a region (its name, or name@zone)";

fn several(model: &Model, name: &str, found: &[Dependency]) -> Diagnostic {
    let names: Vec<String> = found.iter().map(|&on| format!("`{}`", model.dependency_name(on))).collect();
    Diagnostic::error(format!("`{name}` is the name of several: {}", names.join(", ")))
}

fn in_a_circle(model: &Model, circle: &[Dependency]) -> Diagnostic {
    let steps = circle.iter().chain(circle.first());
    let names: Vec<String> = steps.map(|&on| model.dependency_name(on)).collect();
    Diagnostic::error(format!("regions depend on themselves: {}", names.join(" -> ")))
}

/// In lower case: whole names, and those that hold within a zone.
struct Names {
    whole: HashMap<String, Vec<Dependency>>,
    within: HashMap<(ZoneId, String), Vec<Dependency>>,
}

impl Names {
    fn of(model: &Model) -> Names {
        let mut names = Names { whole: HashMap::new(), within: HashMap::new() };
        for id in model.region_ids() {
            let (region, on) = (model.region(id), Dependency::Region(id));
            names.whole.entry(model.qualified_region_name(id).to_lowercase()).or_default().push(on);
            names.within.entry((region.zone, region.name.to_lowercase())).or_default().push(on);
        }
        for id in model.service_ids() {
            let (key, zone, on) = (model.service_key(id), model.service(id).zone, Dependency::Service(id));
            let origin = model.zone(zone).origin.to_lowercase().to_string();
            let within = key.strip_suffix(origin.strip_suffix('.').unwrap_or(&origin));
            if let Some(within) = within.and_then(|within| within.strip_suffix('.')) {
                names.within.entry((zone, within.to_owned())).or_default().push(on);
            }
            names.whole.entry(key).or_default().push(on);
        }
        names
    }

    fn find(&self, zone: ZoneId, name: &str) -> Vec<Dependency> {
        let name = name.to_lowercase();
        let whole = self.whole.get(name.strip_suffix('.').unwrap_or(&name));
        let within = self.within.get(&(zone, name.clone()));
        let mut found: Vec<Dependency> = whole.into_iter().chain(within).flatten().copied().collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn unknown(&self, zone: ZoneId, name: &str, compared: bool) -> Diagnostic {
        let error = Diagnostic::error(format!("no service or region is called `{name}`"));
        let own = self.within.keys().filter(|(of, _)| *of == zone).map(|(_, name)| name);
        let mut known: Vec<&str> = own.chain(self.whole.keys()).map(String::as_str).collect();
        known.sort_unstable();
        match nearest(name, known).filter(|_| compared) {
            Some(meant) => error.help(format!("did you mean `{meant}`?")),
            None => error,
        }
    }
}
