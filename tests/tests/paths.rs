//! Paths as pushdown judges them on the running kernel: however a file is named, and whatever its name led to before.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]
#![expect(unsafe_code, reason = "a copy of a process is made by a raw system call")]

#[path = "shared/child.rs"]
mod child;

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::{
    fcntl::{AT_FDCWD, OFlag, open, openat},
    sys::stat::Mode,
    unistd::{chdir, getcwd, symlinkat},
};
use rampart_tests::{
    agent::Agent,
    require_root,
    vault::{MANY, Opens, Shell, Vault, alerted, end, pid_of, text},
};

use self::child::in_child;

const OPEN: &str = "evt.type in (open, openat, openat2, creat)";

fn rule(name: &str, condition: &str) -> (String, String) {
    (name.to_owned(), format!("{OPEN} and {condition}"))
}

#[test]
fn a_path_that_leads_elsewhere_now_is_judged_anew() {
    require_root!("a_path_that_leads_elsewhere_now_is_judged_anew");
    let vault = Vault::make();
    let rules = vault.rules(&[rule("vault", "fd.name startswith DIR/vault/")]);
    let mut agent = Agent::start_with(&rules, "pushdown: {shadow_every: 256}");
    let mut shell = vault.shell("intruder");
    let dir = vault.dir.display().to_string();
    fs::create_dir(vault.dir.join("attic")).expect("made");
    fs::write(vault.dir.join("attic/file"), "x").expect("written");
    symlink("attic", vault.dir.join("link")).expect("made");
    let mut times = 0;
    let mut round = |shell: &mut Shell, agent: &mut Agent, path: &str, change: &dyn Fn(), back: &dyn Fn()| {
        shell.open(path, 10);
        thread::sleep(Duration::from_millis(100));
        Opens::during(agent, MANY, || shell.open(path, MANY)).assert_rejected();
        change();
        shell.open(path, 5);
        times += 5;
        alerted(agent, "vault", shell.pid(), times);
        back();
        shell.open(path, 5);
    };
    let rename =
        |from: &str, to: &str| fs::rename(vault.dir.join(from), vault.dir.join(to)).expect("renamed");
    let relink = |to: &str| {
        fs::remove_file(vault.dir.join("link")).expect("removed");
        symlink(to, vault.dir.join("link")).expect("made");
    };
    // The name stays, and leads into the vault.
    let path = format!("{dir}/link/file");
    fs::create_dir(vault.dir.join("vault")).expect("made");
    fs::write(vault.dir.join("vault/file"), "x").expect("written");
    round(&mut shell, &mut agent, &path, &|| relink("vault"), &|| relink("attic"));
    fs::remove_dir_all(vault.dir.join("vault")).expect("removed");
    // The directory that a relative name starts from becomes the vault.
    shell.run(&format!("cd {dir}/attic"));
    round(&mut shell, &mut agent, "file", &|| rename("attic", "vault"), &|| rename("vault", "attic"));
    round(&mut shell, &mut agent, "./file", &|| rename("attic", "vault"), &|| rename("vault", "attic"));
    // A directory far above becomes it, and the file's own directory moves there.
    fs::create_dir_all(vault.dir.join("attic/a/b/c")).expect("made");
    fs::write(vault.dir.join("attic/a/b/c/file"), "x").expect("written");
    shell.run(&format!("cd {dir}/attic/a/b/c"));
    round(&mut shell, &mut agent, "file", &|| rename("attic", "vault"), &|| rename("vault", "attic"));
    fs::create_dir(vault.dir.join("vault")).expect("made");
    round(&mut shell, &mut agent, "../c/file", &|| rename("attic/a/b", "vault/b"), &|| {
        rename("vault/b", "attic/a/b");
    });
    // The same name in another root.
    shell.run("cd /");
    end(agent);
}

