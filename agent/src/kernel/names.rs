//! Switches the program that sees DNS answers on and off.
//!
//! It is attached to the root of the unified (v2) control group hierarchy, so it sees what reaches any socket of the
//! node. Where there is no such hierarchy, fields of host names stay empty.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
};

use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError};
use rampart_common::{abi, event::AnswerCounters};

use super::{Kernel, KernelError};

/// Why host names are not seen; everything else works without them.
#[derive(Debug, thiserror::Error)]
pub enum NamesFault {
    /// No unified hierarchy.
    #[error("no cgroup v2 hierarchy is mounted")]
    NoHierarchy,
    /// Its root could not be opened.
    #[error("cannot open `{}`", path.display())]
    Open {
        /// Mount point.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program was refused.
    #[error("cannot attach the program `{name}`", name = abi::PROG_ANSWERS)]
    Program(#[from] Box<ProgramError>),
}

impl Kernel {
    /// Starts or stops to see DNS answers. Takes effect at once.
    pub fn see_names(&mut self, on: bool) -> Result<(), NamesFault> {
        if on == self.names.is_some() {
            return Ok(());
        }
        let Some(program) = self.ebpf.program_mut(abi::PROG_ANSWERS) else { return Ok(()) };
        let program: &mut CgroupSkb = program.try_into().map_err(Box::new)?;
        if let Some(link) = self.names.take() {
            program.detach(link).map_err(Box::new)?;
            return Ok(());
        }
        let path = unified_root().ok_or(NamesFault::NoHierarchy)?;
        let root = File::open(&path).map_err(|source| NamesFault::Open { path, source })?;
        if program.fd().is_err() {
            program.load().map_err(Box::new)?;
        }
        let mode = CgroupAttachMode::Single;
        let link = program.attach(&root, CgroupSkbAttachType::Ingress, mode).map_err(Box::new)?;
        self.names = Some(link);
        Ok(())
    }

    /// Counters of DNS answers, summed over all CPUs.
    pub fn answer_counters(&self) -> Result<AnswerCounters, KernelError> {
        let mut sum = AnswerCounters::default();
        for [emitted, ring_full] in self.per_cpu::<[u64; 2]>(abi::MAP_ANSWER_COUNTERS, 0)? {
            sum.emitted += emitted;
            sum.ring_full += ring_full;
        }
        Ok(sum)
    }
}

/// Where the unified hierarchy is mounted.
fn unified_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, path, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| path.into())
    })
}
