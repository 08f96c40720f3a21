//! Loading the event programs side by side: the verifier takes more than a second for all of them one after the other.

use std::{collections::BTreeMap, thread};

use aya::{
    Btf as AyaBtf, Ebpf, EbpfError,
    maps::ProgramArray,
    programs::{BtfTracePoint, Program, ProgramError},
};
use rampart_common::abi;

use super::{ATTACHED, KernelError, refusal::meant};

/// Tracepoint of the family programs, which the dispatcher calls.
const FAMILY_TRACEPOINT: &str = "sys_exit";

/// Loads every program, and tells the dispatcher the families'.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    let btf =
        AyaBtf::from_sys_fs().map_err(|error| KernelError::Load(Box::new(EbpfError::BtfError(error))))?;
    let mut programs: BTreeMap<&str, &mut BtfTracePoint> = BTreeMap::new();
    for (name, program) in ebpf.programs_mut() {
        if let Program::BtfTracePoint(program) = program {
            programs.insert(name, program);
        }
    }
    let families = abi::FAMILY_PROGRAMS.map(|(name, _)| (name, FAMILY_TRACEPOINT));
    let mut jobs = Vec::new();
    for (name, tracepoint) in families.into_iter().chain(ATTACHED) {
        jobs.push((name, tracepoint, programs.remove(name).ok_or(KernelError::Missing(name))?));
    }
    // The first family takes as long as all the others together.
    let mut jobs = jobs.into_iter();
    let longest = jobs.next();
    thread::scope(|scope| {
        let rest = scope.spawn(|| jobs.try_for_each(|job| one(job, &btf)));
        longest.map_or(Ok(()), |job| one(job, &btf))?;
        rest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    link_families(ebpf)
}

/// A program with its name and its tracepoint.
type Job<'a> = (&'static str, &'static str, &'a mut BtfTracePoint);

fn one((name, tracepoint, program): Job<'_>, btf: &AyaBtf) -> Result<(), KernelError> {
    program.load(tracepoint, btf).map_err(|error| match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            KernelError::Refused { program: name, source: meant(io_error, &log), log }
        }
        other => KernelError::Program { operation: "load", program: name, source: Box::new(other) },
    })
}

/// Puts the families' programs where the dispatcher finds them.
fn link_families(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    for (name, family) in abi::FAMILY_PROGRAMS {
        let link = |error| KernelError::Program { operation: "link", program: name, source: error };
        let program = ebpf.program(name).ok_or(KernelError::Missing(name))?;
        let fd = program.fd().and_then(|fd| Ok(fd.try_clone()?)).map_err(|error| link(Box::new(error)))?;
        let map = ebpf.map_mut(abi::MAP_FAMILIES).ok_or(KernelError::Missing(abi::MAP_FAMILIES))?;
        let fault = |source| KernelError::Map { map: abi::MAP_FAMILIES, source };
        let mut families = ProgramArray::try_from(map).map_err(fault)?;
        families.set(u32::from(family as u8), &fd, 0).map_err(fault)?;
    }
    Ok(())
}
