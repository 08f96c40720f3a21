//! The programs at security hooks: loaded while a rule asks for it and the kernel has such hooks, gone with the agent.
//!
//! Tables go into the slot that is not in force, then one write puts it in force. Only what differs from what the slot held is
//! written.

pub mod tables;

use std::{collections::BTreeMap, fs};

use aya::{
    Btf as AyaBtf, Ebpf, EbpfError, EbpfLoader, Pod, VerifierLogLevel, include_bytes_aligned,
    maps::{Array, HashMap, LpmTrie, MapData, MapError, PerCpuArray, RingBuf, lpm_trie::Key},
    programs::{BtfTracePoint, Lsm, ProgramError},
};
use rampart_common::{
    abi::GLOBAL_ISOLATED,
    deny::{self, Counts, Running, SETTINGS_WORDS, Switch, TERMS, UNDECIDED_KINDS},
    member::MEMBER_COUNT,
    wake::CpuBits,
};

use super::{BTF_PATH, KernelError, btf::Btf, layout, object, refusal::meant, ring::Notices};
use tables::{Node, Tables};

/// The programs, built with the agent.
static OBJECT: &[u8] = include_bytes_aligned!(env!("RAMPART_DENY_OBJECT"));

/// Where the kernel says which security modules are in force.
const LSM: &str = "/sys/kernel/security/lsm";
/// `BPF_NOEXIST`: only where nothing is yet.
const NO_EXIST: u64 = 1;
/// Bits of a slot in front of a path.
const SLOT_BITS: u32 = 8;

/// What is done about a kernel that does not ask the programs.
pub const FIX: &str = "boot with `bpf` at the end of the list in `lsm=` (needs CONFIG_BPF_LSM)";

/// Whether the kernel asks programs at its security hooks, as far as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hooks {
    /// It does.
    There,
    /// It does not; its security modules.
    Absent(String),
    /// It does not say; why.
    Unknown(String),
}

impl Hooks {
    /// Looks at what the kernel says.
    pub fn look() -> Self {
        match fs::read_to_string(LSM) {
            Ok(list) if list.trim().split(',').any(|module| module == "bpf") => Self::There,
            Ok(list) => Self::Absent(list.trim().to_owned()),
            Err(error) => Self::Unknown(format!("`{LSM}`: {error}")),
        }
    }

    /// Why it cannot be relied on.
    pub fn fault(&self) -> Option<String> {
        match self {
            Self::There => None,
            Self::Absent(list) => {
                Some(format!("`bpf` is not among the kernel's security modules ({list}); {FIX}"))
            }
            Self::Unknown(why) => {
                Some(format!("the kernel does not say which security modules it has ({why})"))
            }
        }
    }
}

/// The loaded programs.
pub struct Deny {
    ebpf: Ebpf,
    generation: u32,
    /// What the slots hold.
    slots: [Tables; 2],
}

/// How a generation goes into keys.
fn slot(generation: u32) -> u8 {
    (generation & 1) as u8
}

impl Deny {
    /// Loads and attaches: first what follows processes, then the hooks, which do nothing yet.
    pub fn start(isolated: &CpuBits) -> Result<Self, KernelError> {
        let bytes =
            fs::read(BTF_PATH).map_err(|source| KernelError::NoBtf { path: BTF_PATH.into(), source })?;
        let table = layout::resolve(&Btf::parse(&bytes)?).map_err(KernelError::Layout)?;
        drop(bytes);
        let facts = object::Facts { offsets: &table, types: &[0; MEMBER_COUNT], cast: None };
        let object =
            object::filled(OBJECT, &facts).ok_or(KernelError::Missing("place for the members' offsets"))?;
        let load = |error| KernelError::Load(Box::new(error));
        let mut ebpf = EbpfLoader::new()
            .verifier_log_level(VerifierLogLevel::DEBUG)
            .override_global(GLOBAL_ISOLATED, isolated.as_slice(), true)
            .load(&object)
            .map_err(load)?;
        let btf = AyaBtf::from_sys_fs().map_err(|error| load(EbpfError::BtfError(error)))?;
        for (name, tracepoint) in deny::FOLLOWERS {
            let program: &mut BtfTracePoint = program(&mut ebpf, name)?;
            program.load(tracepoint, &btf).map_err(|error| refused(name, error))?;
            program.attach().map_err(|error| failed("attach", name, error))?;
        }
        for (name, hook) in deny::HOOKS {
            let program: &mut Lsm = program(&mut ebpf, name)?;
            program.load(hook, &btf).map_err(|error| refused(name, error))?;
            program.attach().map_err(|error| failed("attach", name, error))?;
        }
        Ok(Self { ebpf, generation: 0, slots: Default::default() })
    }

