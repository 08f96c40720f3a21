//! Control group paths to container ids.
//!
//! Pure, apart from [`CtrTasks`]; the cache belongs to the state's owner.

use std::{path::PathBuf, sync::Arc};

use rustc_hash::FxHashMap;

/// Bytes of a container id as shown.
const SHORT_ID: usize = 12;
/// Hex digits of a full container id.
const FULL_ID: usize = 64;
/// Groups remembered; more than the containers of any node, small in memory.
const CACHE_LIMIT: usize = 4096;
/// Id of the root group of the unified hierarchy. On machines that use the old hierarchies every process has it.
const ROOT_GROUP: u64 = 1;

/// What container runtimes put before the id in a group's name.
const PREFIXES: [&str; 7] =
    ["libpod-payload-", "libpod-", "docker-", "crio-", "cri-containerd-", "nerdctl-", "lxc.payload."];

/// Decides whether a two-level group `/NAMESPACE/NAME` is a container of containerd's own client.
///
/// Falco takes any such group for one, which turns ordinary groups of other programs into containers. Here the
/// runtime must have a task of that name, unless Falco's reading is asked for.
#[derive(Clone, Debug)]
pub enum CtrTasks {
    /// Every such group counts.
    Any,
    /// Groups whose task directory exists below this folder count.
    Below(PathBuf),
}

impl Default for CtrTasks {
    fn default() -> Self {
        Self::Below(PathBuf::from("/run/containerd/io.containerd.runtime.v2.task"))
    }
}

impl CtrTasks {
    fn knows(&self, namespace: &str, name: &str) -> bool {
        match self {
            // Decided before, in Falco's loose form.
            Self::Any => false,
            Self::Below(root) => root.join(namespace).join(name).is_dir(),
        }
    }
}

/// The container id a group path stands for; `None` for the host.
///
/// The innermost part of the path that names a container decides, so a group that a container makes inside of
/// its own stays that container's.
pub fn container_id(path: &[u8], tasks: &CtrTasks) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if let Some(id) = parts.iter().rev().find_map(|part| runtime_id(part)) {
        return Some(id.to_owned());
    }
    // Falco asks for its loose form before those of other engines.
    if matches!(tasks, CtrTasks::Any)
        && let Some(id) = loose_id(path)
    {
        return Some(id);
    }
    for (index, part) in parts.iter().enumerate().rev() {
        let parent = index.checked_sub(1).and_then(|above| parts.get(above)).copied();
        if let Some(id) = part_id(part, parent) {
            return Some(id.to_owned());
        }
    }
    match parts.as_slice() {
        [namespace, name] if ctr_name(name) && tasks.knows(namespace, name) => {
            Some(name.chars().take(SHORT_ID).collect())
        }
        _ => None,
    }
}

/// Whatever lies below the first group whose name could be a namespace of containerd.
fn loose_id(path: &str) -> Option<String> {
    let mut rest = path.strip_prefix('/')?;
    loop {
        let (namespace, below) = rest.split_once('/')?;
        let words = namespace.split(['.', '_', '-']);
        let fits = words
            .into_iter()
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if fits {
            let named = !below.is_empty() && below.len() <= FULL_ID && !systemd_unit(below);
            return named.then(|| below.chars().take(SHORT_ID).collect());
        }
        rest = below;
    }
}

/// An id of 64 hexadecimal digits, as most runtimes give.
fn runtime_id(part: &str) -> Option<&str> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    // `…slice:cri-containerd:ID`, an uncommon form of the CRI plugin.
    let name = name.rsplit_once(":cri-containerd:").map_or(name, |(_, id)| id);
    let bare = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let full = bare.len() == FULL_ID && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    if full { bare.get(..SHORT_ID) } else { None }
}

fn part_id<'a>(part: &'a str, parent: Option<&str>) -> Option<&'a str> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    if matches!(parent, Some("lxc" | "lxc.payload")) && !systemd_unit(part) {
        return Some(part);
    }
    part.strip_prefix("lxc.payload.")
        .or_else(|| name.strip_prefix("machine-lxc\\x2d"))
        .or_else(|| part.strip_suffix(".libvirt-lxc"))
        .or_else(|| name.strip_prefix("runc-").unwrap_or(name).strip_prefix("bpm-"))
        .filter(|id| !id.is_empty())
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
    by_group: FxHashMap<u64, Option<Arc<str>>>,
    by_path: FxHashMap<Box<[u8]>, Option<Arc<str>>>,
}

impl CgroupCache {
    /// An empty cache.
    pub fn new(tasks: CtrTasks) -> Self {
        Self { tasks, ..Self::default() }
    }

    /// The container of a group id, if its path was seen; the outer `None` means unknown.
    pub fn group(&self, group: u64) -> Option<Option<Arc<str>>> {
        self.by_group.get(&group).cloned()
    }

