//! In which order the arguments of a call stand.

use crate::catalog::EventDef;

use super::Call;

/// Calls whose arguments the kernel takes in another order than the event shows them, or takes others.
const ORDERS: [(&str, &[&str]); 30] = [
    ("execve", &["filename", "args", "env"]),
    ("execveat", &["dirfd", "pathname", "args", "env", "flags"]),
    ("read", &["fd", "data", "size"]),
    ("write", &["fd", "data", "size"]),
    ("readv", &["fd", "data", "size"]),
    ("writev", &["fd", "data", "size"]),
    ("pread", &["fd", "data", "size", "pos"]),
    ("pwrite", &["fd", "data", "size", "pos"]),
    ("preadv", &["fd", "data", "size", "pos"]),
    ("pwritev", &["fd", "data", "size", "pos"]),
    ("send", &["fd", "data", "size", "tuple"]),
    ("sendto", &["fd", "data", "size", "tuple"]),
    ("sendmsg", &["fd", "data", "size", "tuple"]),
    ("recv", &["fd", "data", "size", "tuple"]),
    ("recvfrom", &["fd", "data", "size", "tuple"]),
    ("recvmsg", &["fd", "data", "size", "tuple"]),
    ("bind", &["fd", "addr"]),
    ("connect", &["fd", "addr"]),
    ("accept", &["tuple"]),
    ("accept4", &["tuple", "flags"]),
    ("ptrace", &["request", "pid", "addr", "data"]),
    ("mmap", &["addr", "length", "prot", "flags", "fd", "offset"]),
    ("getrlimit", &["resource"]),
    ("setrlimit", &["resource", "cur", "max"]),
    ("sendfile", &["out_fd", "in_fd", "offset", "size"]),
    ("signalfd", &["fd", "mask", "flags"]),
    ("getcwd", &["path"]),
    ("init_module", &["img", "length", "uargs"]),
    ("prctl", &["option", "arg2_str"]),
    ("symlinkat", &["target", "linkdirfd", "linkpath"]),
];

/// Parameters that only the kernel fills in.
const MADE: [&str; 5] = ["dev", "ino", "vm_size", "vm_rss", "vm_swap"];

/// Names of the arguments in their order.
pub(super) fn of(def: &EventDef) -> Vec<&'static str> {
    if let Some((_, order)) = ORDERS.iter().find(|(name, _)| *name == def.name) {
        return order.to_vec();
    }
    let result = Call::result_param(def);
    let taken = |name: &&'static str| {
        Some(*name) != result
            && (def.name == "mount" || def.name.starts_with("mknod") || !MADE.contains(name))
    };
    if def.generic {
        return Vec::new();
    }
    def.params.iter().map(|param| param.name).filter(taken).collect()
}

/// The parameter a name means. Addresses and paths have names of their own in the C functions.
pub(super) fn named(def: &EventDef, name: &str) -> Option<&'static str> {
    let order = of(def);
    let known = |name: &str| {
        let param = def.params.iter().map(|param| param.name).find(|known| *known == name);
        param.or_else(|| order.iter().copied().find(|known| *known == name))
    };
    let others: &[&str] = match name {
        "addr" | "tuple" => &["tuple", "addr"],
        "path" | "name" | "pathname" | "filename" => &["name", "path", "pathname", "filename"],
        "argv" => &["args"],
        "envp" => &["env"],
        "buf" | "buffer" => &["data"],
        "len" | "length" | "count" => &["size", "length", "len"],
        _ => &[],
    };
    known(name).or_else(|| others.iter().find_map(|other| known(other)))
}