    /// Whether the kernel asks the hooks, which its taking the programs does not say. Before anything is in force.
    pub fn is_asked(&mut self) -> Result<bool, KernelError> {
        // Any file will do.
        drop(fs::File::open(BTF_PATH));
        let asked = self.array::<u64>(deny::MAP_ASKED)?.get(&0, 0).map_err(fault(deny::MAP_ASKED))?;
        Ok(asked != 0)
    }

    /// The reading end of what the programs tell. Works once.
    pub fn notices(&mut self) -> Result<Notices, KernelError> {
        let name = deny::MAP_NOTICES;
        let map = self.ebpf.take_map(name).ok_or(KernelError::Missing(name))?;
        Ok(Notices(RingBuf::try_from(map).map_err(fault(name))?))
    }

    /// Puts tables in force, under a number that is the successor of the one before.
    pub fn publish(&mut self, generation: u32, tables: &Tables, switch: Switch) -> Result<(), KernelError> {
        let at = usize::from(slot(generation));
        let old = self.slots.get(at).cloned().unwrap_or_default();
        self.write(slot(generation), &old, tables)?;
        if let Some(kept) = self.slots.get_mut(at) {
            *kept = tables.clone();
        }
        self.settings(generation, tables, switch)?;
        let mut map = self.array::<u64>(deny::MAP_GENERATION)?;
        map.set(0, u64::from(generation), 0).map_err(fault(deny::MAP_GENERATION))?;
        self.generation = generation;
        Ok(())
    }

    /// Changes how far terms go.
    pub fn switch(&mut self, switch: Switch) -> Result<(), KernelError> {
        let generation = self.generation;
        let tables = self.slots.get(usize::from(slot(generation))).cloned().unwrap_or_default();
        self.settings(generation, &tables, switch)
    }

    fn settings(&mut self, generation: u32, tables: &Tables, switch: Switch) -> Result<(), KernelError> {
        let settings = deny::Settings { generation, switch, ..tables.settings };
        let mut map = self.array::<[u64; SETTINGS_WORDS]>(deny::MAP_SETTINGS)?;
        let slot = u32::from(slot(generation));
        map.set(slot, settings.to_words(), 0).map_err(fault(deny::MAP_SETTINGS))
    }

