//! The process table: identity, image, ancestry.
//!
//! Keyed by process id and start time, bounded, owned by the state. Exited processes stay for a grace period of
//! event time so that late records still find them. Never reads files.

use std::{collections::VecDeque, sync::Arc};

use rampart_common::event::TaskFacts;
use rustc_hash::FxHashMap;

use super::{cgroup::Container, image::Image};
use crate::event::ProcessId;

/// How long an exited process stays, nanoseconds of event time.
pub const EXIT_GRACE_NS: u64 = 2_000_000_000;
/// Processes kept by default.
pub const DEFAULT_LIMIT: usize = 65_536;
/// Longest ancestor chain followed; deeper nesting does not occur, a loop must end.
const ANCESTORS_MAX: usize = 128;
/// When the table is full of living processes, this share of the limit is evicted at once, so that finding the
/// least recently used costs little per insertion.
const EVICT_SHARE: usize = 32;

/// One process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Identity.
    pub id: ProcessId,
    /// Real parent as last seen.
    pub parent: Option<ProcessId>,
    /// Whether that is only where orphans are likely to go, until a record tells.
    pub parent_guessed: bool,
    /// Start, nanoseconds of the boot clock.
    pub start_ns: u64,
    /// Facts of the thread last seen.
    pub task: TaskFacts,
    /// What it runs.
    pub image: Arc<Image>,
    /// Working directory; empty when unknown.
    pub cwd: Arc<[u8]>,
    /// Whether its root is not that of its mount namespace, as far as known.
    pub chrooted: bool,
    /// Its container; `None` on the host.
    pub container: Option<Arc<Container>>,
    /// Whether orphans were seen to become its children.
    pub reaper: bool,
    /// Exit time, nanoseconds of the boot clock.
    pub exited_ns: Option<u64>,
    last_used_ns: u64,
    children: Vec<ProcessId>,
}

impl Process {
    /// A living process without parent link, working directory and container.
    pub fn new(id: ProcessId, task: TaskFacts, image: Arc<Image>, now_ns: u64) -> Self {
        Self {
            id,
            parent: None,
            parent_guessed: false,
            start_ns: task.start_ns,
            task,
            image,
            cwd: Arc::default(),
            chrooted: false,
            container: None,
            reaper: false,
            exited_ns: None,
            last_used_ns: now_ns,
            children: Vec::new(),
        }
    }
}

/// Processes dropped for lack of room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evictions {
    /// Exited ones, before their grace was over.
    pub exited: u64,
    /// Living ones, least recently used first.
    pub living: u64,
}

/// The table.
#[derive(Debug)]
pub struct ProcessTable {
    entries: FxHashMap<ProcessId, Process>,
    /// The living process of a process id.
    by_pid: FxHashMap<u32, ProcessId>,
    /// First process of each pid namespace.
    inits: FxHashMap<u32, ProcessId>,
    /// Exited processes in order of exit.
    exited: VecDeque<(u64, ProcessId)>,
    limit: usize,
    evictions: Evictions,
}

impl ProcessTable {
    /// An empty table for at most `limit` processes.
    pub fn new(limit: usize) -> Self {
        Self {
            entries: FxHashMap::default(),
            by_pid: FxHashMap::default(),
            inits: FxHashMap::default(),
            exited: VecDeque::new(),
            limit: limit.max(1),
            evictions: Evictions::default(),
        }
    }

    /// Processes in the table, exited ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Processes dropped for lack of room so far.
    pub fn evictions(&self) -> Evictions {
        self.evictions
    }

    /// A process by identity.
    pub fn get(&self, id: ProcessId) -> Option<&Process> {
        self.entries.get(&id)
    }

    /// The living process of a process id.
    pub fn by_pid(&self, pid: u32) -> Option<&Process> {
        self.get(*self.by_pid.get(&pid)?)
    }

    /// The first process of a pid namespace, if it was seen.
    pub fn namespace_init(&self, pid_ns: u32) -> Option<&Process> {
        self.get(*self.inits.get(&pid_ns)?)
    }

    /// The parent of a process.
    pub fn parent(&self, process: &Process) -> Option<&Process> {
        self.get(process.parent?)
    }

    /// Parent, grandparent and so on. Ends at a missing link; bounded even if links form a loop.
    pub fn ancestors<'t>(&'t self, process: &'t Process) -> impl Iterator<Item = &'t Process> {
        let start = process.id;
        std::iter::successors(self.parent(process), |at| self.parent(at))
            .take_while(move |at| at.id != start)
            .take(ANCESTORS_MAX)
    }

    /// Whether the ancestors are what the kernel told, up to the first process, and all live.
    pub fn lineage_known(&self, process: &Process) -> bool {
        let mut at = process;
        for _ in 0..ANCESTORS_MAX {
            if at.parent_guessed {
                return false;
            }
            let Some(parent) = at.parent else { return at.task.ppid == 0 };
            match self.get(parent) {
                Some(parent) if parent.exited_ns.is_none() => at = parent,
                _ => return false,
            }
        }
        false
    }

