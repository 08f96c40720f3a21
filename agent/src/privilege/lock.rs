//! One agent per node: a locked file and an abstract socket, both given up by the kernel when their holder
//! dies, so a crash never leaves a lock behind.
//!
//! The file says who holds it and works across network namespaces; the socket works where the runtime
//! directory cannot be written. Both are tried, either one being held by another process refuses the start.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::OpenOptionsExt,
            net::{SocketAddr, UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::socket::{getsockopt, sockopt::PeerCredentials},
};
use sha2::{Digest, Sha256};

/// Name of the lock file in the runtime directory.
pub const LOCK_FILE: &str = "agent.lock";

/// The lock, held as long as the value lives.
#[derive(Debug)]
pub struct NodeLock {
    file: Option<Flock<File>>,
    socket: Option<UnixListener>,
    /// What could not be taken and why, for the log.
    pub notes: Vec<String>,
}

/// Why the lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent runs on this node.
    #[error("another agent runs on this node{}; stop it first, or ask it with `rampart status`", owner(*.pid))]
    Held {
        /// Its process id, if it could be found out.
        pid: Option<u32>,
    },
    /// Neither lock could be taken, for a reason that is not another agent.
    #[error("cannot lock the node: {file}; {socket}")]
    Unavailable {
        /// Why not the file.
        file: String,
        /// Why not the socket.
        socket: String,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(", process {pid}"))
}

impl NodeLock {
    /// Takes the lock of the node whose runtime directory is given, creating the directory when needed.
    pub fn acquire(runtime_dir: &Path) -> Result<Self, LockError> {
        let mut notes = Vec::new();
        let socket = match bind(runtime_dir) {
            Ok(socket) => Some(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let pid = file_owner(runtime_dir).or_else(|| socket_owner(runtime_dir));
                return Err(LockError::Held { pid });
            }
            Err(error) => {
                notes.push(format!("abstract socket `{}`: {error}", socket_name(runtime_dir)));
                None
            }
        };
        let file = match lock_file(runtime_dir) {
            Ok(file) => Some(file),
            Err(FileError::Held) => return Err(LockError::Held { pid: file_owner(runtime_dir) }),
            Err(FileError::Io(path, error)) => {
                notes.push(format!("lock file `{}`: {error}", path.display()));
                None
            }
        };
        if file.is_none() && socket.is_none() {
            let mut notes = notes.into_iter();
            let socket = notes.next().unwrap_or_default();
            return Err(LockError::Unavailable { file: notes.next().unwrap_or_default(), socket });
        }
        Ok(Self { file, socket, notes })
    }

    /// Whether the lock file itself is held (not only the socket).
    pub const fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Whether the socket is held.
    pub const fn has_socket(&self) -> bool {
        self.socket.is_some()
    }
}

/// The process that holds the node's lock now, if any.
pub fn holder(runtime_dir: &Path) -> Option<u32> {
    if let Some(pid) = socket_owner(runtime_dir) {
        return Some(pid);
    }
    let file = File::open(runtime_dir.join(LOCK_FILE)).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((_, Errno::EWOULDBLOCK)) => file_owner(runtime_dir),
        _ => None,
    }
}

enum FileError {
    Held,
    Io(PathBuf, io::Error),
}

fn lock_file(runtime_dir: &Path) -> Result<Flock<File>, FileError> {
    fs::create_dir_all(runtime_dir).map_err(|error| FileError::Io(runtime_dir.to_owned(), error))?;
    let path = runtime_dir.join(LOCK_FILE);
    let at = |error| FileError::Io(path.clone(), error);
    // Not truncated on open: until the lock is ours, the content is the holder's.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(at)?;
    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((_, Errno::EWOULDBLOCK)) => return Err(FileError::Held),
        Err((_, errno)) => return Err(at(errno.into())),
    };
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    if let Err(error) = written {
        // The lock holds all the same; only the refusal of a second agent will not name this one.
        tracing::debug!(%error, path = %path.display(), "The process id could not be written to the lock file");
    }
    Ok(file)
}

