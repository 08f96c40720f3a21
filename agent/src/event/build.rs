//! Builds records the way the kernel side lays them out: for tests, and for the planner of pushdown, which asks the
//! field getters about events of which only a part is known.

use rampart_common::{
    abi::ABI_VERSION,
    event::{
        AttrTag, EventKind, ExecFacts, Family, FileFacts, HEADER_BYTES, RecordHeader, SocketFacts, TaskFacts,
        UsageFacts,
    },
};

/// A record under construction. The header is public: set what the test is about.
#[derive(Clone, Debug)]
pub struct RecordBuilder {
    /// The header; `len` is filled by [`RecordBuilder::build`].
    pub header: RecordHeader,
    attrs: Vec<u8>,
}

impl RecordBuilder {
    /// A record of a process 100 (child of 1) that started at one second, at two seconds.
    pub fn new(kind: EventKind, family: Family) -> Self {
        let mut comm = [0; 16];
        copy(&mut comm, b"test");
        let task = TaskFacts {
            start_ns: 1_000_000_000,
            parent_start_ns: 10_000_000,
            pid: 100,
            tid: 100,
            ppid: 1,
            sid: 100,
            pgid: 100,
            vpid: 100,
            vtid: 100,
            vpgid: 100,
            vsid: 100,
            loginuid: u32::MAX,
            pid_ns: 4_026_531_836,
            cgroup_id: 1,
            comm,
            ..TaskFacts::default()
        };
        let header = RecordHeader {
            kind: kind as u16,
            family: family as u8,
            abi: ABI_VERSION,
            time_ns: 2_000_000_000,
            syscall: u32::MAX,
            task,
            ..RecordHeader::default()
        };
        Self { header, attrs: Vec::new() }
    }

    /// A system call record.
    pub fn syscall(number: i64, family: Family, ret: i64, args: &[u64]) -> Self {
        let mut record = Self::new(EventKind::Syscall, family);
        record.header.syscall = number as u32;
        record.header.ret = ret;
        for (slot, arg) in record.header.args.iter_mut().zip(args) {
            *slot = *arg;
        }
        record
    }

    /// Sets process id, start time in nanoseconds and thread name.
    #[must_use]
    pub fn process(mut self, pid: u32, start_ns: u64, comm: &str) -> Self {
        let task = &mut self.header.task;
        (task.pid, task.tid, task.vpid, task.vtid, task.start_ns) = (pid, pid, pid, pid, start_ns);
        task.comm = [0; 16];
        copy(&mut task.comm, comm.as_bytes());
        self
    }

    /// Sets the parent.
    #[must_use]
    pub fn parent(mut self, pid: u32, start_ns: u64) -> Self {
        (self.header.task.ppid, self.header.task.parent_start_ns) = (pid, start_ns);
        self
    }

    /// Sets the time of the event, nanoseconds of the boot clock.
    #[must_use]
    pub fn at(mut self, time_ns: u64) -> Self {
        self.header.time_ns = time_ns;
        self
    }

    /// Sets CPU and sequence number.
    #[must_use]
    pub fn seq(mut self, cpu: u32, seq: u64) -> Self {
        (self.header.cpu, self.header.seq) = (cpu, seq);
        self
    }

    /// Adds an attribute with flags.
    #[must_use]
    pub fn attr_flags(mut self, tag: AttrTag, flags: u16, payload: &[u8]) -> Self {
        self.attrs.extend_from_slice(&(tag as u16).to_ne_bytes());
        self.attrs.extend_from_slice(&flags.to_ne_bytes());
        self.attrs.extend_from_slice(&(payload.len() as u32).to_ne_bytes());
        self.attrs.extend_from_slice(payload);
        self.attrs.resize(self.attrs.len().next_multiple_of(8), 0);
        self
    }

    /// Adds a text attribute.
    #[must_use]
    pub fn text(self, tag: AttrTag, text: &str) -> Self {
        self.attr_flags(tag, 0, text.as_bytes())
    }

    /// Adds a path attribute from its usual form.
    #[must_use]
    pub fn path(self, tag: AttrTag, path: &str) -> Self {
        self.path_flags(tag, 0, path)
    }

