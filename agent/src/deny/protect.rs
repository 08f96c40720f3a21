//! What nobody is refused anything for: programs of the node, by path or by name in the system's directories.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rampart_common::deny::{FILE_NAME_BYTES, PATH_PROTECTED, PATH_SYSTEM, PathTerms};

use super::tables::{Node, Tables, look};

/// A name as its table takes it.
pub type FileName = [u8; FILE_NAME_BYTES];

/// Marks executables in the tables; gives the names that are protected in the system's directories.
pub fn mark(tables: &mut Tables, protected: &[PathBuf], system: &[&str]) -> Vec<FileName> {
    let (paths, names): (Vec<&PathBuf>, Vec<&PathBuf>) = protected.iter().partition(|path| path.is_absolute());
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
    use super::*;

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
