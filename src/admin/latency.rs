//! Measured round trips: what there is, for people; and the operator's tables, taken in.
//!
//! `GET /v1/latency?region=R&network=N&country=C&limit=L` and `POST /v1/latency[?replace=true]`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::rum::store::Row;
use crate::control::rum::{Event, Measurements};
use crate::model::{CountryCode, Prefix};
use crate::state::Snapshot;
use crate::steer::latency::rtt::{ClientGroup, MeasuredBy};

/// Figures shown where nobody says how many.
const SHOWN: usize = 1_000;

/// Which figures are asked for; all where nothing is said.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Bare or qualified.
    region: Option<String>,
    /// An address or a network: those around and inside it, and what its clients fall back on.
    network: Option<String>,
    /// With its operators.
    country: Option<String>,
    /// At most so many. Default 1,000.
    limit: Option<usize>,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LatencyReport {
    /// Those asked for, by group and region.
    pub figures: Vec<FigureRow>,
    /// How many there are of those asked for, shown or not.
    pub found: usize,
    pub counts: Vec<Count>,
    /// Why measurements cannot be kept, or could not be read.
    pub trouble: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FigureRow {
    pub group: String,
    /// Qualified.
    pub region: String,
    /// The median.
    pub ms: f64,
    /// One standard error; 0 where it is not known.
    pub uncertainty_ms: f64,
    /// Old ones count in part.
    pub samples: u32,
    /// Seconds since 1970.
    pub measured_at: u64,
    /// `users` or `import`.
    pub by: Cow<'static, str>,
    /// Plans go by it. If not, there are too few times yet, or clients know better than an import.
    pub used: bool,
}

/// How often something happened to plans, reports or samples since the start.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    pub of: Cow<'static, str>,
    pub outcome: Cow<'static, str>,
    pub count: u64,
}

/// What was measured, as far as it is asked for.
///
/// # Errors
/// What is asked for makes no sense; why, for people.
pub fn report(measurements: &Measurements, snapshot: &Snapshot, wanted: &Wanted) -> Result<LatencyReport, String> {
    let filter = Filter::new(snapshot, wanted)?;
    let mut rows: Vec<Row> = measurements.rows().into_iter().filter(|row| filter.fits(row)).collect();
    rows.sort_unstable_by(|a, b| (a.group, &a.region, a.used).cmp(&(b.group, &b.region, b.used)));
    let found = rows.len();
    rows.truncate(wanted.limit.unwrap_or(SHOWN));
    Ok(LatencyReport {
        figures: rows.into_iter().map(shown).collect(),
        found,
        counts: counts(measurements),
        trouble: measurements.trouble(),
    })
}

/// How often everything happened.
pub fn counts(measurements: &Measurements) -> Vec<Count> {
    let count = |event: Event| {
        let (of, outcome) = event.words();
        Count { of: of.into(), outcome: outcome.into(), count: measurements.count(event) }
    };
    Event::ALL.into_iter().map(count).collect()
}

fn shown(row: Row) -> FigureRow {
    let estimate = row.estimate;
    let tenths = |ms: f64| (ms * 10.0).round() / 10.0;
    FigureRow {
        group: row.group.to_string(),
        region: row.region,
        ms: tenths(estimate.ms),
        uncertainty_ms: tenths(estimate.uncertainty_ms),
        samples: estimate.samples,
        measured_at: estimate.measured_at,
        by: match estimate.by {
            MeasuredBy::Users => "users".into(),
            MeasuredBy::Import => "import".into(),
        },
        used: row.used,
    }
}

/// What is asked for, understood.
struct Filter {
    region: Option<String>,
    network: Option<Prefix>,
    /// What clients of the network fall back on.
    coarser: Vec<ClientGroup>,
    country: Option<CountryCode>,
}

impl Filter {
    fn new(snapshot: &Snapshot, wanted: &Wanted) -> Result<Filter, String> {
        let network = wanted.network.as_deref().map(network).transpose()?;
        let country =
            wanted.country.as_deref().map(|text| text.parse().map_err(|error| format!("`{text}` is {error}")));
        let coarser = network.map_or_else(Vec::new, |network| {
            let place = snapshot.atlas.locate(network.address()).place;
            let (asn, country) = snapshot.atlas.operator(place);
            let operator = asn.zip(country).map(|(asn, country)| ClientGroup::Operator { asn, country });
            operator.into_iter().chain(country.map(ClientGroup::Country)).collect()
        });
        Ok(Filter { region: wanted.region.clone(), network, coarser, country: country.transpose()? })
    }

    fn fits(&self, row: &Row) -> bool {
        let named = |wanted: &String| row.region == *wanted || row.region.split('@').next() == Some(wanted);
        let near = |wanted: &Prefix| match row.group {
            ClientGroup::Network(network) => network.contains(wanted.address()) || wanted.contains(network.address()),
            coarser => self.coarser.contains(&coarser),
        };
        let inside = |wanted: &CountryCode| match row.group {
            ClientGroup::Network(_) => false,
            ClientGroup::Operator { country, .. } | ClientGroup::Country(country) => country == *wanted,
        };
        self.region.as_ref().is_none_or(named)
            && self.network.as_ref().is_none_or(near)
            && self.country.as_ref().is_none_or(inside)
    }
}

/// An address, or a network with or without bits beyond its length.
fn network(text: &str) -> Result<Prefix, String> {
    let wrong = || format!("`{text}` is neither an address nor a network such as 192.0.2.0/24");
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, len.parse::<u8>().map_err(|_| wrong())?),
        None => (text, 128),
    };
    Ok(Prefix::containing(address.parse().map_err(|_| wrong())?, len).unmapped())
}
