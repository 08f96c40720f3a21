//! What the agent remembers between events: processes, containers, names, datagram peers.
//!
//! Owned by the detection thread, changed only by [`State::observe`] in record order, read by the field getters.
//! Reads `/proc` at the start and once for a process whose records were missed.

pub mod cgroup;
pub mod container;
pub mod digest;
pub mod hosts;
pub mod image;
pub mod peers;
mod place;
pub mod process;
pub mod procfs;
pub mod told;
pub mod users;

use std::{path::PathBuf, sync::Arc};

use rampart_common::event::{AttrTag, EventKind, Family, RecordHeader};
use rampart_rules::catalog::{EventId, event_ids as ev};

use self::{
    cgroup::{CgroupCache, Container, CtrTasks},
    container::{News, table::ContainerTable},
    digest::{DigestWanted, Digests},
    hosts::Hosts,
    image::Image,
    peers::DatagramPeers,
    place::Place,
    process::{DEFAULT_LIMIT, Process, ProcessTable},
    procfs::{Found, ProcFs, cgroup_paths},
    told::{Outside, Processes, Told},
    users::Names,
};
use crate::event::{
    Event, ProcessId, lexical,
    syscall::{Row, links},
    until_nul,
};

/// Ancestors asked for the root of a process that is gone.
const PEERS_MAX: usize = 8;

/// Settings of the state.
#[derive(Clone, Debug)]
pub struct Config {
    /// Processes kept at most.
    pub process_limit: usize,
    /// Where `/proc` is mounted.
    pub proc_root: PathBuf,
    /// User names.
    pub passwd: PathBuf,
    /// Group names.
    pub group: PathBuf,
    /// Which two-level groups are containers.
    pub ctr_tasks: CtrTasks,
    /// Where what no record tells comes from.
    pub outside: Outside,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            process_limit: DEFAULT_LIMIT,
            proc_root: "/proc".into(),
            passwd: "/etc/passwd".into(),
            group: "/etc/group".into(),
            ctr_tasks: CtrTasks::default(),
            outside: Outside::default(),
        }
    }
}

/// The state.
#[derive(Debug)]
pub struct State {
    /// Processes.
    pub processes: ProcessTable,
    /// User and group names.
    pub names: Names,
    /// Last peers of datagram sockets.
    pub peers: DatagramPeers,
    /// Host names of addresses.
    pub hosts: Hosts,
    /// Containers and pods.
    pub containers: ContainerTable,
    /// Digests of executed files.
    pub digests: Digests,
    cgroups: CgroupCache,
    outside: Processes,
    lookups: Lookups,
    path: Vec<u8>,
    places: [Option<Vec<u8>>; 2],
}

/// How often `/proc` had to help out after the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Processes found there.
    pub found: u64,
    /// Processes already gone.
    pub missed: u64,
    /// Path arguments whose real path could not be found.
    pub unplaced: u64,
}

impl State {
    /// An empty state.
    pub fn new(config: Config) -> Self {
        let told = config.outside == Outside::Told;
        Self {
            processes: ProcessTable::new(config.process_limit),
            names: if told { Names::told() } else { Names::new(config.passwd, config.group) },
            peers: DatagramPeers::default(),
            hosts: Hosts::default(),
            containers: ContainerTable::default(),
            digests: Digests::default(),
            cgroups: CgroupCache::new(if told { config.ctr_tasks.told() } else { config.ctr_tasks }),
            outside: Processes::new(config.outside, ProcFs::new(config.proc_root)),
            lookups: Lookups::default(),
            path: Vec::new(),
            places: [None, None],
        }
    }

    /// How often `/proc` had to help out.
    pub fn lookups(&self) -> Lookups {
        self.lookups
    }

