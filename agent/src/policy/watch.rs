//! Notices changed files without reloading in the middle of an edit: a change counts once it has stood still
//! for one look.

use super::files::Stamp;

/// Remembers the versions seen.
#[derive(Debug)]
pub struct Watch {
    /// The versions in force.
    known: Vec<Stamp>,
    /// Versions that differ and were seen once.
    pending: Option<Vec<Stamp>>,
}

impl Watch {
    /// Starts from the versions that are in force.
    pub const fn new(known: Vec<Stamp>) -> Self {
        Self { known, pending: None }
    }

    /// Takes one look; true when files have changed and the change is finished. The changed versions count as
    /// known from then on, so that a faulty file is reported once and not on every look.
    pub fn look(&mut self, now: Vec<Stamp>) -> bool {
        if now == self.known {
            self.pending = None;
            return false;
        }
        if self.pending.as_ref() == Some(&now) {
            self.pending = None;
            self.known = now;
            return true;
        }
        self.pending = Some(now);
        false
    }

    /// Forgets what was seen: the files were just loaded for another reason.
    pub fn reset(&mut self, known: Vec<Stamp>) {
        *self = Self::new(known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::files::stamps;

    #[test]
    fn a_change_counts_once_and_only_when_it_stands_still() {
        let dir = tempfile::tempdir().unwrap();
        let names = [dir.path().to_owned()];
        let path = dir.path().join("a.yaml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("1");
        let mut watch = Watch::new(stamps(&names));
        assert!(!watch.look(stamps(&names)));
        write("22");
        assert!(!watch.look(stamps(&names)), "may still be written to");
        write("333");
        assert!(!watch.look(stamps(&names)), "was still written to");
        assert!(watch.look(stamps(&names)));
        assert!(!watch.look(stamps(&names)), "reported once");
        write("4444");
        assert!(!watch.look(stamps(&names)));
        watch.reset(stamps(&names));
        assert!(!watch.look(stamps(&names)), "loaded meanwhile");
    }
}
