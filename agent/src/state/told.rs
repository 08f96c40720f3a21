//! What the state learns beside records: answers of `/proc`, of the name files, of a container runtime's folder.
//!
//! [`Outside`] decides where the answers come from. A state that keeps them can be repeated elsewhere: a state that
//! is told the same answers before the same records comes to the same. Plain data; read and written by recordings.

use rampart_common::event::{FileFacts, TaskFacts};
use serde::{Deserialize, Serialize};

use super::{
    image::Image,
    place::{self, Wanted},
    procfs::{Found, ProcFs},
    users::User,
};
use crate::event::ProcessId;

/// Where the state learns what no record tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outside {
    /// From this node.
    #[default]
    Node,
    /// From this node; each answer is kept for [`super::State::take_told`].
    Kept,
    /// Only from [`super::State::tell`]; nothing of this node is read.
    Told,
}

/// One thing learned.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// A process as `/proc` showed it.
    Process(Box<Found>),
    /// The `cgroup` file of a process.
    Cgroup {
        /// Its process id.
        pid: u32,
        /// The file.
        file: Vec<u8>,
    },
    /// Where a path argument of the next record leads.
    Place {
        /// Whether it is the second one.
        second: bool,
        /// The real path.
        path: Vec<u8>,
    },
    /// A container runtime has a task of this name.
    Task {
        /// Namespace of the runtime.
        namespace: Box<str>,
        /// Name.
        name: Box<str>,
    },
    /// All users there are.
    Users(Vec<(u32, User)>),
    /// All groups there are.
    Groups(Vec<(u32, Box<[u8]>)>),
}

/// Answers about processes: asked of `/proc`, or told before.
#[derive(Debug)]
pub(super) struct Processes {
    source: Source,
    kept: Option<Vec<Told>>,
}

#[derive(Debug)]
enum Source {
    Node(ProcFs),
    Told { processes: Vec<Found>, cgroups: Vec<(u32, Vec<u8>)>, places: [Option<Vec<u8>>; 2] },
}

impl Processes {
    pub(super) fn new(outside: Outside, procfs: ProcFs) -> Self {
        let source = match outside {
            Outside::Node | Outside::Kept => Source::Node(procfs),
            Outside::Told => {
                Source::Told { processes: Vec::new(), cgroups: Vec::new(), places: [None, None] }
            }
        };
        Self { source, kept: (outside == Outside::Kept).then(Vec::new) }
    }

    /// All processes there are.
    pub(super) fn scan(&mut self) -> Vec<Found> {
        let all = match &mut self.source {
            Source::Node(procfs) => procfs.scan(),
            Source::Told { processes, .. } => std::mem::take(processes),
        };
        if let Some(kept) = &mut self.kept {
            kept.extend(all.iter().cloned().map(|found| Told::Process(Box::new(found))));
        }
        all
    }

    /// One process, if it is still the one of that identity.
    pub(super) fn read_exact(&mut self, id: ProcessId) -> Option<Found> {
        let found = match &mut self.source {
            Source::Node(procfs) => procfs.read_exact(id),
            Source::Told { processes, .. } => {
                let index = processes.iter().position(|found| found.id == id)?;
                Some(processes.swap_remove(index))
            }
        }?;
        if let Some(kept) = &mut self.kept {
            kept.push(Told::Process(Box::new(found.clone())));
        }
        Some(found)
    }

    /// The `cgroup` file of a process.
    pub(super) fn cgroup(&mut self, pid: u32) -> Option<Vec<u8>> {
        let file = match &mut self.source {
            Source::Node(procfs) => procfs.cgroup(pid),
            Source::Told { cgroups, .. } => {
                let index = cgroups.iter().position(|(of, _)| *of == pid)?;
                Some(cgroups.swap_remove(index).1)
            }
        }?;
        if let Some(kept) = &mut self.kept {
            kept.push(Told::Cgroup { pid, file: file.clone() });
        }
        Some(file)
    }

    /// Where a path argument leads, seen from one of these processes.
    pub(super) fn place(
        &mut self,
        second: bool,
        wanted: &Wanted,
        pids: impl IntoIterator<Item = u32>,
    ) -> Option<Vec<u8>> {
        let path = match &mut self.source {
            Source::Node(procfs) => place::look(procfs.root(), pids, wanted),
            Source::Told { places, .. } => places.get_mut(usize::from(second))?.take(),
        }?;
        if let Some(kept) = &mut self.kept {
            kept.push(Told::Place { second, path: path.clone() });
        }
        Some(path)
    }

    /// Takes an answer for the next question; ignored by a source that asks itself.
    pub(super) fn tell_place(&mut self, second: bool, path: Vec<u8>) {
        if let Source::Told { places, .. } = &mut self.source
            && let Some(slot) = places.get_mut(usize::from(second))
        {
            *slot = Some(path);
        }
    }

    /// Takes an answer for the next question; ignored by a source that asks itself.
    pub(super) fn tell_process(&mut self, found: Found) {
        if let Source::Told { processes, .. } = &mut self.source {
            processes.push(found);
        }
    }

