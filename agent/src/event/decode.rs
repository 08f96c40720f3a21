//! Record bytes to [`Event`]: bounds-checked, total, never panics, never allocates.

use std::{mem::offset_of, ops::Range};

use rampart_common::{
    abi::{ABI_OLDEST, ABI_VERSION},
    event::{
        ATTR_DISCONNECTED, AttrTag, EventKind, ExecFacts, Family, FileFacts, HEADER_BYTES, RecordHeader,
        SocketFacts, TaskFacts, UsageFacts,
    },
};

use super::{Attr, DecodeError, Event};

/// Tags are small integers; one slot per tag up to the last.
const TAG_SLOTS: usize = AttrTag::Counted as usize + 1;

/// Where each attribute lies in the record. The first of a repeated tag wins.
#[derive(Clone, Debug, Default)]
pub(super) struct AttrTable {
    slots: [(u16, u32, u32); TAG_SLOTS],
    present: u32,
}

impl AttrTable {
    pub(super) fn get(&self, tag: AttrTag) -> Option<(u16, Range<usize>)> {
        let index = tag as usize;
        if self.present & (1 << index) == 0 {
            return None;
        }
        let (flags, start, len) = *self.slots.get(index)?;
        Some((flags, start as usize..start as usize + len as usize))
    }

    fn insert(&mut self, tag: AttrTag, flags: u16, start: usize, len: usize) {
        let index = tag as usize;
        if let Some(slot) = self.slots.get_mut(index)
            && self.present & (1 << index) == 0
        {
            *slot = (flags, start as u32, len as u32);
            self.present |= 1 << index;
        }
    }
}

/// The time of a record, nanoseconds of the boot clock, without looking at the rest.
pub fn time_ns(bytes: &[u8]) -> Option<u64> {
    let start = bytes.get(offset_of!(RecordHeader, time_ns)..)?;
    start.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}

/// Decodes one record.
pub fn decode(bytes: &[u8]) -> Result<Event<'_>, DecodeError> {
    let header = header(bytes)?;
    if !(ABI_OLDEST..=ABI_VERSION).contains(&header.abi) {
        return Err(DecodeError::Version(header.abi));
    }
    let kind = EventKind::try_from(header.kind).map_err(DecodeError::Kind)?;
    let family = Family::try_from(header.family).map_err(DecodeError::Family)?;
    let len = header.len as usize;
    let record = bytes.get(..len).filter(|_| len >= HEADER_BYTES);
    let Some(record) = record else {
        return Err(DecodeError::Short { have: bytes.len(), need: len.max(HEADER_BYTES) });
    };
    let mut attrs = AttrTable::default();
    let mut offset = HEADER_BYTES;
    while offset < record.len() {
        let mut reader = Reader { bytes: record, offset };
        let (tag, flags, payload) = match (reader.u16(), reader.u16(), reader.u32()) {
            (Some(tag), Some(flags), Some(payload)) => (tag, flags, payload as usize),
            _ => return Err(DecodeError::AttrLength { tag: 0, offset }),
        };
        let start = reader.offset;
        let end = start.checked_add(payload).filter(|end| *end <= record.len());
        let Some(end) = end else { return Err(DecodeError::AttrLength { tag, offset }) };
        attrs.insert(AttrTag::try_from(tag).map_err(DecodeError::Attr)?, flags, start, payload);
        offset = end.next_multiple_of(8);
    }
    Ok(Event { header, kind, family, attrs, bytes: record })
}

/// Path components, leaf first and NUL-ended, to an absolute path.
pub(super) fn path_into(attr: Attr<'_>, out: &mut Vec<u8>) {
    let body = attr.bytes.strip_suffix(b"\0").unwrap_or(attr.bytes);
    if body.is_empty() {
        // A pipe or another nameless object hangs in no directory; only the root is `/`.
        if attr.flags & ATTR_DISCONNECTED == 0 {
            out.push(b'/');
        }
        return;
    }
    let mut components = body.rsplit(|byte| *byte == 0);
    if attr.flags & ATTR_DISCONNECTED != 0
        && let Some(first) = components.next()
    {
        out.extend_from_slice(first);
    }
    for component in components {
        out.push(b'/');
        out.extend_from_slice(component);
    }
}

