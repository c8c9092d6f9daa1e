//! Where clients are and where they are sent, few enough places to draw on a map.
//!
//! A [`World`] comes in; [`Flows`] go out: its clients by place, which are merged by a grid that is as coarse as it
//! must be, and of each place the regions that have them, beside the region that is nearest. Takes as long as a plan
//! does, so never on a thread that answers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::atlas::PlaceId;
use crate::model::{Coordinates, RegionId, ServiceId};

use super::World;
use super::placed::{Clients, Counted};

/// Places told of, at most: a map shows no more. The coarsest grid has fewer cells.
const MOST_PLACES: usize = 300;
/// Ways told of for one place, at most: the largest.
const MOST_WAYS: usize = 16;
/// The grids that are tried, by the sides of their cells in degrees; 0: each position by itself.
const GRIDS: [f64; 6] = [0.0, 1.0, 2.5, 5.0, 10.0, 20.0];

/// Clients by place, and the regions they are sent to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Flows {
    /// Of the snapshot they are answered from.
    pub generation: u64,
    /// The one service whose clients these are; `None`: those of all.
    pub service: Option<String>,
    pub counted: Counted,
    /// The way clients are shared out: `planned`, or `by price` and why.
    pub by: String,
    /// All of it, in the unit of the load reports, or places.
    pub amount: f64,
    /// The part of `amount` that no region has.
    pub unanswered: f64,
    /// The sides of the cells that places were merged in, in degrees; 0: they are as they were.
    pub grid_degrees: f64,
    /// All, in the order of the model.
    pub regions: Vec<FlowRegion>,
    /// 300 at most, the largest first.
    pub places: Vec<FlowPlace>,
    /// Remarks: what there is to know besides.
    pub notes: Vec<String>,
}

/// A region on the map.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FlowRegion {
    /// Qualified.
    pub name: String,
    pub latitude: f64,
    pub longitude: f64,
}

/// The clients of one place.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FlowPlace {
    /// Of those who are most; `None`: it is not known where they are.
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    /// What the database calls it, such as `Seoul, KR`; `None`: nothing.
    pub name: Option<String>,
    /// An IPv4 address there, to ask with; `None`: there is none.
    pub address: Option<String>,
    pub amount: f64,
    /// 16 at most, the largest first; empty: nobody answers them.
    pub ways: Vec<Way>,
}

/// Clients who are sent to one region, and have another or the same nearest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Way {
    /// Into the regions.
    pub region: usize,
    /// Of those that their service uses, up or not, the one of the least round-trip time; into the regions.
    pub nearest: Option<usize>,
    pub amount: f64,
    /// The mean to `region`, in milliseconds; `None`: not known.
    pub rtt_ms: Option<f64>,
}

impl World {
    /// The clients of one service, or of all, and where they are by the plan in force.
    pub fn flows(mut self, service: Option<ServiceId>) -> Flows {
        if service.is_some() {
            self.asking.retain(|asking| asking.service == service);
        }
        let placed = self.placed();
        let (grid_degrees, cells) = merged(&placed.clients);
        let model = &self.snapshot.model;
        let used = |id: ServiceId| {
            model.service(id).regions_in_use(self.switched.get(&id).and_then(|switched| switched.stage))
        };
        let used: Vec<Cow<'_, [RegionId]>> = model.service_ids().map(used).collect();
        let mut places: Vec<Gathered> =
            cells.into_values().map(|of| self.gather(&placed.clients, &of, &used)).collect();
        places.sort_by(|a, b| b.place.amount.total_cmp(&a.place.amount));
        self.name(&mut places);
        let regions = model.region_ids().map(|id| {
            let at = model.region(id).coordinates;
            FlowRegion { name: model.qualified_region_name(id), latitude: at.latitude(), longitude: at.longitude() }
        });
        let sum = |amounts: &mut dyn Iterator<Item = &Clients>| amounts.fold(0.0, |sum, clients| sum + clients.amount);
        Flows {
            generation: placed.generation,
            service: service.map(|id| model.service_key(id)),
            counted: placed.counted,
            by: placed.by.clone(),
            amount: sum(&mut placed.clients.iter()),
            unanswered: sum(&mut placed.clients.iter().filter(|clients| clients.on.is_empty())),
            grid_degrees,
            regions: regions.collect(),
            places: places.into_iter().map(|gathered| gathered.place).collect(),
            notes: placed.notes,
        }
    }

    /// One place of these clients.
    fn gather(&self, clients: &[Clients], chosen: &[usize], used: &[Cow<'_, [RegionId]>]) -> Gathered {
        let mut ways: BTreeMap<(usize, Option<usize>), (f64, f64)> = BTreeMap::new();
        let mut spots: BTreeMap<usize, f64> = BTreeMap::new();
        for &index in chosen {
            let (clients, asking) = (&clients[index], &self.asking[index]);
            let regions = asking.service.and_then(|id| used.get(id.index()));
            let nearest = regions.zip(asking.spot).and_then(|(regions, spot)| self.nearest(regions, spot));
            asking.spot.into_iter().for_each(|spot| *spots.entry(spot).or_default() += clients.amount);
            for on in &clients.on {
                let (amount, times_rtt) = ways.entry((on.region, nearest)).or_default();
                *amount += clients.amount * on.part;
                *times_rtt += clients.amount * on.part * on.rtt_ms;
            }
        }
        let amount = chosen.iter().fold(0.0, |sum, &index| sum + clients[index].amount);
        let spot = spots.into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(spot, _)| spot);
        let (latitude, longitude) = parts(spot.and_then(|spot| self.spots.position(spot)));
        let way = |((region, nearest), (amount, times_rtt)): (_, (f64, f64))| Way {
            region,
            nearest,
            amount,
            rtt_ms: Some(times_rtt / amount).filter(|ms| ms.is_finite()),
        };
        let mut ways: Vec<Way> = ways.into_iter().map(way).filter(|way| way.amount > 0.0).collect();
        ways.sort_by(|a, b| b.amount.total_cmp(&a.amount));
        ways.truncate(MOST_WAYS);
        let place = FlowPlace { latitude, longitude, name: None, address: None, amount, ways };
        Gathered { place, of: spot.and_then(|spot| self.spots.member(spot)) }
    }