    fn write(&mut self, slot: u8, old: &Tables, new: &Tables) -> Result<(), KernelError> {
        for (name, old, new) in
            [(deny::MAP_PATHS, &old.paths, &new.paths), (deny::MAP_EXES, &old.exes, &new.exes)]
        {
            let mut trie: LpmTrie<_, [u8; 256], [u64; 2]> =
                self.map(name)?.try_into().map_err(fault(name))?;
            for node in gone(old, new) {
                let _ = trie.remove(&path_key(slot, node));
            }
            for (node, value) in changed(old, new) {
                trie.insert(&path_key(slot, node), [value.terms, value.flags], 0).map_err(fault(name))?;
            }
        }
        let name = deny::MAP_ADDRESSES;
        let mut trie: LpmTrie<_, [u8; 20], u64> = self.map(name)?.try_into().map_err(fault(name))?;
        let key = |(bits, address): &(u8, [u8; 16])| {
            let mut data = [0; 20];
            data.iter_mut()
                .zip(u32::from(slot).to_be_bytes().into_iter().chain(*address))
                .for_each(|(to, from)| *to = from);
            Key::new(32 + u32::from(*bits), data)
        };
        for net in gone(&old.addresses, &new.addresses) {
            let _ = trie.remove(&key(net));
        }
        for (net, terms) in changed(&old.addresses, &new.addresses) {
            trie.insert(&key(net), terms, 0).map_err(fault(name))?;
        }
        for (name, old, new) in
            [(deny::MAP_PORTS, &old.ports, &new.ports), (deny::MAP_USERS, &old.users, &new.users)]
        {
            let mut map = self.hash::<[u32; 2], u64>(name)?;
            for number in gone(old, new) {
                let _ = map.remove(&[u32::from(slot), *number]);
            }
            for (number, terms) in changed(old, new) {
                map.insert([u32::from(slot), *number], terms, 0).map_err(fault(name))?;
            }
        }
        let name = deny::MAP_NAMES;
        let mut map = self.hash::<[u64; 3], u64>(name)?;
        let key = |text: &[u8; 16]| {
            let halves = u128::from_ne_bytes(*text);
            let (low, high) = (halves as u64, (halves >> 64) as u64);
            if cfg!(target_endian = "little") {
                [u64::from(slot), low, high]
            } else {
                [u64::from(slot), high, low]
            }
        };
        for text in gone(&old.names, &new.names) {
            let _ = map.remove(&key(text));
        }
        for (text, terms) in changed(&old.names, &new.names) {
            map.insert(key(text), terms, 0).map_err(fault(name))?;
        }
        Ok(())
    }

    /// Programs of the node that are known by name; and the agent's parents. Not part of a slot: they protect only.
    pub fn protect(&mut self, names: &[[u8; 64]], spared: &[u32]) -> Result<(), KernelError> {
        let mut map = self.hash::<[u8; 64], u32>(deny::MAP_PROTECTED)?;
        let old: Vec<[u8; 64]> = map.keys().filter_map(Result::ok).collect();
        for name in names {
            map.insert(name, 1, 0).map_err(fault(deny::MAP_PROTECTED))?;
        }
        for name in old.iter().filter(|name| !names.contains(name)) {
            let _ = map.remove(name);
        }
        let mut map = self.hash::<u32, u32>(deny::MAP_SPARED)?;
        for pid in spared {
            map.insert(pid, 1, 0).map_err(fault(deny::MAP_SPARED))?;
        }
        Ok(())
    }

    /// Says what a process runs, unless the programs know.
    pub fn running(&mut self, pid: u32, running: &Running) -> Result<(), KernelError> {
        let name = deny::MAP_RUNNING;
        match self.hash::<u32, [u64; deny::RUNNING_WORDS]>(name)?.insert(pid, running.to_words(), NO_EXIST) {
            Err(error) if is(&error, libc::EEXIST) || is(&error, libc::E2BIG) => Ok(()),
            other => other.map_err(fault(name)),
        }
    }

    /// Forgets what a process runs.
    pub fn forget(&mut self, pid: u32) -> Result<(), KernelError> {
        let _ = self.hash::<u32, [u64; deny::RUNNING_WORDS]>(deny::MAP_RUNNING)?.remove(&pid);
        Ok(())
    }

    /// Says whether a control group is protected.
    pub fn group(&mut self, id: u64, is_protected: bool) -> Result<(), KernelError> {
        let name = deny::MAP_GROUPS;
        let mut map = self.hash::<u64, u32>(name)?;
        if map.insert(id, u32::from(is_protected), 0).is_err() {
            // Groups that are gone fill it up; those that are not are told of again.
            let all: Vec<u64> = map.keys().filter_map(Result::ok).collect();
            for id in all {
                let _ = map.remove(&id);
            }
            map.insert(id, u32::from(is_protected), 0).map_err(fault(name))?;
        }
        Ok(())
    }

    /// Forgets all control groups.
    pub fn forget_groups(&mut self) -> Result<(), KernelError> {
        let mut map = self.hash::<u64, u32>(deny::MAP_GROUPS)?;
        let all: Vec<u64> = map.keys().filter_map(Result::ok).collect();
        for id in all {
            let _ = map.remove(&id);
        }
        Ok(())
    }

