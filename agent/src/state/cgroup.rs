//! Control group paths to container ids.
//!
//! Pure, apart from [`CtrTasks`]; the cache belongs to the state's owner.

use std::{borrow::Cow, path::PathBuf, sync::Arc};

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

/// Bytes of a container id as shown.
const SHORT_ID: usize = 12;
/// Hex digits of a full container id.
const FULL_ID: usize = 64;
/// Groups remembered; more than the containers of any node, small in memory.
const CACHE_LIMIT: usize = 4096;
/// Id of the root group of the unified hierarchy. On machines that use the old hierarchies every process has it.
const ROOT_GROUP: u64 = 1;

/// What container runtimes put before the id in a group's name, and who does.
const PREFIXES: [(&str, Runtime); 7] = [
    ("libpod-payload-", Runtime::Podman),
    ("libpod-", Runtime::Podman),
    ("docker-", Runtime::Docker),
    ("crio-", Runtime::CriO),
    ("cri-containerd-", Runtime::Containerd),
    ("nerdctl-", Runtime::Containerd),
    ("lxc.payload.", Runtime::Lxc),
];

/// Software that runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Runtime {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// containerd, below Kubernetes or by its own clients.
    Containerd,
    /// CRI-O.
    CriO,
    /// LXC and LXD.
    Lxc,
    /// The LXC driver of libvirt.
    LibvirtLxc,
    /// systemd-nspawn.
    Nspawn,
    /// BOSH process manager.
    Bpm,
    /// Garden, of Cloud Foundry.
    Garden,
}

impl Runtime {
    /// The value of `container.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Lxc => "lxc",
            Self::LibvirtLxc => "libvirt-lxc",
            Self::Nspawn => "systemd-nspawn",
            Self::Bpm => "bpm",
            Self::Garden => "garden",
        }
    }
}

/// A container, as far as the path of its control group tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Id as shown.
    pub id: Arc<str>,
    /// Whole id.
    pub full_id: Box<str>,
    /// Who runs it, when the path says so.
    pub runtime: Option<Runtime>,
    /// containerd's namespace, when the path says so.
    pub namespace: Option<Box<str>>,
    /// Uid of the pod, when the path says so; with dashes.
    pub pod_uid: Option<Box<str>>,
    /// User whose service manager runs it; `None` for the system's.
    pub owner: Option<u32>,
}

/// Decides whether a two-level group `/NAMESPACE/NAME` is a container of containerd's own client.
///
/// Falco takes any such group for one, which turns ordinary groups of other programs into containers. Here the
/// runtime must have a task of that name, unless Falco's reading is asked for.
#[derive(Clone, Debug)]
pub enum CtrTasks {
    /// Every such group counts.
    Any,
    /// Groups whose task directory exists below one of these folders count.
    Below(Vec<PathBuf>),
    /// Groups that were told count, by namespace and name.
    Told(FxHashSet<(Box<str>, Box<str>)>),
}

impl Default for CtrTasks {
    fn default() -> Self {
        Self::Below(vec![PathBuf::from("/run/containerd/io.containerd.runtime.v2.task")])
    }
}

impl CtrTasks {
    fn knows(&self, namespace: &str, name: &str) -> bool {
        match self {
            // Decided before, in Falco's loose form.
            Self::Any => false,
            Self::Below(roots) => roots.iter().any(|root| root.join(namespace).join(name).is_dir()),
            Self::Told(tasks) => tasks.contains(&(namespace.into(), name.into())),
        }
    }

    /// The same without looking at this node.
    #[must_use]
    pub fn told(self) -> Self {
        match self {
            Self::Below(_) => Self::Told(FxHashSet::default()),
            other => other,
        }
    }
}

/// The container id a group path stands for; `None` for the host.
pub fn container_id(path: &[u8], tasks: &CtrTasks) -> Option<String> {
    container(path, tasks).map(|container| container.id.as_ref().to_owned())
}

