//! Measurements that the operator has: a table as CSV or JSON comes in; figures, or every mistake with
//! its line, go out.
//!
//! Columns, or keys: `network`, or `asn` and `country`, or `country`: whose clients; `region`, bare or
//! qualified; `rtt_ms`; and if they are known, `samples` and `at`, in seconds since 1970 or as
//! `2026-11-21T03:00:00Z`. JSON is an array of objects, or one object per line.

use std::collections::HashMap;

use jiff::civil::Date;
use serde_json::{Map, Value};

use crate::control::diagnostic::nearest;
use crate::model::{Model, Prefix};
use crate::steer::latency::rtt::ClientGroup;

use super::store::{Import, MAX_IMPORTS};

/// Octets of a table at most.
pub const MAX_OCTETS: usize = 16 << 20;
/// Mistakes told; the rest are counted.
const MAX_TOLD: usize = 100;
/// The longest round trip taken: beyond it something else than the path was slow.
const MOST_MS: f64 = 5000.0;
/// The widest networks taken: whole continents are no network.
const WIDEST_V4: u8 = 8;
const WIDEST_V6: u8 = 16;

const COLUMNS: [&str; 7] = ["network", "asn", "country", "region", "rtt_ms", "samples", "at"];

/// The form that a table is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
}

/// One figure: whose clients, the region's qualified name, how far.
pub type Figure = (ClientGroup, String, Import);

/// Reads a table, for the regions of a model.
///
/// # Errors
/// Every mistake (up to a hundred, then how many more), each with its line.
pub fn read(text: &str, format: Format, model: &Model, now: u64) -> Result<Vec<Figure>, Vec<String>> {
    let regions = Regions::of(model);
    let mut mistakes = Mistakes::default();
    let records = match format {
        Format::Csv => csv_records(text, &mut mistakes),
        Format::Json => json_records(text, &mut mistakes),
    };
    let mut figures = Vec::with_capacity(records.len());
    for (line, record) in &records {
        match figure(record, &regions, now) {
            Ok(figure) => figures.push(figure),
            Err(wrong) => wrong.into_iter().for_each(|mistake| mistakes.at(*line, mistake)),
        }
    }
    if records.is_empty() && mistakes.count == 0 {
        mistakes.at(1, "there is no figure here");
    }
    mistakes.or(figures)
}

#[derive(Default)]
struct Mistakes {
    told: Vec<(u64, String)>,
    count: usize,
}

impl Mistakes {
    fn at(&mut self, line: u64, mistake: impl AsRef<str>) {
        self.count += 1;
        if self.told.len() < MAX_TOLD {
            self.told.push((line, mistake.as_ref().to_owned()));
        }
    }

    fn or<T>(mut self, made: T) -> Result<T, Vec<String>> {
        if self.count == 0 {
            return Ok(made);
        }
        self.told.sort_by_key(|(line, _)| *line);
        let untold = self.count - self.told.len();
        let more = (untold > 0).then(|| format!("and {untold} more mistakes"));
        Err(self.told.into_iter().map(|(line, told)| format!("line {line}: {told}")).chain(more).collect())
    }
}

/// A row's cells by column, those that are empty left out.
type Record = HashMap<&'static str, String>;

fn csv_records(text: &str, mistakes: &mut Mistakes) -> Vec<(u64, Record)> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
    let columns: Vec<&'static str> = match reader.headers() {
        Ok(headers) => headers.iter().filter_map(|name| column(name, 1, mistakes)).collect(),
        Err(error) => {
            mistakes.at(1, error.to_string());
            return Vec::new();
        }
    };
    for (index, name) in columns.iter().enumerate() {
        if columns.iter().take(index).any(|before| before == name) {
            mistakes.at(1, format!("the column `{name}` is there twice"));
        }
    }
    if mistakes.count > 0 {
        return Vec::new();
    }
    let mut records = Vec::new();
    for record in reader.records().take(MAX_IMPORTS + 1) {
        match record {
            Ok(record) => {
                let line = record.position().map_or(0, csv::Position::line);
                let cells = columns.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
                records.push((line, cells.map(|(&name, cell)| (name, cell.to_owned())).collect()));
            }
            Err(error) => mistakes.at(error.position().map_or(0, csv::Position::line), csv_mistake(&error)),
        }
    }
    records
}

