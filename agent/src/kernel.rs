//! The kernel half from the agent's side: load, configure, attach, count, read. Nothing else imports aya.
//!
//! Nothing of the event programs is pinned: they and their maps live as long as the [`Kernel`] value, so a killed
//! agent leaves nothing of them behind. The limiter and the services are pinned on purpose.

pub mod btf;
pub mod caps;
mod compat;
pub mod deny;
mod layout;
pub mod limiter;
mod names;
mod object;
mod programs;
pub mod quarantine;
mod refusal;
mod ring;
pub mod services;
#[cfg(test)]
mod stack;
pub(crate) mod sys;
mod tables;

use std::{fs, io, path::PathBuf};

use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel, include_bytes_aligned,
    maps::{Array, MapData, MapError, PerCpuArray},
    programs::{BtfTracePoint, ProgramError, cgroup_skb::CgroupSkbLinkId},
};
use rampart_common::{
    abi, counter::FamilyCounters, event::Family, event::SyscallPlan, member::MEMBER_COUNT, wake::CpuBits,
};
use thiserror::Error;

pub use names::NamesFault;
pub use ring::{Incoming, Notices, RING_POLL, RingReader, Waker};
pub use tables::Learned;

use btf::{Btf, BtfError};
use object::Facts;

/// Where the kernel publishes its type information.
const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Memory for judged paths and files on all CPUs, bytes, and least and most of them per CPU.
const PATHS_BYTES: u64 = 8 << 20;
const PATHS_MIN: u64 = 64;
const PATHS_MAX: u64 = 1024;

/// The programs, built with the agent.
static OBJECT: &[u8] = include_bytes_aligned!(env!("RAMPART_BPF_OBJECT"));

/// Programs to attach, with the tracepoint of each.
const ATTACHED: [(&str, &str); 5] = [
    (abi::PROG_EXEC, "sched_process_exec"),
    (abi::PROG_FORK, "sched_process_fork"),
    (abi::PROG_EXIT, "sched_process_exit"),
    (abi::PROG_SOCKET, "inet_sock_set_state"),
    (abi::PROG_DISPATCH, "sys_exit"),
];

/// What the kernel half is started with.
#[derive(Clone, Copy, Debug)]
pub struct KernelConfig {
    /// Size of the event ring in bytes; a power of two, at least 64 KiB.
    pub ring_bytes: u32,
    /// Process whose own events are rejected in the kernel; 0 for none.
    pub own_pid: u32,
    /// CPUs on which no program wakes the reader.
    pub isolated: CpuBits,
}

