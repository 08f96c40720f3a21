//! SHA-256 of executed files, read through `/proc/PID/exe`: what runs, not what a path says by now. Of a process that is
//! gone already the file at its path is read, if that is the same version of the same file.
//!
//! Bounded twice: larger files are not read, and what is read in a second is a budget. What is left out for either is
//! counted and has no digest. Owns the reading and its limits; which files is asked by `state::digest`. Called by
//! `app::digests`.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::AsRawFd as _,
        unix::{
            ffi::OsStrExt as _,
            fs::{MetadataExt as _, OpenOptionsExt as _},
        },
    },
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};

use crate::state::digest::{DigestWanted, FileVersion};

/// Bytes read at a time.
const CHUNK: usize = 128 << 10;
/// What kernels since 6.13 may keep in the nanoseconds of the time of an inode's change, beside them.
const QUERIED: u64 = 1 << 31;

/// What may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Larger files are not read.
    pub max_bytes: u64,
    /// Bytes in a second, on average.
    pub bytes_per_sec: u64,
}

/// Why a file has no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is too large.
    TooLarge,
    /// Too much was read already.
    OverBudget,
    /// The process runs something else by now, or the file has changed.
    Changed,
    /// The process is gone.
    Gone,
    /// It cannot be read.
    Failed,
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Tallies {
    /// Digests made.
    pub made: AtomicU64,
    /// Bytes read.
    pub bytes: AtomicU64,
    /// Files left out, by [`Left`].
    left: [AtomicU64; Left::ALL.len()],
}

/// What may still be read: as much as the largest file at once, and more with time.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    bytes: u64,
    at: Instant,
}

impl Left {
    /// All causes.
    pub const ALL: [Self; 5] = [Self::TooLarge, Self::OverBudget, Self::Changed, Self::Gone, Self::Failed];

    /// The word in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::OverBudget => "over_budget",
            Self::Changed => "changed",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }
}

impl Tallies {
    /// Counts an outcome.
    pub fn count(&self, made: Result<u64, Left>) {
        match made {
            Ok(bytes) => {
                self.made.fetch_add(1, Relaxed);
                self.bytes.fetch_add(bytes, Relaxed);
            }
            Err(left) => {
                if let Some(count) = self.left.get(left as usize) {
                    count.fetch_add(1, Relaxed);
                }
            }
        }
    }

    /// Files left out for a cause.
    pub fn left(&self, left: Left) -> u64 {
        self.left.get(left as usize).map_or(0, |count| count.load(Relaxed))
    }
}

impl Budget {
    /// A full one.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self { limits, bytes: limits.max_bytes.max(limits.bytes_per_sec), at: now }
    }

    /// Takes so many bytes, if there are as many.
    fn take(&mut self, bytes: u64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_nanos();
        let rate = u128::from(self.limits.bytes_per_sec);
        let came = passed * rate / 1_000_000_000;
        let most = self.limits.max_bytes.max(self.limits.bytes_per_sec);
        self.bytes = u64::try_from(came).unwrap_or(most).saturating_add(self.bytes).min(most);
        // What is less than a byte is left for later.
        let used = came * 1_000_000_000 / rate.max(1);
        self.at += Duration::from_nanos(u64::try_from(used).unwrap_or(u64::MAX));
        let rest = self.bytes.checked_sub(bytes);
        self.bytes = rest.unwrap_or(self.bytes);
        rest.is_some()
    }
}

/// Makes the digest of a file; gives how much of it was read too.
pub fn digest(proc_root: &Path, wanted: &DigestWanted, budget: &mut Budget) -> Result<([u8; 32], u64), Left> {
    let (mut file, length) = open(proc_root, wanted)?;
    if length > budget.limits.max_bytes {
        return Err(Left::TooLarge);
    }
    if !budget.take(length, Instant::now()) {
        return Err(Left::OverBudget);
    }
    let (digest, bytes) = read(&mut file, length).map_err(|_| Left::Failed)?;
    let after = file.metadata().map_err(|_| Left::Failed)?;
    if bytes != length || after.len() != length || !is_of(&after, wanted.version) {
        return Err(Left::Changed);
    }
    Ok((digest, bytes))
}

/// Opens the file and gives its length: what the process runs, or, when that is gone already, what lies at its path. It is
/// looked at before it is opened for reading, so that nothing else is.
fn open(proc_root: &Path, wanted: &DigestWanted) -> Result<(File, u64), Left> {
    let of = |pid: u32| proc_root.join(pid.to_string());
    let path = OsStr::from_bytes(wanted.path.strip_prefix(b"/").unwrap_or_default());
    let others = wanted.peers.iter().filter(|_| !path.is_empty()).map(|pid| of(*pid).join("root").join(path));
    let mut left = Left::Gone;
    for candidate in std::iter::once(of(wanted.pid).join("exe")).chain(others) {
        let found = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&candidate);
        match found.and_then(|found| Ok((found.metadata()?, found))) {
            Ok((data, found)) if data.is_file() && is_of(&data, wanted.version) => {
                let again = Path::new("/proc/self/fd").join(found.as_raw_fd().to_string());
                let file = File::open(again).map_err(|_| Left::Failed)?;
                return Ok((file, data.len()));
            }
            Ok(_) => left = Left::Changed,
            Err(error) if is_gone(&error) => {}
            Err(_) if left == Left::Gone => left = Left::Failed,
            Err(_) => {}
        }
    }
    Err(left)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Whether a file is of a version. Devices are not compared: layered file systems show others to programs.
