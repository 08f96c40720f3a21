//! Things a case wants to exist before its steps: descriptors, connections, processes. Dropping one undoes it.

use std::{
    fs::{self, OpenOptions},
    io::Read,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{
        epoll::{Epoll, EpollCreateFlags},
        eventfd::{EfdFlags, EventFd},
        inotify::{InitFlags, Inotify},
        memfd::{MFdFlags, memfd_create},
        signal::SigSet,
        signalfd::{SfdFlags, SignalFd},
        timerfd::{ClockId, TimerFd, TimerFlags},
    },
    unistd::pipe,
};
use serde_json::{Value, json};

use crate::{
    address,
    argument::Bindings,
    fields::Fields,
    name_server::{Answers, NameServer},
    process::{DEFAULT_NAME, Program, Started},
    script::Script,
    sys,
};

/// Where a resource is made.
pub(crate) struct Place<'a> {
    /// The case's name in marks.
    pub(crate) id: &'a str,
    /// The case's folder.
    pub(crate) folder: &'a Path,
    /// The resource's place in the list.
    pub(crate) index: usize,
}

/// One resource as described.
#[derive(Debug)]
pub(crate) struct Resource {
    name: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    File(PathBuf),
    Directory(PathBuf),
    Pipe,
    Event,
    Epoll,
    Inotify,
    Signal,
    Timer,
    Memory(String),
    Pair { protocol: String, address: String },
    NameServer { address: String, answers: Answers },
    Process(Box<Program>),
}

/// What was made for a resource.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// Held open.
    descriptors: Vec<OwnedFd>,
    /// A file, or the uppermost directory, that was not there before.
    created: Option<PathBuf>,
    process: Option<Started>,
    name_server: Option<NameServer>,
}

impl Resource {
    /// Reads a description.
    pub(crate) fn read(value: &Value) -> Result<Self> {
        let mut fields = Fields::new("a resource", value)?;
        let (name, kind) = (fields.needed("name")?, fields.needed("type")?);
        let kind = match kind.as_str() {
            "fd" => descriptor(&mut fields)?,
            "clientServer" => Kind::Pair {
                protocol: fields.needed("l4Proto")?,
                address: fields.text("address")?.unwrap_or_default(),
            },
            "nameServer" => Kind::NameServer {
                address: fields.needed("address")?,
                answers: Answers::read(fields.texts("answers")?)?,
            },
            "process" => Kind::Process(Box::new(Program::read(&mut fields, "procName|processName")?)),
            other => bail!("unknown type of resource `{other}`"),
        };
        fields.finish()?;
        Ok(Self { name, kind })
    }

    /// Its program, if it is a process.
    pub(crate) fn program(&self) -> Option<&Program> {
        if let Kind::Process(program) = &self.kind { Some(program) } else { None }
    }

    /// What tells its program from others of the case.
    pub(crate) fn program_index(index: usize) -> String {
        format!("-resource{index}")
    }

    /// Makes it and binds its fields.
    pub(crate) fn make(&self, place: &Place<'_>, bindings: &mut Bindings) -> Result<Made> {
        self.try_make(place, bindings).with_context(|| format!("cannot make the resource `{}`", self.name))
    }

    fn try_make(&self, place: &Place<'_>, bindings: &mut Bindings) -> Result<Made> {
        let name = self.name.as_str();
        let mut made = Made::default();
        let descriptor: OwnedFd = match &self.kind {
            Kind::File(path) => file(path, &mut made)?,
            Kind::Directory(path) => {
                made.created = make_directory(path)?;
                OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?.into()
            }
            Kind::Pipe => {
                let (read, write) = pipe()?;
                bindings.bind(name, "readFd", read.as_raw_fd());
                bindings.bind(name, "writeFd", write.as_raw_fd());
                made.descriptors.push(write);
                read
            }
            Kind::Event => EventFd::from_value_and_flags(0, EfdFlags::empty())?.into(),
            Kind::Epoll => Epoll::new(EpollCreateFlags::empty())?.0,
            Kind::Inotify => Inotify::init(InitFlags::empty())?.into(),
            Kind::Signal => SignalFd::with_flags(&SigSet::empty(), SfdFlags::empty())?.into(),
            Kind::Timer => TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::empty())?.into(),
            Kind::Memory(name) => memfd_create(name.as_str(), MFdFlags::empty())?,
            Kind::Pair { protocol, address } => {
                let (server, client) = pair(protocol, address, place, &mut made)?;
                bindings.bind(name, "server.fd", server.as_raw_fd());
                bindings.bind(name, "client.fd", client.as_raw_fd());
                made.descriptors.extend([server, client]);
                return Ok(made);
            }
            Kind::NameServer { address, answers } => {
                made.name_server = Some(NameServer::start(address, answers)?);
                return Ok(made);
            }
            Kind::Process(program) => {
                let script = Script::new(json!({"idle": place.id}))?;
                let started =
                    program.start(place.folder, &Self::program_index(place.index), &script, true)?;
                let child = &mut made.process.insert(started).child;
                let mut answer = [0];
                let output = child.stdout.as_mut().context("the process has no output")?;
                output.read_exact(&mut answer).context("the process ended at once")?;
                bindings.bind(name, "pid", child.id());
                return Ok(made);
            }
        };
        bindings.bind(name, "fd", descriptor.as_raw_fd());
        made.descriptors.push(descriptor);
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(Started { child, .. }) = &mut self.process {
            // It may have been the aim of a step and be gone.
            drop(child.kill());
            drop(child.wait());
        }
        if let Some(path) = &self.created {
            // A step may have removed it.
            drop(if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) });
        }
    }
}

