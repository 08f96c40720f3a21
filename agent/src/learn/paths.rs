//! Paths of a proposal: which can be written down, and how many become few.

use std::collections::BTreeSet;

/// Whether a text has only letters that need no thought in a rule file. A hostile file name never gets into one.
pub(super) fn is_plain(text: &str) -> bool {
    text.len() <= 4096
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:@=,~%".contains(&byte))
}

/// At most so many directories that hold all of these: the deepest are replaced by those above them.
pub(super) fn collapsed(directories: &BTreeSet<String>, most: usize) -> BTreeSet<String> {
    let mut left = covered(directories);
    while left.len() > most {
        let depth = left.iter().map(|path| depth(path)).max().unwrap_or(0);
        if depth <= 1 {
            break;
        }
        let higher =
            left.into_iter().map(|path| if self::depth(&path) == depth { above(&path) } else { path });
        left = covered(&higher.collect());
    }
    left
}

/// Without those that lie below others.
fn covered(directories: &BTreeSet<String>) -> BTreeSet<String> {
    let is_below = |path: &str| {
        let mut rest = path;
        while let Some((parent, _)) = rest.rsplit_once('/') {
            if !parent.is_empty() && directories.contains(parent) {
                return true;
            }
            rest = parent;
        }
        false
    };
    directories.iter().filter(|path| !is_below(path)).cloned().collect()
}

fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}

fn above(path: &str) -> String {
    match path.rsplit_once('/') {
        Some((parent, _)) if !parent.is_empty() => parent.to_owned(),
        _ => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn many_directories_become_few_that_hold_them_all() {
        let few = set(&["/etc", "/etc/ssl", "/usr/lib/a", "/usr/lib/b/c"]);
        assert_eq!(collapsed(&few, 9), set(&["/etc", "/usr/lib/a", "/usr/lib/b/c"]));
        assert_eq!(collapsed(&few, 2), set(&["/etc", "/usr/lib"]));
        let flat = set(&["/a", "/b", "/c"]);
        assert_eq!(collapsed(&flat, 2), flat, "the root would hold everything");
    }

    #[test]
    fn only_plain_letters_are_written_down() {
        assert!(is_plain("/usr/lib/x86_64-linux-gnu/libc.so.6") && is_plain("2001:db8::1"));
        for text in ["/tmp/a b", "/tmp/\"", "/tmp/\n- rule: x", "/tmp/ü", "/tmp/[x]", "/tmp/#"] {
            assert!(!is_plain(text), "{text}");
        }
    }
}
