//! Recipes: what decides a service's answers besides the regions' states, each once.
//!
//! Services in, the recipe of each out. A hundred names with one policy are one recipe, and cost what one does. Made
//! once per model, and anew where an operator switches a service to another stage or shifts its canary.

use std::collections::{BTreeMap, HashMap};

use crate::model::{EndpointTarget, Model, PolicyTree, RegionId, Service, ServiceId, Switched, Weights};
use crate::steer::choice::pick::Identity;
use crate::steer::policy::shape::Shape;

/// The recipes of one model.
#[derive(Debug)]
pub struct Recipes {
    /// By service: into `list`.
    of_service: Vec<u32>,
    list: Vec<Recipe>,
    /// By standing: a recipe that stands so, into `list`.
    standings: Vec<u32>,
    switched: BTreeMap<ServiceId, Switched>,
    seed: u64,
    /// Who each region is among others that clients are hashed to, by [`RegionId`].
    pub identities: Vec<Identity>,
}

/// One way to decide.
#[derive(Debug)]
pub struct Recipe {
    /// A service that is decided so.
    pub example: ServiceId,
    /// The words of operators on the service.
    pub switched: Switched,
    pub shape: Shape,
    /// The regions that some of its clients may get, in the service's order.
    pub regions: Vec<RegionId>,
    /// Its place among the standings: recipes with the same regions in the same entries stand alike.
    pub standing: u32,
    /// It asks how far regions are.
    pub measures: bool,
    pub offers: Offers,
    /// Its clients may be answered otherwise for where they are.
    pub depends_on_place: bool,
}

/// The kinds of answers that the regions of a service, taken together, can give, whatever their health:
/// what a client may be told once it is sent elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    pub ipv4: bool,
    pub ipv6: bool,
    /// Host names, answered as CNAME whatever the type that is asked.
    pub hosts: bool,
}

/// What makes two services one recipe.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    policies: &'a PolicyTree,
    switched: Switched,
    /// As bits, which compare and hash.
    weights: [u64; 3],
    bias_ms: &'a BTreeMap<RegionId, i16>,
}

impl Key<'_> {
    fn of(service: &Service, switched: Switched) -> Key<'_> {
        let Weights { latency, load, cost } = service.weights;
        let weights = [latency, load, cost].map(f64::to_bits);
        Key { policies: &service.policies, switched, weights, bias_ms: &service.bias_ms }
    }
}

impl Recipes {
    pub fn of(model: &Model, switched: &BTreeMap<ServiceId, Switched>, seed: u64) -> Recipes {
        let (mut keys, mut standings) = (HashMap::new(), HashMap::new());
        let mut recipes = Recipes {
            of_service: Vec::with_capacity(model.services.len()),
            list: Vec::new(),
            standings: Vec::new(),
            switched: switched.clone(),
            seed,
            identities: model.region_ids().map(|id| Identity::of(seed, &model.qualified_region_name(id))).collect(),
        };
        for id in model.service_ids() {
            let (service, switched) = (model.service(id), switched.get(&id).copied().unwrap_or_default());
            let next = recipes.list.len() as u32; // at most one per service, and those are u32
            let number = *keys.entry(Key::of(service, switched)).or_insert(next);
            if number == next {
                let mut recipe = Recipe::of(model, id, switched, seed);
                let entries: Vec<(Vec<RegionId>, Option<u16>)> =
                    recipe.shape.entries().map(|(regions, fence)| (regions.to_vec(), fence)).collect();
                recipe.standing = *standings.entry((entries, recipe.regions.clone())).or_insert_with(|| {
                    recipes.standings.push(next);
                    recipes.standings.len() as u32 - 1
                });
                recipes.list.push(recipe);
            }
            recipes.of_service.push(number);
        }
        recipes
    }

    /// Tells whether these are the recipes of a model that [steers alike](Model::steers_as) with these switches.
    pub fn fit(&self, switched: &BTreeMap<ServiceId, Switched>, seed: u64) -> bool {
        self.switched == *switched && self.seed == seed
    }

    /// The number of a service's recipe, into [`Recipes::list`].
    pub fn number(&self, id: ServiceId) -> Option<usize> {
        self.of_service.get(id.index()).map(|&number| number as usize)
    }

    pub fn of_service(&self, id: ServiceId) -> Option<&Recipe> {
        self.list.get(self.number(id)?)
    }

    pub fn list(&self) -> &[Recipe] {
        &self.list
    }

    /// For each standing a recipe that stands so.
    pub fn standings(&self) -> impl ExactSizeIterator<Item = &Recipe> {
        self.standings.iter().map(|&number| &self.list[number as usize]) // made with the list
    }
}

impl Recipe {
    fn of(model: &Model, example: ServiceId, switched: Switched, seed: u64) -> Recipe {
        let service = model.service(example);
        let regions = service.regions_in_use(switched.stage).into_owned();
        Recipe {
            example,
            switched,
            shape: Shape::of(service, switched, seed),
            standing: 0,
            measures: service.policies.measures(),
            offers: offers(model, &regions),
            depends_on_place: service.policies.depends_on_place(),
            regions,
        }
    }
}

fn offers(model: &Model, regions: &[RegionId]) -> Offers {
    let endpoints = regions.iter().flat_map(|&region| &model.region(region).endpoints);
    endpoints.fold(Offers::default(), |offers, endpoint| match &endpoint.target {
        EndpointTarget::Host(_) => Offers { hosts: true, ..offers },
        EndpointTarget::Addresses(addresses) => Offers {
            ipv4: offers.ipv4 || addresses.iter().any(std::net::IpAddr::is_ipv4),
            ipv6: offers.ipv6 || addresses.iter().any(std::net::IpAddr::is_ipv6),
            ..offers
        },
    })
}
