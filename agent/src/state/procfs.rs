//! Processes as `/proc` shows them: for the start of the agent, and for a process whose records were missed.
//!
//! Every read is bounded and may fail at any time, because processes end while they are read.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use rampart_common::event::{FILE_MEMFD, FileFacts, TaskFacts};

use super::image::{ENV_MAX_BYTES, Image};
use crate::event::{ProcessId, TICK_NS};

/// Bytes of `stat`, `status` and `cgroup` read; real ones are far shorter.
const TEXT_MAX_BYTES: u64 = 64 * 1024;
/// Bytes of the argument vector read, as much as the kernel side sends.
const ARGV_MAX_BYTES: u64 = 4096;
/// What the kernel appends to the name of an unlinked executable.
const DELETED: &[u8] = b" (deleted)";

/// A process read from `/proc`.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Identity.
    pub id: ProcessId,
    /// Facts; times of the parent and the cgroup id are not known here and are 0.
    pub task: TaskFacts,
    /// Image.
    pub image: Image,
    /// Working directory; empty when it could not be read.
    pub cwd: Vec<u8>,
    /// Whether its root is not that of its mount namespace.
    pub chrooted: bool,
    /// The `cgroup` file.
    pub cgroup: Vec<u8>,
}

/// A mounted `/proc`.
#[derive(Clone, Debug)]
pub struct ProcFs {
    root: PathBuf,
}

impl Default for ProcFs {
    fn default() -> Self {
        Self::new("/proc".into())
    }
}

impl ProcFs {
    /// A `/proc` mounted at `root`.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where it is mounted.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// All processes there are.
    pub fn scan(&self) -> Vec<Found> {
        self.ids().into_iter().filter_map(|pid| self.read(pid)).collect()
    }

    /// One process; `None` when it is gone.
    pub fn read(&self, pid: u32) -> Option<Found> {
        let dir = self.root.join(pid.to_string());
        let stat = Stat::parse(&read(&dir.join("stat"), TEXT_MAX_BYTES)?)?;
        let mut task = TaskFacts {
            pid,
            tid: pid,
            ppid: stat.ppid,
            pgid: stat.pgrp,
            sid: stat.session,
            tty: stat.tty,
            start_ns: stat.start_ticks.saturating_mul(TICK_NS),
            comm: stat.comm,
            loginuid: read(&dir.join("loginuid"), 32).and_then(|text| number(&text)).unwrap_or(u32::MAX),
            ..TaskFacts::default()
        };
        fill_from_status(&read(&dir.join("status"), TEXT_MAX_BYTES)?, &mut task);
        task.pid_ns = namespace(&dir.join("ns/pid"));
        task.mnt_ns = namespace(&dir.join("ns/mnt"));
        task.net_ns = namespace(&dir.join("ns/net"));
        let argv = read(&dir.join("cmdline"), ARGV_MAX_BYTES).unwrap_or_default();
        let env = read(&dir.join("environ"), ENV_MAX_BYTES as u64).unwrap_or_default();
        let link = link(&dir.join("exe"));
        let mut image = Image::new(stat.comm, &argv, &env, exe_path(&link));
        if let Ok(meta) = fs::metadata(dir.join("exe")) {
            let facts = file_facts(&meta, &link);
            image.writable = writable(&facts, &task);
            image.file = Some(facts);
        }
        let cgroup = read(&dir.join("cgroup"), TEXT_MAX_BYTES).unwrap_or_default();
        let id = ProcessId { pid, start_ticks: stat.start_ticks };
        let chrooted = link_path(&dir.join("root")) != b"/";
        Some(Found { id, task, image, cwd: link_path(&dir.join("cwd")), chrooted, cgroup })
    }

    /// One process, if it is still the one of that identity.
    pub fn read_exact(&self, id: ProcessId) -> Option<Found> {
        self.read(id.pid).filter(|found| found.id == id)
    }

    /// When the process of that id started, in clock ticks.
    pub fn start_ticks(&self, pid: u32) -> Option<u64> {
        let stat = read(&self.root.join(pid.to_string()).join("stat"), TEXT_MAX_BYTES)?;
        Some(Stat::parse(&stat)?.start_ticks)
    }

    /// Numbers of all processes there are.
    pub fn ids(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Vec::new() };
        entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// The parent of the process of that id.
    pub fn parent(&self, pid: u32) -> Option<u32> {
        Some(Stat::parse(&read(&self.root.join(pid.to_string()).join("stat"), TEXT_MAX_BYTES)?)?.ppid)
    }

