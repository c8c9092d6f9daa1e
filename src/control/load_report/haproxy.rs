//! HAProxy's statistics as CSV (its management guide, section 9.1), over HTTP or from the stats
//! socket, which says the same.
//!
//! The first line is `# pxname,svname,…`; then a row per frontend, server and backend. A
//! `listen` section has a row as a frontend and one as a backend: the frontend counts what
//! clients sent, so it is the one that is read; nothing is summed.

use csv::{ReaderBuilder, StringRecord};

use crate::control::probe::outcome::excerpt;
use crate::model::HaproxyField;

use super::health::{Errors, HealthSample};
use super::{LoadError, LoadSample, figure};

const EXPECTED: &str = "HAProxy's statistics as CSV";

/// Reads the load of the frontend `proxy`, or else of the backend of that name.
///
/// The capacity is `slim` for sessions and `rate_lim` for the session rate; `None` where the
/// cell is empty or 0 (unlimited), and always for the request rate, which HAProxy does not
/// limit. A backend's `slim` is its `fullconn`, which unless set is a tenth of the `maxconn` of
/// the frontends before it: name the frontend, or set it. Fails where the text is something
/// else, the proxy is not in it (the error names the nearest), or the figure is missing or absurd.
pub(super) fn read(csv: &str, proxy: &str, field: HaproxyField) -> Result<LoadSample, LoadError> {
    let table = Table::read(csv)?;
    let row = table.row(proxy, "FRONTEND").or_else(|| table.row(proxy, "BACKEND"));
    let row = row.ok_or_else(|| table.no_such(proxy))?;
    let (load, capacity) = match field {
        HaproxyField::Sessions => ("scur", Some("slim")),
        HaproxyField::SessionRate => ("rate", Some("rate_lim")),
        HaproxyField::RequestRate => ("req_rate", None),
    };
    let value = table.number(row, load)?.ok_or_else(|| LoadError::Missing(load.into()))?;
    let limit = match capacity {
        Some(capacity) => table.number(row, capacity)?.filter(|&limit| limit != 0.0).map(|limit| (capacity, limit)),
        None => None,
    };
    figure::sample((load, value), limit)
}

/// Reads what is behind the backend: which of its servers are up, its answers so far, and its own status.
///
/// Servers that an operator took out (`MAINT`, `DRAIN`) or that take themselves out (`NOLB`) are not counted, nor are
/// backups, unless there is nothing else. Of a server without checks nothing bad is known. Answers are counted in
/// `mode http` alone. Fails as [`read`] does; a frontend of that name will not do.
pub(super) fn health(csv: &str, backend: &str) -> Result<HealthSample, LoadError> {
    let table = Table::read(csv)?;
    let row = table.row(backend, "BACKEND").ok_or_else(|| {
        let backends = table.rows.iter().filter(|row| row.get(1) == Some("BACKEND"));
        figure::no_such("backend", backend, backends.filter_map(|row| row.get(0)))
    })?;
    let down = table.cell(row, "status").is_some_and(|status| status.starts_with("DOWN"));
    Ok(HealthSample { errors: table.errors(row)?, down, ..HealthSample::of_servers(table.servers(backend)) })
}

/// The statistics, cell by cell.
struct Table {
    columns: StringRecord,
    rows: Vec<StringRecord>,
}

impl Table {
    fn read(text: &str) -> Result<Table, LoadError> {
        let not_csv =
            |error: csv::Error| LoadError::Unreadable { expected: EXPECTED, why: excerpt(&error.to_string()) };
        let body = text.trim_start().strip_prefix("# ").filter(|body| body.starts_with("pxname,svname,"));
        let body = body.ok_or_else(|| figure::unreadable(EXPECTED, text))?;
        // Rows end with a comma or without one, by version: they need not be as long as the head.
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(body.as_bytes());
        let columns = reader.headers().map_err(not_csv)?.clone();
        let rows = reader.records().collect::<Result<Vec<_>, _>>().map_err(not_csv)?;
        Ok(Table { columns, rows })
    }

    fn row(&self, proxy: &str, side: &str) -> Option<&StringRecord> {
        self.rows.iter().find(|row| row.get(0) == Some(proxy) && row.get(1) == Some(side))
    }

