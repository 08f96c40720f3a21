//! The user database of a run: the machine's, with the users that cases name and the machine lacks.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// First id given to a user who is not there; ordinary users of a Debian machine start here.
const FIRST: u32 = 60_100;
/// Group of such users: `nogroup`.
const GROUP: u32 = 65_534;

/// The lines of a user database.
pub(super) struct Users {
    text: String,
    added: usize,
}

impl Users {
    /// The machine's database and all of these users.
    pub(super) fn with(names: impl IntoIterator<Item = String>) -> Result<Self> {
        let text = fs::read_to_string("/etc/passwd").context("cannot read `/etc/passwd`")?;
        Ok(Self::extend(text, names))
    }

    fn extend(mut text: String, names: impl IntoIterator<Item = String>) -> Self {
        let field = |line: &str, index| line.split(':').nth(index).map(ToOwned::to_owned);
        let known: BTreeSet<String> = text.lines().filter_map(|line| field(line, 0)).collect();
        let taken: BTreeSet<u32> = text.lines().filter_map(|line| field(line, 2)?.parse().ok()).collect();
        let missing: BTreeSet<String> =
            names.into_iter().filter(|name| !known.contains(name) && name.parse::<u32>().is_err()).collect();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let free = (FIRST..).filter(|id| !taken.contains(id));
        for (name, id) in missing.iter().zip(free) {
            // Writing to text cannot fail.
            let _ = writeln!(text, "{name}:x:{id}:{GROUP}::/nonexistent:/usr/sbin/nologin");
        }
        Self { text, added: missing.len() }
    }

    /// How many the machine lacks.
    pub(super) fn added(&self) -> usize {
        self.added
    }

    /// Writes the database.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, &self.text).with_context(|| format!("cannot write `{}`", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_users_are_added_with_free_ids() {
        let text = "root:x:0:0::/root:/bin/sh\nx:x:60100:1::/:/bin/sh".to_owned();
        let names = ["root", "sshd", "x", "uucp", "12"].map(ToOwned::to_owned);
        let users = Users::extend(text, names);
        assert_eq!(users.added(), 2);
        let lines: Vec<&str> = users.text.lines().collect();
        assert!(lines[2].starts_with("sshd:x:60101:65534:"), "{}", users.text);
        assert!(lines[3].starts_with("uucp:x:60102:65534:"), "{}", users.text);
    }
}
