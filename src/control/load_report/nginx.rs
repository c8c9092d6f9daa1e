//! nginx's `stub_status` page (`ngx_http_stub_status_module`):
//!
//! ```text
//! Active connections: 291
//! server accepts handled requests
//!  16630948 16630948 31070465
//! Reading: 6 Writing: 179 Waiting: 106
//! ```

use crate::model::NginxField;

use super::{LoadError, LoadSample, figure};

const EXPECTED: &str = "nginx's stub_status page";

/// Reads one of its figures; `requests` as the count it is. There is no capacity on the page.
///
/// The request that asks is itself a connection at work: an idle nginx says 1.
pub(super) fn read(text: &str, field: NginxField) -> Result<LoadSample, LoadError> {
    if !text.trim_start().starts_with("Active connections:") {
        return Err(figure::unreadable(EXPECTED, text));
    }
    let load = match field {
        NginxField::Connections => after(text, "Active connections:")?,
        NginxField::Busy => after(text, "Reading:")? + after(text, "Writing:")?,
        NginxField::RequestRate => requests(text)?,
    };
    figure::sample(("stub_status", load), None)
}

/// The number that follows a label.
fn after(text: &str, label: &str) -> Result<f64, LoadError> {
    let missing = || LoadError::Missing(label.trim_end_matches(':').into());
    let (_, rest) = text.split_once(label).ok_or_else(missing)?;
    figure::amount(label, figure::number(label, rest.split_whitespace().next().ok_or_else(missing)?)?)
}

/// The third number of the line below its heading.
fn requests(text: &str) -> Result<f64, LoadError> {
    let missing = || LoadError::Missing("requests".into());
    let mut lines = text.lines().skip_while(|line| !line.trim_start().starts_with("server accepts handled requests"));
    let counts = lines.nth(1).ok_or_else(missing)?;
    figure::amount("requests", figure::number("requests", counts.split_whitespace().nth(2).ok_or_else(missing)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use NginxField::{Busy, Connections, RequestRate};
    use proptest::prelude::*;

    const PAGE: &str = "Active connections: 291 \nserver accepts handled requests\n 16630948 16630948 31070465 \n\
                        Reading: 6 Writing: 179 Waiting: 106 \n";

    #[test]
    fn each_field_has_its_figure() {
        for (field, load) in [(Connections, 291.0), (Busy, 185.0), (RequestRate, 31_070_465.0)] {
            assert_eq!(read(PAGE, field), Ok(LoadSample { load, capacity: None, at: None }), "{field:?}");
            let dos = PAGE.replace('\n', "\r\n");
            assert_eq!(read(&dos, field).map(|sample| sample.load), Ok(load), "{field:?}");
        }
    }

    #[test]
    fn what_is_missing_or_no_number_is_an_error_never_zero() {
        for page in ["", "<html>404", "Reading: 6 Writing: 1 Waiting: 0"] {
            assert!(matches!(read(page, Connections), Err(LoadError::Unreadable { .. })), "{page}");
        }
        assert_eq!(read("Active connections: ", Connections), Err(LoadError::Missing("Active connections".into())));
        for field in [Busy, RequestRate] {
            assert!(matches!(read("Active connections: 5\n", field), Err(LoadError::Missing(_))), "{field:?}");
        }
        let short = "Active connections: 1\nserver accepts handled requests\n 5 5\n";
        assert_eq!(read(short, RequestRate), Err(LoadError::Missing("requests".into())));
        assert!(matches!(read("Active connections: many", Connections), Err(LoadError::NotANumber { .. })));
    }

    #[test]
    fn a_lying_feed_is_refused() {
        for figure in ["-1", "NaN", "inf", "1e16"] {
            let page = PAGE.replace("291", figure).replace("179", figure).replace("31070465", figure);
            for field in [Connections, Busy, RequestRate] {
                assert!(matches!(read(&page, field), Err(LoadError::Absurd { .. })), "{figure} {field:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_true_sample_or_an_error(text in "(Active connections: )?[ -~\n]{0,100}") {
            for field in [Connections, Busy, RequestRate] {
                prop_assert!(read(&text, field).is_ok_and(|sample| sample.load >= 0.0) || read(&text, field).is_err());
            }
        }
    }
}