/// Why the kernel half could not be brought up or used.
#[derive(Debug, Error)]
pub enum KernelError {
    /// No type information to read.
    #[error("cannot read the kernel's type information `{}`", path.display())]
    NoBtf {
        /// File that was tried.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The type information is damaged.
    #[error("cannot parse the kernel's type information")]
    Btf(#[from] BtfError),
    /// This kernel lacks structure members that the programs need.
    #[error("this kernel has no {}", list(.0))]
    Layout(Vec<BtfError>),
    /// Maps could not be created or the object could not be read.
    #[error("cannot load the kernel programs")]
    Load(#[source] Box<EbpfError>),
    /// The verifier refused a program.
    #[error("the kernel refused the program `{program}`")]
    Refused {
        /// Program name.
        program: &'static str,
        /// What the verifier said, whole.
        log: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program could not be loaded or attached for another reason.
    #[error("cannot {operation} the program `{program}`")]
    Program {
        /// What was tried: `load`, `attach` or `link`.
        operation: &'static str,
        /// Program name.
        program: &'static str,
        /// Cause.
        source: Box<ProgramError>,
    },
    /// The object lacks a map or program the agent knows: they were not built together.
    #[error("the kernel object has no `{0}`; agent and object were not built together")]
    Missing(&'static str),
    /// A map could not be read or written.
    #[error("cannot access the map `{map}`")]
    Map {
        /// Map name.
        map: &'static str,
        /// Cause.
        source: MapError,
    },
    /// Waiting for events failed.
    #[error("cannot wait for events")]
    Wait(#[from] nix::Error),
}

impl KernelError {
    /// The verifier's log, when that is what went wrong.
    pub fn verifier_log(&self) -> Option<&str> {
        match self {
            Self::Refused { log, .. } => Some(log),
            _ => None,
        }
    }
}

/// The loaded kernel half.
pub struct Kernel {
    ebpf: Ebpf,
    config: KernelConfig,
    wanted: Vec<SyscallPlan>,
    /// DNS answers, while a rule asks for them.
    names: Option<CgroupSkbLinkId>,
    /// What was written into pushdown's tables.
    written: tables::Written,
}

impl Kernel {
    /// Creates the maps and loads every program; nothing is attached yet.
    ///
    /// Where the kernel has a function for it, the programs read its memory by typed pointers; should they be refused
    /// with it, they are loaded without.
    pub fn load(config: &KernelConfig) -> Result<Self, KernelError> {
        let bytes =
            fs::read(BTF_PATH).map_err(|source| KernelError::NoBtf { path: BTF_PATH.into(), source })?;
        let btf = Btf::parse(&bytes)?;
        let table = layout::resolve(&btf).map_err(KernelError::Layout)?;
        let cast = btf.function_id(abi::FUNCTION_RDONLY_CAST);
        let types = layout::structures(&btf, &table);
        drop(btf);
        drop(bytes);
        if cast.is_some() {
            match Self::load_object(config, &Facts { offsets: &table, types: &types, cast }) {
                Err(KernelError::Refused { program, source, .. }) => {
                    tracing::warn!(
                        "The kernel refused `{program}` with typed pointers ({source}); it is loaded without, and rejects more slowly."
                    );
                }
                other => return other,
            }
        }
        Self::load_untyped(config)
    }

    fn load_object(config: &KernelConfig, facts: &Facts<'_>) -> Result<Self, KernelError> {
        let object =
            object::filled(OBJECT, facts).ok_or(KernelError::Missing("place for the members' offsets"))?;
        let cpus = aya::util::nr_cpus().unwrap_or(usize::MAX) as u64;
        let path_slots = path_slots(cpus);
        let loaded = EbpfLoader::new()
            .verifier_log_level(VerifierLogLevel::DEBUG)
            .override_global(abi::GLOBAL_PATH_SLOTS, &path_slots, true)
            .override_global(abi::GLOBAL_ISOLATED, config.isolated.as_slice(), true)
            .map_max_entries(abi::MAP_EVENTS, config.ring_bytes)
            .map_max_entries(abi::MAP_PATHS, path_slots)
            .map_max_entries(abi::MAP_TRACES, path_slots)
            .load(&object)
            .map_err(|error| KernelError::Load(Box::new(error)))?;
        let wanted = vec![SyscallPlan::default(); abi::SYSCALL_SLOTS as usize];
        let mut kernel =
            Self { ebpf: loaded, config: *config, wanted, names: None, written: tables::Written::default() };
        programs::load(&mut kernel.ebpf)?;
        kernel.fill_compat()?;
        kernel.fill_control()?;
        sys::return_free();
        Ok(kernel)
    }

    /// Replaces the whole table of wanted system calls. Takes effect call by call, without a gap for calls that
    /// are in both tables.
    pub fn set_wanted(&mut self, wanted: &[(u32, SyscallPlan)]) -> Result<(), KernelError> {
        let mut table = vec![SyscallPlan::default(); abi::SYSCALL_SLOTS as usize];
        for (number, plan) in wanted {
            if let Some(slot) = table.get_mut(*number as usize) {
                *slot = *plan;
            }
        }
        compat::mark(&mut table);
        // An entry is not written in one piece: a call that becomes wanted gets its plan first, its family last.
        let mut words: Vec<[u64; 3]> = table
            .iter()
            .zip(&self.wanted)
            .map(|(new, old)| SyscallPlan { family: old.family.min(new.family), ..*new }.to_words())
            .collect();
        self.fill(abi::MAP_WANTED, &words)?;
        words.clear();
        words.extend(table.iter().map(|plan| plan.to_words()));
        self.fill(abi::MAP_WANTED, &words)?;
        self.wanted = table;
        Ok(())
    }

    /// Attaches every program; events flow from here on. Processes first, so that no call is seen before its
    /// process can be.
    pub fn attach(&mut self) -> Result<(), KernelError> {
        for (name, _) in ATTACHED {
            let program = self.program(name)?;
            program.attach().map_err(|error| KernelError::Program {
                operation: "attach",
                program: name,
                source: Box::new(error),
            })?;
        }
        Ok(())
    }

    /// Loads the programs without typed pointers, as on kernels that have none.
    pub fn load_untyped(config: &KernelConfig) -> Result<Self, KernelError> {
        let bytes =
            fs::read(BTF_PATH).map_err(|source| KernelError::NoBtf { path: BTF_PATH.into(), source })?;
        let table = layout::resolve(&Btf::parse(&bytes)?).map_err(KernelError::Layout)?;
        Self::load_object(config, &Facts { offsets: &table, types: &[0; MEMBER_COUNT], cast: None })
    }

    /// The reading end of the event ring. Works once.
    pub fn reader(&mut self) -> Result<RingReader, KernelError> {
        let events = self.ebpf.take_map(abi::MAP_EVENTS).ok_or(KernelError::Missing(abi::MAP_EVENTS))?;
        let answers = self.ebpf.take_map(abi::MAP_ANSWERS).ok_or(KernelError::Missing(abi::MAP_ANSWERS))?;
        let control = self.ebpf.take_map(abi::MAP_CONTROL).ok_or(KernelError::Missing(abi::MAP_CONTROL))?;
        let polls = self.config.isolated.iter().any(|word| *word != 0);
        RingReader::new(events, answers, control, self.control(), polls)
    }

    /// Counters of each family, summed over all CPUs.
    pub fn counters(&self) -> Result<Vec<(Family, FamilyCounters)>, KernelError> {
        Family::ALL
            .into_iter()
            .map(|family| {
                let mut sum = FamilyCounters::default();
                for [seen, filtered, emitted, ring_full, error, counted] in
                    self.per_cpu::<[u64; 6]>(abi::MAP_COUNTERS, u32::from(family as u8))?
                {
                    sum.add(&FamilyCounters { seen, filtered, emitted, ring_full, error, counted });
                }
                Ok((family, sum))
            })
            .collect()
    }

    /// Next sequence number of each CPU.
    pub fn sequences(&self) -> Result<Vec<u64>, KernelError> {
        self.per_cpu(abi::MAP_SEQUENCE, 0)
    }

    /// One entry of a per-CPU array.
    fn per_cpu<T: aya::Pod>(&self, name: &'static str, index: u32) -> Result<Vec<T>, KernelError> {
        let fault = |source| KernelError::Map { map: name, source };
        let map = self.ebpf.map(name).ok_or(KernelError::Missing(name))?;
        let map: PerCpuArray<&MapData, T> = PerCpuArray::try_from(map).map_err(fault)?;
        Ok(map.get(&index, 0).map_err(fault)?.to_vec())
    }

    /// Detaches everything. Dropping the value does the same.
    pub fn detach(self) {
        drop(self);
    }

    fn program(&mut self, name: &'static str) -> Result<&mut BtfTracePoint, KernelError> {
        let program = self.ebpf.program_mut(name).ok_or(KernelError::Missing(name))?;
        program.try_into().map_err(|_| KernelError::Missing(name))
    }

    fn fill_compat(&mut self) -> Result<(), KernelError> {
        self.fill(abi::MAP_COMPAT, &compat::table())
    }

    fn fill_control(&mut self) -> Result<(), KernelError> {
        let control = self.control();
        self.fill(abi::MAP_CONTROL, &[control])
    }

    /// Own process, reader asleep, bytes at which the reader is woken: an eighth of the ring, 256 KiB at most.
    fn control(&self) -> [u32; 4] {
        [self.config.own_pid, 1, (self.config.ring_bytes / 8).min(256 * 1024), 0]
    }

    fn fill<T: aya::Pod>(&mut self, name: &'static str, values: &[T]) -> Result<(), KernelError> {
        let map = self.ebpf.map_mut(name).ok_or(KernelError::Missing(name))?;
        let fault = |source| KernelError::Map { map: name, source };
        let mut array: Array<&mut MapData, T> = Array::try_from(map).map_err(fault)?;
        for (index, value) in (0u32..).zip(values) {
            array.set(index, value, 0).map_err(fault)?;
        }
        Ok(())
    }
}

/// How many judged paths and files are remembered per CPU: what 8 MiB hold on all CPUs together, within reason.
fn path_slots(cpus: u64) -> u32 {
    let slot = abi::PATH_SLOT_BYTES + abi::TRACE_SLOT_BYTES;
    let share = (PATHS_BYTES / slot / cpus.max(1)).clamp(PATHS_MIN, PATHS_MAX);
    1 << share.ilog2()
}

fn list(faults: &[BtfError]) -> String {
    let names: Vec<String> = faults
        .iter()
        .map(|fault| match fault {
            BtfError::NoType(name) => format!("`{name}`"),
            BtfError::NoMember { ty, member } => format!("`{ty}.{member}`"),
            other => other.to_string(),
        })
        .collect();
    names.join(", ")
}
