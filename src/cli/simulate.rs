//! `meridian simulate`: the real steering under a virtual clock, without sockets.

use std::io::{self, ErrorKind};

use clap::Args;

use crate::simulate::stdio::{self, StdioError};

use super::output::{Failure, Outcome};

/// Run the planner, health and picking under a virtual clock, without sockets
///
/// With --stdio the world and its events are read from standard input line by line, and answers are
/// written to standard output: anyone can drive it and score it against other policies.
#[derive(Args)]
#[command(after_help = "\
The protocol of --stdio:
  once         REGION i name lat lon cost capacity      a region, i from 0
               LOC j country lat lon name               a client location, j from 0
               R j i ms                                 an RTT estimate (may also come later)
               TTL seconds    SEED n    START
  each second  T t                                      virtual seconds
               P i 0|1                                  what a probe of region i would find now
               L i load capacity                        a load report arrives (nan: it failed)
               Q j key ecs                              a query: location, 16 hex digits, 0|1
               END                                      asks for the answers
  answer       A i ttl                                  one line per Q, in order

Exit code: 0 at the end of the input, 2 at a mistake in it.")]
pub struct Simulate {
    /// Read the world and its events from standard input
    #[arg(long, required = true)]
    stdio: bool,
}

impl Simulate {
    pub fn run(&self) -> Outcome {
        match stdio::run(io::stdin().lock(), io::stdout().lock()) {
            Ok(()) => Ok(()),
            // Whoever drove it has seen enough.
            Err(StdioError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Err(error @ StdioError::Output(_)) => Err(Failure::new(error.to_string())),
            Err(error) => Err(Failure::new(error.to_string()).mistyped()),
        }
    }
}
