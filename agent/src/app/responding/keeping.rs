//! What is in force: kept over restarts, shown, taken back, ended.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use jiff::Timestamp;
use rampart_common::service::breaker;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use super::{Thread, now};
use crate::{
    app::{
        in_full,
        limiting::{self, node::boot_id},
        serving,
    },
    limits::{
        desk::Ask as AskLimits,
        entries::{End, Kind as EntryKind, Now},
    },
    replace::replace,
    responses::{
        Outcome,
        book::{Book, Deed, Doing},
        desk::{Answer, Ask, Denied},
    },
    services::desk::Ask as AskServices,
    telemetry::responses::Last,
};

/// The file in `node.state_dir`.
const FILE: &str = "responses.json";
/// Its version; others are left alone and not read.
const VERSION: u32 = 1;
/// Directories of control groups that are looked at.
const GROUPS_MAX: usize = 65_536;

/// Where the book is kept.
pub(super) struct Shelf {
    directory: PathBuf,
    boot: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    boot: String,
    book: Book,
}

impl Shelf {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), boot: boot_id() }
    }

    /// The book of an agent before; an empty one when there is none that can be read.
    fn read(&self, now: Now) -> Book {
        let path = self.directory.join(FILE);
        let read = fs::read(&path)
            .map_err(|error| (error.kind() != std::io::ErrorKind::NotFound).then(|| error.to_string()))
            .and_then(|bytes| {
                serde_json::from_slice::<Kept>(&bytes).map_err(|error| Some(error.to_string()))
            });
        match read {
            Ok(kept) if kept.version == VERSION => kept.book.restored(kept.boot == self.boot, now),
            Ok(kept) => {
                tracing::error!(path = %path.display(), version = kept.version, "Kept by another version, not read");
                Book::default()
            }
            Err(why) => {
                if let Some(why) = why {
                    tracing::error!(path = %path.display(), "What is in force by responses cannot be read: {why}");
                }
                Book::default()
            }
        }
    }

    fn write(&self, book: &Book) -> std::io::Result<()> {
        let kept = Kept { version: VERSION, boot: self.boot.clone(), book: book.clone() };
        replace(&self.directory, FILE, &serde_json::to_vec_pretty(&kept)?)
    }
}

impl Thread {
    /// Takes over what an agent before left.
    pub(super) fn begin(&mut self) {
        self.book = self.shelf.read(now());
        self.refresh();
        // Nobody knows of these any more; a group's number is another's once it is gone.
        let known = |id: u64| {
            self.book
                .iter()
                .any(|doing| matches!(doing.deed, Deed::Quarantine { cgroup_id, .. } if cgroup_id == id))
        };
        for id in self.quarantines.ids().into_iter().filter(|id| !known(*id)) {
            tracing::warn!(group = id, "A quarantine that nobody knows of is ended");
            // What fails is said there.
            let _ = self.release(id);
        }
    }

    /// Writes one down; gives its number.
    pub(super) fn keep(&mut self, doing: Doing) -> u64 {
        let is_known = self.book.same(&doing.deed).is_some();
        if !is_known && !self.book.has_room() {
            tracing::warn!("Too much is in force by responses; this one ends by its time only");
            return 0;
        }
        let id = self.book.put(doing);
        self.save();
        id
    }

    fn save(&self) {
        if let Err(error) = self.shelf.write(&self.book) {
            tracing::error!("What is in force by responses is not kept for the next start: {error}");
        }
    }

    /// Ends what is over.
    pub(super) fn expire(&mut self) {
        let over = self.book.expire(now());
        if over.is_empty() {
            return;
        }
        self.save();
        for doing in over {
            // Entries of the limiter end by themselves.
            match &doing.deed {
                Deed::BlockIp { .. } | Deed::LimitIp { .. } => {}
                Deed::Allow { .. } => self.refresh(),
                deed => self.take_back(deed.clone(), None),
            }
            self.note_end(&doing, Outcome::Expired, &Json::Null);
        }
    }

