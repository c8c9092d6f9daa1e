//! The JSON Schema of the files, for editors; and the reference of all settings, which is made of it.
//!
//! ```text
//!    types and their doc comments ─▶ schemars ─▶ schema (2020-12) ─▶ reference, in Markdown
//! ```
//!
//! The types here describe what files hold and are read by nobody: [`super::reader`] reads the files, so that each
//! mistake is told with its place. `tests/config_schema.rs` holds both to the same keys. The schema is the wider of the two.
//! What the reader takes is valid, but some mistakes are seen by the reader alone, such as a region that is not there.
//!
//! - [`main_file`]: the main file, `meridian.toml`
//! - [`zone_file`], [`check`], [`load_report`], [`service`]: a zone file
//! - [`values`]: how values are written
//! - [`plain`]: what TOML does not have is taken out
//! - [`mod@reference`]: the settings as a document

pub mod check;
pub mod load_report;
pub mod main_file;
mod plain;
pub mod reference;
pub mod service;
pub mod values;
pub mod zone_file;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// Which of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Main,
    Zone,
}

/// The schema of these files, as editors read it.
pub fn schema(which: Which) -> Value {
    let mut schema = with_links(which);
    plain::drop_links(&mut schema);
    schema
}

/// The same, whose descriptions link to documents.
fn with_links(which: Which) -> Value {
    match which {
        Which::Main => of::<main_file::MainFile>(),
        Which::Zone => of::<zone_file::ZoneFile>(),
    }
}

fn of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    plain::simplify(&mut schema);
    schema
}