fn file_owner(runtime_dir: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(runtime_dir.join(LOCK_FILE)).ok()?.take(32).read_to_string(&mut text).ok()?;
    let pid: u32 = text.trim().parse().ok()?;
    // A number left by a holder that died says nothing about today.
    Path::new("/proc").join(pid.to_string()).exists().then_some(pid)
}

/// The socket's name carries the directory, so that agents told to use different ones do not meet.
fn socket_name(runtime_dir: &Path) -> String {
    let name = format!("rampart-agent:{}", runtime_dir.display());
    if name.len() <= SOCKET_NAME_MAX {
        return name;
    }
    Sha256::digest(name.as_bytes()).iter().fold("rampart-agent:".to_owned(), |mut name, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(name, "{byte:02x}");
        name
    })
}

/// Bytes of an abstract socket's name.
const SOCKET_NAME_MAX: usize = 107;

fn bind(runtime_dir: &Path) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(socket_name(runtime_dir))?)
}

/// Who listens on the socket: the kernel tells the one who connects.
fn socket_owner(runtime_dir: &Path) -> Option<u32> {
    let address = SocketAddr::from_abstract_name(socket_name(runtime_dir)).ok()?;
    let stream = UnixStream::connect_addr(&address).ok()?;
    let credentials = getsockopt(&stream, PeerCredentials).ok()?;
    u32::try_from(credentials.pid()).ok().filter(|pid| *pid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_with_the_owners_pid() {
        let dir = tempfile::tempdir().unwrap();
        let lock = NodeLock::acquire(dir.path()).unwrap();
        assert!(lock.has_file() && lock.has_socket() && lock.notes.is_empty());
        let error = NodeLock::acquire(dir.path()).unwrap_err();
        let own = std::process::id();
        assert!(matches!(error, LockError::Held { pid: Some(pid) } if pid == own), "{error}");
        assert!(error.to_string().contains(&format!("process {own}")), "{error}");
        assert_eq!(holder(dir.path()), Some(own));
        drop(lock);
        assert_eq!(holder(dir.path()), None);
        drop(NodeLock::acquire(dir.path()).unwrap());
    }

    #[test]
    fn a_lock_file_left_behind_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK_FILE), "1\n").unwrap();
        assert_eq!(holder(dir.path()), None);
        let lock = NodeLock::acquire(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(LOCK_FILE)).unwrap();
        assert_eq!(text.trim(), std::process::id().to_string());
        drop(lock);
    }

    #[test]
    fn without_a_writable_directory_the_socket_alone_holds() {
        // A file in the place of the directory fails for root too, as a read-only file system does.
        let dir = tempfile::tempdir().unwrap();
        let blocked = dir.path().join("run");
        fs::write(&blocked, "").unwrap();
        let lock = NodeLock::acquire(&blocked).unwrap();
        assert!(!lock.has_file() && lock.has_socket());
        assert!(lock.notes[0].starts_with("lock file") || lock.notes[0].contains("run"), "{:?}", lock.notes);
        let error = NodeLock::acquire(&blocked).unwrap_err();
        assert!(matches!(error, LockError::Held { pid: Some(pid) } if pid == std::process::id()), "{error}");
    }

    #[test]
    fn long_directories_have_names_of_their_own() {
        let [one, two] = ["a", "b"].map(|last| PathBuf::from(format!("/{}/{last}", "x".repeat(200))));
        let lock = bind(&one).unwrap();
        assert!(bind(&two).is_ok() && bind(&one).is_err());
        drop(lock);
    }

    #[test]
    fn the_file_alone_refuses_too() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock_file(dir.path()).ok().unwrap();
        let error = NodeLock::acquire(dir.path()).unwrap_err();
        assert!(matches!(error, LockError::Held { pid: Some(_) }), "{error}");
        drop(held);
    }

    #[test]
    fn a_link_in_place_of_the_lock_file_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join(LOCK_FILE)).unwrap();
        let lock = NodeLock::acquire(dir.path()).unwrap();
        assert!(!lock.has_file());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}
