//! The rate limiter's programs and maps: load, take over, publish, count.
//!
//! An object and a life of its own: it is loaded apart from the event programs, and with a pin directory its maps and
//! links outlive the agent. An agent that finds them takes them over: state goes on, programs are exchanged in place.

mod attach;
mod pins;
mod tables;

use std::{borrow::Borrow, collections::BTreeMap, io, path::PathBuf, thread};

use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel, include_bytes_aligned,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf},
    programs::{Program, ProgramError, TestRun as _, TestRunOptions, Xdp},
};
use rampart_common::limit::{
    abi::{
        self, Config, Control, DEFECT_COUNTERS, Entry, EntryKey, POLICIES, Policy, Sample, TALLIES, Tally,
        defect_index, reset_index, tally_index,
    },
    verdict::{Defect, Direction, Reason},
    wire,
};
use thiserror::Error;

pub use attach::{Attached, Interface, Refused, Rung, Wish};
pub use pins::remove;
pub use tables::Tables;

use super::refusal::meant;

/// The programs, built with the agent.
pub(super) static OBJECT: &[u8] = include_bytes_aligned!(env!("RAMPART_LIMITER_OBJECT"));

/// How the limiter is loaded.
#[derive(Clone, Debug)]
pub struct LimiterConfig {
    /// Keys that are known at a time.
    pub entries: u32,
    /// Directory of pins, on a BPF file system; without one nothing outlives the value.
    pub pins: Option<PathBuf>,
}

/// Why the limiter could not be brought up or used.
#[derive(Debug, Error)]
pub enum LimiterError {
    /// Maps could not be created or the object could not be read.
    #[error("cannot load the limiter's programs")]
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
    /// A program could not be loaded for another reason, or not be run.
    #[error("cannot load or run the program `{program}`")]
    Program {
        /// Program name.
        program: &'static str,
        /// Cause.
        source: Box<ProgramError>,
    },
    /// The object lacks a map or program the agent knows: they were not built together.
    #[error("the limiter's object has no `{0}`; agent and object were not built together")]
    Missing(&'static str),
    /// A map could not be read or written.
    #[error("cannot access the map `{map}`")]
    Map {
        /// Map name.
        map: &'static str,
        /// Cause.
        source: MapError,
    },
    /// The directory of pins cannot be used.
    #[error("cannot {operation} `{}`", path.display())]
    Pins {
        /// What was tried.
        operation: &'static str,
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory of pins lies elsewhere.
    #[error("`{}` is on no BPF file system; mount one (`mount -t bpf bpf /sys/fs/bpf`) or change `limits.pin_dir`", path.display())]
    NotBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// No way to attach worked.
    #[error("cannot limit {} of `{interface}`: {}", direction.name(), attach::reasons(refused))]
    NoRung {
        /// Interface.
        interface: String,
        /// Which way.
        direction: Direction,
        /// What each rung was refused for.
        refused: Vec<Refused>,
    },
}

/// The loaded limiter.
pub struct Limiter {
    ebpf: Ebpf,
    pins: Option<PathBuf>,
    /// XDP program that loaded; `None` where the kernel takes neither.
    xdp: Option<&'static str>,
    /// What was written into either slot, so that it can be taken back.
    written: [tables::Written; 2],
    attached: BTreeMap<attach::Hook, attach::Held>,
}

/// A tally with what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Policy; 0 = none.
    pub policy: u32,
    /// Reason.
    pub reason: Reason,
    /// Which way.
    pub direction: Direction,
    /// Only observed.
    pub is_observed: bool,
    /// Packets and bytes, over all CPUs.
    pub tally: Tally,
}

impl Limiter {
    /// Creates the maps, or takes pinned ones over, and loads the programs; nothing is attached yet.
    pub fn load(config: &LimiterConfig) -> Result<Self, LimiterError> {
        let mut loader = EbpfLoader::new();
        loader.verifier_log_level(VerifierLogLevel::DEBUG).map_max_entries(abi::MAP_ENTRIES, config.entries);
        if let Some(pins) = &config.pins {
            let maps = pins::prepare(pins, config.entries)?;
            for name in abi::MAPS {
                loader.map_pin_path(name, maps.join(name));
            }
        }
        let ebpf = loader.load(OBJECT).map_err(|error| LimiterError::Load(Box::new(error)))?;
        let mut limiter = Self {
            ebpf,
            pins: config.pins.clone(),
            xdp: None,
            written: Default::default(),
            attached: BTreeMap::new(),
        };
        limiter.load_programs()?;
        limiter.remember_written()?;
        Ok(limiter)
    }

