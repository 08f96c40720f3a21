//! Joining of path text the way a program wrote it: no symbolic links, no file system.
//!
//! Owns: the one join behind `fd.name`, `fs.path.*`, path arguments and working directories. Pure.

/// Longest base plus path in bytes that Falco joins; a longer one shows as its placeholder there.
pub const FALCO_LIMIT: usize = 1024;

const TOO_LONG: &[u8] = b"/DIR_TOO_LONG/FILENAME_TOO_LONG";

/// Appends `path` to `out` as seen from directory `base`, without `.`, `..` and repeated slashes.
///
/// An absolute path ignores the base. The base is taken as it is: it should be absolute and end in `/`.
/// With a `limit` in bytes, a longer base and path give Falco's placeholder instead.
pub fn join(base: &[u8], path: &[u8], limit: Option<usize>, out: &mut Vec<u8>) {
    if limit.is_some_and(|limit| base.len() + path.len() > limit) {
        out.extend_from_slice(TOO_LONG);
        return;
    }
    let start = out.len();
    out.extend_from_slice(if path.first() == Some(&b'/') { b"/" } else { base });
    // The first name follows the base directly, later ones need a slash between.
    let mut joined = false;
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => pop(out, start),
            name => {
                if joined && out.len() > start && out.last() != Some(&b'/') {
                    out.push(b'/');
                }
                out.extend_from_slice(name);
                joined = true;
            }
        }
    }
    if out.len() > start + 1 && out.last() == Some(&b'/') {
        out.pop();
    }
}

/// [`join`] with a directory that may lack its final slash.
pub fn join_dir(dir: &[u8], path: &[u8], limit: Option<usize>, out: &mut Vec<u8>) {
    if dir.last() == Some(&b'/') || path.first() == Some(&b'/') {
        return join(dir, path, limit, out);
    }
    let mut base = Vec::with_capacity(dir.len() + 1);
    base.extend_from_slice(dir);
    base.push(b'/');
    join(&base, path, limit, out);
}

/// True when an absolute path has no `.`, `..`, empty component or final slash: the join would not change it.
pub fn is_clean(path: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(b"/") else { return false };
    rest.is_empty() || rest.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

/// Takes the last component off; the root stays.
fn pop(out: &mut Vec<u8>, start: usize) {
    let floor = start + usize::from(out.get(start) == Some(&b'/'));
    while out.len() > floor && out.last() == Some(&b'/') {
        out.pop();
    }
    while out.len() > floor && out.last() != Some(&b'/') {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::{FALCO_LIMIT, is_clean, join, join_dir};

    fn joined(base: &str, path: &str) -> String {
        let mut out = Vec::new();
        join(base.as_bytes(), path.as_bytes(), None, &mut out);
        String::from_utf8(out).expect("text in, text out")
    }

    #[test]
    fn relative_paths_start_at_the_base() {
        assert_eq!(joined("/home/a/", "../b/./c"), "/home/b/c");
        assert_eq!(joined("/", "../../etc//shadow/"), "/etc/shadow");
        assert_eq!(joined("/tmp/", ""), "/tmp");
        assert_eq!(joined("/tmp/", "/etc/../etc/shadow"), "/etc/shadow");
        assert_eq!(joined("/tmp/x/", ".."), "/tmp");
        assert_eq!(joined("/tmp/", "a/../.."), "/");
        let mut out = Vec::new();
        join_dir(b"/tmp", b"a", None, &mut out);
        assert_eq!(out, b"/tmp/a");
    }

    #[test]
    fn long_paths_are_joined_unless_falcos_limit_is_asked_for() {
        let base = format!("/{}/", "d".repeat(1005));
        let (mut whole, mut limited, mut short) = (Vec::new(), Vec::new(), Vec::new());
        join(base.as_bytes(), b"this-name-is-beyond-it", None, &mut whole);
        assert_eq!(whole, [base.as_bytes(), b"this-name-is-beyond-it"].concat());
        join(base.as_bytes(), b"this-name-is-beyond-it", Some(FALCO_LIMIT), &mut limited);
        assert_eq!(limited, b"/DIR_TOO_LONG/FILENAME_TOO_LONG");
        join(base.as_bytes(), b"this-name-is-not", Some(FALCO_LIMIT), &mut short);
        assert_eq!(short, [base.as_bytes(), b"this-name-is-not"].concat());
    }

    #[test]
    fn clean_paths_are_recognised() {
        for path in ["/", "/etc", "/etc/shadow", "/a/..b/.c"] {
            assert!(is_clean(path.as_bytes()), "{path}");
        }
        for path in ["", "etc", "//", "/etc/", "/etc//x", "/./x", "/x/.."] {
            assert!(!is_clean(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn shared_path_join_facts_hold() {
        let Some(cases) = crate::shared_facts::section("path_join") else { return };
        let mut checked = 0;
        for case in &cases {
            let mut base = case.text("base").unwrap_or_default();
            if let Some((unit, times)) = case.repeat("base_repeat") {
                base = unit.repeat(times);
            }
            let path = case.bytes("path");
            let mut out = Vec::new();
            join(base.as_bytes(), &path, Some(FALCO_LIMIT), &mut out);
            assert_eq!(out, case.bytes("result"), "base {base:?} path {path:?}");
            checked += 1;
        }
        assert!(checked >= 15, "only {checked} facts");
    }

    proptest! {
        #[test]
        fn an_absolute_result_is_clean_and_stable(base in "(/[a-z.]{1,3}){0,3}/", path in "[a-z./]{0,24}") {
            let once = joined(&base, &path);
            if base.split('/').all(|part| part != "." && part != "..") {
                prop_assert!(is_clean(once.as_bytes()), "{once}");
            }
            let std_parts = PathBuf::from(&once).components().count();
            prop_assert!(std_parts >= 1);
            if is_clean(once.as_bytes()) {
                prop_assert_eq!(joined("/other/", &once), once);
            }
        }
    }
}