    /// The container of the paths of one process (one per hierarchy): the first that names one.
    pub fn resolve<'p>(&mut self, group: u64, paths: impl IntoIterator<Item = &'p [u8]>) -> Option<Arc<str>> {
        let container = paths.into_iter().find_map(|path| self.path(path));
        if group > ROOT_GROUP {
            bound(&mut self.by_group);
            self.by_group.insert(group, container.clone());
        }
        container
    }

    fn path(&mut self, path: &[u8]) -> Option<Arc<str>> {
        if let Some(known) = self.by_path.get(path) {
            return known.clone();
        }
        let container: Option<Arc<str>> = container_id(path, &self.tasks).map(Into::into);
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
mod tests {
    use std::fs;

    use super::{CACHE_LIMIT, CgroupCache, CtrTasks, container_id};

    const ID: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";

    fn id(path: &str) -> Option<String> {
        container_id(path.as_bytes(), &CtrTasks::Below("/nonexistent".into()))
    }

    #[test]
    fn runtimes_are_recognised() {
        for path in [
            format!("/docker/{ID}"),
            format!("/system.slice/docker-{ID}.scope"),
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"),
            format!("/kubepods/besteffort/pod1/crio-{ID}"),
            format!("/user.slice/user-1000.slice/libpod-{ID}.scope/container"),
            format!("/system.slice/nerdctl-{ID}.scope"),
        ] {
            assert_eq!(id(&path).as_deref(), Some("605439acbd4f"), "{path}");
        }
        assert_eq!(id("/lxc/web").as_deref(), Some("web"));
        assert_eq!(id("/system.slice/runc-bpm-redis.scope").as_deref(), Some("redis"));
        assert_eq!(id("/lxc.payload.web/init.scope").as_deref(), Some("web"));
    }

    #[test]
    fn a_group_inside_a_container_belongs_to_it() {
        assert_eq!(id(&format!("/docker/{ID}/system.slice/sshd.service")).as_deref(), Some("605439acbd4f"));
        let inner = "7951fb549ab99e0722a949b6c121634e1f3a36b5bacbe5392991e3b12251e6b8";
        assert_eq!(id(&format!("/docker/{ID}/kubelet/pod1/{inner}")).as_deref(), Some("7951fb549ab9"));
    }

    #[test]
    fn ordinary_groups_are_the_host() {
        for path in ["/", "", "/user.slice/user-0.slice/session-1.scope", "/init.scope", "/lxc/x.service"] {
            assert_eq!(id(path), None, "{path}");
        }
        assert_eq!(id(&format!("/docker/{ID}00")), None);
    }

    #[test]
    fn two_level_groups_need_a_task() {
        // Two-level groups of programs that are no container runtime.
        let path = b"/batch/3c5dfd6f522e0d4f8a3834551e3e5bfa";
        assert_eq!(container_id(path, &CtrTasks::default()), None);
        assert_eq!(container_id(path, &CtrTasks::Any).as_deref(), Some("3c5dfd6f522e"));
        let loose = |path: &str| container_id(path.as_bytes(), &CtrTasks::Any);
        assert_eq!(loose("/ns/a/long/name/x").as_deref(), Some("a/long/name/"));
        assert_eq!(loose("/_no/ns/x").as_deref(), Some("x"));
        assert_eq!(loose("/_no/x"), None);
        assert_eq!(loose("/ns/x/y.service"), None);
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("default/web-1")).expect("a task directory");
        let tasks = CtrTasks::Below(root.path().to_owned());
        assert_eq!(container_id(b"/default/web-1", &tasks).as_deref(), Some("web-1"));
        assert_eq!(container_id(b"/default/web-2", &tasks), None);
        assert_eq!(container_id(b"/default/..", &tasks), None);
    }

    #[test]
    fn this_process_is_in_a_container_only_by_a_full_id() {
        let own = fs::read("/proc/self/cgroup").expect("own groups");
        let mut cache = CgroupCache::default();
        for path in crate::state::procfs::cgroup_paths(&own) {
            let found = cache.resolve(0, [path]);
            let named = path.windows(64).any(|part| part.iter().all(u8::is_ascii_hexdigit));
            assert!(found.is_none() || named, "{}", String::from_utf8_lossy(path));
        }
    }

    #[test]
    fn shared_cgroup_facts_hold() {
        let Some(cases) = crate::shared_facts::section("cgroup_container_id") else { return };
        for case in &cases {
            let path = case.bytes("cgroup");
            assert_eq!(
                container_id(&path, &CtrTasks::Any),
                case.text("container_id"),
                "{}",
                case.text("name").unwrap_or_default()
            );
        }
        assert!(cases.len() >= 15, "only {} facts", cases.len());
    }

    #[test]
    fn the_cache_is_bounded_and_ignores_the_root_group() {
        let mut cache = CgroupCache::default();
        let path = format!("/docker/{ID}");
        assert_eq!(cache.resolve(1, [path.as_bytes()]).as_deref(), Some("605439acbd4f"));
        assert_eq!(cache.group(1), None);
        for group in 2..2 + CACHE_LIMIT as u64 + 10 {
            cache.resolve(group, [&b"/x.slice"[..], path.as_bytes()]);
        }
        assert!(cache.by_group.len() <= CACHE_LIMIT);
        assert_eq!(cache.group(CACHE_LIMIT as u64 + 11).flatten().as_deref(), Some("605439acbd4f"));
    }
}