    /// Of these regions, the one of the least round-trip time.
    fn nearest(&self, regions: &[RegionId], spot: usize) -> Option<usize> {
        let timed = regions.iter().map(|&id| (self.spots.rtt_ms(&self.snapshot.model, spot, id), id));
        timed.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, id)| id.index())
    }

    /// Tells what places are called, and an address in each.
    fn name(&self, places: &mut [Gathered]) {
        let atlas = &self.snapshot.atlas;
        let members: Vec<PlaceId> = places.iter().filter_map(|gathered| gathered.of).collect();
        let mut examples = atlas.examples(&members).into_iter();
        for gathered in places {
            let Some(of) = gathered.of else { continue };
            let location = atlas.location(of);
            let words: Vec<&str> = [
                location.city.as_deref(),
                location.subdivision.as_deref().filter(|_| location.city.is_none()),
                location.country.as_ref().map(|country| country.as_str()),
            ]
            .into_iter()
            .flatten()
            .collect();
            gathered.place.name = (!words.is_empty()).then(|| words.join(", "));
            gathered.place.address = examples.next().flatten().map(|address| address.to_string());
        }
    }
}

/// A place, and one of the atlas in it.
struct Gathered {
    place: FlowPlace,
    of: Option<PlaceId>,
}

fn parts(at: Option<Coordinates>) -> (Option<f64>, Option<f64>) {
    (at.map(|at| at.latitude()), at.map(|at| at.longitude()))
}

type Cell = Option<(i64, i64)>;

/// Clients, by their numbers, in the cells of the finest grid that has few enough, and the sides of those.
fn merged(clients: &[Clients]) -> (f64, HashMap<Cell, Vec<usize>>) {
    let cell = |clients: &Clients, degrees: f64| -> Cell {
        let part = |angle: f64| if degrees > 0.0 { (angle / degrees).floor() as i64 } else { angle.to_bits() as i64 };
        clients.at().map(|at| (part(at.latitude()), part(at.longitude())))
    };
    let few = |degrees: &f64| {
        let mut known = BTreeSet::new();
        clients.iter().all(|clients| {
            known.insert(cell(clients, *degrees));
            known.len() <= MOST_PLACES
        })
    };
    let degrees = GRIDS.into_iter().find(few).unwrap_or(GRIDS[GRIDS.len() - 1]);
    let mut cells: HashMap<Cell, Vec<usize>> = HashMap::new();
    for (index, clients) in clients.iter().enumerate() {
        cells.entry(cell(clients, degrees)).or_default().push(index);
    }
    (degrees, cells)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::control::what_if::tests::planned;
    use crate::state::{News, Snapshot};
    use crate::steer::health::effective::Override;
    use crate::steer::testing::moment;

    fn snapshot(down: Option<&str>) -> Arc<Snapshot> {
        let (mut publisher, now) = planned();
        if let Some(region) = down {
            publisher.apply(News::set_override(region, Override::Down), moment(now));
            publisher.publish(moment(now));
        }
        publisher.shared().load_full()
    }

    #[test]
    fn every_place_tells_how_many_go_where() {
        let flows = World::of(snapshot(None)).flows(Some(ServiceId(0)));
        assert_eq!((flows.counted, flows.places.len(), flows.grid_degrees), (Counted::Demand, 10, 0.0));
        assert_eq!(flows.service.as_deref(), Some("www.gslb.example"));
        let all: f64 = flows.places.iter().map(|place| place.amount).sum();
        assert!((all - flows.amount).abs() < 1e-6 && flows.amount > 700.0 && flows.unanswered == 0.0, "{flows:#?}");
        for place in &flows.places {
            let sent: f64 = place.ways.iter().map(|way| way.amount).sum();
            assert!((sent - place.amount).abs() < 1e-6, "{place:#?}");
            assert!(place.address.as_deref().is_some_and(|address| address.starts_with("10.")), "{place:#?}");
        }
        assert_eq!(flows.regions[1].longitude, 45.0);
    }

    #[test]
    fn who_is_sent_past_the_nearest_region_is_told() {
        let flows = World::of(snapshot(Some("west@gslb.example"))).flows(None);
        let first = flows.places.iter().find(|place| place.longitude == Some(0.0)).expect("the first place");
        assert!(first.ways.iter().all(|way| way.nearest == Some(0) && way.region != 0), "{first:#?}");
        assert_eq!(first.address.as_deref(), Some("10.0.0.0"));
    }

    #[test]
    fn however_many_positions_there_are_the_places_are_few() {
        let clients = |n: u32| Clients {
            service: 0,
            latitude: Some(f64::from(n % 180) - 90.0),
            longitude: Some(f64::from(n / 180) / 3.0 - 180.0),
            amount: 1.0,
            on: Vec::new(),
        };
        let many: Vec<Clients> = (0..180 * 1080).map(clients).collect();
        let (degrees, cells) = merged(&many);
        assert!(cells.len() <= MOST_PLACES && degrees > 0.0, "{degrees} {}", cells.len());
        assert_eq!(cells.values().map(Vec::len).sum::<usize>(), many.len());
    }
}
