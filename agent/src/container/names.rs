//! User and group names of a container: from the files it has at `/etc`, seen through one of its processes.
//!
//! The files are the container's own, so anything may be there: they are opened below its root and nowhere else, must
//! be ordinary and small, and whatever hangs holds one of a few places, never the look-up.

use std::{fs::File, io::Read, path::Path, sync::Arc, time::Duration};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::Mode,
};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::{
    event::ProcessId,
    state::{procfs::ProcFs, users::NameTable},
};

/// Largest file read, bytes.
const FILE_MAX: u64 = 1 << 20;
/// Readings at once; one that never ends keeps its place.
const PLACES: usize = 4;

/// Reads names.
#[derive(Debug)]
pub(super) struct Reader {
    places: Arc<Semaphore>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)) }
    }
}

impl Reader {
    /// The names that a process sees; `None` when they cannot be read, or not in time, the wait for a place included.
    pub(super) async fn read(&self, process: ProcessId, at_most: Duration) -> Option<Box<NameTable>> {
        let work = async {
            // Never closed.
            let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
            let reading = spawn_blocking(move || {
                let table = read(Path::new("/proc"), process);
                drop(place);
                table
            });
            reading.await.ok()?
        };
        timeout(at_most, work).await.ok()?.map(Box::new)
    }
}

fn read(proc: &Path, process: ProcessId) -> Option<NameTable> {
    let root = File::open(proc.join(process.pid.to_string()).join("root")).ok()?;
    // The directory is held now: if the id still is that process, it was at the opening.
    if ProcFs::new(proc.to_owned()).start_ticks(process.pid)? != process.start_ticks {
        return None;
    }
    let (passwd, group) = (below(&root, "etc/passwd"), below(&root, "etc/group"));
    if passwd.is_none() && group.is_none() {
        return None;
    }
    Some(NameTable::parse(&passwd.unwrap_or_default(), &group.unwrap_or_default()))
}

/// An ordinary small file below a root, whose links cannot lead out of it.
fn below(root: &File, path: &str) -> Option<Vec<u8>> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .mode(Mode::empty())
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(root, path, how).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= FILE_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use nix::unistd::mkfifo;

    use super::*;

    const PROCESS: ProcessId = ProcessId { pid: 7, start_ticks: 777 };

    fn proc(passwd: impl FnOnce(&Path)) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        let etc = proc.path().join("7/root/etc");
        fs::create_dir_all(&etc).unwrap();
        let stat = "7 (x) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        fs::write(proc.path().join("7/stat"), stat).unwrap();
        passwd(&etc.join("passwd"));
        proc
    }

    fn name(proc: &tempfile::TempDir, process: ProcessId) -> Option<Vec<u8>> {
        read(proc.path(), process)?.user_name(33).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_containers_own_names_are_read() {
        let proc = proc(|passwd| fs::write(passwd, "web:x:33:33::/:/bin/sh\n").unwrap());
        assert_eq!(name(&proc, PROCESS).as_deref(), Some(&b"web"[..]));
        let other = ProcessId { start_ticks: 778, ..PROCESS };
        assert_eq!(name(&proc, other), None, "another process has the number now");
    }

    #[test]
    fn hostile_files_are_not_read() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("passwd");
        fs::write(&secret, "secret:x:33:33::/:\n").unwrap();
        let absolute = proc(|passwd| symlink(&secret, passwd).unwrap());
        let relative = proc(|passwd| symlink(format!("../../../..{}", secret.display()), passwd).unwrap());
        let fifo = proc(|passwd| mkfifo(passwd, Mode::S_IRWXU).unwrap());
        let device = proc(|passwd| symlink("/dev/zero", passwd).unwrap());
        let huge = proc(|passwd| File::create(passwd).unwrap().set_len(FILE_MAX + 1).unwrap());
        let directory = proc(|passwd| fs::create_dir(passwd).unwrap());
        for proc in [absolute, relative, fifo, device, huge, directory] {
            assert_eq!(name(&proc, PROCESS), None);
        }
    }

    #[tokio::test]
    async fn this_process_has_names() {
        let own = ProcFs::default().read(std::process::id()).expect("this process");
        let reader = Reader::default();
        let table = reader.read(own.id, Duration::from_secs(5)).await.expect("names");
        assert_eq!(table.user_name(0), Some(&b"root"[..]));
        assert!(
            reader
                .read(ProcessId { pid: own.id.pid, start_ticks: 1 }, Duration::from_secs(5))
                .await
                .is_none()
        );
    }
}
