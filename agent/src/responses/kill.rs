//! Ending processes, each by a handle of its own, so that a process id that was given anew hits nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::guard::{Candidate, Guard};
use crate::{event::ProcessId, state::procfs::ProcFs};

/// Most processes of a tree.
const TREE_MAX: usize = 4096;
/// Looks at a container that makes processes while it is ended.
const ROUNDS: usize = 64;
/// A file of control groups that ends all their processes (Linux 5.14).
const KILL: &str = "cgroup.kill";
const PROCS: &str = "cgroup.procs";

/// Whom it hit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Killed {
    /// Processes that were ended.
    pub pids: Vec<u32>,
    /// Those that were left alone, and why.
    pub spared: Vec<String>,
}

/// Why nothing was ended.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It ended by itself.
    #[error("process {0} is gone")]
    Gone(u32),
    /// It is protected.
    #[error("process {0} is left alone: {1}")]
    Protected(u32, String),
    /// The kernel refuses it.
    #[error("process {0} cannot be ended: {1}")]
    Failed(u32, io::Error),
    /// The container's control group cannot be used.
    #[error("cannot use `{}`: {error}", path.display())]
    Group {
        /// Its directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Who ends processes.
#[derive(Clone, Copy, Debug)]
pub struct Killer<'a> {
    /// Where processes are looked up.
    pub proc: &'a ProcFs,
    /// What is protected.
    pub guard: &'a Guard,
    /// Whether what is ended runs in a container.
    pub in_container: bool,
}

impl Killer<'_> {
    /// Ends one process.
    pub fn process(&self, id: ProcessId) -> Result<Killed, Fault> {
        let handle = self.handle(id)?;
        send(id.pid, &handle, Signal::KILL)?;
        Ok(Killed { pids: vec![id.pid], ..Killed::default() })
    }

    /// Ends a process and all that descend from it. Each is stopped before its children are looked for, so that none
    /// gets away meanwhile.
    pub fn tree(&self, root: ProcessId) -> Result<Killed, Fault> {
        let handle = self.handle(root)?;
        send(root.pid, &handle, Signal::STOP)?;
        let mut stopped = BTreeMap::from([(root.pid, handle)]);
        let mut spared = BTreeMap::new();
        let mut is_news = true;
        while is_news && stopped.len() < TREE_MAX {
            is_news = false;
            for (pid, parent) in self.parents() {
                if !stopped.contains_key(&parent) || stopped.contains_key(&pid) || spared.contains_key(&pid) {
                    continue;
                }
                let Some(start_ticks) = self.proc.start_ticks(pid) else { continue };
                match self.handle(ProcessId { pid, start_ticks }) {
                    Ok(handle) => {
                        if send(pid, &handle, Signal::STOP).is_ok() {
                            stopped.insert(pid, handle);
                            is_news = true;
                        }
                    }
                    Err(Fault::Gone(_)) => {}
                    Err(fault) => drop(spared.insert(pid, fault.to_string())),
                }
            }
        }
        let mut killed = Killed { spared: spared.into_values().collect(), ..Killed::default() };
        for (pid, handle) in &stopped {
            match send(*pid, handle, Signal::KILL) {
                Ok(()) => killed.pids.push(*pid),
                Err(fault) => killed.spared.push(fault.to_string()),
            }
        }
        Ok(killed)
    }

    /// Ends all processes of a control group and of those below it.
    pub fn group(&self, group: &Path) -> Result<Killed, Fault> {
        let mut killed = BTreeSet::new();
        let mut spared = BTreeMap::new();
        let before = members(group)?;
        for pid in &before {
            if let Some(why) = self.protected(*pid) {
                spared.insert(*pid, format!("process {pid} is left alone: {why}"));
            }
        }
        // At once, when nobody in it must be left alone.
        if spared.is_empty() && fs::write(group.join(KILL), "1").is_ok() {
            return Ok(Killed { pids: before, spared: Vec::new() });
        }
        for _ in 0..ROUNDS {
            let mut is_news = false;
            for pid in members(group)? {
                if spared.contains_key(&pid) || killed.contains(&pid) {
                    continue;
                }
                is_news = true;
                let Some(start_ticks) = self.proc.start_ticks(pid) else { continue };
                match self.process(ProcessId { pid, start_ticks }) {
                    Ok(_) => drop(killed.insert(pid)),
                    Err(Fault::Gone(_)) => {}
                    Err(fault) => drop(spared.insert(pid, fault.to_string())),
                }
            }
            if !is_news {
                break;
            }
        }
        Ok(Killed { pids: killed.into_iter().collect(), spared: spared.into_values().collect() })
    }

    /// A handle of the process of that identity, if it may be hit.
    fn handle(&self, id: ProcessId) -> Result<OwnedFd, Fault> {
        let gone = || Fault::Gone(id.pid);
        let pid = i32::try_from(id.pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| fault(id.pid, error.into()))?;
        // Looked up after the handle was made: what is alive now, and began before, is what the handle is of.
        if self.proc.start_ticks(id.pid) != Some(id.start_ticks) {
            return Err(gone());
        }
        match self.protected(id.pid) {
            Some(why) => Err(Fault::Protected(id.pid, why)),
            None => Ok(handle),
        }
    }

    fn protected(&self, pid: u32) -> Option<String> {
        let exe = self.proc.exe(pid);
        let parent = self.proc.parent(pid).unwrap_or(0);
        let candidate = Candidate { pid, parent, exe: exe.as_deref(), in_container: self.in_container };
        self.guard.process(candidate)
    }

    /// All processes with their parents.
    fn parents(&self) -> Vec<(u32, u32)> {
        self.proc.ids().into_iter().filter_map(|pid| Some((pid, self.proc.parent(pid)?))).collect()
    }
}