    /// Its executable, as the kernel names it; `None` when it has none or is gone.
    pub fn exe(&self, pid: u32) -> Option<PathBuf> {
        fs::read_link(self.root.join(pid.to_string()).join("exe")).ok()
    }

    /// The `cgroup` file of a process.
    pub fn cgroup(&self, pid: u32) -> Option<Vec<u8>> {
        read(&self.root.join(pid.to_string()).join("cgroup"), TEXT_MAX_BYTES)
    }
}

/// The paths of a `cgroup` file, one per hierarchy.
pub fn cgroup_paths(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|byte| *byte == b'\n').filter_map(|line| line.splitn(3, |byte| *byte == b':').nth(2))
}

/// What is used of `/proc/PID/stat`.
struct Stat {
    comm: [u8; 16],
    ppid: u32,
    pgrp: u32,
    session: u32,
    tty: u32,
    start_ticks: u64,
}

impl Stat {
    fn parse(text: &[u8]) -> Option<Self> {
        // The name may hold anything, closing brackets and blanks included; the last bracket ends it.
        let open = memchr::memchr(b'(', text)?;
        let close = memchr::memrchr(b')', text)?;
        let mut comm = [0; 16];
        for (slot, byte) in comm.iter_mut().take(15).zip(text.get(open + 1..close)?) {
            *slot = *byte;
        }
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace().skip(1);
        let mut signed = || fields.next()?.parse::<i64>().ok();
        let (ppid, pgrp, session, tty) = (signed()?, signed()?, signed()?, signed()?);
        let start_ticks = fields.nth(14)?.parse().ok()?;
        Some(Self {
            comm,
            ppid: ppid as u32,
            pgrp: pgrp as u32,
            session: session as u32,
            tty: tty as u32,
            start_ticks,
        })
    }
}

fn fill_from_status(text: &[u8], task: &mut TaskFacts) {
    (task.vpid, task.vtid, task.vpgid, task.vsid) = (task.pid, task.pid, task.pgid, task.sid);
    for line in text.split(|byte| *byte == b'\n') {
        let Some((key, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(':')) else {
            continue;
        };
        let mut words = value.split_ascii_whitespace();
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<u32>().ok());
        let capability = |word: Option<&str>| word.and_then(|word| u64::from_str_radix(word, 16).ok());
        match key {
            "Uid" => {
                task.uid = number(words.next()).unwrap_or(u32::MAX);
                task.euid = number(words.next()).unwrap_or(u32::MAX);
            }
            "Gid" => {
                task.gid = number(words.next()).unwrap_or(u32::MAX);
                task.egid = number(words.next()).unwrap_or(u32::MAX);
            }
            // The last number is the one in the innermost namespace.
            "NStgid" => {
                task.vpid = number(words.next_back()).unwrap_or(task.pid);
                task.vtid = task.vpid;
            }
            "NSpgid" => task.vpgid = number(words.next_back()).unwrap_or(task.pgid),
            "NSsid" => task.vsid = number(words.next_back()).unwrap_or(task.sid),
            "CapInh" => task.cap_inheritable = capability(words.next()).unwrap_or(0),
            "CapPrm" => task.cap_permitted = capability(words.next()).unwrap_or(0),
            "CapEff" => task.cap_effective = capability(words.next()).unwrap_or(0),
            _ => {}
        }
    }
}

fn file_facts(meta: &fs::Metadata, link: &[u8]) -> FileFacts {
    let dev = meta.dev();
    FileFacts {
        ino: meta.ino(),
        ctime_ns: nanoseconds(meta.ctime(), meta.ctime_nsec()),
        mtime_ns: nanoseconds(meta.mtime(), meta.mtime_nsec()),
        // From the encoding of `stat` to the kernel's own.
        dev: libc::major(dev) << 20 | libc::minor(dev),
        mode: meta.mode(),
        uid: meta.uid(),
        gid: meta.gid(),
        nlink: meta.nlink() as u32,
        flags: if link.starts_with(b"/memfd:") { FILE_MEMFD } else { 0 },
        open_flags: 0,
        fs_magic: 0,
    }
}

fn nanoseconds(seconds: i64, fraction: i64) -> u64 {
    u64::try_from(seconds.saturating_mul(1_000_000_000).saturating_add(fraction)).unwrap_or(0)
}

fn writable(file: &FileFacts, task: &TaskFacts) -> bool {
    let bit = match () {
        () if file.uid == task.euid => 0o200,
        () if file.gid == task.egid => 0o020,
        () => 0o002,
    };
    file.mode & bit != 0
}

/// The executable's path without the marks the kernel adds; anonymous memory shows as `memfd:NAME`.
fn exe_path(link: &[u8]) -> &[u8] {
    let path = link.strip_suffix(DELETED).unwrap_or(link);
    if path.starts_with(b"/memfd:") { path.get(1..).unwrap_or(path) } else { path }
}