    /// Fills the table from `/proc`; `now_ns` is the boot clock. Processes already known from records stay.
    pub fn bootstrap(&mut self, now_ns: u64) {
        self.refresh_names(now_ns);
        let mut parents = Vec::new();
        for found in self.outside.scan() {
            if self.processes.get(found.id).is_none() {
                parents.push((found.id, found.task.ppid));
                self.insert_found(found, now_ns);
            }
        }
        for (id, ppid) in parents {
            let parent = self.processes.by_pid(ppid).map(|parent| parent.id);
            self.processes.link(id, parent);
        }
        for process in self.processes.iter() {
            if let Some(container) = &process.container {
                self.containers.touch(container, process.id, now_ns);
            }
        }
    }

    /// Has the files of all processes read from now on, and those of new ones; or of none any more.
    pub fn ask_digests(&mut self, is_asked: bool, now_ns: u64) {
        let was_asked = self.digests.is_asked();
        self.digests.ask(is_asked);
        if is_asked && !was_asked {
            let living = self.processes.iter().filter(|process| process.exited_ns.is_none());
            let all: Vec<ProcessId> = living.map(|process| process.id).collect();
            for process in all {
                self.ask_digest(process, true, now_ns);
            }
        }
    }

    /// Has the file of a process read, if somebody wants digests.
    fn ask_digest(&mut self, process: ProcessId, is_patient: bool, now_ns: u64) {
        if !self.digests.is_asked() {
            return;
        }
        let Some(process) = self.processes.get(process) else { return };
        let Some(file) = &process.image.file else { return };
        let version = file.into();
        self.digests.touch(version, now_ns, || DigestWanted {
            pid: process.id.pid,
            path: process.image.exe_path().unwrap_or_default().into(),
            peers: peers(&self.processes, process.id.pid, Some(process)).skip(1).collect(),
            version,
            is_patient,
        });
    }

    /// Takes over what others learned.
    pub fn take_news(&mut self, news: News, now_ns: u64) {
        match news {
            News::Digest(version, digest) => self.digests.take(version, digest, now_ns),
            news => self.containers.take(news, now_ns),
        }
    }

    /// Brings the state to what it is right after the event. `event_type` is the event's row in the catalogue. Says whether
    /// names of users or groups changed.
    pub fn observe(&mut self, event: &Event<'_>, event_type: Option<EventId>) -> bool {
        let now_ns = event.header.time_ns;
        self.processes.expire(now_ns);
        let names = self.refresh_names(now_ns);
        match event.kind {
            EventKind::Fork => self.fork(event),
            EventKind::Exec => {
                self.refresh(event);
                self.exec(event);
            }
            EventKind::Exit => {
                self.refresh(event);
                self.processes.exit(event.process(), now_ns);
            }
            EventKind::Syscall => {
                self.refresh(event);
                if event.header.ret == 0 && matches!(event_type, Some(ev::CHDIR | ev::FCHDIR)) {
                    self.chdir(event);
                }
                if event.header.ret == 0
                    && event_type == Some(ev::CHROOT)
                    && let Some(process) = self.processes.get_mut(event.process(), now_ns)
                {
                    process.chrooted = true;
                }
            }
        }
        if let Some(container) = self.processes.get(event.process()).and_then(|it| it.container.as_ref()) {
            self.containers.touch(container, event.process(), now_ns);
        }
        names
    }

    fn fork(&mut self, event: &Event<'_>) {
        let header = &event.header;
        let mut child = Process::new(
            event.process(),
            header.task,
            Arc::new(Image::named(header.task.comm)),
            header.time_ns,
        );
        child.parent = event.parent();
        if let Some(parent) = event.parent().and_then(|id| self.processes.get(id)) {
            child.image = Arc::clone(&parent.image);
            child.cwd = Arc::clone(&parent.cwd);
            child.chrooted = parent.chrooted;
            child.container.clone_from(&parent.container);
            let moved = parent.task.cgroup_id != 0 && parent.task.cgroup_id != header.task.cgroup_id;
            if moved {
                child.container = self.container_of(header);
            }
        } else {
            child.container = self.container_of(header);
        }
        self.processes.insert(child, header.time_ns);
    }