pub(super) fn file_facts(bytes: &[u8]) -> Option<FileFacts> {
    let mut r = Reader { bytes, offset: 0 };
    Some(FileFacts {
        ino: r.u64()?,
        ctime_ns: r.u64()?,
        mtime_ns: r.u64()?,
        dev: r.u32()?,
        mode: r.u32()?,
        uid: r.u32()?,
        gid: r.u32()?,
        nlink: r.u32()?,
        flags: r.u32()?,
        open_flags: r.u32()?,
        fs_magic: r.u32()?,
    })
}

pub(super) fn socket_facts(bytes: &[u8]) -> Option<SocketFacts> {
    let mut r = Reader { bytes, offset: 0 };
    Some(SocketFacts {
        sock: r.u64()?,
        peer: r.u64()?,
        local: r.array()?,
        remote: r.array()?,
        local_port: r.u16()?,
        remote_port: r.u16()?,
        family: r.u16()?,
        kind: r.u16()?,
        protocol: r.u16()?,
        state: r.u8()?,
        role: r.u8()?,
        ino: r.u32()?,
    })
}

pub(super) fn exec_facts(bytes: &[u8]) -> Option<ExecFacts> {
    let mut r = Reader { bytes, offset: 0 };
    Some(ExecFacts { argv_bytes: r.u64()?, envp_bytes: r.u64()?, old_tid: r.u32()?, flags: r.u32()? })
}

pub(super) fn usage_facts(bytes: &[u8]) -> Option<UsageFacts> {
    let mut r = Reader { bytes, offset: 0 };
    Some(UsageFacts {
        major_faults: r.u64()?,
        minor_faults: r.u64()?,
        virtual_pages: r.u64()?,
        resident_pages: r.u64()?,
        swapped_pages: r.u64()?,
        fd_limit: r.u64()?,
    })
}

fn header(bytes: &[u8]) -> Result<RecordHeader, DecodeError> {
    let mut r = Reader { bytes, offset: 0 };
    read_header(&mut r).ok_or(DecodeError::Short { have: bytes.len(), need: HEADER_BYTES })
}

fn read_header(r: &mut Reader<'_>) -> Option<RecordHeader> {
    Some(RecordHeader {
        len: r.u32()?,
        kind: r.u16()?,
        family: r.u8()?,
        abi: r.u8()?,
        cpu: r.u32()?,
        flags: r.u32()?,
        seq: r.u64()?,
        time_ns: r.u64()?,
        task: read_task(r)?,
        syscall: r.u32()?,
        generation: r.u32()?,
        candidates: [r.u64()?, r.u64()?, r.u64()?, r.u64()?],
        epoch: r.u64()?,
        ret: r.u64()? as i64,
        args: [r.u64()?, r.u64()?, r.u64()?, r.u64()?, r.u64()?, r.u64()?],
    })
}

/// The facts of a task by themselves.
pub(crate) fn task(bytes: &[u8]) -> Option<TaskFacts> {
    read_task(&mut Reader { bytes, offset: 0 })
}

fn read_task(r: &mut Reader<'_>) -> Option<TaskFacts> {
    Some(TaskFacts {
        start_ns: r.u64()?,
        parent_start_ns: r.u64()?,
        exec_id: r.u64()?,
        cgroup_id: r.u64()?,
        cap_effective: r.u64()?,
        cap_permitted: r.u64()?,
        cap_inheritable: r.u64()?,
        pid: r.u32()?,
        tid: r.u32()?,
        ppid: r.u32()?,
        sid: r.u32()?,
        pgid: r.u32()?,
        vpid: r.u32()?,
        vtid: r.u32()?,
        vpgid: r.u32()?,
        vsid: r.u32()?,
        uid: r.u32()?,
        euid: r.u32()?,
        gid: r.u32()?,
        egid: r.u32()?,
        loginuid: r.u32()?,
        tty: r.u32()?,
        pid_ns: r.u32()?,
        mnt_ns: r.u32()?,
        net_ns: r.u32()?,
        comm: r.array()?,
    })
}

/// Reads integers in machine order; every read is checked.
struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let end = self.offset.checked_add(N)?;
        let array = self.bytes.get(self.offset..end)?.try_into().ok()?;
        self.offset = end;
        Some(array)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }
}

#[cfg(test)]
#[path = "decode/tests.rs"]
mod tests;
