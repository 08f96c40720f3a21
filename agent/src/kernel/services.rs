//! The programs and maps of services: load, take over, publish, order, count.
//!
//! An object and a life of its own, like the limiter's: with a pin directory its maps and links outlive the agent.
//! Programs of a new agent are attached beside those of the one before; one write makes them the ones in charge, and
//! then the old ones are taken away, so that no connection is seen by both or by neither.

mod attach;
mod pins;
mod tables;

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
    thread,
};

use aya::{
    Btf as AyaBtf, Ebpf, EbpfError, EbpfLoader, VerifierLogLevel, include_bytes_aligned,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, CgroupSock, CgroupSockAddr, Program, ProgramError, SockOps, links::FdLink},
};
use rampart_common::service::{
    abi::{
        self, BACKENDS, Backend, Breaker, Connected, Control, Counts, Event, FACT_NAMES, FACTS, SERVICES,
        Service, Tally,
    },
    breaker::Order,
    wire,
};
use thiserror::Error;

pub use pins::remove;
pub use tables::{SlotTable, Tables};

use super::{
    BTF_PATH,
    btf::{Btf, BtfError},
    layout,
    refusal::meant,
};

/// The programs, built with the agent.
pub(super) static OBJECT: &[u8] = include_bytes_aligned!(env!("RAMPART_SERVICES_OBJECT"));

/// How the services are loaded.
#[derive(Clone, Debug)]
pub struct ServicesConfig {
    /// Control group whose processes are served, of the unified hierarchy.
    pub cgroup: PathBuf,
    /// Directory of pins, on a BPF file system; without one nothing outlives the value.
    pub pins: Option<PathBuf>,
    /// Mark of health checks; 0 = none.
    pub probe_mark: u32,
}

/// Why services could not be brought up or used.
#[derive(Debug, Error)]
pub enum ServicesError {
    /// No type information to read.
    #[error("cannot read the kernel's type information `{}`", path.display())]
    NoBtf {
        /// File that was tried.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// This kernel lacks structure members that the programs need, or its type information is damaged.
    #[error("this kernel does not say where `{name}` is")]
    Layout {
        /// The member.
        name: &'static str,
        /// Cause.
        source: BtfError,
    },
    /// Maps could not be created or the object could not be read.
    #[error("cannot load the programs of services")]
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
        /// What was tried.
        operation: &'static str,
        /// Program name.
        program: &'static str,
        /// Cause.
        source: Box<ProgramError>,
    },
    /// The object lacks a map or program the agent knows: they were not built together.
    #[error("the services' object has no `{0}`; agent and object were not built together")]
    Missing(&'static str),
    /// A map could not be read or written.
    #[error("cannot access the map `{map}`")]
    Map {
        /// Map name.
        map: &'static str,
        /// Cause.
        source: MapError,
    },
    /// A file or directory cannot be used.
    #[error("cannot {operation} `{}`", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory of pins lies elsewhere.
    #[error("`{}` is on no BPF file system; mount one (`mount -t bpf bpf /sys/fs/bpf`) or change `services.pin_dir`", path.display())]
    NotBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// A random number could not be had.
    #[error("cannot get a random number")]
    Random(#[source] io::Error),
}

/// What is known of sockets that were given a backend.
pub struct Sockets {
    streams: OwnedFd,
    connected: HashMap<MapData, u64, [u8; size_of::<Connected>()]>,
}

impl Sockets {
    /// The map of [`abi::Socket`]s, for the kernel's list of TCP sockets.
    pub fn streams(&self) -> BorrowedFd<'_> {
        self.streams.as_fd()
    }

    /// The backend of a connected UDP socket, by its cookie.
    pub fn connected(&self, cookie: u64) -> Option<Connected> {
        self.connected.get(&cookie, 0).ok().map(|image| wire::value(&image))
    }
}

/// The loaded services.
pub struct Services {
    ebpf: Ebpf,
    config: ServicesConfig,
    /// Which loading this is.
    instance: u64,
    /// Links that no pin holds, and those of this loading.
    held: Vec<FdLink>,
    /// Virtual addresses that were written into either slot.
    written: [Vec<tables::VipImage>; 2],
}

impl Services {
    /// Creates the maps, or takes pinned ones over, and loads the programs; nothing is attached yet.
    pub fn load(config: ServicesConfig) -> Result<Self, ServicesError> {
        let facts = facts()?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| ServicesError::Random(io::Error::other(error)))?;
        let instance = u64::from_ne_bytes(seed) | 1;
        let mut loader = EbpfLoader::new();
        loader
            .verifier_log_level(VerifierLogLevel::DEBUG)
            .override_global(abi::GLOBAL_INSTANCE, &instance, true)
            .override_global(abi::GLOBAL_FACTS, facts.as_slice(), true);
        if let Some(pins) = &config.pins {
            let maps = pins::prepare(pins)?;
            for name in abi::MAPS {
                loader.map_pin_path(name, maps.join(name));
            }
        }
        let ebpf = loader.load(OBJECT).map_err(|error| ServicesError::Load(Box::new(error)))?;
        let mut services =
            Self { ebpf, config, instance, held: Vec::new(), written: [Vec::new(), Vec::new()] };
        services.load_programs()?;
        services.remember_written()?;
        Ok(services)
    }