    /// Lets through what a rule refuses, for a time.
    pub(super) fn allow(&mut self, rule: &str, secs: u64, alert: &str) -> Doing {
        let now = now();
        let doing = Doing {
            id: 0,
            deed: Deed::Allow { rule: rule.to_owned() },
            rule: rule.to_owned(),
            alert: alert.to_owned(),
            made_secs: now.wall_secs,
            until: End::after(now, secs),
        };
        let id = self.keep(doing.clone());
        self.refresh();
        Doing { id, ..doing }
    }

    fn note_end(&mut self, doing: &Doing, outcome: Outcome, details: &Json) {
        let last =
            Last { kind: doing.deed.kind(), outcome, target: doing.deed.target(), rule: doing.rule.clone() };
        self.note(last, &doing.alert, 0, details);
    }

    pub(super) fn answer(&mut self, ask: Ask, answer: oneshot::Sender<Answer>) {
        match ask {
            Ask::List => {
                // Nobody waiting for it changes nothing.
                let _ = answer.send(Ok(self.report().page()));
            }
            Ask::Allow { rule, secs, who } => {
                if !self.denying.has(&rule) {
                    return drop(answer.send(Err(Denied::NoRule(rule))));
                }
                let doing = self.allow(&rule, secs, &format!("asked for by {who}"));
                let _ = answer.send(Ok(json!({ "allowed": self.shown(&doing, now()) })));
                self.note_end(&doing, Outcome::Done, &json!({ "by": who, "secs": secs }));
            }
            Ask::Undo { id, who } => match self.book.remove(id) {
                None => drop(answer.send(Err(Denied::Absent(id)))),
                Some(doing) => {
                    self.save();
                    if matches!(doing.deed, Deed::Allow { .. }) {
                        self.refresh();
                    }
                    let undone = self.shown(&doing, now());
                    self.take_back(doing.deed.clone(), Some((answer, json!({ "undone": undone }))));
                    self.note_end(&doing, Outcome::Undone, &json!({ "by": who }));
                }
            },
        }
    }

    /// Takes something back, and answers who asked for it.
    fn take_back(&self, deed: Deed, asked: Option<(oneshot::Sender<Answer>, Json)>) {
        let (limits, services) = (self.others.limits.clone(), self.others.services.clone());
        let released = match &deed {
            Deed::Quarantine { cgroup_id, .. } => self.release(*cgroup_id),
            _ => Ok(()),
        };
        self.runtime.spawn(async move {
            let remove = |kind, address| AskLimits::Remove(kind, IpNet::from(address));
            let result = match deed {
                Deed::BlockIp { address } => limiting::ask(limits, remove(EntryKind::Deny, address)).await,
                Deed::LimitIp { address, .. } => {
                    limiting::ask(limits, remove(EntryKind::Limit, address)).await
                }
                Deed::OpenBreaker { service } => {
                    serving::ask(services, AskServices::ForceAll(service, breaker::Mode::Auto)).await
                }
                Deed::Quarantine { .. } => released,
                Deed::Allow { .. } => Ok(()),
            };
            match (result, asked) {
                (result, Some((answer, page))) => {
                    let _ = answer.send(result.map(|()| page).map_err(Denied::Failed));
                }
                (Err(why), None) => tracing::error!("A response that is over is not taken back: {why}"),
                (Ok(()), None) => {}
            }
        });
    }

    fn release(&self, id: u64) -> Result<(), String> {
        self.quarantines.remove(id).map(drop).map_err(|error| {
            let why = in_full(&error);
            tracing::error!(group = id, "A quarantine is not ended: {why}");
            why
        })
    }