    /// `None` where the cell is empty or the column is not there.
    fn number(&self, row: &StringRecord, column: &str) -> Result<Option<f64>, LoadError> {
        self.cell(row, column).map(|cell| figure::number(column, cell)).transpose()
    }

    /// `None` where it is empty or the column is not there.
    fn cell<'t>(&self, row: &'t StringRecord, column: &str) -> Option<&'t str> {
        let index = self.columns.iter().position(|name| name == column)?;
        row.get(index).map(str::trim).filter(|cell| !cell.is_empty())
    }

    /// Whether each server of the backend is up.
    fn servers(&self, backend: &str) -> Vec<bool> {
        /// The type of a server's row; a listener's is another one.
        const SERVER: &str = "2";
        let of_backend = self.rows.iter().filter(|row| {
            let is_server = self.cell(row, "type").is_none_or(|kind| kind == SERVER);
            is_server && row.get(0) == Some(backend) && !matches!(row.get(1), Some("FRONTEND" | "BACKEND"))
        });
        let known = of_backend.filter_map(|row| {
            let is_backup = self.cell(row, "bck").is_some_and(|backup| backup != "0");
            Some((is_backup, server_is_up(self.cell(row, "status")?)?))
        });
        let known: Vec<(bool, bool)> = known.collect();
        let only_backups = known.iter().all(|(is_backup, _)| *is_backup);
        known.into_iter().filter(|(is_backup, _)| only_backups || !is_backup).map(|(_, up)| up).collect()
    }

    fn errors(&self, row: &StringRecord) -> Result<Errors, LoadError> {
        const ANSWERS: [&str; 6] = ["hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other"];
        let count = |column: &str| match self.number(row, column)? {
            Some(count) => figure::amount(column, count).map(Some),
            None => Ok(None),
        };
        let Some(errors) = count("hrsp_5xx")? else { return Ok(Errors::Unknown) };
        let answers = ANSWERS.iter().map(|column| Ok(count(column)?.unwrap_or(0.0)));
        Ok(Errors::Counts { errors, answers: answers.sum::<Result<f64, LoadError>>()? })
    }

    fn no_such(&self, proxy: &str) -> LoadError {
        let sides = self.rows.iter().filter(|row| matches!(row.get(1), Some("FRONTEND" | "BACKEND")));
        figure::no_such("frontend or backend", proxy, sides.filter_map(|row| row.get(0)))
    }
}

