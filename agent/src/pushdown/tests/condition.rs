//! Random conditions over all fields of the catalogue.

use std::sync::{Arc, LazyLock};

use proptest::{collection::vec, prelude::*, sample::select};
use rampart_rules::{
    catalog::{ArgKind, FIELDS, FieldType},
    filter::Filter,
    set::{Set, Sets},
    typed::Environment,
};

/// Lists that conditions look into.
pub(super) static SETS: LazyLock<Sets> = LazyLock::new(|| {
    let nets = [("10.0.0.0", 31), ("8.8.8.8", 32), ("127.0.0.0", 8), ("::1", 128)];
    let nets = nets.map(|(address, length)| (address.parse().expect("an address"), length));
    let texts = [&b"/etc/shadow"[..], b"cat", b"/tmp/x", b"O_RDONLY"].map(Box::from);
    Sets::new([Arc::new(Set::networks("near_nets", 1, nets)), Arc::new(Set::texts("near_texts", 1, texts))])
});

/// Texts near the values of fields.
const TEXTS: [&str; 47] = [
    "near_texts",
    "closed",
    "order_entry",
    "/",
    "/etc",
    "/etc/",
    "/etc/shadow",
    "shadow",
    "etc",
    ".ssh",
    "/tmp",
    "/tmp/",
    "x",
    "a",
    "''",
    "/dev/null",
    "/usr/bin",
    "/root/.ssh",
    "id_rsa",
    "/e",
    "ow",
    "O_CREAT",
    "O_RDONLY",
    "O_WRONLY",
    "O_F_CREATED",
    "file",
    "f",
    "d",
    "directory",
    "ipv4",
    "4",
    "u",
    "tcp",
    "udp",
    "unix",
    "SUCCESS",
    "ENOENT",
    "bash",
    "cat",
    "root",
    "host",
    "web",
    "AF_INET",
    "SIGKILL",
    "CLONE_NEWNS",
    "S_IXUSR",
    "/usr/bin/cat",
];
const PATTERNS: [&str; 10] = [
    "'*'",
    "'/etc/*'",
    "'*shadow'",
    "'*/.ssh/*'",
    "'/etc/?hadow'",
    "'[/]*'",
    "O_*",
    "'*a*'",
    "'?'",
    "/etc/shadow",
];
const NUMBERS: [&str; 18] = [
    "0", "1", "2", "3", "4", "-1", "-2", "5", "22", "80", "443", "8080", "40000", "32768", "65535", "1000",
    "100", "512",
];
const ADDRESSES: [&str; 6] = ["10.0.0.1", "127.0.0.1", "8.8.8.8", "::1", "0.0.0.0", "near_nets"];
const NETWORKS: [&str; 7] =
    ["near_nets", "10.0.0.0/8", "127.0.0.0/8", "0.0.0.0/0", "::/0", "8.8.8.8/32", "10.0.0.0/31"];
/// Parameters whose sources differ most.
const PARAMETERS: [&str; 26] = [
    "flags", "mode", "name", "path", "res", "fd", "dirfd", "request", "option", "oldpath", "newpath",
    "linkpath", "target", "domain", "type", "proto", "tuple", "addr", "sig", "pid", "uid", "resolve", "cmd",
    "prot", "how", "filename",
];
/// Fields that get more than their share: those whose comparisons are decided in the kernel.
const FAVOURITES: [&str; 35] = [
    "trading.asset",
    "trading.role",
    "trading.session",
    "trading.venue",
    "trading.venue.kind",
    "fd.name",
    "fd.name",
    "fd.name",
    "fd.filename",
    "fd.directory",
    "fs.path.name",
    "fd.nameraw",
    "fs.path.nameraw",
    "fd.typechar",
    "fd.type",
    "fd.num",
    "fd.sport",
    "fd.cport",
    "fd.port",
    "fd.sip",
    "fd.ip",
    "fd.net",
    "fd.snet",
    "fd.l4proto",
    "fd.is_server",
    "evt.is_open_read",
    "evt.is_open_write",
    "evt.is_open_exec",
    "evt.is_open_create",
    "evt.failed",
    "evt.rawres",
    "proc.name",
    "proc.pname",
    "proc.aname",
    "evt.res",
];

/// Conditions on events with these names, all of which compile.
pub(super) fn condition(events: &'static [&'static str]) -> impl Strategy<Value = String> {
    let tree = comparison().prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" and "))),
            vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" or "))),
            inner.prop_map(|inner| format!("not ({inner})")),
        ]
    });
    let types = vec(select(events), 1..5).prop_map(|names| format!("evt.type in ({})", names.join(", ")));
    (types, tree, 0..12u8).prop_map(|(types, tree, form)| match form {
        0 => format!("({types} or evt.type = execve) and {tree}"),
        1 => format!("({types} and {tree}) or ({types} and evt.failed = true)"),
        _ => format!("{types} and {tree}"),
    })
}