    /// Adds a path attribute with flags; a path without a leading slash is one component.
    #[must_use]
    pub fn path_flags(self, tag: AttrTag, flags: u16, path: &str) -> Self {
        let mut payload = Vec::new();
        let components: Vec<&str> = match path.strip_prefix('/') {
            Some("") => Vec::new(),
            Some(rest) => rest.split('/').rev().collect(),
            None => vec![path],
        };
        for component in components {
            payload.extend_from_slice(component.as_bytes());
            payload.push(0);
        }
        self.attr_flags(tag, flags, &payload)
    }

    /// Adds NUL-ended strings (arguments, environment).
    #[must_use]
    pub fn strings(self, tag: AttrTag, strings: &[&str]) -> Self {
        let mut payload = Vec::new();
        for text in strings {
            payload.extend_from_slice(text.as_bytes());
            payload.push(0);
        }
        self.attr_flags(tag, 0, &payload)
    }

    /// Adds file facts.
    #[must_use]
    pub fn file(self, facts: &FileFacts) -> Self {
        let mut out = Vec::new();
        for value in [facts.ino, facts.ctime_ns, facts.mtime_ns] {
            out.extend_from_slice(&value.to_ne_bytes());
        }
        let words = [
            facts.dev,
            facts.mode,
            facts.uid,
            facts.gid,
            facts.nlink,
            facts.flags,
            facts.open_flags,
            facts.fs_magic,
        ];
        for value in words {
            out.extend_from_slice(&value.to_ne_bytes());
        }
        self.attr_flags(AttrTag::File, 0, &out)
    }

    /// Adds socket facts.
    #[must_use]
    pub fn socket(self, facts: &SocketFacts) -> Self {
        let mut out = Vec::new();
        out.extend_from_slice(&facts.sock.to_ne_bytes());
        out.extend_from_slice(&facts.peer.to_ne_bytes());
        out.extend_from_slice(&facts.local);
        out.extend_from_slice(&facts.remote);
        for value in [facts.local_port, facts.remote_port, facts.family, facts.kind, facts.protocol] {
            out.extend_from_slice(&value.to_ne_bytes());
        }
        out.extend_from_slice(&[facts.state, facts.role]);
        out.extend_from_slice(&facts.ino.to_ne_bytes());
        self.attr_flags(AttrTag::Socket, 0, &out)
    }

    /// Adds exec facts.
    #[must_use]
    pub fn exec(self, facts: &ExecFacts) -> Self {
        let mut out = Vec::new();
        out.extend_from_slice(&facts.argv_bytes.to_ne_bytes());
        out.extend_from_slice(&facts.envp_bytes.to_ne_bytes());
        out.extend_from_slice(&facts.old_tid.to_ne_bytes());
        out.extend_from_slice(&facts.flags.to_ne_bytes());
        self.attr_flags(AttrTag::Exec, 0, &out)
    }

    /// Adds usage facts.
    #[must_use]
    pub fn usage(self, facts: &UsageFacts) -> Self {
        let mut out = Vec::new();
        for value in [
            facts.major_faults,
            facts.minor_faults,
            facts.virtual_pages,
            facts.resident_pages,
            facts.swapped_pages,
            facts.fd_limit,
        ] {
            out.extend_from_slice(&value.to_ne_bytes());
        }
        self.attr_flags(AttrTag::Usage, 0, &out)
    }

    /// Adds `struct open_how`.
    #[must_use]
    pub fn open_how(self, flags: u64, mode: u64, resolve: u64) -> Self {
        let mut out = Vec::new();
        for value in [flags, mode, resolve] {
            out.extend_from_slice(&value.to_ne_bytes());
        }
        self.attr_flags(AttrTag::OpenHow, 0, &out)
    }

    /// The record's bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut header = self.header;
        header.len = (HEADER_BYTES + self.attrs.len()) as u32;
        let mut out = Vec::with_capacity(header.len as usize);
        write_header(&header, &mut out);
        out.extend_from_slice(&self.attrs);
        out
    }
}

