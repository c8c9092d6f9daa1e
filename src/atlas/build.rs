//! A table of networks (CSV text) in, a MaxMind database file out: `meridian geoip build`.
//!
//! ```csv
//! network,continent,country,subdivision,city,latitude,longitude,asn
//! 192.0.2.0/24,AS,KR,11,Seoul,37.5665,126.978,64496
//! # comments and empty cells are fine; prefixes may nest, the longest holds
//! 2001:db8::/32,,DE,,,,,
//! ```
//!
//! The file has the City layout, with `autonomous_system_number` beside it where it is given,
//! and holds the same bytes whenever the same table is built with the same time.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use csv::StringRecord;
use mmdb_writer::{Value, Writer};

use crate::model::{Continent, Coordinates, CountryCode, Location, Prefix};

/// The columns, all of them, in this order.
pub const COLUMNS: [&str; 8] =
    ["network", "continent", "country", "subdivision", "city", "latitude", "longitude", "asn"];

/// A mistake in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvMistake {
    /// From 1.
    pub line: u64,
    /// One of [`COLUMNS`]; `None` where it is the whole line.
    pub column: Option<&'static str>,
    /// The finding, and what was expected.
    pub message: String,
}

/// `line 3, latitude: …`
impl fmt::Display for CsvMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "line {}, {column}: {}", self.line, self.message),
            None => write!(f, "line {}: {}", self.line, self.message),
        }
    }
}

/// Builds the database of a table. `build_epoch` is the time written in it, in seconds since
/// 1970.
///
/// Reports every mistake of the table at once, in the order of lines: a header that differs from
/// [`COLUMNS`], a cell that cannot be read, a network named twice, an IPv6 network that stands
/// for IPv4 ones.
pub fn build_mmdb(csv: &str, build_epoch: u64) -> Result<Vec<u8>, Vec<CsvMistake>> {
    let mut rows = read_rows(csv)?;
    // Wide before narrow: later inserts win, so the longest prefix holds.
    rows.sort_by_key(|row| (row.network.len(), row.network));
    let mut writer = Writer::builder("Meridian-City")
        .description(&[("en", "Built by meridian geoip build")])
        .build_epoch(UNIX_EPOCH + Duration::from_secs(build_epoch.min(u64::from(u32::MAX))))
        .build();
    let mut mistakes = Vec::new();
    for row in &rows {
        if let Err(error) = insert(&mut writer, row) {
            mistakes.push(CsvMistake { line: row.line, column: Some("network"), message: error });
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    writer.to_bytes().map_err(|error| vec![CsvMistake { line: 1, column: None, message: error.to_string() }])
}

struct Row {
    line: u64,
    network: Prefix,
    location: Location,
}

fn read_rows(csv: &str) -> Result<Vec<Row>, Vec<CsvMistake>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(csv.as_bytes());
    let mut records = reader.records();
    let (mut rows, mut mistakes) = (Vec::new(), Vec::new());
    check_header(csv, records.next(), &mut mistakes);
    let mut lines: HashMap<Prefix, u64> = HashMap::new();
    for record in records {
        let row = match record {
            Ok(record) => read_row(&record, line_of(csv, &record), &mut mistakes),
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                mistakes.push(CsvMistake { line, column: None, message: error.to_string() });
                None
            }
        };
        let Some(row) = row else { continue };
        match lines.get(&row.network) {
            Some(first) => {
                let message = format!("{} is already on line {first}", row.network);
                mistakes.push(CsvMistake { line: row.line, column: Some("network"), message });
            }
            None => {
                lines.insert(row.network, row.line);
                rows.push(row);
            }
        }
    }
    if mistakes.is_empty() { Ok(rows) } else { Err(mistakes) }
}

fn check_header(csv: &str, header: Option<csv::Result<StringRecord>>, mistakes: &mut Vec<CsvMistake>) {
    let expected = COLUMNS.join(",");
    let (line, found) = match &header {
        Some(Ok(header)) if header.iter().eq(COLUMNS) => return,
        Some(Ok(header)) => (line_of(csv, header), header.iter().collect::<Vec<_>>().join(",")),
        Some(Err(error)) => (1, error.to_string()),
        None => (1, "nothing".into()),
    };
    let message = format!("found {found}; the first line must be {expected}");
    mistakes.push(CsvMistake { line, column: None, message });
}

/// `None` where a mistake was found.
fn read_row(record: &StringRecord, line: u64, mistakes: &mut Vec<CsvMistake>) -> Option<Row> {
    if record.len() != COLUMNS.len() {
        let message = format!("found {} cells, expected {}", record.len(), COLUMNS.len());
        mistakes.push(CsvMistake { line, column: None, message });
        return None;
    }
    let before = mistakes.len();
    let mut cells = Cells { record, line, mistakes };
    let network = cells.read("network", "a network such as 192.0.2.0/24", Prefix::from_str);
    if network.is_none() && cells.text("network").is_none() {
        cells.mistake("network", "missing".into());
    }
    let location = Location {
        continent: cells.read("continent", "AF, AN, AS, EU, NA, OC or SA", Continent::from_str),
        country: cells.read("country", "a two-letter code such as KR", CountryCode::from_str),
        subdivision: cells.read("subdivision", "one to three letters or digits such as WA", subdivision),
        city: cells.text("city").map(Box::from),
        coordinates: cells.coordinates(),
        asn: cells.read("asn", "a number of 1 or more", asn),
    };
    let sound = mistakes.len() == before;
    network.filter(|_| sound).map(|network| Row { line, network, location })
}