fn descriptor(fields: &mut Fields) -> Result<Kind> {
    let subtype = fields.needed("subtype")?;
    Ok(match subtype.as_str() {
        "file" | "directory" => {
            // Cases that share one description give both paths, of which the other means nothing.
            let (file, directory) = (fields.text("filePath|path")?, fields.text("dirPath")?);
            let is_file = subtype == "file";
            let path = if is_file { file.or(directory) } else { directory.or(file) };
            let path = PathBuf::from(path.with_context(|| format!("{} has no path", fields.what()))?);
            if is_file { Kind::File(path) } else { Kind::Directory(path) }
        }
        "pipe" => Kind::Pipe,
        "event" | "eventfd" => Kind::Event,
        "eventpoll" | "epoll" => Kind::Epoll,
        "inotify" => Kind::Inotify,
        "signal" | "signalfd" => Kind::Signal,
        "timer" | "timerfd" => Kind::Timer,
        "mem" | "memfd" => {
            Kind::Memory(fields.text("fileName|memfdName")?.unwrap_or_else(|| DEFAULT_NAME.to_owned()))
        }
        other => bail!("unknown subtype of descriptor `{other}`"),
    })
}

fn file(path: &Path, made: &mut Made) -> Result<OwnedFd> {
    let exists = path.exists();
    if !exists {
        made.created = path.parent().map(make_directory).transpose()?.flatten();
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.with_context(|| format!("cannot open `{}`", path.display()))?;
    if !exists && made.created.is_none() {
        made.created = Some(path.to_owned());
    }
    Ok(file.into())
}

/// Makes a directory and all above it; returns the uppermost one that was not there.
fn make_directory(path: &Path) -> Result<Option<PathBuf>> {
    let first = path.ancestors().take_while(|path| !path.exists()).last().map(Path::to_owned);
    fs::create_dir_all(path).with_context(|| format!("cannot make the directory `{}`", path.display()))?;
    Ok(first)
}

fn pair(protocol: &str, address: &str, place: &Place<'_>, made: &mut Made) -> Result<(OwnedFd, OwnedFd)> {
    let (family, kind) = match protocol {
        "tcp4" => (libc::AF_INET, libc::SOCK_STREAM),
        "tcp6" => (libc::AF_INET6, libc::SOCK_STREAM),
        "udp4" => (libc::AF_INET, libc::SOCK_DGRAM),
        "udp6" => (libc::AF_INET6, libc::SOCK_DGRAM),
        "unix" => (libc::AF_UNIX, libc::SOCK_STREAM),
        other => bail!("unknown protocol `{other}`"),
    };
    let address = if family == libc::AF_UNIX {
        let path = place.folder.join(format!("clientserver{}.sock", place.index));
        // The case may ask for a path of its own.
        let text = if address.is_empty() { format!("unix://{}", path.display()) } else { address.to_owned() };
        made.created = text.strip_prefix("unix://").map(PathBuf::from);
        address::parse(&text)?
    } else {
        address::parse(address)?
    };
    if address::family(&address) != family {
        bail!("the address does not fit `{protocol}`");
    }
    let socket = |kind: i32| -> Result<OwnedFd> {
        let descriptor = sys::call(libc::SYS_socket, [family.into(), kind.into(), 0, 0, 0, 0]);
        Ok(sys::adopt(descriptor.context("cannot open a socket")? as i32).into())
    };
    let with_address = |number, socket: &OwnedFd| {
        let arguments = [socket.as_raw_fd().into(), address.as_ptr() as i64, address.len() as i64, 0, 0, 0];
        sys::call(number, arguments)
    };
    let (server, client) = (socket(kind | libc::SOCK_NONBLOCK)?, socket(kind)?);
    if family != libc::AF_UNIX {
        // An earlier case may have used the same port a moment ago.
        nix::sys::socket::setsockopt(&server, nix::sys::socket::sockopt::ReuseAddr, &true)?;
    }
    with_address(libc::SYS_bind, &server).context("cannot bind the server")?;
    if kind == libc::SOCK_STREAM {
        let arguments = [server.as_raw_fd().into(), libc::SOMAXCONN.into(), 0, 0, 0, 0];
        sys::call(libc::SYS_listen, arguments).context("the server cannot listen")?;
        with_address(libc::SYS_connect, &client).context("the client cannot connect")?;
    }
    Ok((server, client))
}