/// Without the place, which is told anyway.
fn csv_mistake(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("it has {len} cells, and the first line has {expected_len}")
        }
        _ => error.to_string(),
    }
}

fn column(name: &str, line: u64, mistakes: &mut Mistakes) -> Option<&'static str> {
    let known = COLUMNS.into_iter().find(|known| *known == name);
    if known.is_none() {
        let meant = nearest(name, COLUMNS).map(|near| format!("; did you mean `{near}`?"));
        let known = || format!("; those known are {}", COLUMNS.join(", "));
        mistakes.at(line, format!("`{name}` is no column{}", meant.unwrap_or_else(known)));
    }
    known
}

/// Items of an array, or of lines: read one by one, so that each is known by its line.
fn json_records(text: &str, mistakes: &mut Mistakes) -> Vec<(u64, Record)> {
    let mut records = Vec::new();
    let mut rest = text.trim_start();
    let mut line = 1 + newlines(text, rest);
    let in_array = rest.starts_with('[');
    if in_array {
        rest = rest.get(1..).unwrap_or_default();
    }
    while records.len() <= MAX_IMPORTS {
        let item = rest.trim_start();
        line += newlines(rest, item);
        if item.is_empty() || in_array && item.starts_with(']') {
            break;
        }
        let mut items = serde_json::Deserializer::from_str(item).into_iter::<Map<String, Value>>();
        match items.next() {
            Some(Ok(object)) => records.push((line, json_record(object, line, mistakes))),
            Some(Err(error)) => {
                mistakes.at(line + (error.line() as u64).saturating_sub(1), format!("not as expected: {error}"));
                break;
            }
            None => break,
        }
        let after = item.get(items.byte_offset()..).unwrap_or_default();
        line += newlines(item, after);
        let next = after.trim_start();
        line += newlines(after, next);
        rest = if in_array { next.strip_prefix(',').unwrap_or(next) } else { next };
    }
    records
}

/// The number of lines that end between the beginning of a text and its end part.
fn newlines(whole: &str, end: &str) -> u64 {
    let between = whole.get(..whole.len().saturating_sub(end.len())).unwrap_or_default();
    between.bytes().filter(|&octet| octet == b'\n').count() as u64
}

fn json_record(object: Map<String, Value>, line: u64, mistakes: &mut Mistakes) -> Record {
    let mut record = Record::new();
    for (name, value) in object {
        let Some(name) = column(&name, line, mistakes) else { continue };
        match value {
            Value::Null => {}
            Value::String(text) => drop(record.insert(name, text)),
            Value::Number(number) => drop(record.insert(name, number.to_string())),
            _ => mistakes.at(line, format!("`{name}` is neither text nor a number")),
        }
    }
    record
}

/// Regions by every name they go by, in lower case.
struct Regions {
    by_name: HashMap<String, Vec<String>>,
}

impl Regions {
    fn of(model: &Model) -> Regions {
        let mut by_name: HashMap<String, Vec<String>> = HashMap::new();
        for id in model.region_ids() {
            let qualified = model.qualified_region_name(id);
            by_name.entry(qualified.to_lowercase()).or_default().push(qualified.clone());
            by_name.entry(model.region(id).name.to_lowercase()).or_default().push(qualified);
        }
        Regions { by_name }
    }

    fn find(&self, name: &str) -> Result<String, String> {
        match self.by_name.get(&name.to_lowercase()).map(Vec::as_slice) {
            Some([only]) => Ok(only.clone()),
            Some(several) => Err(format!("several zones have a region `{name}`: say which of {}", several.join(", "))),
            None => {
                let near = nearest(name, self.by_name.keys().map(String::as_str));
                let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                Err(format!("no region is called `{name}`{near}"))
            }
        }
    }
}

/// One row; all that is wrong with it.
fn figure(record: &Record, regions: &Regions, now: u64) -> Result<Figure, Vec<String>> {
    let cell = |name: &str| record.get(name).map(String::as_str);
    let region = cell("region").ok_or_else(|| "`region` is missing".to_owned()).and_then(|name| regions.find(name));
    let ms = cell("rtt_ms").ok_or_else(|| "`rtt_ms` is missing".to_owned()).and_then(milliseconds);
    let samples = cell("samples").map_or(Ok(1), samples);
    let at = cell("at").map_or(Ok(now), |text| moment(text, now));
    match (group(cell("network"), cell("asn"), cell("country")), region, ms, samples, at) {
        (Ok(group), Ok(region), Ok(ms), Ok(samples), Ok(at)) => Ok((group, region, Import { ms, samples, at })),
        (group, region, ms, samples, at) => {
            let wrong = [group.err(), region.err(), ms.err(), samples.err(), at.err()];
            Err(wrong.into_iter().flatten().collect())
        }
    }
}

