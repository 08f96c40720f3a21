//! Control groups that are cut off the network: a program on each, pinned, which ends by the kernel's own clock.
//!
//! An object for each group, so that one can be taken away without the others. Without the agent it holds until its end.

use std::{
    fs::{self, File},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel, include_bytes_aligned,
    maps::{
        Array, Map, MapData, PerCpuArray,
        lpm_trie::{Key, LpmTrie},
    },
    programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, links::FdLink},
};
use ipnet::IpNet;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use rampart_rules::response::Traffic;

/// The programs, built with the agent.
pub(super) static OBJECT: &[u8] = include_bytes_aligned!(env!("RAMPART_QUARANTINE_OBJECT"));

/// Directory below that of pins.
const DIRECTORY: &str = "quarantine";
/// Programs, what they are attached for, and names of their links.
const EGRESS: (&str, CgroupSkbAttachType) = ("quarantine_egress", CgroupSkbAttachType::Egress);
const INGRESS: (&str, CgroupSkbAttachType) = ("quarantine_ingress", CgroupSkbAttachType::Ingress);
const UNTIL: &str = "UNTIL";
const REACH: &str = "REACH";
const DROPPED: &str = "DROPPED";
/// Addresses that can stay in reach, as the object has room.
const REACH_MAX: usize = 4096;

/// Why a group is not, or still, in quarantine.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The kernel does not take the programs.
    #[error("cannot {operation}")]
    Kernel {
        /// What was tried.
        operation: &'static str,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
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
    #[error("`{}` is on no BPF file system; mount one (`mount -t bpf bpf /sys/fs/bpf`) or change `responses.pin_dir`", path.display())]
    NotBpffs {
        /// The directory.
        path: PathBuf,
    },
}

/// Quarantines below a directory of pins.
#[derive(Clone, Debug)]
pub struct Quarantines {
    directory: PathBuf,
}

impl Quarantines {
    /// Those below a directory.
    pub fn new(pins: &Path) -> Self {
        Self { directory: pins.join(DIRECTORY) }
    }

    /// Cuts a group off until a time of the boot clock, but for some addresses. One that is cut off already gets the new
    /// end and keeps its addresses.
    pub fn put(
        &self,
        id: u64,
        group: &Path,
        traffic: Traffic,
        until_ns: u64,
        reach: &[IpNet],
    ) -> Result<(), QuarantineError> {
        let pins = self.of(id);
        let wanted: &[_] = match traffic {
            Traffic::Egress => &[EGRESS],
            Traffic::All => &[EGRESS, INGRESS],
        };
        if wanted.iter().all(|(name, _)| pins.join(name).exists()) {
            return self.extend(id, until_ns);
        }
        self.remove(id)?;
        fs::create_dir_all(&pins).map_err(file("make", &pins))?;
        let kind = statfs(&pins).map_err(|error| file("look at", &pins)(error.into()))?.filesystem_type();
        if kind != BPF_FS_MAGIC {
            // Made by us a moment ago, and empty.
            let _ = fs::remove_dir(&pins);
            return Err(QuarantineError::NotBpffs { path: self.directory.clone() });
        }
        let outcome = attach(&pins, group, wanted, until_ns, reach);
        if outcome.is_err() {
            // Half of it must not stay.
            self.remove(id)?;
        }
        outcome
    }

    /// Gives a group another end.
    fn extend(&self, id: u64, until_ns: u64) -> Result<(), QuarantineError> {
        let data = MapData::from_pin(self.of(id).join(UNTIL)).map_err(kernel("open the map of ends"))?;
        let mut map: Array<_, u64> = Map::Array(data).try_into().map_err(kernel("read the map of ends"))?;
        map.set(0, until_ns, 0).map_err(kernel("write the map of ends"))
    }

    /// Packets that were dropped for a group so far.
    pub fn dropped(&self, id: u64) -> Option<u64> {
        let data = MapData::from_pin(self.of(id).join(DROPPED)).ok()?;
        let map: PerCpuArray<_, u64> = Map::PerCpuArray(data).try_into().ok()?;
        Some(map.get(&0, 0).ok()?.iter().sum())
    }

    /// Lets a group go; says whether it was in quarantine.
    pub fn remove(&self, id: u64) -> Result<bool, QuarantineError> {
        remove(&self.of(id))
    }

    /// Groups that are in quarantine, or were until their time was over.
    pub fn ids(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    fn of(&self, id: u64) -> PathBuf {
        self.directory.join(id.to_string())
    }
}

fn attach(
    pins: &Path,
    group: &Path,
    wanted: &[(&'static str, CgroupSkbAttachType)],
    until_ns: u64,
    reach: &[IpNet],
) -> Result<(), QuarantineError> {
    let mut object: Ebpf = EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::empty())
        .load(OBJECT)
        .map_err(kernel("load the programs of quarantine"))?;
    let mut ends: Array<_, u64> =
        map(&mut object, UNTIL)?.try_into().map_err(kernel("read the map of ends"))?;
    ends.set(0, until_ns, 0).map_err(kernel("write the map of ends"))?;
    let mut trie: LpmTrie<_, [u8; 16], u8> =
        map(&mut object, REACH)?.try_into().map_err(kernel("read the map of addresses"))?;
    for net in reach.iter().take(REACH_MAX) {
        let (bits, address) = match net.network() {
            IpAddr::V4(four) => (96 + u32::from(net.prefix_len()), four.to_ipv6_mapped().octets()),
            IpAddr::V6(six) => (net.prefix_len().into(), six.octets()),
        };
        trie.insert(&Key::new(bits, address), 1, 0).map_err(kernel("write the map of addresses"))?;
    }
    for name in [UNTIL, DROPPED] {
        map(&mut object, name)?.pin(pins.join(name)).map_err(kernel("pin a map"))?;
    }
    let group = File::open(group).map_err(file("open", group))?;
    for &(name, way) in wanted {
        let missing = || kernel("find the program of quarantine")(name);
        let program: &mut CgroupSkb = object
            .program_mut(name)
            .ok_or_else(missing)?
            .try_into()
            .map_err(kernel("use a program of quarantine"))?;
        program.load().map_err(kernel("load a program of quarantine"))?;
        let link = program
            // A link stands beside others by itself.
            .attach(&group, way, CgroupAttachMode::Single)
            .and_then(|id| program.take_link(id))
            .map_err(kernel("attach a program of quarantine"))?;
        let link = FdLink::try_from(link).map_err(kernel("hold a link of quarantine"))?;
        link.pin(pins.join(name)).map_err(kernel("pin a link of quarantine"))?;
    }
    Ok(())
}

fn map<'a>(object: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Map, QuarantineError> {
    object.map_mut(name).ok_or_else(|| kernel("find the map of quarantine")(name))
}

/// Takes pins away, links first: the rest is of no use without them.
fn remove(pins: &Path) -> Result<bool, QuarantineError> {
    let entries = match fs::read_dir(pins) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(file("read", pins)(error)),
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort_by_key(|path| {
        !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("quarantine"))
    });
    for path in paths {
        fs::remove_file(&path).map_err(file("remove", &path))?;
    }
    fs::remove_dir(pins).map_err(file("remove", pins))?;
    Ok(true)
}

fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> QuarantineError {
    let path = path.to_owned();
    move |source| QuarantineError::File { operation, path, source }
}

fn kernel<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    operation: &'static str,
) -> impl FnOnce(E) -> QuarantineError {
    move |source| QuarantineError::Kernel { operation, source: source.into() }
}