    /// All processes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.entries.values()
    }

    /// Changes a process; its links are changed by the methods below only.
    pub(super) fn get_mut(&mut self, id: ProcessId, now_ns: u64) -> Option<&mut Process> {
        let process = self.entries.get_mut(&id)?;
        process.last_used_ns = process.last_used_ns.max(now_ns);
        Some(process)
    }

    /// Adds or replaces a process and links it to its parent.
    pub(super) fn insert(&mut self, mut process: Process, now_ns: u64) {
        let id = process.id;
        match self.entries.remove(&id) {
            Some(old) => process.children = old.children,
            None => self.make_room(now_ns),
        }
        process.last_used_ns = now_ns;
        let parent = process.parent.take();
        // A process with the same number that is still taken for living must have gone unnoticed.
        if let Some(old) = self.by_pid.insert(id.pid, id)
            && old != id
        {
            self.mark_exited(old, now_ns);
        }
        if process.task.vpid == 1 {
            self.inits.insert(process.task.pid_ns, id);
        }
        self.entries.insert(id, process);
        self.link(id, parent);
    }

    /// Sets the parent of a process.
    pub(super) fn link(&mut self, id: ProcessId, parent: Option<ProcessId>) {
        let parent = parent.filter(|parent| *parent != id);
        let Some(process) = self.entries.get_mut(&id) else { return };
        process.parent_guessed = false;
        let before = std::mem::replace(&mut process.parent, parent);
        if before == parent {
            return;
        }
        let Some(parent) = parent else { return };
        // Whoever takes in the child of an exited process is a reaper: init, or a sub-reaper.
        let orphan = before.is_some_and(|before| self.get(before).is_none_or(|it| it.exited_ns.is_some()));
        let mut children = match self.entries.get_mut(&parent) {
            // An exited parent gives no children away any more: the next record of this one tells its new parent.
            Some(entry) if entry.exited_ns.is_none() => {
                entry.reaper |= orphan;
                std::mem::take(&mut entry.children)
            }
            _ => return,
        };
        if children.len() == children.capacity() {
            // Before growing, drop children that are gone or have another parent by now.
            children.retain(|child| self.get(*child).is_some_and(|it| it.parent == Some(parent)));
        }
        children.push(id);
        if let Some(entry) = self.entries.get_mut(&parent) {
            entry.children = children;
        }
    }

    /// Marks a process as exited: its children get a new parent, it is removed after the grace period.
    pub(super) fn exit(&mut self, id: ProcessId, now_ns: u64) {
        self.mark_exited(id, now_ns);
        if self.by_pid.get(&id.pid) == Some(&id) {
            self.by_pid.remove(&id.pid);
        }
    }

    /// Removes processes whose grace is over.
    pub(super) fn expire(&mut self, now_ns: u64) {
        while let Some((exited_ns, id)) = self.exited.front().copied()
            && exited_ns.saturating_add(EXIT_GRACE_NS) <= now_ns
        {
            self.exited.pop_front();
            self.remove_exited(id, exited_ns);
        }
    }

    fn mark_exited(&mut self, id: ProcessId, now_ns: u64) {
        let Some(process) = self.entries.get_mut(&id) else { return };
        if process.exited_ns.is_some() {
            return;
        }
        process.exited_ns = Some(now_ns);
        let (parent, pid_ns) = (process.parent, process.task.pid_ns);
        let children = std::mem::take(&mut process.children);
        self.exited.push_back((now_ns, id));
        if children.is_empty() {
            return;
        }
        let reaper = self.reaper(id, parent, pid_ns);
        for child in children {
            if self.get(child).is_some_and(|it| it.parent == Some(id)) {
                self.adopt(child, reaper);
            }
        }
    }

    /// The process that takes the children of an exited one: the nearest ancestor known to do so, else the first
    /// process of the pid namespace, else the first of the machine.
    fn reaper(&self, of: ProcessId, parent: Option<ProcessId>, pid_ns: u32) -> Option<ProcessId> {
        let nearest = std::iter::successors(parent.and_then(|id| self.get(id)), |at| self.parent(at))
            .take(ANCESTORS_MAX)
            .find(|at| at.reaper && at.exited_ns.is_none() && at.task.pid_ns == pid_ns);
        nearest
            .or_else(|| self.namespace_init(pid_ns))
            .or_else(|| self.by_pid(1))
            .map(|at| at.id)
            .filter(|id| *id != of)
    }

    /// Like [`ProcessTable::link`], for a parent that is a guess and teaches nothing.
    fn adopt(&mut self, child: ProcessId, reaper: Option<ProcessId>) {
        let known = reaper.and_then(|id| self.get(id)).map(|it| it.reaper);
        self.link(child, reaper);
        if let Some(child) = self.entries.get_mut(&child) {
            child.parent_guessed = true;
        }
        if let Some((id, reaper)) = reaper.zip(known)
            && let Some(entry) = self.entries.get_mut(&id)
        {
            entry.reaper = reaper;
        }
    }

    fn make_room(&mut self, now_ns: u64) {
        self.expire(now_ns);
        while self.entries.len() >= self.limit
            && let Some((exited_ns, id)) = self.exited.pop_front()
        {
            if self.remove_exited(id, exited_ns) {
                self.evictions.exited += 1;
            }
        }
        if self.entries.len() < self.limit {
            return;
        }
        let count = (self.limit / EVICT_SHARE).max(1).min(self.entries.len());
        let mut by_use: Vec<(u64, ProcessId)> =
            self.entries.values().map(|process| (process.last_used_ns, process.id)).collect();
        by_use.select_nth_unstable(count - 1);
        for (_, id) in by_use.into_iter().take(count) {
            self.remove(id);
            self.evictions.living += 1;
        }
    }

    fn remove_exited(&mut self, id: ProcessId, exited_ns: u64) -> bool {
        // The entry may be newer than this exit: an identity can be seen again after a mistaken exit.
        let same = self.get(id).is_some_and(|process| process.exited_ns == Some(exited_ns));
        if same {
            self.remove(id);
        }
        same
    }

    fn remove(&mut self, id: ProcessId) {
        let Some(process) = self.entries.remove(&id) else { return };
        if self.by_pid.get(&id.pid) == Some(&id) {
            self.by_pid.remove(&id.pid);
        }
        if self.inits.get(&process.task.pid_ns) == Some(&id) {
            self.inits.remove(&process.task.pid_ns);
        }
    }
}

#[cfg(test)]
#[path = "process/tests.rs"]
mod tests;