    fn load_programs(&mut self) -> Result<(), ServicesError> {
        self.load_sock_addr_programs()?;
        let release: &mut CgroupSock = self.program(abi::PROG_RELEASE)?;
        release.load().map_err(refused(abi::PROG_RELEASE))?;
        let operations: &mut SockOps = self.program(abi::PROG_SOCK_OPS)?;
        operations.load().map_err(refused(abi::PROG_SOCK_OPS))?;
        let btf = AyaBtf::from_sys_fs()
            .map_err(|error| ServicesError::Load(Box::new(EbpfError::BtfError(error))))?;
        for (name, tracepoint) in abi::TRACEPOINT_PROGRAMS {
            let program: &mut BtfTracePoint = self.program(name)?;
            program.load(tracepoint, &btf).map_err(refused(name))?;
        }
        Ok(())
    }

    /// Loads the large ones side by side: the verifier takes a second and more for some of them.
    fn load_sock_addr_programs(&mut self) -> Result<(), ServicesError> {
        let mut wanted = BTreeMap::from(abi::SOCK_ADDR_PROGRAMS.map(|name| (name, None)));
        for (name, program) in self.ebpf.programs_mut() {
            if let (Some(place), Program::CgroupSockAddr(program)) = (wanted.get_mut(name), program) {
                *place = Some(program);
            }
        }
        let load = |(name, program): (&'static str, Option<&mut CgroupSockAddr>)| {
            program.ok_or(ServicesError::Missing(name))?.load().map_err(refused(name))
        };
        thread::scope(|scope| {
            let loading: Vec<_> = wanted.into_iter().map(|one| scope.spawn(move || load(one))).collect();
            loading
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    fn program<'a, T>(&'a mut self, name: &'static str) -> Result<&'a mut T, ServicesError>
    where
        &'a mut T: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let program = self.ebpf.program_mut(name).ok_or(ServicesError::Missing(name))?;
        program.try_into().map_err(|source| ServicesError::Program {
            operation: "use",
            program: name,
            source: Box::new(source),
        })
    }

    /// Tells the programs that the agent lives, and that those of this loading are in charge.
    pub fn beat(&mut self, now: u64) -> Result<(), ServicesError> {
        let control = Control {
            heartbeat_ns: now,
            instance: self.instance,
            probe_mark: self.config.probe_mark,
            pad: 0,
        };
        self.set::<{ size_of::<Control>() }, _>(abi::MAP_CONTROL, 0, &control)
    }

    /// Which loading's programs are in charge; 0 = none.
    pub fn in_charge(&self) -> Result<u64, ServicesError> {
        Ok(self.get::<{ size_of::<Control>() }, Control>(abi::MAP_CONTROL, 0)?.instance)
    }

    /// A breaker's state.
    pub fn breaker(&self, backend: u32) -> Result<Breaker, ServicesError> {
        self.get::<{ size_of::<Breaker>() }, _>(abi::MAP_BREAKERS, backend)
    }

    /// Puts a breaker's state, of a backend that no program knows yet.
    pub fn set_breaker(&mut self, backend: u32, breaker: &Breaker) -> Result<(), ServicesError> {
        self.set::<{ size_of::<Breaker>() }, _>(abi::MAP_BREAKERS, backend, breaker)
    }

    /// What is ordered of a breaker.
    pub fn order(&self, backend: u32) -> Result<Order, ServicesError> {
        self.get::<{ size_of::<Order>() }, _>(abi::MAP_ORDERS, backend)
    }

    /// Orders something of a breaker.
    pub fn set_order(&mut self, backend: u32, order: &Order) -> Result<(), ServicesError> {
        self.set::<{ size_of::<Order>() }, _>(abi::MAP_ORDERS, backend, order)
    }

    /// Counters of a backend, summed over all CPUs.
    pub fn tally(&self, backend: u32) -> Result<Tally, ServicesError> {
        let mut sum = Tally::default();
        for image in self.per_cpu::<{ size_of::<Tally>() }>(abi::MAP_TALLIES, backend)? {
            let own: Tally = wire::value(&image);
            sum.slow += own.slow;
            sum.latency_ns += own.latency_ns;
            for (sum, own) in sum.outcomes.iter_mut().zip(own.outcomes) {
                *sum += own;
            }
            for (sum, own) in sum.latencies.iter_mut().zip(own.latencies) {
                *sum += own;
            }
        }
        Ok(sum)
    }

    /// Counters of a service, summed over all CPUs.
    pub fn counts(&self, service: u32) -> Result<Counts, ServicesError> {
        let mut sum = Counts::default();
        for image in self.per_cpu::<{ size_of::<Counts>() }>(abi::MAP_COUNTS, service)? {
            let own: Counts = wire::value(&image);
            sum.chosen += own.chosen;
            sum.probes += own.probes;
            sum.panics += own.panics;
            sum.refused += own.refused;
            sum.empty += own.empty;
            sum.passed += own.passed;
        }
        Ok(sum)
    }

    /// Services in force with their numbers.
    pub fn services_in_force(&self) -> Result<Vec<(u32, Service)>, ServicesError> {
        let generation = self.generation()?;
        let numbers = if generation == 0 { 0..0 } else { 1..SERVICES };
        let mut found = Vec::new();
        for number in numbers {
            let index = (generation & 1) * SERVICES + number;
            let service: Service = self.get::<{ size_of::<Service>() }, _>(abi::MAP_SERVICES, index)?;
            if service.name_low != 0 {
                found.push((number, service));
            }
        }
        Ok(found)
    }

    /// Backends in force with their numbers.
    pub fn backends_in_force(&self) -> Result<Vec<(u32, Backend)>, ServicesError> {
        let generation = self.generation()?;
        let numbers = if generation == 0 { 0..0 } else { 1..BACKENDS };
        let mut found = Vec::new();
        for number in numbers {
            let index = (generation & 1) * BACKENDS + number;
            let backend: Backend = self.get::<{ size_of::<Backend>() }, _>(abi::MAP_BACKENDS, index)?;
            if backend.name_hash != 0 {
                found.push((number, backend));
            }
        }
        Ok(found)
    }

    /// Takes the events that wait, at most `most`.
    pub fn events(&mut self, most: usize) -> Result<Vec<Event>, ServicesError> {
        let of = self.ebpf.map_mut(abi::MAP_EVENTS).ok_or(ServicesError::Missing(abi::MAP_EVENTS))?;
        let mut ring = RingBuf::try_from(of).map_err(map(abi::MAP_EVENTS))?;
        let mut events = Vec::new();
        while events.len() < most
            && let Some(item) = ring.next()
        {
            events.push(wire::value(&item));
        }
        Ok(events)
    }

    /// What is known of sockets, for a thread that looks for some.
    pub fn sockets(&self) -> Result<Sockets, ServicesError> {
        let of = |name: &'static str| match self.ebpf.map(name) {
            Some(Map::SkStorage(of) | Map::LruHashMap(of)) => {
                of.fd().as_fd().try_clone_to_owned().map_err(|source| ServicesError::File {
                    operation: "duplicate the descriptor of",
                    path: name.into(),
                    source,
                })
            }
            _ => Err(ServicesError::Missing(name)),
        };
        let name = abi::MAP_CONNECTED;
        let connected = MapData::from_fd(of(name)?).map_err(map(name))?;
        let connected = HashMap::try_from(Map::LruHashMap(connected)).map_err(map(name))?;
        Ok(Sockets { streams: of(abi::MAP_SOCKETS)?, connected })
    }

    fn get<const N: usize, T: rampart_common::limit::wire::Wire>(
        &self,
        name: &'static str,
        index: u32,
    ) -> Result<T, ServicesError> {
        let of = self.ebpf.map(name).ok_or(ServicesError::Missing(name))?;
        let array: Array<&MapData, [u8; N]> = Array::try_from(of).map_err(map(name))?;
        Ok(wire::value(&array.get(&index, 0).map_err(map(name))?))
    }

    fn set<const N: usize, T: rampart_common::limit::wire::Wire>(
        &mut self,
        name: &'static str,
        index: u32,
        value: &T,
    ) -> Result<(), ServicesError> {
        let image: [u8; N] = wire::bytes(value);
        let of = self.ebpf.map_mut(name).ok_or(ServicesError::Missing(name))?;
        let mut array: Array<&mut MapData, [u8; N]> = Array::try_from(of).map_err(map(name))?;
        array.set(index, image, 0).map_err(map(name))
    }

    fn per_cpu<const N: usize>(&self, name: &'static str, index: u32) -> Result<Vec<[u8; N]>, ServicesError> {
        let of = self.ebpf.map(name).ok_or(ServicesError::Missing(name))?;
        let array: PerCpuArray<&MapData, [u8; N]> = PerCpuArray::try_from(of).map_err(map(name))?;
        Ok(array.get(&index, 0).map_err(map(name))?.to_vec())
    }
}

/// What the programs need to know of this kernel.
fn facts() -> Result<[u32; FACTS], ServicesError> {
    let bytes =
        std::fs::read(BTF_PATH).map_err(|source| ServicesError::NoBtf { path: BTF_PATH.into(), source })?;
    let damaged = |name| move |source| ServicesError::Layout { name, source };
    let btf = Btf::parse(&bytes).map_err(damaged(BTF_PATH))?;
    let mut facts = [0; FACTS];
    for (fact, name) in facts.iter_mut().zip(FACT_NAMES) {
        match layout::lookup(&btf, name) {
            Ok(offset) => *fact = offset,
            Err(Some(fault)) => return Err(damaged(name)(fault)),
            Err(None) => {}
        }
    }
    Ok(facts)
}

fn map(name: &'static str) -> impl Fn(MapError) -> ServicesError {
    move |source| ServicesError::Map { map: name, source }
}

fn refused(program: &'static str) -> impl Fn(ProgramError) -> ServicesError {
    move |error| match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            ServicesError::Refused { program, source: meant(io_error, &log), log }
        }
        other => ServicesError::Program { operation: "load", program, source: Box::new(other) },
    }
}
