//! User and group names of the host.
//!
//! Reads `/etc/passwd` and `/etc/group` itself (no name service: the agent must not wait for a network), again
//! whenever the file changed, at most once a second of event time.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Least time between two looks at the files, nanoseconds.
const CHECK_EVERY_NS: u64 = 1_000_000_000;
/// Largest file read; a name file beyond it is not believable.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// Users, and groups, kept of a container.
const TABLE_MAX: usize = 4096;

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Login name.
    #[serde(with = "serde_bytes")]
    pub name: Box<[u8]>,
    /// Home directory.
    #[serde(with = "serde_bytes")]
    pub home: Box<[u8]>,
    /// Login shell.
    #[serde(with = "serde_bytes")]
    pub shell: Box<[u8]>,
}

/// What a look at the files brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The users are others.
    pub users: bool,
    /// The groups are others.
    pub groups: bool,
}

/// Users and groups by id.
#[derive(Debug)]
pub struct Names {
    passwd: NameFile<User>,
    group: NameFile<Box<[u8]>>,
    next_check_ns: u64,
}

impl Default for Names {
    fn default() -> Self {
        Self::new("/etc/passwd".into(), "/etc/group".into())
    }
}

impl Names {
    /// Names from these files, read at the first [`Names::refresh`].
    pub fn new(passwd: PathBuf, group: PathBuf) -> Self {
        Self { passwd: NameFile::new(Some(passwd)), group: NameFile::new(Some(group)), next_check_ns: 0 }
    }

    /// No names but those told.
    pub fn told() -> Self {
        Self { passwd: NameFile::new(None), group: NameFile::new(None), next_check_ns: 0 }
    }

    /// Reads a file again if it changed. `now_ns` is any clock that does not go back.
    pub fn refresh(&mut self, now_ns: u64) -> Changed {
        if now_ns < self.next_check_ns {
            return Changed::default();
        }
        self.next_check_ns = now_ns.saturating_add(CHECK_EVERY_NS);
        Changed { users: self.passwd.refresh(parse_user), groups: self.group.refresh(parse_group) }
    }

    /// All users, by id.
    pub fn users(&self) -> Vec<(u32, User)> {
        self.passwd.sorted()
    }

    /// All groups, by id.
    pub fn groups(&self) -> Vec<(u32, Box<[u8]>)> {
        self.group.sorted()
    }

    /// Replaces all users.
    pub fn tell_users(&mut self, users: Vec<(u32, User)>) {
        self.passwd.entries = users.into_iter().collect();
    }

    /// Replaces all groups.
    pub fn tell_groups(&mut self, groups: Vec<(u32, Box<[u8]>)>) {
        self.group.entries = groups.into_iter().collect();
    }

    /// A user by id.
    pub fn user(&self, uid: u32) -> Option<&User> {
        self.passwd.entries.get(&uid)
    }

    /// Name of a user; uid 0 is `root` even without a file.
    pub fn user_name(&self, uid: u32) -> Option<&[u8]> {
        self.user(uid).map(|user| &*user.name).or((uid == 0).then_some(b"root"))
    }

    /// Name of a group; gid 0 is `root` even without a file.
    pub fn group_name(&self, gid: u32) -> Option<&[u8]> {
        self.group.entries.get(&gid).map(|name| &**name).or((gid == 0).then_some(b"root"))
    }
}

/// Users and groups of a container, as its files were when they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameTable {
    users: FxHashMap<u32, User>,
    groups: FxHashMap<u32, Box<[u8]>>,
}

