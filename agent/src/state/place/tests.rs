//! Made-up records, real directories of this process.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process};

use rampart_common::event::{ATTR_DISCONNECTED, AttrTag, Family};
use tempfile::TempDir;

use super::{Place, Wanted, look, place};
use crate::{
    event::{ProcessId, build::RecordBuilder, decode},
    state::{
        process::Process,
        procfs::{ProcFs, namespace},
    },
};

fn proc() -> PathBuf {
    "/proc".into()
}

/// `vault/secret`, and `link` to `vault`.
struct Tree {
    dir: PathBuf,
    _scratch: TempDir,
}

impl Tree {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("vault/deep")).unwrap();
        fs::write(dir.join("vault/secret"), "s").unwrap();
        symlink("vault", dir.join("link")).unwrap();
        symlink(dir.join("vault/secret"), dir.join("name")).unwrap();
        Self { dir, _scratch: scratch }
    }

    /// Where a path below the tree leads, if it leads into the tree.
    fn look(&self, path: &str, follow: bool) -> Option<String> {
        let own = namespace(&proc().join(format!("{}/ns/mnt", process::id())));
        let path = format!("{}/{path}", self.dir.display()).into_bytes();
        let found = look(&proc(), [process::id()], &Wanted { path, follow, mnt_ns: own })?;
        Some(String::from_utf8(found).unwrap().replace(&format!("{}/", self.dir.display()), ""))
    }
}

#[test]
fn links_are_followed_except_the_last_name() {
    let tree = Tree::new();
    let found = |path, follow| tree.look(path, follow);
    let is = |path: &str| Some(path.to_owned());
    assert_eq!(found("link/secret", false), is("vault/secret"));
    assert_eq!(found("link/../link/./deep//x", false), is("vault/deep/x"));
    // By its text this is `deep/secret` of the tree.
    assert_eq!(found("link/deep/../secret", false), is("vault/secret"));
    assert_eq!(found("name", false), is("name"));
    assert_eq!(found("name", true), is("vault/secret"));
    assert_eq!(found("link/", false), is("link"));
    assert_eq!(found("link/.", false), None, "nothing is removed by that name");
    assert_eq!(found("link/.", true), is("vault"));
}

#[test]
fn what_is_gone_was_a_name_in_what_is_still_there() {
    let tree = Tree::new();
    assert_eq!(tree.look("link/gone/too/secret", false).as_deref(), Some("vault/gone/too/secret"));
    assert_eq!(tree.look("link/gone/file", true).as_deref(), Some("vault/gone/file"));
    assert_eq!(tree.look("link/gone/../secret", false), None, "where that led nobody knows any more");
    let deep = format!("link/{}", "gone/".repeat(40));
    assert_eq!(tree.look(&deep, false), None);
}

#[test]
fn a_process_elsewhere_is_not_asked() {
    let tree = Tree::new();
    let path = tree.dir.join("link/secret").into_os_string().into_encoded_bytes();
    let own = namespace(&proc().join("self/ns/mnt"));
    let wanted = Wanted { path, follow: false, mnt_ns: own };
    assert_eq!(look(&proc(), [u32::MAX], &wanted), None, "no such process");
    assert_eq!(look(&proc(), [process::id()], &Wanted { mnt_ns: own + 1, ..wanted.clone() }), None);
    assert!(look(&proc(), [u32::MAX, process::id()], &wanted).is_some(), "the next one is asked");
}

/// Magic links lead out of any root, so they are not followed.
#[test]
fn links_of_proc_are_not_followed() {
    let own = namespace(&proc().join("self/ns/mnt"));
    let path = format!("/proc/{}/root/etc/hostname", process::id()).into_bytes();
    assert_eq!(look(&proc(), [process::id()], &Wanted { path, follow: false, mnt_ns: own }), None);
}

fn known(path: &str) -> Place {
    Place::Known(path.into())
}

fn asked(path: &str, follow: bool) -> Place {
    Place::Asked(Wanted { path: path.into(), follow, mnt_ns: 9 })
}

/// What the first argument of a call needs.
fn first(record: RecordBuilder, follow: bool, process: &Process) -> Option<Place> {
    let mut record = record;
    record.header.task.mnt_ns = 9;
    let bytes = record.build();
    place(&decode::decode(&bytes).unwrap(), false, follow, Some(process))
}

fn this_process() -> Process {
    let found = ProcFs::default().read(process::id()).unwrap();
    let mut process = Process::new(ProcessId::from_start_ns(100, 1), found.task, found.image.into(), 0);
    process.cwd = b"/srv"[..].into();
    process
}

#[test]
fn the_record_alone_tells_a_name_in_a_directory() {
    let mut process = this_process();
    let unlink = |path: &str| {
        RecordBuilder::syscall(libc::SYS_unlinkat, Family::Path, 0, &[]).text(AttrTag::UserPath, path)
    };
    let below = |path: &str| unlink(path).path(AttrTag::BaseDir, "/srv/data");
    assert_eq!(first(below("x"), false, &process), Some(known("/srv/data/x")));
    assert_eq!(first(below(""), true, &process), Some(known("/srv/data")));
    assert_eq!(first(below("x"), true, &process), Some(asked("/srv/data/x", true)));
    assert_eq!(first(below("a/x"), false, &process), Some(asked("/srv/data/a/x", false)));
    assert_eq!(first(below(".."), false, &process), Some(asked("/srv/data/..", false)));
    assert_eq!(first(unlink("x"), false, &process), None, "no directory");
    let lost = unlink("x").path_flags(AttrTag::BaseDir, ATTR_DISCONNECTED, "data");
    assert_eq!(first(lost, false, &process), None, "a directory that is nowhere");
    process.chrooted = true;
    assert_eq!(
        first(below("x"), false, &process),
        Some(asked("/srv/data/x", false)),
        "seen from another root"
    );
}

#[test]
fn own_links_of_proc_are_taken_off() {
    let process = this_process();
    let given = |path: &str| {
        let record = RecordBuilder::syscall(libc::SYS_unlink, Family::Path, 0, &[]);
        first(record.text(AttrTag::UserPath, path), false, &process)
    };
    assert_eq!(given("/proc/self/root/etc/x"), Some(asked("/etc/x", false)));
    assert_eq!(given("/proc/thread-self/cwd/x"), Some(asked("/srv/x", false)));
    assert_eq!(given("/proc/100/root/etc/x"), Some(asked("/etc/x", false)));
    assert_eq!(given("/proc/7/root/etc/x"), Some(asked("/proc/7/root/etc/x", false)));
    assert_eq!(given("/proc/self/fd/3"), Some(asked("/proc/self/fd/3", false)));
}