fn comparison() -> impl Strategy<Value = String> {
    written().prop_filter("compiles", |text| compiles(text))
}

fn compiles(text: &str) -> bool {
    let environment = Environment { container_fields: true, strict: false };
    Filter::compile_with(text, environment, &SETS).0.is_some()
}

fn written() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (select(&FAVOURITES[..]), any::<u16>(), literals()).prop_map(|(name, pick, values)| on(name, pick, &values)),
        3 => (select(names()), any::<u16>(), literals()).prop_map(|(name, pick, values)| on(&name, pick, &values)),
        2 => (select(vec!["evt.arg", "evt.rawarg"]), select(&PARAMETERS[..]), any::<u16>(), literals())
            .prop_map(|(field, parameter, pick, values)| on(&format!("{field}.{parameter}"), pick, &values)),
        1 => (select(vec!["basename(fd.name)", "tolower(fd.name)", "len(fd.name)", "evt.arg[1]", "evt.abspath[path]", "proc.aname[1]", "proc.aname[0]", "proc.args[0]", "proc.env[HOME]"]), any::<u16>(), literals())
            .prop_map(|(name, pick, values)| on(name, pick, &values)),
        1 => select(vec![
            "fd.name = val(proc.name)", "fd.sip = val(fd.cip)", "fd.sport = val(fd.cport)", "fd.name startswith val(fd.directory)",
            "fd.lport < val(fd.rport)", "proc.exepath = val(fd.name)", "evt.num > 0", "evt.num = 0", "fd.filename contains val(proc.name)",
        ]).prop_map(str::to_owned),
    ]
}

/// Names of the fields that need no argument.
fn names() -> Vec<String> {
    let plain = FIELDS.iter().filter(|field| !matches!(field.arg, ArgKind::Required(_)));
    plain.map(|field| field.name.to_owned()).collect()
}

fn literals() -> impl Strategy<
    Value = (Vec<&'static str>, Vec<&'static str>, Vec<&'static str>, Vec<&'static str>, &'static str),
> {
    (
        vec(select(&TEXTS[..]), 1..6),
        vec(select(&NUMBERS[..]), 1..6),
        vec(select(&ADDRESSES[..]), 1..4),
        vec(select(&NETWORKS[..]), 1..4),
        select(&PATTERNS[..]),
    )
}

type Literals = (Vec<&'static str>, Vec<&'static str>, Vec<&'static str>, Vec<&'static str>, &'static str);

/// A comparison of a field; the type decides what it is compared with.
fn on(name: &str, pick: u16, (texts, numbers, addresses, networks, pattern): &Literals) -> String {
    let ty = FIELDS.iter().find(|field| field.name == name).map(|field| field.ty);
    let pick = usize::from(pick);
    let list = |values: &[&str]| format!("({})", values.join(", "));
    if pick.is_multiple_of(17) {
        return format!("{name} exists");
    }
    let one_of = |ops: &[&'static str]| ops[pick % ops.len()];
    match ty {
        Some(FieldType::Bool) => {
            format!("{name} = {}", if pick.is_multiple_of(2) { "true" } else { "false" })
        }
        Some(FieldType::Ip) => match pick % 3 {
            0 => format!("{name} in {}", list(addresses)),
            1 => format!("{name} != {}", addresses[0]),
            _ => format!("{name} = {}", addresses[0]),
        },
        Some(FieldType::Net) => match pick % 3 {
            0 => format!("{name} in {}", list(networks)),
            1 => format!("{name} != {}", networks[0]),
            _ => format!("{name} = {}", networks[0]),
        },
        Some(FieldType::Text | FieldType::Path) | None if pick % 5 > 0 || ty.is_some() => match pick % 9 {
            0 => format!("{name} in {}", list(texts)),
            1 => format!(
                "{name} {} {}",
                one_of(&["startswith anyof", "endswith anyof", "contains oneof", "contains allof"]),
                list(texts)
            ),
            2 => format!("{name} pmatch {}", list(texts)),
            3 => format!("{name} {} {pattern}", one_of(&["glob", "iglob"])),
            4 => format!("{name} regex '.*{}.*'", texts[0].trim_matches('\'')),
            _ => format!(
                "{name} {} {}",
                one_of(&["=", "!=", "contains", "icontains", "startswith", "endswith"]),
                texts[0]
            ),
        },
        _ => match pick % 4 {
            0 => format!("{name} in {}", list(numbers)),
            _ => format!("{name} {} {}", one_of(&["=", "!=", "<", "<=", ">", ">="]), numbers[0]),
        },
    }
}