/// The container a group path stands for; `None` for the host.
///
/// The innermost part of the path that names a container decides, so a group that a container makes inside of
/// its own stays that container's.
pub fn container(path: &[u8], tasks: &CtrTasks) -> Option<Container> {
    let path = std::str::from_utf8(path).ok()?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut named = parts.iter().enumerate().rev().filter_map(|(index, part)| {
        let above = index.checked_sub(1).and_then(|above| parts.get(above)).copied();
        let below = parts.get(index + 1).copied();
        part_id(part, above, below)
    });
    let found = match (tasks, parts.as_slice()) {
        (CtrTasks::Below(_) | CtrTasks::Told(_), [namespace, name]) => named
            .next()
            .or_else(|| (ctr_name(name) && tasks.knows(namespace, name)).then(|| loose(namespace, name))),
        (CtrTasks::Below(_) | CtrTasks::Told(_), _) => named.next(),
        // Falco asks for ids of digits first, then for its loose form, then for those of other engines.
        (CtrTasks::Any, _) => {
            let all: Vec<Named<'_>> = named.collect();
            match all.iter().position(|named| full_id(&named.full)) {
                Some(digits) => all.into_iter().nth(digits),
                None => loose_name(path)
                    .map(|(namespace, name)| loose(namespace, name))
                    .or_else(|| all.into_iter().next()),
            }
        }
    };
    let Named { full, shown, runtime, namespace } = found?;
    Some(Container {
        id: (&*shown).into(),
        full_id: (&*full).into(),
        runtime,
        namespace: namespace.map(Box::from),
        pod_uid: parts.iter().find_map(|part| pod_uid(part)),
        owner: parts.iter().find_map(|part| owner(part)),
    })
}

/// What a part of a path says of the container it names.
struct Named<'a> {
    full: Cow<'a, str>,
    shown: Cow<'a, str>,
    runtime: Option<Runtime>,
    namespace: Option<&'a str>,
}

/// A container of one of containerd's own clients.
fn loose<'a>(namespace: &'a str, name: &'a str) -> Named<'a> {
    let (full, shown) = (name.into(), shortened(name).into());
    Named { full, shown, runtime: Some(Runtime::Containerd), namespace: Some(namespace) }
}

/// The container that a part of a path names.
fn part_id<'a>(part: &'a str, above: Option<&str>, below: Option<&str>) -> Option<Named<'a>> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    // `…slice:cri-containerd:ID`, an uncommon form of the CRI plugin.
    let (name, marked) = match name.rsplit_once(":cri-containerd:") {
        Some((_, id)) => (id, Some(Runtime::Containerd)),
        None => (name, None),
    };
    let prefixed = PREFIXES.iter().find_map(|(prefix, runtime)| Some((name.strip_prefix(prefix)?, *runtime)));
    let (bare, runtime) = prefixed.map_or((name, marked), |(bare, runtime)| (bare, Some(runtime)));
    if full_id(bare) {
        let runtime = runtime.or((above == Some("docker")).then_some(Runtime::Docker));
        return Some(Named { full: bare.into(), shown: shortened(bare).into(), runtime, namespace: None });
    }
    let named = |id: Cow<'a, str>, runtime| {
        let full = id.clone();
        (!id.is_empty()).then_some(Named { full, shown: id, runtime: Some(runtime), namespace: None })
    };
    if matches!(above, Some("lxc" | "lxc.payload")) && !systemd_unit(part) {
        return named(part.into(), Runtime::Lxc);
    }
    if above == Some("garden") && !systemd_unit(part) {
        let (full, shown) = (part.into(), shortened(part).into());
        return Some(Named { full, shown, runtime: Some(Runtime::Garden), namespace: None });
    }
    if let Some(id) = part.strip_prefix("lxc.payload.") {
        return named(id.into(), Runtime::Lxc);
    }
    if let Some(id) = name.strip_prefix("machine-lxc\\x2d") {
        return named(id.into(), Runtime::LibvirtLxc);
    }
    if let Some(id) = part.strip_suffix(".libvirt-lxc") {
        return named(id.into(), Runtime::LibvirtLxc);
    }
    if let Some(id) = name.strip_prefix("runc-").unwrap_or(name).strip_prefix("bpm-") {
        return named(id.into(), Runtime::Bpm);
    }
    // The part of the group that holds systemd-nspawn itself is the host's.
    if below == Some("supervisor") {
        return None;
    }
    let machine = part.strip_suffix(".service").and_then(|unit| unit.strip_prefix("systemd-nspawn@"));
    let scope = part.strip_suffix(".scope").and_then(|unit| unit.strip_prefix("machine-"));
    // Virtual machines have such scopes too.
    let scope = scope.filter(|name| above == Some("machine.slice") && !name.starts_with("qemu\\x2d"));
    named(unescape(machine.or(scope)?), Runtime::Nspawn)
}

/// An id of 64 hexadecimal digits, as most runtimes give.
fn full_id(name: &str) -> bool {
    name.len() == FULL_ID && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The start of a name, as long as ids are shown.
fn shortened(name: &str) -> &str {
    name.char_indices().nth(SHORT_ID).map_or(name, |(at, _)| name.get(..at).unwrap_or(name))
}

/// The first group whose name could be a namespace of containerd, and whatever lies below it.
fn loose_name(path: &str) -> Option<(&str, &str)> {
    let mut rest = path.strip_prefix('/')?;
    loop {
        let (namespace, below) = rest.split_once('/')?;
        let mut words = namespace.split(['.', '_', '-']);
        if words.all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            let named = !below.is_empty() && below.len() <= FULL_ID && !systemd_unit(below);
            return named.then_some((namespace, below));
        }
        rest = below;
    }
}

