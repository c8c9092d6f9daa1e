//! Puts the program that answers by itself in the place of the one that only steers, where that is wanted and
//! can be had.

use std::fs;

use tracing::{info, warn};

use crate::model::xdp::XdpInterface;
use crate::query::transport::xdp::program::{Mode, Program, ProgramError};
use crate::query::transport::xdp::setup::Substitute;

use super::keeper::Kernel;
use super::maps::{Images, KernelMaps};

/// The object with the program `answer`, which answers plain questions by itself and hands the others on
/// as `steer` does.
pub const ANSWER: &[u8] = aya::include_bytes_aligned!("bpf/answer.bpf.o");

/// Programs attached so far.
#[derive(Default)]
pub struct KernelSetup(Option<Kernel>);

impl KernelSetup {
    /// All programs that were attached; `None` where there is none.
    pub fn done(self) -> Option<Kernel> {
        self.0
    }
}

impl Substitute for KernelSetup {
    fn load(&self, wanted: &XdpInterface) -> Option<Program> {
        let interface = &wanted.name;
        if !wanted.kernel_answers {
            return None;
        }
        if is_realtime() {
            warn!(interface, "no answers in the kernel, but by our threads: with PREEMPT_RT programs are interrupted");
            return None;
        }
        match Program::load(ANSWER, "answer") {
            Ok(program) => Some(program),
            Err(error) => {
                warn!(interface, "no answers in the kernel, but by our threads: {error}");
                None
            }
        }
    }

    fn attached(&mut self, wanted: &XdpInterface, program: &mut Program, mode: Mode) -> Result<(), ProgramError> {
        let maps = KernelMaps::new(program, mode)?;
        if self.0.is_none() {
            match Images::with_room() {
                Ok(images) => self.0 = Some(Kernel { programs: Vec::new(), images }),
                Err(error) => warn!("no answers in the kernel, for want of memory it shares: {error}"),
            }
        }
        if let Some(kernel) = &mut self.0 {
            info!(interface = wanted.name, "plain questions are answered in the kernel");
            kernel.programs.push(maps);
        }
        Ok(())
    }
}

/// Tells whether softirqs can be interrupted by others of the same core. Then two packets would be worked on in the
/// program's one piece of scratch memory per core, and one might get the other's answer.
fn is_realtime() -> bool {
    fs::read_to_string("/sys/kernel/realtime").is_ok_and(|is| is.trim() == "1")
}
