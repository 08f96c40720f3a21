//! Rule files that benches load: the ones everybody has, and made ones of the shapes that rules have, in any number.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_yaml::Value;

use crate::workspace;

/// Shapes of made rules; a rule's number chooses one.
const SHAPES: usize = 10;

/// A set of rules of a wanted number.
pub(super) struct RuleSet {
    pub(super) files: Vec<PathBuf>,
    pub(super) count: usize,
    /// How many of them are upstream's.
    pub(super) upstream: usize,
}

/// The base pack, and upstream's stable rules where they are.
pub(super) fn shipped() -> Vec<PathBuf> {
    let mut files = vec![workspace::root().join("rules/packs/base.yaml")];
    files.extend(workspace::upstream_rules());
    files
}

/// Upstream's stable rules, or the base pack where they are not; and which of both it is.
pub(super) fn stable() -> (Vec<PathBuf>, &'static str) {
    match workspace::upstream_rules() {
        Some(file) => (vec![file], "upstream's stable rules, unmodified"),
        None => (shipped(), "the base pack: upstream's rules are not at `../shared`"),
    }
}

/// Writes a set of `count` rules into `folder`. Half of it, as far as they reach, is the first of upstream's stable
/// rules, the others of which are switched off; the rest is made. So small and large sets are of the same kind.
pub(super) fn of_size(folder: &Path, count: usize) -> Result<RuleSet> {
    let mut files = Vec::new();
    let mut upstream = 0;
    if let Some(file) = workspace::upstream_rules() {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let names = names(&text).with_context(|| format!("cannot understand `{}`", file.display()))?;
        upstream = names.len().min(count / 2);
        files.push(file);
        let off: String = names.iter().skip(upstream).fold(String::new(), |mut text, name| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- rule: {name:?}\n  enabled: false\n  override: {{enabled: replace}}");
            text
        });
        if !off.is_empty() {
            files.push(write(folder, &format!("off-{count}.yaml"), &off)?);
        }
    }
    files.push(write(folder, &format!("made-{count}.yaml"), &made(count - upstream, ""))?);
    Ok(RuleSet { files, count, upstream })
}

/// Text of `count` made rules: path lists, prefixes, substrings, suffixes, folders, programs, containers, peers. None
/// matches what the benches do; `mark` goes into the names that they look for, so that two texts differ.
pub(super) fn made(count: usize, mark: &str) -> String {
    let mut text = VOCABULARY.to_owned();
    for index in 0..count {
        let (title, condition) = shape(index, mark);
        let number = index + 1;
        let _ = write!(
            text,
            "\n- rule: Bench {number} {title}\n  desc: Made for measuring.\n  condition: >\n    {condition}\n  \
             output: Bench {number} (file=%fd.name process=%proc.name parent=%proc.pname user=%user.name)\n  \
             priority: NOTICE\n  tags: [bench]\n"
        );
    }
    text
}

/// Rules that a bench needs to see its own events: one whose events only userspace can judge and that never matches,
/// and one that alerts on each marker.
pub(super) fn marks(folder: &Path) -> Result<PathBuf> {
    let folder = folder.canonicalize().context("there is no scratch folder")?;
    let at = folder.display();
    // Patterns are matched in userspace only, and this one never does.
    let text = format!(
        "- rule: Bench busy file\n  desc: Made for measuring.\n  condition: evt.type in (open, openat, openat2) and \
         fd.name = \"{at}/busy\" and fd.nameraw regex \"busy[0-9]\"\n  output: Busy (file=%fd.name)\n  priority: NOTICE\n\
         - rule: Bench marker\n  desc: Made for measuring.\n  condition: evt.type in (open, openat, openat2) and \
         fd.name startswith \"{at}/marker-\"\n  output: Marker (file=%fd.name)\n  priority: NOTICE\n"
    );
    write(&folder, "marks.yaml", &text)
}

/// Writes a file of rules.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}

const VOCABULARY: &str = "\
- macro: bench_read
  condition: (evt.type in (open, openat, openat2) and evt.is_open_read=true and fd.typechar='f' and fd.num>=0)