fn group(network: Option<&str>, asn: Option<&str>, country: Option<&str>) -> Result<ClientGroup, String> {
    let country_of = |text: &str| text.parse().map_err(|error| format!("country `{text}` is {error}"));
    match (network, asn, country) {
        (Some(network), None, None) => network_group(network),
        (None, Some(asn), Some(country)) => {
            let digits = asn.strip_prefix("AS").unwrap_or(asn);
            let number = digits.parse().ok().filter(|&asn: &u32| asn > 0);
            let asn = number.ok_or_else(|| format!("asn `{asn}` is not a number from 1 to {}", u32::MAX))?;
            Ok(ClientGroup::Operator { asn, country: country_of(country)? })
        }
        (None, None, Some(country)) => Ok(ClientGroup::Country(country_of(country)?)),
        (None, Some(_), None) => Err("an `asn` goes with a `country`: operators reach far".to_owned()),
        (Some(_), ..) => Err("a `network` stands alone, without `asn` and `country`".to_owned()),
        (None, None, None) => {
            Err("whose clients? `network`, or `asn` and `country`, or `country` is needed".to_owned())
        }
    }
}

fn network_group(text: &str) -> Result<ClientGroup, String> {
    let network: Prefix = text.parse().map_err(|error| format!("network `{text}` is {error}"))?;
    let network = network.unmapped();
    let widest = if network.address().is_ipv4() { WIDEST_V4 } else { WIDEST_V6 };
    if network.len() < widest {
        return Err(format!("network `{text}` is wider than a /{widest}"));
    }
    Ok(ClientGroup::Network(network))
}

fn milliseconds(text: &str) -> Result<f64, String> {
    let ms = text.parse::<f64>().ok().filter(|ms| *ms > 0.0 && *ms <= MOST_MS);
    ms.ok_or_else(|| format!("rtt_ms `{text}` is not a number above 0, up to {MOST_MS}"))
}

fn samples(text: &str) -> Result<u32, String> {
    let samples = text.parse().ok().filter(|&samples: &u32| samples > 0);
    samples.ok_or_else(|| format!("samples `{text}` is not a whole number from 1 to {}", u32::MAX))
}

/// Seconds since 1970, or a date and time in UTC (RFC 3339). Not in the future.
fn moment(text: &str, now: u64) -> Result<u64, String> {
    let at = text.parse().ok().or_else(|| date_and_time(text));
    let at = at.ok_or_else(|| format!("at `{text}` is neither seconds since 1970 nor like 2026-11-21T03:00:00Z"))?;
    // Clocks differ a little.
    if at > now.saturating_add(300) { Err(format!("at `{text}` is in the future")) } else { Ok(at.min(now)) }
}