fn write_header(header: &RecordHeader, out: &mut Vec<u8>) {
    out.extend_from_slice(&header.len.to_ne_bytes());
    out.extend_from_slice(&header.kind.to_ne_bytes());
    out.push(header.family);
    out.push(header.abi);
    out.extend_from_slice(&header.cpu.to_ne_bytes());
    out.extend_from_slice(&header.flags.to_ne_bytes());
    out.extend_from_slice(&header.seq.to_ne_bytes());
    out.extend_from_slice(&header.time_ns.to_ne_bytes());
    let task = &header.task;
    for value in [
        task.start_ns,
        task.parent_start_ns,
        task.exec_id,
        task.cgroup_id,
        task.cap_effective,
        task.cap_permitted,
        task.cap_inheritable,
    ] {
        out.extend_from_slice(&value.to_ne_bytes());
    }
    for value in [
        task.pid,
        task.tid,
        task.ppid,
        task.sid,
        task.pgid,
        task.vpid,
        task.vtid,
        task.vpgid,
        task.vsid,
        task.uid,
        task.euid,
        task.gid,
        task.egid,
        task.loginuid,
        task.tty,
        task.pid_ns,
        task.mnt_ns,
        task.net_ns,
    ] {
        out.extend_from_slice(&value.to_ne_bytes());
    }
    out.extend_from_slice(&task.comm);
    out.extend_from_slice(&header.syscall.to_ne_bytes());
    out.extend_from_slice(&header.generation.to_ne_bytes());
    for word in header.candidates {
        out.extend_from_slice(&word.to_ne_bytes());
    }
    out.extend_from_slice(&header.epoch.to_ne_bytes());
    out.extend_from_slice(&header.ret.to_ne_bytes());
    for arg in header.args {
        out.extend_from_slice(&arg.to_ne_bytes());
    }
}

fn copy(to: &mut [u8; 16], from: &[u8]) {
    // Like the kernel, keep the last byte NUL.
    for (slot, byte) in to.iter_mut().take(15).zip(from) {
        *slot = *byte;
    }
}

#[cfg(test)]
mod tests {
    use rampart_common::event::{
        AttrTag, EventKind, ExecFacts, Family, FileFacts, RecordHeader, SocketFacts, TaskFacts,
    };

    use super::RecordBuilder;
    use crate::event::decode;

    #[test]
    fn what_is_built_decodes_to_the_same() {
        let file = FileFacts {
            ino: 1,
            ctime_ns: 2,
            mtime_ns: 3,
            dev: 4,
            mode: 5,
            uid: 6,
            gid: 7,
            nlink: 8,
            flags: 9,
            open_flags: 10,
            fs_magic: 11,
        };
        let socket = SocketFacts {
            sock: 1,
            peer: 2,
            local: [3; 16],
            remote: [4; 16],
            local_port: 5,
            remote_port: 6,
            family: 7,
            kind: 8,
            protocol: 9,
            state: 10,
            role: 1,
            ino: 11,
        };
        let exec = ExecFacts { argv_bytes: 1, envp_bytes: 2, old_tid: 3, flags: 4 };
        let mut record = RecordBuilder::syscall(257, Family::Open, -2, &[1, 2, 3, 4, 5, 6])
            .path(AttrTag::RealPath, "/etc/shadow")
            .file(&file)
            .socket(&socket)
            .exec(&exec);
        record.header = RecordHeader {
            cpu: 3,
            flags: 2,
            seq: 9,
            generation: 33,
            candidates: [34, 35, 36, 37],
            epoch: 38,
            task: TaskFacts {
                parent_start_ns: 21,
                exec_id: 20,
                cgroup_id: 22,
                cap_effective: 23,
                cap_permitted: 24,
                cap_inheritable: 25,
                uid: 26,
                euid: 27,
                gid: 28,
                egid: 29,
                tty: 30,
                mnt_ns: 31,
                net_ns: 32,
                ..record.header.task
            },
            ..record.header
        };
        let bytes = record.build();
        let event = decode::decode(&bytes).expect("a well-formed record");
        let expected = RecordHeader { len: bytes.len() as u32, ..record.header };
        assert_eq!((event.header, event.kind), (expected, EventKind::Syscall));
        assert_eq!((event.file(), event.socket(), event.exec()), (Some(file), Some(socket), Some(exec)));
        let mut path = Vec::new();
        assert!(event.path_into(AttrTag::RealPath, &mut path));
        assert_eq!(path, b"/etc/shadow");
    }
}
