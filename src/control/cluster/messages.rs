//! Messages from node to node: octets in, facts out, and back. All begin with their [`FORM`].

use std::time::{Duration, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::control::cluster::words::Word;
use crate::control::load_report::{LoadSample, LoadUpdate};
use crate::model::{RegionId, ServiceId};
use crate::state::memory::planning::kept_form::KeptPlanning;
use crate::state::memory::planning::role::SiteSample;
use crate::steer::health::degraded::BalancerHealth;
use crate::steer::kept::Clock;

/// Another form of any message, or of what is nested in it, is another number: nodes that speak another one plan by
/// themselves, since it goes into the model's hash.
pub const FORM: u8 = 2;

/// A leader's plan, and all that whoever leads next has to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanBody {
    /// When it was handed out, by the leader's clock: times in it are by that.
    pub unix_ms: u64,
    pub planning: KeptPlanning,
}

/// Every second from each node to each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    pub boot: u64,
    /// Grows by one with each: an earlier one that comes late is not listened to.
    pub number: u64,
    pub generation: u64,
    /// Epoch and number of the plan in force there.
    pub plan: Option<(i64, u64)>,
    /// What came there since the last one.
    pub loads: Vec<SharedLoad>,
    /// How long connections to each region take from there, in milliseconds: now and then.
    pub connects: Vec<(String, f32)>,
    /// Words of operators that hold there alone, by key.
    pub here: Vec<(String, Word)>,
}

/// A load report that a node had from a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedLoad {
    /// Qualified.
    pub region: String,
    /// The age of its figure when this was sent: nodes' clocks need not agree.
    pub age_ms: u64,
    pub load: f64,
    pub capacity: Option<f64>,
    pub health: Option<SharedHealth>,
}

impl SharedLoad {
    /// `None`: it failed, and that is nobody else's matter.
    pub fn of(update: &LoadUpdate, now: &Clock) -> Option<SharedLoad> {
        let sample = update.outcome.as_ref().ok()?;
        let at_ms = update.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let health = update.health.as_ref().and_then(|health| health.as_ref().ok());
        Some(SharedLoad {
            region: update.region.to_string(),
            age_ms: now.unix_ms().saturating_sub(at_ms),
            load: sample.load,
            capacity: sample.capacity,
            health: health.map(|&BalancerHealth { up, servers, errors, down }| SharedHealth {
                up,
                servers,
                errors,
                down,
            }),
        })
    }

    /// As if it had come here. `None`: no figure that makes sense.
    pub fn update(self, now: &Clock) -> Option<LoadUpdate> {
        let part = |part: Option<f64>| part.is_none_or(|part| (0.0..=1.0).contains(&part));
        let sound = (0.0..=MOST_LOAD).contains(&self.load)
            && self.capacity.is_none_or(|capacity| capacity > 0.0 && capacity <= MOST_LOAD)
            && self.health.is_none_or(|health| part(health.up) && part(health.errors));
        let at = UNIX_EPOCH + Duration::from_millis(now.unix_ms().saturating_sub(self.age_ms));
        let health = |SharedHealth { up, servers, errors, down }| BalancerHealth { up, servers, errors, down };
        sound.then(|| LoadUpdate {
            region: self.region.into(),
            at,
            outcome: Ok(LoadSample { load: self.load, capacity: self.capacity, at: Some(at) }),
            health: self.health.map(|word| Ok(health(word))),
        })
    }
}

/// As of [`LoadSample`].
const MOST_LOAD: f64 = 1e15;

/// See [`BalancerHealth`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedHealth {
    pub up: Option<f64>,
    pub servers: Option<u32>,
    pub errors: Option<f64>,
    pub down: bool,
}

/// The octets of a message.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Plain data always has a form; an empty message is refused by whoever gets it.
    postcard::to_extend(message, vec![FORM]).unwrap_or_default()
}

/// # Errors
/// A sentence on what is wrong with it.
pub fn decode<T: DeserializeOwned>(octets: &[u8]) -> Result<T, String> {
    match octets.split_first() {
        Some((&FORM, body)) => {
            postcard::from_bytes(body).map_err(|error| format!("a message that makes no sense: {error}"))
        }
        Some((form, _)) => Err(format!("a message of form {form}, and this version speaks form {FORM}")),
        None => Err("an empty message".into()),
    }
}

/// Amounts are told as steps of a factor from a least one on.
struct Scale {
    least: f64,
    step: f64,
    most_steps: u32,
}

/// Answers, within a thousandth of the truth.
const ANSWERS: Scale = Scale { least: 1e-3, step: 1.0005, most_steps: u16::MAX as u32 };
/// The life of an answer in seconds, within 3 %.
const LIFE: Scale = Scale { least: 1.0, step: 1.06, most_steps: u8::MAX as u32 };

impl Scale {
    fn steps(&self, amount: f32) -> u32 {
        let steps = (f64::from(amount) / self.least).max(1.0).ln() / self.step.ln();
        (steps.round() as u32).min(self.most_steps)
    }

    fn amount(&self, steps: u32) -> f32 {
        (self.least * self.step.powi(steps.min(self.most_steps) as i32)) as f32
    }
}