    fn exec(&mut self, event: &Event<'_>) {
        let now_ns = event.header.time_ns;
        let container = event.attr(AttrTag::Cgroup).map(|attr| {
            self.path.clear();
            event.path_into(AttrTag::Cgroup, &mut self.path);
            let empty = attr.bytes.is_empty();
            let path = std::mem::take(&mut self.path);
            let found = self.cgroups.resolve(event.header.task.cgroup_id, (!empty).then_some(&*path));
            self.path = path;
            found
        });
        self.path.clear();
        let cwd: Option<Arc<[u8]>> =
            event.path_into(AttrTag::Cwd, &mut self.path).then(|| self.path.as_slice().into());
        let image = Arc::new(Image::from_exec(event));
        if let Some(process) = self.processes.get_mut(event.process(), now_ns) {
            process.image = image;
            if let Some(cwd) = cwd {
                process.cwd = cwd;
            }
            if let Some(container) = container {
                process.container = container;
            }
        }
        self.ask_digest(event.process(), false, now_ns);
    }

    fn chdir(&mut self, event: &Event<'_>) {
        self.path.clear();
        if event.path_into(AttrTag::Cwd, &mut self.path) {
            // The kernel told where the process is now.
        } else if let Some(path) = event.attr(AttrTag::UserPath) {
            let mut base = Vec::new();
            if !event.path_into(AttrTag::BaseDir, &mut base)
                && let Some(process) = self.processes.get(event.process())
            {
                base.extend_from_slice(&process.cwd);
            }
            lexical::join_dir(&base, path.bytes, None, &mut self.path);
        } else {
            return;
        }
        if let Some(process) = self.processes.get_mut(event.process(), event.header.time_ns) {
            process.cwd = self.path.as_slice().into();
        }
    }

    /// Makes sure the process of a record is in the table with the facts of the record.
    fn refresh(&mut self, event: &Event<'_>) {
        let header = &event.header;
        let id = event.process();
        if self.processes.get(id).is_none() {
            self.discover(event);
        }
        let parent = event.parent();
        let Some(process) = self.processes.get_mut(id, header.time_ns) else { return };
        let moved = process.task.cgroup_id != header.task.cgroup_id;
        // A process read from `/proc` has no group id yet; its container is already right.
        let relocate = moved && process.task.cgroup_id != 0;
        process.task = header.task;
        process.start_ns = header.task.start_ns;
        let relink = parent.is_some() && (process.parent != parent || process.parent_guessed);
        if relocate {
            let container = self.container_of(header);
            if let Some(process) = self.processes.get_mut(id, header.time_ns) {
                process.container = container;
            }
        }
        if relink {
            self.processes.link(id, parent);
        }
    }

    /// Adds a process that no record announced: from `/proc` if it is still there, else from the record's header
    /// and what a fork would have given it.
    fn discover(&mut self, event: &Event<'_>) {
        let header = &event.header;
        let id = event.process();
        if let Some(mut found) = self.outside.read_exact(id) {
            self.lookups.found += 1;
            found.task = header.task;
            self.insert_found(found, header.time_ns);
            self.processes.link(id, event.parent());
            return;
        }
        self.lookups.missed += 1;
        let mut process =
            Process::new(id, header.task, Arc::new(Image::named(header.task.comm)), header.time_ns);
        process.parent = event.parent();
        process.container = self.container_of(header);
        if let Some(parent) = event.parent().and_then(|id| self.processes.get(id)) {
            process.cwd = Arc::clone(&parent.cwd);
            process.chrooted = parent.chrooted;
            if parent.image.comm() == until_nul(&header.task.comm) {
                process.image = Arc::clone(&parent.image);
            }
        }
        self.processes.insert(process, header.time_ns);
    }

    fn insert_found(&mut self, found: Found, now_ns: u64) {
        let id = found.id;
        let mut process = Process::new(found.id, found.task, Arc::new(found.image), now_ns);
        process.cwd = found.cwd.into();
        process.chrooted = found.chrooted;
        process.container = self.cgroups.resolve(found.task.cgroup_id, cgroup_paths(&found.cgroup));
        self.processes.insert(process, now_ns);
        self.ask_digest(id, true, now_ns);
    }