    fn load_programs(&mut self) -> Result<(), LimiterError> {
        let (mut classifiers, mut xdps) = (BTreeMap::new(), BTreeMap::new());
        for (name, program) in self.ebpf.programs_mut() {
            match program {
                Program::SchedClassifier(program) => drop(classifiers.insert(name, program)),
                Program::Xdp(program) => drop(xdps.insert(name, program)),
                _ => {}
            }
        }
        let mut take = |name: &'static str| classifiers.remove(name).ok_or(LimiterError::Missing(name));
        let (ingress, egress) = (take(abi::PROG_INGRESS)?, take(abi::PROG_EGRESS)?);
        // Side by side: the verifier takes its time for each.
        self.xdp = thread::scope(|scope| {
            let ingress = scope.spawn(|| ingress.load().map_err(refused(abi::PROG_INGRESS)));
            let egress = scope.spawn(|| egress.load().map_err(refused(abi::PROG_EGRESS)));
            let xdp = load_xdp(&mut xdps);
            for thread in [ingress, egress] {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            xdp.map(Some)
        })?;
        Ok(())
    }

    fn xdp_program(&mut self, name: &'static str) -> Result<&mut Xdp, LimiterError> {
        let program = self.ebpf.program_mut(name).ok_or(LimiterError::Missing(name))?;
        program.try_into().map_err(|source| LimiterError::Program { program: name, source: Box::new(source) })
    }

    /// Generation in force; 0 = off.
    pub fn generation(&self) -> Result<u32, LimiterError> {
        self.array::<u32>(abi::MAP_GENERATION)?.get(&0, 0).map_err(map(abi::MAP_GENERATION))
    }

    /// Settings in force; none when it is off.
    pub fn config(&self) -> Result<Option<Config>, LimiterError> {
        let generation = self.generation()?;
        if generation == 0 {
            return Ok(None);
        }
        let settings = self.array::<[u8; size_of::<Config>()]>(abi::MAP_CONFIG)?;
        let image = settings.get(&(generation & 1), 0).map_err(map(abi::MAP_CONFIG))?;
        Ok(Some(wire::value(&image)))
    }

    /// Names (as hashes) of the policies in force, by their numbers.
    pub fn policy_names(&self) -> Result<BTreeMap<u16, u64>, LimiterError> {
        let generation = self.generation()?;
        let mut names = BTreeMap::new();
        if generation == 0 {
            return Ok(names);
        }
        let policies = self.array::<[u8; size_of::<Policy>()]>(abi::MAP_POLICIES)?;
        for number in 1..POLICIES {
            let index = (generation & 1) * POLICIES + number;
            let policy: Policy = wire::value(&policies.get(&index, 0).map_err(map(abi::MAP_POLICIES))?);
            if policy.name_hash != 0 {
                names.insert(number as u16, policy.name_hash);
            }
        }
        Ok(names)
    }

    /// Tells the programs that the agent lives, and how much each class is stretched.
    pub fn beat(&mut self, control: &Control) -> Result<(), LimiterError> {
        let image: [u8; size_of::<Control>()] = wire::bytes(control);
        self.array_mut::<[u8; size_of::<Control>()]>(abi::MAP_CONTROL)?
            .set(0, image, 0)
            .map_err(map(abi::MAP_CONTROL))
    }

    /// Runs a program on a frame, on no interface (`lo` is what it sees); gives what it returned and how many
    /// nanoseconds a run took. The packets count as any others.
    pub fn run(&self, program: &'static str, frame: &[u8], repeat: u32) -> Result<(u32, u64), LimiterError> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let of = self.ebpf.program(program).ok_or(LimiterError::Missing(program))?;
        let outcome = match of {
            Program::Xdp(xdp) => xdp.test_run(options),
            Program::SchedClassifier(classifier) => classifier.test_run(options),
            _ => return Err(LimiterError::Missing(program)),
        };
        let outcome = outcome.map_err(|error| LimiterError::Program { program, source: Box::new(error) })?;
        Ok((outcome.return_value, outcome.duration.as_nanos() as u64))
    }

    /// Loads the XDP program for packets in one buffer, should the other one have been loaded, so that it can be run.
    pub fn load_spare(&mut self) -> Result<(), LimiterError> {
        let xdp = self.xdp_program(abi::PROG_XDP)?;
        if xdp.fd().is_ok() { Ok(()) } else { xdp.load().map_err(refused(abi::PROG_XDP)) }
    }

    /// State of a key.
    pub fn entry(&self, key: &EntryKey) -> Result<Option<Entry>, LimiterError> {
        let of = self.ebpf.map(abi::MAP_ENTRIES).ok_or(LimiterError::Missing(abi::MAP_ENTRIES))?;
        let entries: HashMap<_, [u8; size_of::<EntryKey>()], [u8; size_of::<Entry>()]> =
            HashMap::try_from(of).map_err(map(abi::MAP_ENTRIES))?;
        match entries.get(&wire::bytes(key), 0) {
            Ok(image) => Ok(Some(wire::value(&image))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(map(abi::MAP_ENTRIES)(error)),
        }
    }

    /// Hands out the state of every known key; gives how many there were. One that comes or goes meanwhile may be left
    /// out.
    pub fn entries(&self, mut take: impl FnMut(EntryKey, Entry)) -> Result<usize, LimiterError> {
        let of = self.ebpf.map(abi::MAP_ENTRIES).ok_or(LimiterError::Missing(abi::MAP_ENTRIES))?;
        let most = entries_max(of);
        let entries: HashMap<_, [u8; size_of::<EntryKey>()], [u8; size_of::<Entry>()]> =
            HashMap::try_from(of).map_err(map(abi::MAP_ENTRIES))?;
        let mut count = 0;
        // A walk begins anew at a key that is gone meanwhile: it may hand out a key twice, and must end all the same.
        for key in entries.keys().take(most) {
            let key = key.map_err(map(abi::MAP_ENTRIES))?;
            match entries.get(&key, 0) {
                Ok(image) => take(wire::value(&key), wire::value(&image)),
                Err(MapError::KeyNotFound) => continue,
                Err(error) => return Err(map(abi::MAP_ENTRIES)(error)),
            }
            count += 1;
        }
        Ok(count)
    }

    /// Every tally that is not zero, summed over all CPUs.
    pub fn tallies(&self) -> Result<Vec<Counted>, LimiterError> {
        let of = self.ebpf.map(abi::MAP_TALLIES).ok_or(LimiterError::Missing(abi::MAP_TALLIES))?;
        let map_of: PerCpuArray<_, [u8; size_of::<Tally>()]> =
            PerCpuArray::try_from(of).map_err(map(abi::MAP_TALLIES))?;
        let mut counted = Vec::new();
        for policy in 0..POLICIES {
            for reason in Reason::ALL {
                for direction in Direction::ALL {
                    for is_observed in [false, true] {
                        let index = tally_index(policy, reason as u8, direction as u8, is_observed);
                        debug_assert!(index < TALLIES, "indices of tallies are bounded");
                        let mut tally = Tally::default();
                        for cpu in map_of.get(&index, 0).map_err(map(abi::MAP_TALLIES))?.iter() {
                            let own: Tally = wire::value(cpu);
                            tally.packets += own.packets;
                            tally.bytes += own.bytes;
                        }
                        if tally.packets > 0 {
                            counted.push(Counted { policy, reason, direction, is_observed, tally });
                        }
                    }
                }
            }
        }
        Ok(counted)
    }

    /// Malformed packets, summed over all CPUs; those that are not zero.
    pub fn defects(&self) -> Result<Vec<(Defect, Direction, u64)>, LimiterError> {
        let of = self.ebpf.map(abi::MAP_DEFECTS).ok_or(LimiterError::Missing(abi::MAP_DEFECTS))?;
        let map_of: PerCpuArray<_, u64> = PerCpuArray::try_from(of).map_err(map(abi::MAP_DEFECTS))?;
        let mut counted = Vec::new();
        for defect in Defect::ALL {
            for direction in Direction::ALL {
                let index = defect_index(defect as u8, direction as u8);
                debug_assert!(index < DEFECT_COUNTERS, "indices of defects are bounded");
                let sum = map_of.get(&index, 0).map_err(map(abi::MAP_DEFECTS))?.iter().sum();
                if sum > 0 {
                    counted.push((defect, direction, sum));
                }
            }
        }
        Ok(counted)
    }

    /// Packets to be answered by a reset, summed over all CPUs, by whether they were; those that are not zero.
    pub fn resets(&self) -> Result<Vec<(bool, Direction, u64)>, LimiterError> {
        let of = self.ebpf.map(abi::MAP_RESETS).ok_or(LimiterError::Missing(abi::MAP_RESETS))?;
        let map_of: PerCpuArray<_, u64> = PerCpuArray::try_from(of).map_err(map(abi::MAP_RESETS))?;
        let mut counted = Vec::new();
        for is_answered in [true, false] {
            for direction in Direction::ALL {
                let index = reset_index(is_answered, direction as u8);
                let sum = map_of.get(&index, 0).map_err(map(abi::MAP_RESETS))?.iter().sum();
                if sum > 0 {
                    counted.push((is_answered, direction, sum));
                }
            }
        }
        Ok(counted)
    }

    /// Takes the samples that wait, at most `most`.
    pub fn samples(&mut self, most: usize) -> Result<Vec<Sample>, LimiterError> {
        let of = self.ebpf.map_mut(abi::MAP_SAMPLES).ok_or(LimiterError::Missing(abi::MAP_SAMPLES))?;
        let mut ring = RingBuf::try_from(of).map_err(map(abi::MAP_SAMPLES))?;
        let mut samples = Vec::new();
        while samples.len() < most
            && let Some(item) = ring.next()
        {
            samples.push(wire::value(&item));
        }
        Ok(samples)
    }

    fn array<T: aya::Pod>(&self, name: &'static str) -> Result<Array<&MapData, T>, LimiterError> {
        let of = self.ebpf.map(name).ok_or(LimiterError::Missing(name))?;
        Array::try_from(of).map_err(map(name))
    }

    fn array_mut<T: aya::Pod>(&mut self, name: &'static str) -> Result<Array<&mut MapData, T>, LimiterError> {
        let of = self.ebpf.map_mut(name).ok_or(LimiterError::Missing(name))?;
        Array::try_from(of).map_err(map(name))
    }
}

/// Loads an XDP program. Packets in several buffers are newer than the rest; where the kernel knows none, there are
/// none.
fn load_xdp(xdps: &mut BTreeMap<&str, &mut Xdp>) -> Result<&'static str, LimiterError> {
    let load = |name: &'static str, xdps: &mut BTreeMap<&str, &mut Xdp>| {
        let program = xdps.remove(name).ok_or(LimiterError::Missing(name))?;
        program.load().map_err(refused(name)).map(|()| name)
    };
    load(abi::PROG_XDP_FRAGS, xdps).or_else(|_| load(abi::PROG_XDP, xdps))
}

/// Keys that a map has room for.
fn entries_max(of: &aya::maps::Map) -> usize {
    match of {
        aya::maps::Map::LruHashMap(data) | aya::maps::Map::HashMap(data) => {
            data.info().map_or(usize::MAX, |info| info.max_entries() as usize)
        }
        _ => usize::MAX,
    }
}

fn map(name: &'static str) -> impl Fn(MapError) -> LimiterError {
    move |source| LimiterError::Map { map: name, source }
}

fn refused(program: &'static str) -> impl Fn(ProgramError) -> LimiterError {
    move |error| match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            LimiterError::Refused { program, source: meant(io_error, &log), log }
        }
        other => LimiterError::Program { program, source: Box::new(other) },
    }
}

/// Reads a whole map of either kind.
fn collect<K: aya::Pod, V: aya::Pod, M: Borrow<MapData>>(
    name: &'static str,
    map_of: &HashMap<M, K, V>,
) -> Result<Vec<K>, LimiterError> {
    map_of.keys().collect::<Result<_, _>>().map_err(map(name))
}