/// Rules with every kind of comparison on paths. In sets, for one rule that the kernel cannot decide of an event keeps
/// the event; those of the last set it can hardly decide.
const SETS: [&[&str]; 4] = [
    &[
        "fd.name = DIR/walk/t/a/secret",
        "fd.name startswith DIR/walk/t/b/a/",
        "fd.name endswith /a/b/secret",
        "fd.name in (DIR/walk/t/s, DIR/walk/t/a/s, DIR/walk/t/b/a/other)",
        "fd.name startswith DIR/walk/t/a and fd.name endswith s",
        "fd.name startswith DIR/walk/t/ and not fd.name endswith s and evt.is_open_write = true",
    ],
    &[
        "fd.name contains /a/b/a",
        "fd.name contains b/s",
        "fd.name pmatch (DIR/walk/t/a/a, DIR/walk/t/b/b)",
        "fd.name startswith DIR/walk/t/a and evt.arg.flags contains O_DIRECTORY",
    ],
    &[
        "fd.name glob DIR/walk/t/*/s",
        "fd.name glob DIR/walk/t/?/?/s*t",
        "fd.filename = secret and fd.name startswith DIR/walk/t/b",
        "fd.directory = DIR/walk/t/a/b",
        "fd.directory in (DIR/walk/t, DIR/walk/t/b) and fd.filename in (other, nothing)",
        "(fd.name endswith /s or fd.name endswith /other) and evt.rawres < 0 and fd.name startswith DIR/walk/t/a",
    ],
    &[
        "fd.nameraw startswith ..",
        "fd.nameraw contains //",
        "fd.nameraw = a/secret",
        "fd.realpath = DIR/walk/t/b/secret",
        "fd.realpath startswith DIR/walk/t/a/ and not fd.name startswith DIR/walk/t/a/",
        "fd.name regex '.*/a/.*/secret'",
    ],
];

/// A tree of the same few names on each level, with links.
fn grow(root: &Path) {
    let level = |dir: &Path| {
        for name in ["secret", "s", "other"] {
            fs::write(dir.join(name), "x").expect("written");
        }
        for (link, to) in [("up", ".."), ("top", "../../t"), ("side", "b/../a"), ("gone", "nothing")] {
            symlink(to, dir.join(link)).expect("made");
        }
    };
    let mut dirs = vec![root.to_owned()];
    for _ in 0..4 {
        let mut next = Vec::new();
        for dir in &dirs {
            fs::create_dir_all(dir).expect("made");
            level(dir);
            next.extend(["a", "b"].map(|name| dir.join(name)));
        }
        dirs = next;
    }
    for dir in &dirs {
        fs::create_dir(dir).expect("made");
    }
}

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list.get(self.below(list.len())).expect("below its length")
    }

    /// A few names, with what may stand between and before them.
    fn path(&mut self, root: &Path) -> PathBuf {
        const NAMES: [&str; 16] = [
            "a", "b", "a", "b", "a", "b", "secret", "s", "other", ".", "..", "..", "up", "top", "side",
            "gone",
        ];
        let mut text = match self.below(3) {
            0 => format!("{}/", root.display()),
            1 => format!("{}/{}/", root.display(), self.one_of(&["a", "b", "a/b", "b/a/a"])),
            _ => String::new(),
        };
        for _ in 0..self.below(5) {
            text.push_str(self.one_of(&NAMES));
            text.push_str(self.one_of(&["/", "/", "/", "//", "/./"]));
        }
        text.push_str(self.one_of(&["secret", "s", "other", "a", "b", "up", "nothing"]));
        PathBuf::from(text)
    }
}

/// Whether what a path names lies below a directory, so that it may be changed.
fn is_below(dir: &Path, path: &Path) -> bool {
    path.parent()
        .and_then(|parent| fs::canonicalize(parent).ok())
        .is_some_and(|parent| parent.starts_with(dir))
}

/// Opens files by all kinds of names while the tree changes, and nothing outside of the directory around it.
fn wander(root: &Path, seed: u64, steps: usize) -> nix::Result<()> {
    let mut numbers = Numbers(seed);
    let around = root.parent().expect("it has one");
    chdir(root)?;
    for _ in 0..steps {
        let path = numbers.path(root);
        // Most of it fails; that is part of it.
        match numbers.below(40) {
            0 => {
                let to = numbers.path(root);
                if is_below(around, &path) && is_below(around, &to) {
                    let _refused = fs::rename(&path, to);
                }
            }
            1 => {
                let link = numbers.path(root);
                if is_below(around, &link) {
                    let _gone = fs::remove_file(&link);
                    let _there = symlinkat(&path, AT_FDCWD, &link);
                }
            }
            2 | 3 => {
                let _failed = chdir(&path);
                if !getcwd().is_ok_and(|dir| dir.starts_with(around)) {
                    chdir(root)?;
                }
            }
            4 => drop(chdir(root)),
            5..10 => {
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
                if let Ok(dir) = open(&numbers.path(root), flags, Mode::empty()) {
                    let _failed = openat(&dir, &path, OFlag::O_RDONLY, Mode::empty());
                }
            }
            choice => {
                let flags = match choice {
                    10..14 if is_below(around, &path) => OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW,
                    14..16 => OFlag::O_RDONLY | OFlag::O_DIRECTORY,
                    16..18 => OFlag::O_PATH,
                    18..20 => OFlag::O_RDONLY | OFlag::O_NOFOLLOW,
                    _ => OFlag::O_RDONLY,
                };
                let _failed = open(&path, flags, Mode::S_IRWXU);
            }
        }
    }
    Ok(())
}