fn is_of(data: &fs::Metadata, version: FileVersion) -> bool {
    let nanos = |secs: i64, nanos: i64| {
        let secs = u64::try_from(secs).unwrap_or_default();
        secs.saturating_mul(1_000_000_000).saturating_add(u64::try_from(nanos).unwrap_or_default())
    };
    let changed = nanos(data.ctime(), data.ctime_nsec());
    let is_same = version.ctime_ns == changed || version.ctime_ns == changed + QUERIED;
    is_same && version.mtime_ns == nanos(data.mtime(), data.mtime_nsec())
}

/// Reads a file up to a length, and one byte more to see that it ends there.
fn read(file: &mut File, length: u64) -> io::Result<([u8; 32], u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    let mut rest = file.take(length + 1);
    loop {
        match rest.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finalize().into(), bytes)),
            Ok(count) => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const LIMITS: Limits = Limits { max_bytes: 1000, bytes_per_sec: 100 };

    fn version(path: &Path) -> FileVersion {
        let data = fs::metadata(path).unwrap();
        let nanos = |secs: i64, nanos: i64| secs as u64 * 1_000_000_000 + nanos as u64;
        FileVersion {
            dev: 0,
            ino: data.ino(),
            ctime_ns: nanos(data.ctime(), data.ctime_nsec()),
            mtime_ns: nanos(data.mtime(), data.mtime_nsec()),
        }
    }

    /// A `/proc` with one process, and what it runs.
    fn proc_with(text: &[u8]) -> (tempfile::TempDir, DigestWanted) {
        let dir = tempfile::tempdir().unwrap();
        let exe = dir.path().join("tool");
        fs::write(&exe, text).unwrap();
        fs::create_dir(dir.path().join("7")).unwrap();
        symlink(&exe, dir.path().join("7/exe")).unwrap();
        let wanted = DigestWanted {
            pid: 7,
            path: b"/tool".as_slice().into(),
            peers: [3, 4].into(),
            version: version(&exe),
            is_patient: false,
        };
        (dir, wanted)
    }

    #[test]
    fn what_runs_is_read_and_nothing_else() {
        let (dir, wanted) = proc_with(b"abc");
        let mut budget = Budget::new(LIMITS, Instant::now());
        let made = digest(dir.path(), &wanted, &mut budget).unwrap();
        // The standard's own example.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Some(made.0), rampart_rules::set::digest(expected.as_bytes()));
        assert_eq!(made.1, 3);
        let queried = FileVersion { ctime_ns: wanted.version.ctime_ns + QUERIED, ..wanted.version };
        let flagged = DigestWanted { version: queried, ..wanted.clone() };
        assert!(digest(dir.path(), &flagged, &mut budget).is_ok());
        let other = FileVersion { mtime_ns: wanted.version.mtime_ns + 1, ..wanted.version };
        let mut left = |wanted: DigestWanted| digest(dir.path(), &wanted, &mut budget).unwrap_err();
        assert_eq!(left(DigestWanted { version: other, ..wanted.clone() }), Left::Changed);
        let ended = DigestWanted { pid: 8, ..wanted.clone() };
        assert_eq!(left(ended.clone()), Left::Gone);
        fs::create_dir(dir.path().join("4")).unwrap();
        symlink(dir.path(), dir.path().join("4/root")).unwrap();
        assert!(digest(dir.path(), &ended, &mut Budget::new(LIMITS, Instant::now())).is_ok(), "by its path");
        fs::remove_dir_all(dir.path().join("4")).unwrap();
        fs::remove_file(dir.path().join("7/exe")).unwrap();
        symlink("/dev/zero", dir.path().join("7/exe")).unwrap();
        assert_eq!(left(wanted), Left::Changed);
    }

    #[test]
    fn size_and_rate_are_bounded() {
        let (dir, wanted) = proc_with(&[7; 900]);
        let mut budget = Budget::new(LIMITS, Instant::now());
        assert!(digest(dir.path(), &wanted, &mut budget).is_ok());
        assert_eq!(digest(dir.path(), &wanted, &mut budget), Err(Left::OverBudget));
        let small = Limits { max_bytes: 899, ..LIMITS };
        let mut small = Budget::new(small, Instant::now());
        assert_eq!(digest(dir.path(), &wanted, &mut small), Err(Left::TooLarge));
    }

    #[test]
    fn the_budget_comes_back_with_time_and_not_beyond_its_size() {
        let now = Instant::now();
        let mut budget = Budget::new(LIMITS, now);
        assert!(budget.take(1000, now) && !budget.take(50, now));
        assert!(!budget.take(50, now + Duration::from_millis(499)));
        assert!(budget.take(50, now + Duration::from_millis(500)));
        let later = now + Duration::from_secs(10_000);
        assert!(budget.take(1000, later) && !budget.take(1, later));
    }
}