    /// What was counted for so many terms since the programs were loaded.
    pub fn counts(&self, terms: usize) -> Result<Vec<Counts>, KernelError> {
        let term = |term| {
            let mut sum = Counts::default();
            for [refused, observed, untold] in self.per_cpu::<[u64; 3]>(deny::MAP_COUNTS, term)? {
                sum.refused += refused;
                sum.observed += observed;
                sum.untold += untold;
            }
            Ok(sum)
        };
        (0..terms.min(TERMS) as u32).map(term).collect()
    }

    /// Operations of which it was not known whether to refuse them, by reason.
    pub fn undecided(&self) -> Result<[u64; UNDECIDED_KINDS as usize], KernelError> {
        let mut counts = [0; UNDECIDED_KINDS as usize];
        for (kind, count) in (0..).zip(&mut counts) {
            *count = self.per_cpu::<u64>(deny::MAP_UNDECIDED, kind)?.into_iter().sum();
        }
        Ok(counts)
    }

    fn per_cpu<T: Pod>(&self, name: &'static str, index: u32) -> Result<Vec<T>, KernelError> {
        let map = self.ebpf.map(name).ok_or(KernelError::Missing(name))?;
        let map: PerCpuArray<&MapData, T> = PerCpuArray::try_from(map).map_err(fault(name))?;
        Ok(map.get(&index, 0).map_err(fault(name))?.to_vec())
    }

    fn map(&mut self, name: &'static str) -> Result<&mut aya::maps::Map, KernelError> {
        self.ebpf.map_mut(name).ok_or(KernelError::Missing(name))
    }

    fn array<T: Pod>(&mut self, name: &'static str) -> Result<Array<&mut MapData, T>, KernelError> {
        Array::try_from(self.map(name)?).map_err(fault(name))
    }

    fn hash<K: Pod, V: Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<HashMap<&mut MapData, K, V>, KernelError> {
        HashMap::try_from(self.map(name)?).map_err(fault(name))
    }
}

/// What was there and is not any more.
fn gone<'t, K: Ord, V>(
    old: &'t BTreeMap<K, V>,
    new: &'t BTreeMap<K, V>,
) -> impl Iterator<Item = &'t K> + use<'t, K, V> {
    old.keys().filter(|key| !new.contains_key(key))
}

/// What is new or another value.
fn changed<'t, K: Ord, V: PartialEq>(
    old: &'t BTreeMap<K, V>,
    new: &'t BTreeMap<K, V>,
) -> impl Iterator<Item = (&'t K, &'t V)> + use<'t, K, V> {
    new.iter().filter(|(key, value)| old.get(key) != Some(value))
}

/// A node of a table of paths as its map takes it. Nodes are never longer than the key.
fn path_key(slot: u8, node: &Node) -> Key<[u8; 256]> {
    let mut data = [0; 256];
    data.iter_mut().zip(std::iter::once(&slot).chain(node.iter())).for_each(|(to, from)| *to = *from);
    Key::new(SLOT_BITS + 8 * node.len() as u32, data)
}

fn program<'e, P>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<&'e mut P, KernelError>
where
    &'e mut P: TryFrom<&'e mut aya::programs::Program>,
{
    let program = ebpf.program_mut(name).ok_or(KernelError::Missing(name))?;
    program.try_into().map_err(|_| KernelError::Missing(name))
}

fn refused(name: &'static str, error: ProgramError) -> KernelError {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            KernelError::Refused { program: name, source: meant(io_error, &log), log }
        }
        other => failed("load", name, other),
    }
}

fn failed(operation: &'static str, program: &'static str, error: ProgramError) -> KernelError {
    KernelError::Program { operation, program, source: Box::new(error) }
}

fn fault(map: &'static str) -> impl Fn(MapError) -> KernelError {
    move |source| KernelError::Map { map, source }
}

fn is(error: &MapError, number: i32) -> bool {
    matches!(error, MapError::SyscallError(call) if call.io_error.raw_os_error() == Some(number))
}