/// What followers tell the leader, sorted by site: five octets for a site, and five for each sample there.
pub fn encode_demand(samples: &[SiteSample]) -> Vec<u8> {
    let mut sorted: Vec<&SiteSample> = samples.iter().collect();
    sorted.sort_unstable_by_key(|sample| (sample.site, sample.service, sample.region));
    let mut octets = vec![FORM];
    for site in sorted.chunk_by(|one, other| one.site == other.site) {
        let number = site.first().map_or(0, |sample| sample.site);
        octets.extend_from_slice(number.to_be_bytes().get(3..).unwrap_or_default());
        varint(&mut octets, site.len() as u64);
        let mut service = 0;
        for sample in site {
            varint(&mut octets, u64::from(sample.service.0 - service));
            service = sample.service.0;
            varint(&mut octets, u64::from(sample.region.0));
            octets.extend_from_slice(&(ANSWERS.steps(sample.weight / sample.ttl_s) as u16).to_be_bytes());
            octets.push(LIFE.steps(sample.ttl_s) as u8);
        }
    }
    octets
}

/// As many samples are read of one message at most.
const MOST_SAMPLES: usize = 4_000_000;

/// # Errors
/// It is cut off, or makes no sense.
pub fn decode_demand(octets: &[u8]) -> Result<Vec<SiteSample>, String> {
    let cut = || "a message that is cut off".to_owned();
    let (form, mut rest) = octets.split_first().ok_or_else(cut)?;
    if *form != FORM {
        return Err(format!("a message of form {form}, and this version speaks form {FORM}"));
    }
    let mut samples = Vec::new();
    while !rest.is_empty() {
        let mut site = [0; 8];
        let (number, after) = rest.split_at_checked(5).ok_or_else(cut)?;
        site[3..].copy_from_slice(number);
        rest = after;
        let mut service = 0u32;
        for _ in 0..read_varint(&mut rest).ok_or_else(cut)? {
            let step = u32::try_from(read_varint(&mut rest).ok_or_else(cut)?).map_err(|_| "a service beyond all")?;
            service = service.checked_add(step).ok_or("a service beyond all")?;
            let region = u16::try_from(read_varint(&mut rest).ok_or_else(cut)?).map_err(|_| "a region beyond all")?;
            let (&[high, low, life], after) = rest.split_first_chunk().ok_or_else(cut)?;
            rest = after;
            let ttl_s = LIFE.amount(u32::from(life));
            let weight = ANSWERS.amount(u32::from(u16::from_be_bytes([high, low]))) * ttl_s;
            let (service, site) = (ServiceId(service), u64::from_be_bytes(site));
            samples.push(SiteSample { service, site, region: RegionId(region), weight, ttl_s });
            if samples.len() > MOST_SAMPLES {
                return Err("more samples than there can be".into());
            }
        }
    }
    Ok(samples)
}

fn varint(octets: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        octets.push(number as u8 | 0x80);
        number >>= 7;
    }
    octets.push(number as u8);
}

fn read_varint(octets: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&octet, rest) = octets.split_first()?;
        *octets = rest;
        number |= u64::from(octet & 0x7f) << shift;
        if octet < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::memory::planning::role::SITE_BITS;

    fn sample(site: u64, service: u32, region: u16, weight: f32, ttl_s: f32) -> SiteSample {
        SiteSample { service: ServiceId(service), site, region: RegionId(region), weight, ttl_s }
    }

    #[test]
    fn demand_comes_back_as_it_was() {
        let samples = [
            sample(7, 0, 3, 30.0, 5.0),
            sample(7, 9_999, 1_023, 1e6, 300.0),
            sample(7, 0, 1, 0.5, 30.0),
            sample(SITE_BITS, 4, 0, 12_345.0, 1.0),
        ];
        let read = decode_demand(&encode_demand(&samples)).expect("it makes sense");
        let order = [2, 0, 1, 3];
        for (read, sent) in read.iter().zip(order.map(|at| samples[at])) {
            assert_eq!((read.site, read.service, read.region), (sent.site, sent.service, sent.region));
            let answers = |of: &SiteSample| of.weight / of.ttl_s;
            assert!((answers(read) / answers(&sent) - 1.0).abs() < 1e-3, "{read:?} {sent:?}");
            assert!((read.ttl_s / sent.ttl_s - 1.0).abs() < 0.031, "{read:?} {sent:?}");
        }
        assert_eq!(read.len(), 4);
        assert_eq!(decode_demand(&encode_demand(&[])), Ok(Vec::new()));
    }

    #[test]
    fn fifty_thousand_places_and_fifty_services_take_a_megabyte() {
        // One of twenty combinations is asked for within ten seconds.
        let samples: Vec<SiteSample> = (0..50_000u64)
            .flat_map(|site| {
                (0..50u32)
                    .filter(move |service| (site + u64::from(*service) * 7) % 20 == 0)
                    .map(move |service| sample(site * 22_000_003, service, 5, 30.0, 30.0))
            })
            .collect();
        let octets = encode_demand(&samples).len();
        assert!(samples.len() == 125_000 && octets <= 1_000_000, "{} samples, {octets} octets", samples.len());
    }

    #[test]
    fn no_octets_do_harm() {
        let whole = encode_demand(&[sample(7, 300, 3, 30.0, 5.0)]);
        for end in 0..whole.len() {
            assert!(end == 1 || decode_demand(&whole[..end]).is_err(), "{end}");
        }
        assert!(decode_demand(&[FORM + 1, 0]).is_err());
        assert!(decode_demand(&[&[FORM][..], &[0xff; 40]].concat()).is_err());
        assert!(decode::<Beat>(&[]).is_err() && decode::<Beat>(&[FORM]).is_err() && decode::<Beat>(&[9, 9]).is_err());
        let beat = Beat { boot: 1, number: 2, connects: vec![("seoul@x".into(), 1.5)], ..Beat::default() };
        assert_eq!(decode(&encode(&beat)), Ok(beat));
    }
}