fn link(path: &Path) -> Vec<u8> {
    fs::read_link(path).map(|target| target.as_os_str().as_bytes().to_vec()).unwrap_or_default()
}

fn link_path(path: &Path) -> Vec<u8> {
    let mut target = link(path);
    if target.ends_with(DELETED) {
        target.truncate(target.len() - DELETED.len());
    }
    target
}

/// The number in `pid:[4026531836]`; 0 when it cannot be read.
pub(super) fn namespace(path: &Path) -> u32 {
    let target = fs::read_link(path).unwrap_or_default();
    let text = OsStr::to_str(target.as_os_str()).unwrap_or_default();
    text.split(['[', ']']).nth(1).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn read(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, process};

    use super::{ProcFs, Stat, cgroup_paths, exe_path};
    use crate::event::until_nul;

    #[test]
    fn this_process_is_read() {
        let found = ProcFs::default().read(process::id()).expect("this process");
        assert_eq!(found.id.pid, process::id());
        assert!(found.id.start_ticks > 0);
        let exe = std::env::current_exe().expect("own path");
        assert_eq!(found.image.exe_path(), Some(exe.as_os_str().as_encoded_bytes()));
        assert_eq!(found.cwd, std::env::current_dir().expect("own directory").as_os_str().as_encoded_bytes());
        assert!(found.image.known && found.image.exe().is_some());
        assert!(found.image.file.is_some_and(|file| file.ino > 0));
        assert_ne!(found.task.pid_ns, 0);
        assert_eq!(found.task.ppid, std::os::unix::process::parent_id());
        let mut other = found.id;
        other.start_ticks += 1;
        assert!(ProcFs::default().read_exact(other).is_none(), "another process had this number");
    }

    #[test]
    fn the_scan_finds_this_process() {
        let all = ProcFs::default().scan();
        assert!(all.iter().any(|found| found.id.pid == process::id()));
    }

    #[test]
    fn names_with_brackets_and_blanks_are_kept() {
        let line = b"7 (a) R (b) S 1 2 3 34816 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 2";
        let stat = Stat::parse(line).expect("a stat line");
        assert_eq!(until_nul(&stat.comm), b"a) R (b");
        assert_eq!((stat.ppid, stat.pgrp, stat.session, stat.tty, stat.start_ticks), (1, 2, 3, 34816, 4242));
        assert!(Stat::parse(b"7 (x) S 1 2").is_none());
        assert!(Stat::parse(b"").is_none());
    }

    #[test]
    fn a_made_up_process_is_read_whole() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("42");
        fs::create_dir_all(dir.join("ns")).expect("a directory");
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).expect("a file");
        write("stat", "42 (nginx) S 1 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0");
        write(
            "status",
            "Name:\tnginx\nUid:\t33\t34\t33\t33\nGid:\t5\t6\t5\t5\nNStgid:\t42\t7\nNSpgid:\t42\t8\nNSsid:\t42\t9\n\
             CapInh:\t0000000000000001\nCapPrm:\t0000000000000003\nCapEff:\t00000000a80425fb\n",
        );
        write("cmdline", "nginx\0-g\0");
        write("environ", "A=1\0");
        write("cgroup", "3:cpu:/a\n0::/b:c\n");
        write("loginuid", "1000");
        symlink("/memfd:x (deleted)", dir.join("exe")).expect("a link");
        symlink("/srv (deleted)", dir.join("cwd")).expect("a link");
        symlink("pid:[99]", dir.join("ns/pid")).expect("a link");
        let found = ProcFs::new(root.path().to_owned()).read(42).expect("a process");
        let task = found.task;
        assert_eq!((task.uid, task.euid, task.gid, task.egid, task.loginuid), (33, 34, 5, 6, 1000));
        assert_eq!((task.vpid, task.vpgid, task.vsid, task.pid_ns), (7, 8, 9, 99));
        assert_eq!((task.cap_inheritable, task.cap_permitted, task.cap_effective), (1, 3, 0xa804_25fb));
        assert_eq!(found.image.cmdline(), b"nginx -g");
        assert_eq!((found.image.exe_path(), found.cwd.as_slice()), (Some(&b"memfd:x"[..]), &b"/srv"[..]));
        assert_eq!(cgroup_paths(&found.cgroup).collect::<Vec<_>>(), [&b"/a"[..], &b"/b:c"[..]]);
        assert_eq!(exe_path(b"/usr/bin/x (deleted)"), b"/usr/bin/x");
    }
}
