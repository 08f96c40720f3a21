//! CPUs that the machine's owner has set apart (`isolcpus`, `nohz_full`): which they are, and how the agent stays away
//! from them.
//!
//! Its threads run on the other CPUs, all of them, because the first one is sent there before it starts any. Kernel
//! programs run where events happen; on isolated CPUs they wake nobody, so the reader looks for their records now and
//! then.

mod list;

use std::{fs, io, path::Path};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

pub use self::list::{CpuList, CpuListFault};

/// Where the kernel lists CPUs.
const SYSFS: &str = "/sys/devices/system/cpu";
/// Lists of isolated CPUs: the one of the boot parameter of that name, and those without a timer tick.
const LISTS: [&str; 2] = ["isolated", "nohz_full"];

/// Which CPUs are to be left alone; the setting `node.isolated_cpus`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Those the kernel has isolated.
    #[default]
    Auto,
    /// None.
    None,
    /// These.
    Listed(CpuList),
}

/// What was found, and what it means for the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cores {
    /// CPUs to be left alone.
    pub isolated: CpuList,
    /// CPUs that this process may use.
    pub allowed: CpuList,
    /// What could not be read, or understood.
    pub faults: Vec<String>,
}

impl Cores {
    /// Looks at this machine.
    pub fn find(setting: &Isolation) -> Self {
        let mut cores = Self::find_in(Path::new(SYSFS), setting);
        match sched_getaffinity(Pid::from_raw(0)) {
            Ok(set) => {
                let held = |cpu: &u32| set.is_set(*cpu as usize).unwrap_or(false);
                cores.allowed = (0..CpuSet::count() as u32).filter(held).collect();
            }
            Err(error) => cores.faults.push(format!("the CPUs of this process are not known: {error}")),
        }
        cores
    }

    fn find_in(sysfs: &Path, setting: &Isolation) -> Self {
        let mut faults = Vec::new();
        let mut read = |name: &str| {
            let path = sysfs.join(name);
            match fs::read_to_string(&path) {
                Ok(text) => text.parse().unwrap_or_else(|error: CpuListFault| {
                    faults.push(format!("`{}`: {error}", path.display()));
                    CpuList::default()
                }),
                // Kernels without the feature have no such file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => CpuList::default(),
                Err(error) => {
                    faults.push(format!("cannot read `{}`: {error}", path.display()));
                    CpuList::default()
                }
            }
        };
        let isolated = match setting {
            Isolation::Auto => LISTS.into_iter().map(&mut read).fold(CpuList::default(), CpuList::or),
            Isolation::None => CpuList::default(),
            Isolation::Listed(list) => list.clone(),
        };
        // What is not there needs no rest.
        let possible = read("possible");
        let isolated = if possible.is_empty() { isolated } else { isolated.and(&possible) };
        Self { isolated, allowed: CpuList::default(), faults }
    }

    /// CPUs for the agent's threads; `None` when they may stay where they are: nothing is isolated, or everything is.
    pub fn for_threads(&self) -> Option<CpuList> {
        let rest = self.allowed.without(&self.isolated);
        (!rest.is_empty() && rest != self.allowed).then_some(rest)
    }

    /// Whether all that this process may use is isolated.
    pub fn has_no_other(&self) -> bool {
        !self.isolated.is_empty() && self.allowed.without(&self.isolated).is_empty()
    }

    /// Sends this thread, and all that it starts from here on, away from isolated CPUs.
    pub fn keep_off(&self) -> io::Result<()> {
        let Some(rest) = self.for_threads() else { return Ok(()) };
        let mut set = CpuSet::new();
        for cpu in rest.iter() {
            set.set(cpu as usize)?;
        }
        Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
    }

    /// Threads of this process that may run on isolated CPUs although others are there: by name.
    pub fn strays(&self) -> io::Result<Vec<String>> {
        let Some(rest) = self.for_threads() else { return Ok(Vec::new()) };
        let mut strays = Vec::new();
        for task in fs::read_dir("/proc/self/task")? {
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(task?.path().join("status")) else { continue };
            let line =
                |name| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
            let cpus: CpuList = line("Cpus_allowed_list:").parse().unwrap_or_default();
            if !cpus.without(&rest).is_empty() {
                strays.push(line("Name:").to_owned());
            }
        }
        Ok(strays)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        text.parse().unwrap()
    }

    fn cores(isolated: &str, allowed: &str) -> Cores {
        Cores { isolated: list(isolated), allowed: list(allowed), faults: Vec::new() }
    }

    #[test]
    fn both_lists_count_and_a_missing_one_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        assert_eq!(Cores::find_in(dir.path(), &Isolation::Auto), Cores::default());
        write("isolated", "2-3\n");
        write("nohz_full", "  (null)\n");
        assert_eq!(Cores::find_in(dir.path(), &Isolation::Auto), cores("2-3", ""));
        write("nohz_full", "3,5\n");
        assert_eq!(Cores::find_in(dir.path(), &Isolation::Auto), cores("2-3,5", ""));
        assert_eq!(Cores::find_in(dir.path(), &Isolation::None), Cores::default());
        assert_eq!(Cores::find_in(dir.path(), &Isolation::Listed(list("1"))), cores("1", ""));
        write("possible", "0-3\n");
        assert_eq!(Cores::find_in(dir.path(), &Isolation::Auto), cores("2-3", ""));
        write("isolated", "all\n");
        let found = Cores::find_in(dir.path(), &Isolation::Auto);
        assert_eq!((found.isolated, found.faults.len()), (list("3"), 1));
    }

    #[test]
    fn threads_take_the_rest_if_there_is_one() {
        assert_eq!(cores("", "0-3").for_threads(), None);
        assert_eq!(cores("2-3", "0-3").for_threads(), Some(list("0-1")));
        // Not allowed there anyway.
        assert_eq!(cores("2-3", "0-1").for_threads(), None);
        assert_eq!((cores("0-3", "0-3").for_threads(), cores("0-3", "0-3").has_no_other()), (None, true));
        assert!(!cores("", "0-3").has_no_other() && !cores("1", "0-3").has_no_other());
    }

    #[test]
    fn a_thread_that_was_sent_away_takes_the_later_ones_along() {
        let all = Cores::find(&Isolation::None).allowed;
        let Some(last) = all.iter().last().filter(|_| all.iter().count() > 1) else { return };
        // On a thread of its own: the other tests may go on running everywhere.
        std::thread::spawn(move || {
            let cores = Cores::find(&Isolation::Listed([last].into_iter().collect()));
            cores.keep_off().unwrap();
            let of = || Cores::find(&Isolation::None).allowed;
            assert!(!of().iter().any(|cpu| cpu == last));
            assert!(!std::thread::spawn(of).join().unwrap().iter().any(|cpu| cpu == last));
            // The test's main thread at least has not been sent away.
            assert!(!cores.strays().unwrap().is_empty());
        })
        .join()
        .unwrap();
    }
}