    /// Takes an answer for the next question; ignored by a source that asks itself.
    pub(super) fn tell_cgroup(&mut self, pid: u32, file: Vec<u8>) {
        if let Source::Told { cgroups, .. } = &mut self.source {
            cgroups.push((pid, file));
        }
    }

    /// Forgets answers nobody asked for: they were about one moment.
    pub(super) fn forget(&mut self) {
        if let Source::Told { processes, cgroups, places } = &mut self.source {
            processes.clear();
            cgroups.clear();
            *places = [None, None];
        }
    }

    /// Keeps something learned by another part of the state, if answers are kept.
    pub(super) fn keep(&mut self, told: impl FnOnce() -> Told) {
        if let Some(kept) = &mut self.kept {
            kept.push(told());
        }
    }

    /// The answers since the last call.
    pub(super) fn take(&mut self) -> Vec<Told> {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// [`Found`] as it is stored.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredProcess {
    pid: u32,
    start_ticks: u64,
    #[serde(with = "StoredTask")]
    task: TaskFacts,
    comm: [u8; 16],
    #[serde(with = "serde_bytes")]
    argv: Vec<u8>,
    #[serde(with = "serde_bytes")]
    env: Vec<u8>,
    #[serde(with = "serde_bytes")]
    exe_path: Vec<u8>,
    file: Option<StoredFile>,
    writable: bool,
    #[serde(with = "serde_bytes")]
    cwd: Vec<u8>,
    chrooted: bool,
    #[serde(with = "serde_bytes")]
    cgroup: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredFile(#[serde(with = "StoredFileFacts")] FileFacts);

impl Serialize for Found {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let image = &self.image;
        StoredProcess {
            pid: self.id.pid,
            start_ticks: self.id.start_ticks,
            task: self.task,
            comm: image.comm_padded(),
            argv: image.argv().to_vec(),
            env: image.env_block().to_vec(),
            exe_path: image.exe_path().unwrap_or_default().to_vec(),
            file: image.file.map(StoredFile),
            writable: image.writable,
            cwd: self.cwd.clone(),
            chrooted: self.chrooted,
            cgroup: self.cgroup.clone(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = StoredProcess::deserialize(deserializer)?;
        let mut image = Image::new(stored.comm, &stored.argv, &stored.env, &stored.exe_path);
        image.file = stored.file.map(|file| file.0);
        image.writable = stored.writable;
        Ok(Self {
            id: ProcessId { pid: stored.pid, start_ticks: stored.start_ticks },
            task: stored.task,
            image,
            cwd: stored.cwd,
            chrooted: stored.chrooted,
            cgroup: stored.cgroup,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "TaskFacts")]
struct StoredTask {
    start_ns: u64,
    parent_start_ns: u64,
    exec_id: u64,
    cgroup_id: u64,
    cap_effective: u64,
    cap_permitted: u64,
    cap_inheritable: u64,
    pid: u32,
    tid: u32,
    ppid: u32,
    sid: u32,
    pgid: u32,
    vpid: u32,
    vtid: u32,
    vpgid: u32,
    vsid: u32,
    uid: u32,
    euid: u32,
    gid: u32,
    egid: u32,
    loginuid: u32,
    tty: u32,
    pid_ns: u32,
    mnt_ns: u32,
    net_ns: u32,
    comm: [u8; 16],
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FileFacts")]
struct StoredFileFacts {
    ino: u64,
    ctime_ns: u64,
    mtime_ns: u64,
    dev: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    flags: u32,
    open_flags: u32,
    fs_magic: u32,
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::{Outside, Processes, Told};
    use crate::state::procfs::{Found, ProcFs};

    #[test]
    fn a_process_is_stored_whole() {
        let found = ProcFs::default().read(process::id()).expect("this process");
        let bytes = rmp_serde::to_vec_named(&found).expect("written");
        let again: Found = rmp_serde::from_slice(&bytes).expect("read");
        assert_eq!(again, found);
    }

    #[test]
    fn what_one_keeps_another_can_be_told() {
        let mut node = Processes::new(Outside::Kept, ProcFs::default());
        let own = ProcFs::default().read(process::id()).expect("this process").id;
        let found = node.read_exact(own).expect("this process");
        let file = node.cgroup(own.pid).expect("its groups");
        let kept = node.take();
        assert_eq!(kept.len(), 2);
        assert!(node.take().is_empty());

        let mut told = Processes::new(Outside::Told, ProcFs::default());
        assert!(told.read_exact(own).is_none() && told.scan().is_empty(), "nothing of this node is read");
        for one in kept {
            match one {
                Told::Process(found) => told.tell_process(*found),
                Told::Cgroup { pid, file } => told.tell_cgroup(pid, file),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told.read_exact(own), Some(found.clone()));
        assert_eq!((told.cgroup(own.pid), told.cgroup(own.pid)), (Some(file), None));
        told.tell_process(found);
        told.forget();
        assert_eq!(told.scan(), []);
    }
}