/// `None`: it is out on purpose. `UP 1/3` is on its way down and still up, `DOWN 1/2` the other way round.
fn server_is_up(status: &str) -> Option<bool> {
    match status.split_whitespace().next()? {
        "UP" => Some(true),
        "DOWN" => Some(false),
        // `no check`.
        "no" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HaproxyField::{RequestRate, SessionRate, Sessions};
    use proptest::prelude::*;

    /// The columns that matter of HAProxy 2.8's, in its order.
    const STATS: &str = "\
# pxname,svname,qcur,qmax,scur,smax,slim,stot,status,rate,rate_lim,rate_max,req_rate,mode,
web,FRONTEND,,,120,300,2000,99999,OPEN,35,0,80,210,http,
app,s1,0,0,7,9,,55,UP,3,,4,,http,
app,BACKEND,0,0,11,20,200,100,UP,5,,9,,http,
both,FRONTEND,,,4,5,0,6,OPEN,1,50,2,3,http,
both,BACKEND,0,0,3,5,9,6,UP,1,,2,,http,
\"odd,name\",FRONTEND,,,1,5,10,6,OPEN,1,,2,,tcp,
";

    fn figures(proxy: &str, field: HaproxyField) -> Result<(f64, Option<f64>), LoadError> {
        super::read(STATS, proxy, field).map(|sample| (sample.load, sample.capacity))
    }

    #[test]
    fn each_field_has_its_columns() {
        assert_eq!(figures("web", Sessions), Ok((120.0, Some(2000.0))));
        assert_eq!(figures("web", RequestRate), Ok((210.0, None)));
        assert_eq!(figures("both", SessionRate), Ok((1.0, Some(50.0))));
        assert_eq!(figures("odd,name", Sessions), Ok((1.0, Some(10.0))));
    }

    /// As HAProxy 2.6 says it, with `maxconn 500`, `fullconn 50`, `rate-limit sessions 77` and
    /// one request under way: the one that asks.
    const REAL: &str = include_str!("haproxy-2.6.csv");

    #[test]
    fn what_haproxy_really_says_is_read() {
        for (proxy, field, load, capacity) in [
            ("web", Sessions, 0.0, Some(500.0)),
            ("web", SessionRate, 0.0, Some(77.0)),
            ("app", Sessions, 0.0, Some(50.0)),
            ("both", Sessions, 0.0, Some(500.0)),
            ("stats", Sessions, 1.0, Some(500.0)),
            ("stats", SessionRate, 1.0, None),
            ("stats", RequestRate, 1.0, None),
        ] {
            assert_eq!(
                super::read(REAL, proxy, field),
                Ok(LoadSample { load, capacity, at: None }),
                "{proxy} {field:?}"
            );
        }
        assert_eq!(super::read(REAL, "app", RequestRate), Err(LoadError::Missing("req_rate".into())));
    }

    #[test]
    fn what_haproxy_really_says_of_its_servers_is_read() {
        let errors = Errors::Counts { errors: 0.0, answers: 0.0 };
        let expected = HealthSample { servers: Some((1, 1)), errors, ..HealthSample::default() };
        assert_eq!(health(REAL, "app"), Ok(expected), "no check: nothing bad is known");
        assert_eq!(health(REAL, "both"), Ok(expected), "a `listen` section's listener is no server");
        let error = health(REAL, "web").expect_err("a frontend").to_string();
        assert!(error.starts_with("no backend `web` in the report; there are: "), "{error}");
    }

    /// As HAProxy 2.6 says it: one of four servers does not answer, one is in maintenance, one drains, and there is a backup.
    const REAL_HEALTH: &str = include_str!("haproxy-2.6-health.csv");

    #[test]
    fn servers_and_errors_are_those_of_the_real_thing() {
        let of = |backend: &str| health(REAL_HEALTH, backend).expect("read");
        let app = of("app");
        assert_eq!((app.servers, app.down), (Some((1, 2)), false), "out on purpose is not counted, nor is the backup");
        assert_eq!(app.errors, Errors::Counts { errors: 6.0, answers: 20.0 });
        let dead = of("dead");
        assert_eq!((dead.servers, dead.down), (Some((0, 1)), true));
        assert_eq!((of("raw").servers, of("raw").errors), (Some((1, 1)), Errors::Unknown), "TCP has no answers");
    }

    #[test]
    fn each_status_is_up_down_or_not_counted() {
        for (status, up) in [
            ("UP", Some(true)),
            ("UP 1/3", Some(true)),
            ("no check", Some(true)),
            ("DOWN", Some(false)),
            ("DOWN 1/2", Some(false)),
            ("DOWN (agent)", Some(false)),
            ("MAINT", None),
            ("MAINT (via app/s1)", None),
            ("MAINT (resolution)", None),
            ("DRAIN", None),
            ("NOLB 1/3", None),
            ("", None),
        ] {
            assert_eq!(server_is_up(status), up, "{status}");
        }
    }

    #[test]
    fn backups_count_where_there_is_nothing_else_and_lies_are_refused() {
        let of = |rows: &str| health(&format!("# pxname,svname,status,bck,hrsp_5xx\n{rows}"), "a");
        assert_eq!(of("a,s,DOWN,0,\na,b,UP,1,\na,BACKEND,UP,1,\n").map(|a| a.servers), Ok(Some((0, 1))));
        assert_eq!(of("a,b,UP,1,\na,BACKEND,UP,1,\n").map(|a| a.servers), Ok(Some((1, 1))));
        assert_eq!(of("a,s,MAINT,0,\na,BACKEND,DOWN,0,\n").map(|a| (a.servers, a.down)), Ok((None, true)));
        for lie in ["-1", "NaN", "inf", "1e16", "many"] {
            assert!(of(&format!("a,BACKEND,UP,0,{lie}\n")).is_err(), "{lie}");
        }
    }

    #[test]
    fn a_limit_of_zero_or_none_is_no_limit() {
        assert_eq!(figures("web", SessionRate), Ok((35.0, None)));
        assert_eq!(figures("app", SessionRate), Ok((5.0, None)));
        assert_eq!(figures("both", Sessions), Ok((4.0, None)));
    }

    #[test]
    fn the_frontend_wins_over_the_backend_and_servers_are_not_read() {
        assert_eq!(figures("both", Sessions).map(|s| s.0), Ok(4.0));
        assert_eq!(figures("app", Sessions), Ok((11.0, Some(200.0))));
    }

    #[test]
    fn an_empty_figure_is_missing_not_zero() {
        assert_eq!(figures("app", RequestRate), Err(LoadError::Missing("req_rate".into())));
        let old = "# pxname,svname,scur\nweb,FRONTEND,5\n";
        assert_eq!(super::read(old, "web", RequestRate), Err(LoadError::Missing("req_rate".into())));
        let short = "# pxname,svname,qcur,scur\nweb,FRONTEND\n";
        assert_eq!(super::read(short, "web", Sessions), Err(LoadError::Missing("scur".into())));
    }

    #[test]
    fn a_missing_proxy_names_the_nearest() {
        let error = figures("wep", Sessions).expect_err("not there").to_string();
        assert_eq!(error, "no frontend or backend `wep` in the report; there are: web, app, both, odd,name");
        let error = figures("botn", Sessions).expect_err("not there").to_string();
        assert!(error.ends_with("there are: both, web, app, odd,name"), "{error}");
    }

    #[test]
    fn a_lying_feed_is_refused() {
        for figure in ["-1", "NaN", "inf", "-inf", "1e16", "1e999", "99999999999999999999"] {
            let text = format!("# pxname,svname,scur,slim\nweb,FRONTEND,{figure},9\n");
            let outcome = super::read(&text, "web", Sessions);
            assert!(matches!(outcome, Err(LoadError::Absurd { .. })), "{figure}: {outcome:?}");
            let text = format!("# pxname,svname,scur,slim\nweb,FRONTEND,9,{figure}\n");
            let outcome = super::read(&text, "web", Sessions);
            assert!(matches!(outcome, Err(LoadError::Absurd { .. })), "{figure}: {outcome:?}");
        }
        let text = "# pxname,svname,scur,slim\nweb,FRONTEND,many,9\n";
        assert!(matches!(super::read(text, "web", Sessions), Err(LoadError::NotANumber { .. })));
    }

    #[test]
    fn what_is_not_haproxys_csv_is_refused() {
        for text in ["", "# ", "#", "<html><body>401", "pxname,svname\n", "# svname,pxname,scur\n"] {
            assert!(matches!(super::read(text, "web", Sessions), Err(LoadError::Unreadable { .. })), "{text:?}");
        }
        assert!(matches!(super::read("# pxname,svname,scur\n", "web", Sessions), Err(LoadError::NoSuch { .. })));
    }

    proptest! {
        #[test]
        fn any_text_gives_a_true_sample_or_an_error(text in "(# pxname,svname,scur,slim\n)?[ -~\n\"]{0,200}") {
            if let Ok(sample) = super::read(&text, "web", Sessions) {
                prop_assert!(sample.load.is_finite() && sample.load >= 0.0);
            }
            let _ = health(&text, "web");
        }

        #[test]
        fn any_cells_give_a_true_sample_or_an_error(load in "[-+0-9.eEinfaN]{0,8}", limit in "[-+0-9.eEinfaN]{0,8}") {
            let text = format!("# pxname,svname,scur,slim\nweb,FRONTEND,{load},{limit}\n");
            if let Ok(sample) = super::read(&text, "web", Sessions) {
                prop_assert!((0.0..=figure::MOST).contains(&sample.load));
                prop_assert!(sample.capacity.is_none_or(|c| c > 0.0 && c <= figure::MOST));
                prop_assert_eq!(sample.load, load.parse::<f64>().expect("it was read"));
            }
        }
    }
}