/// Takes systemd's escapes out of a unit's name.
fn unescape(name: &str) -> Cow<'_, str> {
    if name.contains("\\x2d") { name.replace("\\x2d", "-").into() } else { name.into() }
}

/// The uid in `podUID` and `kubepods-QOS-podUID.slice`, where systemd's form has underscores for dashes.
fn pod_uid(part: &str) -> Option<Box<str>> {
    let name = part.split(':').next()?;
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let name = match name.strip_prefix("kubepods-") {
        Some(rest) => rest
            .rsplit_once('-')
            .map_or(rest, |(class, pod)| if class.starts_with("pod") { rest } else { pod }),
        None => name,
    };
    let uid = name.strip_prefix("pod")?.replace('_', "-");
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = uid.len().checked_sub(digits)?;
    // Pods from files have a digest in place of a uid.
    (digits == 32
        && matches!(dashes, 0 | 4)
        && uid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()))
    .then(|| uid.into())
}

/// The user of `user-UID.slice` and `user@UID.service`.
fn owner(part: &str) -> Option<u32> {
    let uid = part
        .strip_prefix("user@")
        .and_then(|rest| rest.strip_suffix(".service"))
        .or_else(|| part.strip_prefix("user-")?.strip_suffix(".slice"))?;
    uid.parse().ok().filter(|uid| *uid != 0)
}

fn ctr_name(name: &str) -> bool {
    name.len() <= FULL_ID && !matches!(name, "." | "..") && !systemd_unit(name)
}

fn systemd_unit(name: &str) -> bool {
    [".service", ".slice", ".scope"].iter().any(|suffix| name.ends_with(suffix))
}

/// Container ids by group id and by path.
#[derive(Debug, Default)]
pub struct CgroupCache {
    tasks: CtrTasks,
    by_group: FxHashMap<u64, Option<Arc<Container>>>,
    by_path: FxHashMap<Box<[u8]>, Option<Arc<Container>>>,
    /// Tasks a runtime was found to have since they were last taken.
    found: FxHashSet<(Box<str>, Box<str>)>,
}

impl CgroupCache {
    /// An empty cache.
    pub fn new(tasks: CtrTasks) -> Self {
        Self { tasks, ..Self::default() }
    }

    /// The container of a group id, if its path was seen; the outer `None` means unknown.
    pub fn group(&self, group: u64) -> Option<Option<Arc<Container>>> {
        self.by_group.get(&group).cloned()
    }

    /// The container of the paths of one process (one per hierarchy): the first that names one.
    pub fn resolve<'p>(
        &mut self,
        group: u64,
        paths: impl IntoIterator<Item = &'p [u8]>,
    ) -> Option<Arc<Container>> {
        let container = paths.into_iter().find_map(|path| self.path(path));
        if group > ROOT_GROUP {
            bound(&mut self.by_group);
            self.by_group.insert(group, container.clone());
        }
        container
    }

    /// Tasks that a runtime was found to have since the last call.
    pub fn take_tasks(&mut self) -> Vec<(Box<str>, Box<str>)> {
        self.found.drain().collect()
    }

    /// Says that a runtime has a task of this name. A path that was judged without it is judged anew.
    pub fn tell_task(&mut self, namespace: Box<str>, name: Box<str>) {
        if let CtrTasks::Told(tasks) = &mut self.tasks {
            self.by_path.remove(format!("/{namespace}/{name}").as_bytes());
            tasks.insert((namespace, name));
        }
    }

    fn path(&mut self, path: &[u8]) -> Option<Arc<Container>> {
        if let Some(known) = self.by_path.get(path) {
            return known.clone();
        }
        let container = container(path, &self.tasks).map(Arc::new);
        if let (CtrTasks::Below(_), Some(found)) = (&self.tasks, &container)
            && let Some(namespace) = &found.namespace
        {
            if self.found.len() >= CACHE_LIMIT {
                self.found.clear();
            }
            self.found.insert((namespace.clone(), found.full_id.clone()));
        }
        bound(&mut self.by_path);
        self.by_path.insert(path.into(), container.clone());
        container
    }
}

/// Groups come and go slowly; starting over is cheaper than tracking use.
fn bound<K, V>(map: &mut FxHashMap<K, V>) {
    if map.len() >= CACHE_LIMIT {
        map.clear();
    }
}

#[cfg(test)]
#[path = "cgroup/tests.rs"]
mod tests;
