//! The `meridian` program: its exit code and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    meridian::cli::run()
}