    /// Learns where the path arguments of a call that gives no descriptor really lead. Without it they are unknown.
    pub fn place(&mut self, event: &Event<'_>, row: &Row) {
        self.places = [None, None];
        // After `chroot` a path starts elsewhere than the call's did.
        if event.header.ret < 0 || row.family != Family::Path || row.event == ev::CHROOT {
            return;
        }
        let process = self.processes.get(event.process());
        let follows = links::follows(row.event, event.header.syscall, &event.header.args);
        let mut places = [None, None];
        for ((slot, second), follow) in places.iter_mut().zip([false, true]).zip(follows) {
            let tag = if second { AttrTag::UserPath2 } else { AttrTag::UserPath };
            if event.attr(tag).is_none() || row.is_text(second) {
                continue;
            }
            *slot = match place::place(event, second, follow, process) {
                Some(Place::Known(path)) => Some(path),
                Some(Place::Asked(wanted)) => {
                    let pids = peers(&self.processes, event.header.task.pid, process);
                    self.outside.place(second, &wanted, pids)
                }
                None => None,
            };
            self.lookups.unplaced += u64::from(slot.is_none());
        }
        self.places = places;
    }

    /// Forgets where path arguments lead: they are those of another event.
    pub fn forget_places(&mut self) {
        self.places = [None, None];
    }

    /// Where the first or the second path argument of the event leads, if that was asked and found.
    pub fn place_of(&self, second: bool) -> Option<&[u8]> {
        self.places.get(usize::from(second))?.as_deref()
    }

    /// The container of a record's process, by its group id or else by `/proc`.
    fn container_of(&mut self, header: &RecordHeader) -> Option<Arc<Container>> {
        if let Some(known) = self.cgroups.group(header.task.cgroup_id) {
            return known;
        }
        let file = self.outside.cgroup(header.task.pid)?;
        self.cgroups.resolve(header.task.cgroup_id, cgroup_paths(&file))
    }

    /// Reads users and groups again; whether they changed.
    fn refresh_names(&mut self, now_ns: u64) -> bool {
        let changed = self.names.refresh(now_ns);
        if changed.users {
            self.outside.keep(|| Told::Users(self.names.users()));
        }
        if changed.groups {
            self.outside.keep(|| Told::Groups(self.names.groups()));
        }
        changed.users || changed.groups
    }

    /// What was learned beside records since the last call; empty unless [`Outside::Kept`].
    pub fn take_told(&mut self) -> Vec<Told> {
        let mut told = self.outside.take();
        let tasks = self.cgroups.take_tasks();
        told.extend(tasks.into_iter().map(|(namespace, name)| Told::Task { namespace, name }));
        told
    }

    /// Tells what the next record, or the start, will ask for. For [`Outside::Told`].
    pub fn tell(&mut self, told: Told) {
        match told {
            Told::Process(found) => self.outside.tell_process(*found),
            Told::Place { second, path } => self.outside.tell_place(second, path),
            Told::Cgroup { pid, file } => self.outside.tell_cgroup(pid, file),
            Told::Task { namespace, name } => self.cgroups.tell_task(namespace, name),
            Told::Users(users) => self.names.tell_users(users),
            Told::Groups(groups) => self.names.tell_groups(groups),
        }
    }

    /// Forgets what was told and not asked for.
    pub fn forget_told(&mut self) {
        self.outside.forget();
    }

    /// The process of an event, if it is in the table.
    pub fn process(&self, id: ProcessId) -> Option<&Process> {
        self.processes.get(id)
    }
}

/// A process and others that see files as it does, because it may be gone already.
fn peers<'t>(table: &'t ProcessTable, pid: u32, process: Option<&'t Process>) -> impl Iterator<Item = u32> {
    let others = process.filter(|process| !process.chrooted).into_iter().flat_map(|process| {
        let init = table.namespace_init(process.task.pid_ns);
        table.ancestors(process).take(PEERS_MAX).chain(init).filter(|other| {
            !other.chrooted && other.exited_ns.is_none() && other.task.mnt_ns == process.task.mnt_ns
        })
    });
    std::iter::once(pid).chain(others.map(|other| other.id.pid))
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