impl NameTable {
    /// Reads the texts of both files. Of a file that is longer than any real one the rest is left out.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        let mut table = Self::default();
        for (uid, user) in lines(passwd).filter_map(parse_user).take(TABLE_MAX) {
            table.users.entry(uid).or_insert(user);
        }
        for (gid, name) in lines(group).filter_map(parse_group).take(TABLE_MAX) {
            table.groups.entry(gid).or_insert(name);
        }
        table
    }

    /// A user by id.
    pub fn user(&self, uid: u32) -> Option<&User> {
        self.users.get(&uid)
    }

    /// Name of a user; uid 0 is `root` even without a file.
    pub fn user_name(&self, uid: u32) -> Option<&[u8]> {
        self.user(uid).map(|user| &*user.name).or((uid == 0).then_some(b"root"))
    }

    /// Name of a group; gid 0 is `root` even without a file.
    pub fn group_name(&self, gid: u32) -> Option<&[u8]> {
        self.groups.get(&gid).map(|name| &**name).or((gid == 0).then_some(b"root"))
    }
}

#[derive(Debug)]
struct NameFile<T> {
    /// `None` when the names are told.
    path: Option<PathBuf>,
    stamp: Option<(u64, i64, i64, u64)>,
    entries: FxHashMap<u32, T>,
}

impl<T> NameFile<T> {
    fn new(path: Option<PathBuf>) -> Self {
        Self { path, stamp: None, entries: FxHashMap::default() }
    }

    /// True when the entries were read again.
    fn refresh(&mut self, parse: impl Fn(&[u8]) -> Option<(u32, T)>) -> bool {
        let Some(path) = &self.path else { return false };
        let stamp = fs::metadata(path)
            .ok()
            .filter(|meta| meta.is_file() && meta.size() <= FILE_MAX_BYTES)
            .map(|meta| (meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size()));
        if stamp == self.stamp {
            return false;
        }
        self.stamp = stamp;
        let text = stamp.and_then(|_| fs::read(path).ok()).unwrap_or_default();
        self.entries.clear();
        for (id, entry) in lines(&text).filter_map(parse) {
            // As in the C library, the first line of an id wins.
            self.entries.entry(id).or_insert(entry);
        }
        true
    }
}

impl<T: Clone> NameFile<T> {
    fn sorted(&self) -> Vec<(u32, T)> {
        let mut all: Vec<(u32, T)> = self.entries.iter().map(|(id, entry)| (*id, entry.clone())).collect();
        all.sort_by_key(|(id, _)| *id);
        all
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn parse_user(line: &[u8]) -> Option<(u32, User)> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = number(fields.nth(1)?)?;
    let home = fields.nth(2).unwrap_or_default();
    let shell = fields.next().unwrap_or_default();
    Some((uid, User { name: name.into(), home: home.into(), shell: shell.into() }))
}

fn parse_group(line: &[u8]) -> Option<(u32, Box<[u8]>)> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    Some((number(fields.nth(1)?)?, name.into()))
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{CHECK_EVERY_NS, Names};

    #[test]
    fn names_follow_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let (passwd, group) = (dir.path().join("passwd"), dir.path().join("group"));
        fs::write(&passwd, "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/srv:/bin/false\nbad\n:x:5:5:::\n")
            .expect("a file");
        fs::write(&group, "staff:x:50:a,b\n").expect("a file");
        let mut names = Names::new(passwd.clone(), group);
        assert_eq!((names.user_name(0), names.user_name(33)), (Some(&b"root"[..]), None));
        names.refresh(0);
        assert_eq!(names.user_name(33), Some(&b"web"[..]));
        let user = names.user(33).expect("a user");
        assert_eq!((&*user.home, &*user.shell), (&b"/srv"[..], &b"/bin/false"[..]));
        assert_eq!((names.group_name(50), names.group_name(51)), (Some(&b"staff"[..]), None));
        assert_eq!(names.user_name(5), None);

        fs::write(&passwd, "www-data:x:33:33::/srv:/bin/false\n").expect("a file");
        names.refresh(CHECK_EVERY_NS - 1);
        assert_eq!(names.user_name(33), Some(&b"web"[..]), "not looked at yet");
        names.refresh(CHECK_EVERY_NS);
        assert_eq!(names.user_name(33), Some(&b"www-data"[..]));

        fs::remove_file(&passwd).expect("removed");
        names.refresh(3 * CHECK_EVERY_NS);
        assert_eq!(names.user_name(33), None);
    }
}