/// The line a record stands on. The reader's own position is that of the comments and empty lines
/// before it.
fn line_of(csv: &str, record: &StringRecord) -> u64 {
    let Some(position) = record.position() else { return 0 };
    let mut line = position.line();
    let mut rest = csv.as_bytes().get(position.byte() as usize..).unwrap_or_default();
    while let [b'\n' | b'\r' | b'#', ..] = rest {
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else { break };
        line += 1;
        rest = &rest[end + 1..];
    }
    line
}

/// The cells of one line, and where its mistakes go.
struct Cells<'a> {
    record: &'a StringRecord,
    line: u64,
    mistakes: &'a mut Vec<CsvMistake>,
}

impl<'a> Cells<'a> {
    /// `None` where the cell is empty.
    fn text(&self, column: &'static str) -> Option<&'a str> {
        let at = COLUMNS.iter().position(|&name| name == column)?;
        self.record.get(at).filter(|text| !text.is_empty())
    }

    /// `None` where the cell is empty or cannot be read; the latter is a mistake.
    fn read<T, E>(
        &mut self,
        column: &'static str,
        expected: &str,
        parse: impl Fn(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(column)?;
        let value = parse(text).ok();
        if value.is_none() {
            self.mistake(column, format!("found `{text}`, expected {expected}"));
        }
        value
    }

    fn coordinates(&mut self) -> Option<Coordinates> {
        let latitude = self.read("latitude", "degrees, -90 to 90", |text| degrees(text, 90.0));
        let longitude = self.read("longitude", "degrees, -180 to 180", |text| degrees(text, 180.0));
        match (self.text("latitude"), self.text("longitude")) {
            (Some(_), None) => self.mistake("longitude", "missing beside a latitude".into()),
            (None, Some(_)) => self.mistake("latitude", "missing beside a longitude".into()),
            _ => {}
        }
        Coordinates::new(latitude?, longitude?)
    }

    fn mistake(&mut self, column: &'static str, message: String) {
        self.mistakes.push(CsvMistake { line: self.line, column: Some(column), message });
    }
}

fn degrees(text: &str, most: f64) -> Result<f64, ()> {
    text.parse().ok().filter(|degrees: &f64| degrees.abs() <= most).ok_or(())
}

fn subdivision(text: &str) -> Result<Box<str>, ()> {
    let fits = text.len() <= 3 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if fits { Ok(text.into()) } else { Err(()) }
}

fn asn(text: &str) -> Result<u32, ()> {
    text.parse().ok().filter(|&asn| asn != 0).ok_or(())
}

fn insert(writer: &mut Writer, row: &Row) -> Result<(), String> {
    let network = row.network;
    if let IpAddr::V6(address) = network.address()
        && (u128::from(address) >> 32 == 0 || address.to_ipv4_mapped().is_some())
    {
        return Err(format!("{network} holds addresses that stand for IPv4: write those as IPv4 networks"));
    }
    let network =
        mmdb_writer::ipnet::IpNet::new(network.address(), network.len()).map_err(|error| error.to_string())?;
    writer.insert_value(network, value_of(&row.location)).map_err(|error| error.to_string())
}

/// The record of a location in the City layout. What is unknown is left out.
fn value_of(location: &Location) -> Value {
    let text = |text: &str| Value::from(text.to_owned());
    let named = |key: &'static str, value: &str| Value::map([(key, text(value))]);
    let mut record: Vec<(&'static str, Value)> = Vec::new();
    record.extend(location.continent.map(|continent| ("continent", named("code", continent.code()))));
    record.extend(location.country.map(|country| ("country", named("iso_code", country.as_str()))));
    record.extend(
        location.subdivision.as_deref().map(|code| ("subdivisions", Value::Array(vec![named("iso_code", code)]))),
    );
    record.extend(location.city.as_deref().map(|city| ("city", Value::map([("names", named("en", city))]))));
    record.extend(location.coordinates.map(|at| {
        let (latitude, longitude) = (Value::from(at.latitude()), Value::from(at.longitude()));
        ("location", Value::map([("latitude", latitude), ("longitude", longitude)]))
    }));
    record.extend(location.asn.map(|asn| ("autonomous_system_number", Value::from(asn))));
    Value::map(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atlas::{Atlas, DEMO_DATABASE, DEMO_EPOCH, Database};

    const HEADER: &str = "network,continent,country,subdivision,city,latitude,longitude,asn\n";

    fn built(rows: &str) -> Atlas {
        let bytes = build_mmdb(&format!("{HEADER}{rows}"), 1).expect("a database");
        Atlas::build(&[Database { path: "built".into(), bytes }], &[]).expect("an atlas")
    }

    fn location(atlas: &Atlas, address: &str) -> Location {
        atlas.location(atlas.locate(address.parse().expect("an address")).place)
    }

    #[test]
    fn what_is_built_is_read_back() {
        let atlas = built(
            "# a comment\n\
             192.0.2.0/24,AS,KR,11,Seoul,37.5665,126.978,64496\n\
             \n\
             2001:db8::/32, , de ,,\"Frankfurt, Main\",,,\n\
             192.0.2.128/25,,JP,,,,,\n",
        );
        let seoul = Location {
            continent: Some(Continent::Asia),
            country: "KR".parse().ok(),
            subdivision: Some("11".into()),
            city: Some("Seoul".into()),
            coordinates: Coordinates::new(37.5665, 126.978),
            asn: Some(64496),
        };
        assert_eq!(location(&atlas, "192.0.2.1"), seoul);
        assert_eq!(location(&atlas, "192.0.2.200").country, "JP".parse().ok());
        assert_eq!(location(&atlas, "192.0.3.1"), Location::default());
        assert_eq!(location(&atlas, "2001:db8::1").city.as_deref(), Some("Frankfurt, Main"));
        assert_eq!(atlas.summary().databases[0].kind, "Meridian-City");
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_their_lines() {
        let csv = format!(
            "{HEADER}192.0.2.1/24,XX,KOR,Wash,x,91,181,0\n# fine\n10.0.0.0/8,,,,\n,,KR,,,,,\n\
             192.0.2.0/24,,KR,,,1,,\n198.51.100.0/24,,KR,,,,,\n198.51.100.0/24,,JP,,,NaN,1,AS1\n198.51.100.0/24,,JP,,,,,\n"
        );
        let mistakes = build_mmdb(&csv, 1).expect_err("mistakes");
        let seen: Vec<_> = mistakes.iter().map(|mistake| (mistake.line, mistake.column.unwrap_or("-"))).collect();
        let expected = [
            (2, "network"),
            (2, "continent"),
            (2, "country"),
            (2, "subdivision"),
            (2, "latitude"),
            (2, "longitude"),
            (2, "asn"),
            (4, "-"),
            (5, "network"),
            (6, "longitude"),
            (8, "latitude"),
            (8, "asn"),
            (9, "network"),
        ];
        assert_eq!(seen, expected, "{mistakes:#?}");
        assert_eq!(mistakes[1].to_string(), "line 2, continent: found `XX`, expected AF, AN, AS, EU, NA, OC or SA");
        assert!(mistakes[12].message.contains("line 7"), "{}", mistakes[12]);
    }

    #[test]
    fn lines_are_counted_over_comments_empty_lines_and_crlf() {
        for end in ["\n", "\r\n"] {
            let csv = format!("# one\n{HEADER}\n# four\n\n10.0.0.0/8,,DE,,,,,\n\n# eight\nx,,,,,,,\ny,,,,,,,\n");
            let mistakes = build_mmdb(&csv.replace('\n', end), 1).expect_err("mistakes");
            assert_eq!(mistakes.iter().map(|mistake| mistake.line).collect::<Vec<_>>(), [9, 10]);
        }
    }

    #[test]
    fn the_header_must_be_there() {
        for csv in ["", "# only this\n", "network,country\n", "192.0.2.0/24,,KR,,,,,\n"] {
            let mistakes = build_mmdb(csv, 1).expect_err("a mistake");
            assert!(mistakes[0].message.contains("the first line must be network,"), "{}", mistakes[0]);
        }
    }

    #[test]
    fn ipv6_that_stands_for_ipv4_is_refused() {
        for network in ["::ffff:192.0.2.0/120", "::/0", "::1/128", "::/96", "2002:c000:200::/40", "2001::/32"] {
            let mistakes = build_mmdb(&format!("{HEADER}{network},,KR,,,,,\n"), 1).expect_err("a mistake");
            assert_eq!((mistakes[0].line, mistakes[0].column), (2, Some("network")), "{network}");
        }
    }

    #[test]
    fn the_same_table_gives_the_same_bytes_whatever_the_order_of_lines() {
        let rows = ["10.0.0.0/8,,DE,,,,,\n", "10.1.0.0/16,,FR,,,,,\n", "2001:db8::/32,,FR,,,,,\n"];
        let forwards = build_mmdb(&format!("{HEADER}{}", rows.concat()), 1).expect("a database");
        let backwards = build_mmdb(&format!("{HEADER}{}{}{}", rows[2], rows[1], rows[0]), 1).expect("a database");
        assert_eq!(forwards, backwards);
    }

    #[test]
    fn the_committed_demo_database_is_a_fresh_build_of_its_table() {
        let fresh = build_mmdb(include_str!("../../geoip/demo.csv"), DEMO_EPOCH).expect("a database");
        if let Some(path) = std::env::var_os("MERIDIAN_WRITE_DEMO_DATABASE") {
            std::fs::write(path, &fresh).expect("written");
        }
        assert!(
            fresh == DEMO_DATABASE,
            "geoip/demo.mmdb is stale: meridian geoip build geoip/demo.csv geoip/demo.mmdb"
        );
    }
}