fn date_and_time(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let parts: Vec<u64> = text.split(by).map(|part| part.parse().ok()).collect::<Option<_>>()?;
        parts.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(time, ':')?);
    if year < 1970 || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // From the month's first on: a 31st of a shorter month is a day of the next, and a leap second the next minute's.
    let month = Date::new(year.try_into().ok()?, month.try_into().ok()?, 1).ok()?;
    let seconds = (day - 1) * 86_400 + hour * 3_600 + minute * 60 + second;
    u64::try_from(month.duration_since(Date::constant(1970, 1, 1)).as_secs()).ok()?.checked_add(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config;

    const NOW: u64 = 1_790_000_000;
    const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/config/meridian.toml");

    fn model() -> Model {
        config::load(EXAMPLE.as_ref()).expect("the example").model
    }

    /// A region of the example, bare and qualified.
    fn region() -> (String, String) {
        let model = model();
        let id = model.region_ids().next().expect("a region");
        (model.region(id).name.to_string(), model.qualified_region_name(id))
    }

    fn csv(text: &str) -> Result<Vec<Figure>, Vec<String>> {
        read(text, Format::Csv, &model(), NOW)
    }

    #[test]
    fn a_table_names_networks_operators_and_countries() {
        let (bare, qualified) = region();
        let text = format!(
            "# measured by hand\nnetwork,asn,country,region,rtt_ms,samples,at\n\
             192.0.2.0/24,,,{bare},41.5,7,2026-09-21T14:13:20Z\n,AS4766,kr,{qualified},12,,\n,,KR, {bare} ,30,,5\n"
        );
        let import = |ms, samples, at| Import { ms, samples, at };
        let kr = "KR".parse().expect("a country");
        let expected = vec![
            ("192.0.2.0/24".parse().expect("a group"), qualified.clone(), import(41.5, 7, NOW)),
            (ClientGroup::Operator { asn: 4766, country: kr }, qualified.clone(), import(12.0, 1, NOW)),
            (ClientGroup::Country(kr), qualified, import(30.0, 1, 5)),
        ];
        assert_eq!(csv(&text).expect("figures"), expected);
        let item = |of: &str, ms: &str| format!("{{{of}, \"region\": \"{bare}\", \"rtt_ms\": {ms}}}");
        let items = [
            item(r#""network": "192.0.2.0/24", "samples": 7, "at": "1790000000""#, "41.5"),
            item(r#""asn": 4766, "country": "KR", "network": null"#, "12"),
            item(r#""country": "KR", "at": 5"#, "\"30\""),
        ];
        for text in [format!("[\n{}\n]\n", items.join(",\n")), items.join("\n")] {
            assert_eq!(read(&text, Format::Json, &model(), NOW).expect("figures"), expected, "{text}");
        }
    }

    #[test]
    fn all_mistakes_are_told_with_their_lines() {
        let (bare, _) = region();
        let text = format!(
            "network,asn,country,region,rtt_ms\n192.0.2.1/24,,,{bare},5\n,,KR,{bare}x,0\n,,,{bare},5\n,1,,{bare},5\n\
             10.0.0.0/8,,KR,{bare},5\n0.0.0.0/4,,,{bare},5\n,,KR,{bare},NaN\n,,KR,{bare}\n,0,KR,{bare},5001\n"
        );
        let told = csv(&text).expect_err("mistakes");
        let lines: Vec<&str> = told.iter().filter_map(|told| told.split(':').next()).collect();
        let of = |n: u32| format!("line {n}");
        let expected: Vec<String> = [2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 10].map(of).into();
        assert_eq!(lines, expected, "{told:#?}");
        assert!(told[1].contains("did you mean"), "{told:#?}");
    }

    #[test]
    fn json_mistakes_are_told_with_their_lines() {
        let (bare, _) = region();
        let json = |text: &str| read(text, Format::Json, &model(), NOW).expect_err(text);
        let good = format!(r#"{{"country":"KR","region":"{bare}","rtt_ms":5}}"#);
        let told = json(&format!("[\n {good},\n\n {},\n {{\"country\": [1]}}\n]", good.replace("rtt_ms", "rtt")));
        let expected = ["line 4: `rtt` is no column", "line 4: `rtt_ms` is missing", "line 5: `country` is neither"];
        assert!(expected.iter().zip(&told).all(|(start, told)| told.starts_with(start)), "{told:#?}");
        for (text, line) in [("[\n{\"a\":\n}]", 3), ("\n\n7", 3), ("", 1), ("[]", 1), ("[\n", 1)] {
            assert!(json(text)[0].starts_with(&format!("line {line}: ")), "{text:?}: {:?}", json(text));
        }
        let doubled = format!("{good}\n{good} x");
        assert!(json(&doubled)[0].starts_with("line 2: "));
    }

    #[test]
    fn a_table_of_rubbish_is_not_told_line_by_line() {
        let told = csv(&format!("network,region,rtt_ms\n{}", "x,y,z\n".repeat(1000))).expect_err("mistakes");
        assert_eq!((told.len(), told.last().map(String::as_str)), (101, Some("and 2900 more mistakes")));
        for text in ["", "\n", "network\n", "a,b\n1,2", "region,region\na,a\n", "\"", "\u{0}"] {
            assert!(csv(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn moments_are_dates_or_seconds() {
        let at = |text| moment(text, NOW);
        assert_eq!(at("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(at("2000-02-29T23:59:59Z"), Ok(951_868_799));
        assert_eq!(at("2026-09-21T14:13:20Z"), Ok(NOW));
        assert_eq!(at("1790000100"), Ok(NOW), "a clock that is a little ahead");
        for wrong in ["", "1790000301", "2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00Z", "-5", "1e9"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