/// Walks, each done twice: the second time the kernel has known all of it before. `RAMPART_LONG` multiplies them.
const WALKS: usize = 2;
/// Steps of each.
const STEPS: usize = 1000;

fn seeds() -> impl Iterator<Item = u64> {
    let times = env::var("RAMPART_LONG").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    (0..WALKS * times).flat_map(|walk| [0x9e37_79b9_7f4a_7c15 ^ (walk as u64 + 1); 2])
}

/// What is alerted of the same walks, in order, and how much ended in the kernel.
fn walked(vault: &Vault, conditions: &[(String, String)], settings: &str) -> (Vec<String>, f64) {
    let mark = [rule("mark", "fd.name = DIR/mark")];
    let rules = vault.rules(&[&mark[..], conditions].concat());
    let mut agent = Agent::start_with(&rules, &format!("rules: {{matching: all}}\n{settings}"));
    let around = vault.dir.join("walk");
    let root = around.join("t");
    let mut pids = Vec::new();
    let opens = Opens::during(&mut agent, (seeds().count() * STEPS * 3 / 4) as u32, || {
        for seed in seeds() {
            grow(&root);
            pids.push(in_child(|| wander(&root, seed, STEPS)));
            // Time for the agent to tell the kernel what it knows now.
            thread::sleep(Duration::from_millis(300));
            fs::remove_dir_all(&around).expect("removed");
        }
        let mark = vault.dir.join("mark");
        pids.push(in_child(|| open(&mark, OFlag::O_RDONLY, Mode::empty()).map(drop).or(Ok(()))));
    });
    let last = *pids.last().expect("some");
    agent.wait_for("the mark", |alert| pid_of(alert) == Some(last));
    let told = |pid: u32| {
        let place = pids.iter().position(|known| *known == pid);
        place.map(|place| format!("walk {place}"))
    };
    let lines = agent
        .alerts()
        .iter()
        .filter_map(|alert| {
            let pid = pid_of(alert)?;
            let rule = alert.get("rule")?.as_str()?;
            let fields = ["evt.type", "fd.name", "fd.nameraw", "fd.realpath"].map(|name| text(alert, name));
            Some(format!("{} {rule}: {}", told(pid)?, fields.join(" ")))
        })
        .collect();
    end(agent);
    (lines, opens.filtered)
}

#[test]
fn random_paths_alert_the_same_with_pushdown_and_without() {
    require_root!("random_paths_alert_the_same_with_pushdown_and_without");
    let vault = Vault::make();
    let (mut alerts, mut rejected) = (0, 0.0);
    for set in SETS {
        let named =
            set.iter().enumerate().map(|(number, condition)| rule(&format!("path {number}"), condition));
        let rules: Vec<_> = named.collect();
        let (off, _) = walked(&vault, &rules, "pushdown: {enabled: false}");
        let (on, filtered) = walked(&vault, &rules, "pushdown: {shadow_every: 4}");
        println!("{} alerts, {filtered} opened files rejected by {set:?}", on.len());
        let first = on.iter().zip(&off).position(|(on, off)| on != off).unwrap_or(on.len().min(off.len()));
        let around = |lines: &[String]| {
            lines.get(first.saturating_sub(1)..(first + 2).min(lines.len())).map(<[_]>::to_vec)
        };
        assert!(on == off, "alert {first}: with pushdown {:#?}, without {:#?}", around(&on), around(&off));
        alerts += on.len();
        rejected += filtered;
    }
    // How many are rejected depends on how fast the agent learns against how fast the walker walks.
    assert!(alerts > STEPS && rejected > 100.0, "{alerts} alerts, {rejected} rejected");
}
