//! What the node tells, and what is kept on its disk.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    net::{Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    config::AdminState,
    services::plan::{Name, SELF_TEST},
};

/// Ticks that kernels are built with.
const TICKS: [u32; 4] = [100, 250, 300, 1000];
/// Time over which they are counted.
const COUNTED: Duration = Duration::from_millis(300);
/// The file of what somebody ordered.
const FILE: &str = "services.json";

/// Where the unified hierarchy is mounted.
pub(in crate::app) fn unified_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, path, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| path.into())
    })
}

/// Asks for the address of the self-test on a socket of our own. No datagram is sent.
pub(super) fn is_served() {
    let asked = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| socket.connect(SELF_TEST));
    if let Err(error) = asked {
        tracing::debug!("The self-test of services has no way: {error}");
    }
}

/// Jiffies of a second, counted.
pub(super) fn jiffies_per_second() -> Option<u32> {
    let first = moment()?;
    thread::sleep(COUNTED);
    let second = moment()?;
    nearest(first, second)
}

/// The clock in nanoseconds and in jiffies.
fn moment() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/timer_list").ok()?;
    read_moment(&text)
}

fn read_moment(text: &str) -> Option<(u64, u64)> {
    let number = |line: &str, front: &str| line.strip_prefix(front)?.split(' ').next()?.parse::<u64>().ok();
    let ns = text.lines().find_map(|line| number(line, "now at "))?;
    // CPUs that sleep show an old one.
    let jiffies = text.lines().filter_map(|line| number(line, "jiffies: ")).max()?;
    Some((ns, jiffies))
}

fn nearest(first: (u64, u64), second: (u64, u64)) -> Option<u32> {
    let (ns, jiffies) = (second.0.checked_sub(first.0)?, second.1.checked_sub(first.1)?);
    let counted = jiffies.checked_mul(1_000_000_000)?.checked_div(ns)?;
    let tick = TICKS.into_iter().min_by_key(|tick| u64::from(*tick).abs_diff(counted))?;
    // What is far from all of them was not counted well.
    (u64::from(tick).abs_diff(counted) * 5 <= u64::from(tick)).then_some(tick)
}

/// What somebody ordered while the agent ran.
pub(super) struct Store {
    path: PathBuf,
}

impl Store {
    pub(super) fn new(directory: &Path) -> Self {
        Self { path: directory.join(FILE) }
    }

    /// States of an agent before; none when there are none that can be read.
    pub(super) fn admin_states(&self) -> Vec<(Name, AdminState)> {
        let read = || -> io::Result<BTreeMap<String, String>> {
            Ok(serde_json::from_slice(&fs::read(&self.path)?)?)
        };
        match read() {
            Ok(states) => states.iter().filter_map(|(name, state)| parsed(name, state)).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::error!(path = %self.path.display(), "What was kept of services cannot be read: {error}");
                Vec::new()
            }
        }
    }

    /// Keeps them: written beside, brought to the disk, renamed.
    pub(super) fn keep<'a>(&self, states: impl Iterator<Item = (&'a Name, AdminState)>) -> io::Result<()> {
        let states: BTreeMap<String, &str> = states
            .map(|((service, backend), state)| (format!("{service}/{backend}"), state.name()))
            .collect();
        replace(&self.path, &serde_json::to_vec_pretty(&states)?)
    }
}

/// Replaces a file whole.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new, path)
}

fn parsed(name: &str, state: &str) -> Option<(Name, AdminState)> {
    let (service, backend) = name.split_once('/')?;
    let states = [AdminState::Ready, AdminState::Drain, AdminState::Maintenance];
    let state = states.into_iter().find(|own| own.name() == state)?;
    Some(((service.to_owned(), backend.to_owned()), state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_counted() {
        let text = "Timer List Version: v0.10\nnow at 50722027172155 nsecs\n\ncpu: 0\n.idle_jiffies   : 9\njiffies: 430\njiffies: 433\n";
        assert_eq!(read_moment(text), Some((50_722_027_172_155, 433)));
        assert_eq!(nearest((0, 0), (300_000_000, 75)), Some(250));
        assert_eq!(nearest((0, 0), (300_000_000, 31)), Some(100));
        assert_eq!(nearest((0, 0), (300_000_000, 500)), None);
        assert_eq!(nearest((5, 0), (5, 1)), None);
    }

    #[test]
    fn orders_are_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::new(&scratch.path().join("state"));
        assert!(store.admin_states().is_empty());
        let name = ("web".to_owned(), "a".to_owned());
        store.keep([(&name, AdminState::Drain)].into_iter()).unwrap();
        assert_eq!(store.admin_states(), [(name, AdminState::Drain)]);
        fs::write(&store.path, "{").unwrap();
        assert!(store.admin_states().is_empty());
    }
}