/// Processes of a control group and of those below it.
fn members(group: &Path) -> Result<Vec<u32>, Fault> {
    let mut pids = Vec::new();
    let mut groups = vec![group.to_owned()];
    while let Some(group) = groups.pop() {
        let text = fs::read_to_string(group.join(PROCS)).map_err(|error| unusable(&group, error))?;
        // Threads of another pid namespace are shown as 0.
        pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid > 0));
        let entries = fs::read_dir(&group).map_err(|error| unusable(&group, error))?;
        groups.extend(
            entries
                .filter_map(Result::ok)
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    Ok(pids)
}

fn unusable(path: &Path, error: io::Error) -> Fault {
    Fault::Group { path: path.to_owned(), error }
}

fn send(pid: u32, handle: &OwnedFd, signal: Signal) -> Result<(), Fault> {
    pidfd_send_signal(handle, signal).map_err(|error| fault(pid, error.into()))
}

fn fault(pid: u32, error: io::Error) -> Fault {
    if error.raw_os_error() == Some(libc::ESRCH) { Fault::Gone(pid) } else { Fault::Failed(pid, error) }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::ExitStatusExt as _,
        process::{Child, Command, Stdio},
    };

    use super::*;

    fn start(script: &str) -> (Child, ProcessId) {
        let child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("a shell");
        let start_ticks = ProcFs::default().start_ticks(child.id()).expect("it runs");
        let id = ProcessId { pid: child.id(), start_ticks };
        (child, id)
    }

    fn killer<'a>(proc: &'a ProcFs, guard: &'a Guard) -> Killer<'a> {
        Killer { proc, guard, in_container: false }
    }

    #[test]
    fn a_process_is_ended_and_one_of_the_same_number_is_not() {
        let (proc, guard) = (ProcFs::default(), Guard::default());
        let (mut child, id) = start("exec sleep 60");
        let other = ProcessId { start_ticks: id.start_ticks + 1, ..id };
        assert!(matches!(killer(&proc, &guard).process(other), Err(Fault::Gone(_))));
        assert!(child.try_wait().expect("a child").is_none(), "it runs still");
        assert_eq!(killer(&proc, &guard).process(id).expect("it is ended").pids, [id.pid]);
        assert_eq!(child.wait().expect("a child").signal(), Some(libc::SIGKILL));
        assert!(matches!(killer(&proc, &guard).process(id), Err(Fault::Gone(_))));
    }

    #[test]
    fn a_tree_is_ended_with_all_its_branches() {
        use std::io::{BufRead as _, BufReader};

        let (proc, guard) = (ProcFs::default(), Guard::default());
        let (mut child, id) = start("sh -c 'sleep 60 & echo $!; sleep 60 & echo $!; wait' & wait");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut next = || lines.next().expect("a line").expect("text").parse::<u32>().expect("a number");
        let (one, other) = (next(), next());
        let killed = killer(&proc, &guard).tree(id).expect("it is ended");
        for pid in [id.pid, one, other] {
            assert!(killed.pids.contains(&pid), "{pid} of {killed:?}");
        }
        assert_eq!(killed.pids.len(), 4, "{killed:?}");
        assert_eq!(child.wait().expect("a child").signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn what_is_protected_is_left_alone() {
        let own = [std::process::id()].into();
        let settings =
            crate::config::Responses { protect_processes: vec!["sleep".into()], ..Default::default() };
        let (proc, guard) = (ProcFs::default(), Guard::new(&settings, own));
        let (mut child, id) = start("exec sleep 60");
        // The shell becomes the program a moment later.
        while proc.exe(id.pid).is_none_or(|exe| !exe.ends_with("sleep") && !exe.ends_with("coreutils")) {
            std::thread::yield_now();
        }
        let refused = killer(&proc, &guard).process(id);
        assert!(matches!(refused, Err(Fault::Protected(..))), "{refused:?}");
        assert!(child.try_wait().expect("a child").is_none(), "it runs still");
        let container = Killer { in_container: true, ..killer(&proc, &guard) };
        container.process(id).expect("a container brings what it likes");
        child.wait().expect("a child");
    }
}