    /// How pages show one.
    pub(super) fn shown(&self, doing: &Doing, now: Now) -> Json {
        let time = |secs: u64| Timestamp::from_second(secs.cast_signed()).map(|time| time.to_string()).ok();
        let mut page = json!({
            "id": doing.id,
            "action": doing.deed.kind().name(),
            "target": doing.deed.target(),
            "rule": doing.rule,
            "alert": doing.alert,
            "made": time(doing.made_secs),
            "until": time(doing.until.wall_secs),
            "left_secs": doing.until.boot_ns.saturating_sub(now.boot_ns) / 1_000_000_000,
        });
        if let (Deed::Quarantine { cgroup_id, .. }, Some(page)) = (&doing.deed, page.as_object_mut()) {
            page.insert("dropped_packets".to_owned(), self.quarantines.dropped(*cgroup_id).into());
        }
        page
    }
}

/// The directory of a control group by its id, which is its inode.
pub(super) fn group_of(root: &Path, id: u64) -> Option<PathBuf> {
    let mut groups = vec![root.to_owned()];
    let mut seen = 0;
    while let Some(group) = groups.pop() {
        seen += 1;
        if seen > GROUPS_MAX {
            return None;
        }
        if id_of(&group) == Some(id) {
            return Some(group);
        }
        let entries = fs::read_dir(&group).into_iter().flatten().filter_map(Result::ok);
        groups.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    None
}

/// The id of a control group.
pub(super) fn id_of(group: &Path) -> Option<u64> {
    fs::metadata(group).ok().map(|meta| meta.ino())
}

/// The group of a container's pod, whose containers share a network; the container's own when it is in no pod.
pub(super) fn pod_of(group: &Path) -> PathBuf {
    let is_pod = |path: &&Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let id = name.strip_suffix(".slice").unwrap_or(name);
        let id = id.rsplit_once("-pod").map_or_else(|| id.strip_prefix("pod"), |(_, id)| Some(id));
        id.is_some_and(|id| {
            id.len() >= 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || b"-_".contains(&byte))
        })
    };
    group.ancestors().take(4).find(is_pod).unwrap_or(group).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_in_a_pod_is_cut_off_with_its_pod() {
        let uid = "3f9c2f1e-7f64-4d3c-9f5a-0a1b2c3d4e5f";
        let systemd = format!(
            "/c/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice",
            uid.replace('-', "_")
        );
        let plain = format!("/c/kubepods/besteffort/pod{uid}");
        for pod in [systemd.as_str(), plain.as_str()] {
            assert_eq!(pod_of(&Path::new(pod).join("cri-containerd-0123.scope")), Path::new(pod));
            assert_eq!(pod_of(&Path::new(pod).join("crio-0123.scope/container")), Path::new(pod));
        }
        let alone = Path::new("/c/machine.slice/libpod-0123.scope/container");
        assert_eq!(pod_of(alone), alone, "podman's containers are no pods");
    }

    #[test]
    fn a_group_is_found_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(group_of(dir.path(), id_of(&deep).unwrap()), Some(deep.clone()));
        let id = id_of(&deep).unwrap();
        fs::remove_dir(&deep).unwrap();
        assert_eq!(group_of(dir.path(), id), None);
    }

    #[test]
    fn the_book_comes_back_and_damage_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(&dir.path().join("state"));
        let at = Now { wall_secs: 1000, boot_ns: 0 };
        assert_eq!(shelf.read(at), Book::default());
        let mut book = Book::default();
        book.put(Doing {
            id: 0,
            deed: Deed::OpenBreaker { service: "orders".to_owned() },
            rule: "r".to_owned(),
            alert: "a".to_owned(),
            made_secs: 1000,
            until: End::after(at, 60),
        });
        shelf.write(&book).unwrap();
        assert_eq!(shelf.read(at), book);
        let path = dir.path().join("state").join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        for damaged in [&text[..text.len() / 2], &text.replace("\"version\": 1", "\"version\": 9")] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(shelf.read(at), Book::default());
        }
    }
}