- macro: bench_write
  condition: (evt.type in (open, openat, openat2) and evt.is_open_write=true and fd.typechar='f' and fd.num>=0)
- macro: bench_contained
  condition: (container.id != host)
- list: bench_readers
  items: [sshd, sudo, su, systemd, cron, login]
- list: bench_shells
  items: [ash, bash, dash, ksh, sh, zsh]
";

fn shape(index: usize, mark: &str) -> (&'static str, String) {
    let n = format!("{}{mark}", index / SHAPES);
    match index % SHAPES {
        0 => (
            "secrets read",
            format!(
                "bench_read and fd.name in (/etc/app{n}/key.pem, /etc/app{n}/token, /srv/app{n}/shadow, \
                 /srv/app{n}/users.db) and not proc.name in (bench_readers)"
            ),
        ),
        1 => (
            "settings written",
            format!(
                "bench_write and (fd.name startswith /etc/app{n}/ or fd.name startswith /usr/local/etc/app{n}/) and \
                 not proc.pname in (bench_readers, dpkg, rpm)"
            ),
        ),
        2 => (
            "credentials searched",
            format!("bench_read and fd.name contains \"/.app{n}/credentials\" and not proc.name = app{n}ctl"),
        ),
        3 => (
            "keys read in a container",
            format!(
                "bench_read and bench_contained and fd.name endswith \".app{n}.key\" and not proc.exepath startswith \
                 /opt/app{n}/"
            ),
        ),
        4 => (
            "store read by a shell",
            format!(
                "bench_read and fd.directory in (/var/lib/app{n}, /var/cache/app{n}) and proc.name in (bench_shells)"
            ),
        ),
        5 => (
            "program replaced",
            format!(
                "bench_write and fd.name pmatch (/usr/bin/app{n}, /usr/sbin/app{n}, /opt/app{n}/bin) and user.uid != 0"
            ),
        ),
        6 => (
            "log written by a stranger",
            format!(
                "bench_write and fd.name glob \"/var/log/app{n}/*.log\" and not proc.aname[2] in (bench_readers) and \
                 not (proc.name = logger and proc.cmdline contains \"--app{n}\")"
            ),
        ),
        7 => (
            "tool run",
            format!(
                "evt.type in (execve, execveat) and evt.failed = false and (proc.name = app{n}ctl or proc.exepath \
                 startswith /opt/app{n}/ or proc.cmdline contains \"--app{n}-unsafe\") and proc.pname in (bench_shells)"
            ),
        ),
        8 => (
            "peer contacted",
            format!(
                "evt.type = connect and fd.typechar = 4 and fd.sport = {} and not proc.name in (bench_readers) and \
                 not proc.name = app{n}ctl",
                20_000 + index
            ),
        ),
        _ => (
            "file removed or renamed",
            format!(
                "evt.type in (unlink, unlinkat, rename, renameat, renameat2) and evt.failed = false and \
                 (fs.path.name startswith /var/lib/app{n}/ or fs.path.source startswith /var/lib/app{n}/)"
            ),
        ),
    }
}

/// Names of the rules that a file defines, in its order.
fn names(text: &str) -> Result<Vec<String>> {
    let items: Vec<Value> = serde_yaml::from_str(text)?;
    Ok(items.iter().filter_map(|item| item.get("rule")?.as_str().map(ToOwned::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_rules_are_as_many_as_asked_and_differ() {
        let names = names(&made(250, "")).unwrap();
        assert_eq!(names.len(), 250);
        let conditions: std::collections::BTreeSet<String> =
            (0..250).map(|index| shape(index, "").1).collect();
        assert_eq!(conditions.len(), 250);
        assert_ne!(made(10, ""), made(10, "b"));
    }

    #[test]
    fn a_set_has_its_size_with_and_without_upstream() {
        let folder = tempfile::tempdir().unwrap();
        for size in [10, 50] {
            let set = of_size(folder.path(), size).unwrap();
            let made = names(&fs::read_to_string(set.files.last().unwrap()).unwrap()).unwrap();
            assert_eq!(made.len() + set.upstream, size);
            assert!(set.upstream <= size / 2);
        }
    }
}
