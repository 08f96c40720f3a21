//! What nothing is refused to, or about: programs of the node, by path or by name in the system's directories, and addresses.

use std::{
    net::IpAddr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use rampart_common::deny::{FILE_NAME_BYTES, PATH_PROTECTED, PATH_SYSTEM, PathTerms};

use super::tables::{Node, Tables, look};

/// A name as its table takes it.
pub type FileName = [u8; FILE_NAME_BYTES];

/// Marks executables in the tables; gives the names that are protected in the system's directories.
pub fn mark(tables: &mut Tables, protected: &[PathBuf], system: &[&str]) -> Vec<FileName> {
    let (paths, names): (Vec<&PathBuf>, Vec<&PathBuf>) =
        protected.iter().partition(|path| path.is_absolute());
    let below = |node: &[u8]| system.iter().any(|directory| node.starts_with(directory.as_bytes()));
    // The class of a new place is that of the beginning it has so far.
    for directory in system {
        let terms = look_at_beginning(tables, directory.as_bytes());
        tables.exes.entry(directory.as_bytes().to_vec()).or_insert(PathTerms { terms, flags: 0 });
    }
    for path in paths {
        let text = path.as_os_str().as_bytes();
        let terms = look(&tables.exes, text).terms;
        let node: Node = text.iter().copied().chain([0]).collect();
        let flags = PATH_PROTECTED;
        tables.exes.entry(node).or_insert(PathTerms { terms, flags: 0 }).flags |= flags;
    }
    for (node, value) in &mut tables.exes {
        if below(node) {
            value.flags |= PATH_SYSTEM;
        }
    }
    names.iter().filter_map(|name| file_name(name)).collect()
}

/// Marks addresses to which connecting is never refused.
pub fn spare(tables: &mut Tables, nets: &[IpNet]) {
    for net in nets {
        let (base, bits) = match net.network() {
            IpAddr::V4(four) => (four.to_ipv6_mapped().to_bits(), 96 + net.prefix_len()),
            IpAddr::V6(six) => (six.to_bits(), net.prefix_len()),
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        for ((longer, address), terms) in &mut tables.addresses {
            if *longer >= bits && u128::from_be_bytes(*address) & mask == base {
                *terms = 0;
            }
        }
        tables.addresses.insert((bits, base.to_be_bytes()), 0);
    }
}

/// A name, filled up; `None` when it is too long to be one of a program of the node.
fn file_name(name: &Path) -> Option<FileName> {
    let text = name.as_os_str().as_bytes();
    let mut key = [0; FILE_NAME_BYTES];
    key.get_mut(..FILE_NAME_BYTES - 1)?.get_mut(..text.len())?.copy_from_slice(text);
    Some(key)
}

/// The terms of the longest node that a text begins with, no whole path.
fn look_at_beginning(tables: &Tables, text: &[u8]) -> u64 {
    let nodes = (0..=text.len()).rev().filter_map(|len| tables.exes.get(text.get(..len)?));
    nodes.map(|value| value.terms).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rampart_common::deny::Operation;

    use super::*;
    use crate::deny::tables::Asked;

    #[test]
    fn protected_addresses_are_left_out_and_their_neighbours_are_not() {
        let mut tables = Tables::default();
        tables.settings.connect[0] = 1;
        tables.settings.other_ports = 1;
        (tables.settings.other_names, tables.settings.other_users) = (1, 1);
        tables.exes.insert(Vec::new(), PathTerms { terms: 1, flags: 0 });
        let entry = |text: &str| {
            let four: std::net::Ipv4Addr = text.parse().unwrap();
            four.to_ipv6_mapped().octets()
        };
        tables.addresses.insert((0, [0; 16]), 1);
        tables.addresses.insert((128, entry("10.1.2.3")), 1);
        spare(&mut tables, &["10.1.0.0/16".parse().unwrap()]);
        let refused = |text: &str| {
            let asked = Asked {
                operation: Operation::Connect,
                class: 0,
                path: b"",
                exe: b"/x",
                name: Some([0; 16]),
                user: 0,
                address: entry(text),
                port: 1,
            };
            tables.terms(&asked) != 0
        };
        assert!(!refused("10.1.2.3") && !refused("10.1.9.9"));
        assert!(refused("10.2.0.1") && refused("9.9.9.9"));
    }

    #[test]
    fn programs_of_the_node_are_marked_and_no_terms_change() {
        let mut tables = Tables::default();
        let terms = |terms| PathTerms { terms, flags: 0 };
        tables.exes.insert(Vec::new(), terms(1));
        tables.exes.insert(b"/usr/sbin/x\0".to_vec(), terms(2));
        tables.exes.insert(b"/srv/".to_vec(), terms(4));
        let before = tables.exes.clone();
        let names = mark(
            &mut tables,
            &["sshd".into(), "/srv/oms/bin/oms".into(), PathBuf::from("n".repeat(64))],
            &["/usr/", "/bin/"],
        );
        assert_eq!(names.len(), 1);
        assert_eq!(&names[0][..5], b"sshd\0");
        let flags = |path: &str| look(&tables.exes, path.as_bytes()).flags;
        assert_eq!(flags("/srv/oms/bin/oms"), PATH_PROTECTED);
        assert_eq!(flags("/srv/oms/bin/oms2"), 0);
        assert_eq!((flags("/usr/sbin/sshd"), flags("/usr/sbin/x")), (PATH_SYSTEM, PATH_SYSTEM));
        assert_eq!((flags("/tmp/sshd"), flags("/usr2/sshd")), (0, 0));
        for path in ["/usr/sbin/x", "/usr/sbin/y", "/srv/z", "/srv/oms/bin/oms", "/", "/bin/a"] {
            let of = |nodes| look(nodes, path.as_bytes()).terms;
            assert_eq!(of(&tables.exes), of(&before), "{path}");
        }
    }
}
