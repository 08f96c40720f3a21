//! What attackers do so that a rule does not see them, each for real against the running agent, each detected.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]
#![expect(unsafe_code, reason = "attacks are made of raw system calls")]

#[path = "shared/child.rs"]
mod child;

use std::{
    ffi::{CString, OsStr, OsString},
    fmt::Write as _,
    fs::{self, File},
    io::{IoSlice, IoSliceMut},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::{MetadataExt, symlink},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicBool, AtomicU8, Ordering},
    thread,
};

use nix::{
    fcntl::{AT_FDCWD, OFlag, open, openat, renameat},
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        signal::Signal,
        socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
        stat::{FchmodatFlags, Mode, fchmodat},
    },
    unistd::{chdir, chroot, fchdir, mkdir, unlink},
};
use rampart_tests::{agent::Agent, require_root, skip};
use serde_json::Value;
use tempfile::TempDir;

use self::child::in_child;

/// A directory with a secret, and an agent whose rule `secret` watches it.
struct Scene {
    agent: Agent,
    dir: PathBuf,
    _scratch: TempDir,
}

impl Scene {
    /// Starts with the rule on the secret and further ones: name and condition, where `DIR` is the directory.
    fn new(rules: &[(&str, &str)]) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = scratch.path().canonicalize().expect("it exists").join("vault");
        fs::create_dir(&dir).expect("made");
        fs::write(dir.join("secret"), "s").expect("written");
        fs::write(dir.join("public"), "p").expect("written");
        let path = scratch.path().join("rules.yaml");
        let watch =
            ("secret", "evt.type in (open, openat, openat2, open_by_handle_at) and fd.name = DIR/secret");
        let mut text = String::new();
        for (name, condition) in std::iter::once(&watch).chain(rules) {
            let condition = condition.replace("DIR", &dir.display().to_string());
            let _ = write!(
                text,
                "- rule: {name}\n  desc: d\n  priority: INFO\n  condition: {condition}\n  \
                 output: '%evt.type %fd.name %fd.realpath %proc.name %proc.pid %proc.exe %proc.cmdline %evt.args'\n",
            );
        }
        fs::write(&path, text).expect("the rules are written");
        let agent = Agent::start_with(&path, "rules: {matching: all}\n");
        Self { agent, dir, _scratch: scratch }
    }

    fn secret(&self) -> PathBuf {
        self.dir.join("secret")
    }

    /// Waits for an alert of a rule whose output contains a text.
    fn caught(&self, rule: &str, part: &str) -> Value {
        self.agent.wait_for(&format!("{rule} with {part}"), |alert| {
            alert.get("rule").is_some_and(|name| name == rule)
                && alert.get("output").and_then(Value::as_str).is_some_and(|text| text.contains(part))
        })
    }

    /// Ends the agent, which must have survived.
    fn end(self) {
        assert!(self.agent.stop().success());
    }
}

fn text(path: impl AsRef<OsStr>) -> CString {
    CString::new(path.as_ref().as_bytes()).expect("no NUL")
}

fn field<'a>(alert: &'a Value, name: &str) -> &'a str {
    alert.get("output_fields").and_then(|fields| fields.get(name)).and_then(Value::as_str).unwrap_or_default()
}

/// Runs a program whose name tells the attempt, and returns what the agent shall show of it.
fn cat(name: &str, prepare: impl Fn(&mut Command)) {
    let mut command = Command::new("/bin/cat");
    command.arg0(name).stdout(process::Stdio::null());
    prepare(&mut command);
    assert!(command.status().expect("cat runs").success(), "{name}");
}

#[test]
fn aliases_of_the_path_are_seen_through() {
    require_root!("aliases_of_the_path_are_seen_through");
    let scene = Scene::new(&[(
        "hard link",
        "evt.type in (link, linkat) and (evt.arg.oldpath = DIR/secret or fs.path.target = DIR/secret)",
    )]);
    let dir = &scene.dir;
    let link = dir.join("notes");
    symlink(scene.secret(), &link).expect("made");
    let folder = dir.join("folder");
    symlink(dir, &folder).expect("made");
    let show = |path: &Path| path.display().to_string();
    let aliases = [
        ("by-link", PathBuf::from("/"), show(&link)),
        ("by-folder-link", "/".into(), show(&folder.join("secret"))),
        ("by-dots", "/".into(), format!("{}/folder/../vault/./secret", show(dir))),
        ("by-slashes", "/".into(), show(&scene.secret()).replace('/', "//")),
        ("by-relative", dir.clone(), "secret".into()),
        ("by-parents", "/usr/bin".into(), format!("../../{}", show(&scene.secret()))),
        ("by-proc-root", "/".into(), format!("/proc/self/root{}", show(&scene.secret()))),
        ("by-proc-cwd", dir.clone(), "/proc/self/cwd/secret".into()),
    ];
    for (name, from, path) in &aliases {
        cat(name, |command| {
            command.current_dir(from).arg(path);
        });
        let alert = scene.caught("secret", &format!("{name} "));
        assert_eq!(field(&alert, "fd.realpath"), show(&scene.secret()), "{name}");
    }
    // The alias of a hard link cannot be told from the file, its making can.
    fs::hard_link(scene.secret(), dir.join("copy")).expect("made");
    scene.caught("hard link", &show(&scene.secret()));
    scene.end();
}

#[test]
fn the_directory_a_path_starts_from_is_followed() {
    require_root!("the_directory_a_path_starts_from_is_followed");
    let scene = Scene::new(&[]);
    in_child(|| {
        let dir = open(&scene.dir, OFlag::O_PATH, Mode::empty())?;
        fchdir(&dir)?;
        open("secret", OFlag::O_RDONLY, Mode::empty())?;
        chdir("/")?;
        openat(&dir, "./secret", OFlag::O_WRONLY, Mode::empty())?;
        Ok(())
    });
    for flags in ["O_RDONLY", "O_WRONLY"] {
        let alert = scene.caught("secret", flags);
        assert_eq!(field(&alert, "fd.realpath"), scene.secret().display().to_string());
    }
    scene.end();
}

/// Calls on names give no descriptor: where their directory lies is looked up, also for a process that is gone by then.
#[test]
fn a_linked_folder_hides_no_removal_and_no_renaming() {
    require_root!("a_linked_folder_hides_no_removal_and_no_renaming");
    let scene = Scene::new(&[
        ("removed", "evt.type in (unlink, unlinkat) and fs.path.name startswith DIR/prey"),
        ("really removed", "evt.type in (unlink, unlinkat) and fs.path.realname startswith DIR/prey"),
        ("renamed", "evt.type in (rename, renameat, renameat2) and fs.path.source = DIR/secret"),
        ("put in place", "evt.type in (rename, renameat, renameat2) and fs.path.target = DIR/secret"),
        ("opened up", "evt.type in (chmod, fchmodat) and fs.path.name = DIR/secret"),
    ]);
    let dir = scene.dir.clone();
    let prey = |name: &str| {
        let path = dir.join(format!("prey-{name}"));
        fs::write(&path, "p").expect("written");
        path
    };
    let (folder, name) = (dir.with_file_name("folder"), dir.with_file_name("name"));
    symlink(&dir, &folder).expect("made");
    symlink(scene.secret(), &name).expect("made");
    for victim in ["gone", "dots", "root"] {
        prey(victim);
    }
    in_child(|| unlink(&folder.join("prey-gone")));
    in_child(|| {
        chdir(&folder)?;
        unlink("../folder/../vault/prey-dots")
    });
    let inside = format!("/proc/self/root{}/prey-root", folder.display());
    in_child(|| unlink(inside.as_str()));
    for (victim, given) in [("gone", "folder/"), ("dots", "vault/"), ("root", "/proc/self/root")] {
        scene.caught("removed", &format!("prey-{victim}"));
        scene.caught("really removed", given);
    }
    in_child(|| renameat(AT_FDCWD, &folder.join("secret"), AT_FDCWD, &folder.join("away")));
    in_child(|| renameat(AT_FDCWD, &folder.join("away"), AT_FDCWD, &folder.join("secret")));
    scene.caught("renamed", "folder/away");
    scene.caught("put in place", "folder/away");
    in_child(|| fchmodat(AT_FDCWD, &name, Mode::S_IRWXO, FchmodatFlags::FollowSymlink));
    scene.caught("opened up", "S_IROTH");
    // Seen from another root, by a process that is asked itself.
    prey("jailed");
    symlink(".", dir.join("here")).expect("made");
    in_child(|| {
        chroot(&dir)?;
        chdir("/")?;
        unlink("/here/prey-jailed")?;
        // SAFETY: sleeps, and nothing else.
        unsafe { libc::usleep(300_000) };
        Ok(())
    });
    scene.caught("really removed", "/here/prey-jailed");
    let twice = scene.agent.alerts().iter().filter(|alert| alert["rule"] == "removed").count();
    assert_eq!(twice, 4, "one alert for a rule and an event");
    scene.end();
}

/// One thread opens, another rewrites the name in memory all the time: what was opened is what counts.
#[test]
fn a_name_rewritten_during_the_call_hides_nothing() {
    const ROUNDS: usize = 20_000;
    require_root!("a_name_rewritten_during_the_call_hides_nothing");
    let scene = Scene::new(&[]);
    let mut names = [text(scene.secret()), text(scene.dir.join("public"))].map(CString::into_bytes_with_nul);
    let [secret, public] = &mut names;
    let inode = fs::metadata(scene.secret()).expect("it exists").ino();
    // The last component has the same length, so the rewriting is byte by byte.
    assert_eq!(secret.len(), public.len());
    let shared: Vec<AtomicU8> = secret.iter().copied().map(AtomicU8::new).collect();
    let stop = AtomicBool::new(false);
    let mut opened = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for name in [&*public, &*secret] {
                    for (slot, byte) in shared.iter().zip(name) {
                        slot.store(*byte, Ordering::Relaxed);
                    }
                }
            }
        });
        for _ in 0..ROUNDS {
            // SAFETY: the name always ends with its NUL; its bytes may change, which is the attack.
            let fd = unsafe { libc::open(shared.as_ptr().cast(), libc::O_RDONLY) };
            if fd < 0 {
                continue;
            }
            // SAFETY: a descriptor that nobody else knows.
            let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
            let found = file.metadata().expect("an open file has metadata").ino();
            opened += usize::from(found == inode);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(opened > 0, "the attack never got the secret");
    let real = scene.secret().display().to_string();
    let caught = |scene: &Scene| {
        scene.agent.alerts().iter().filter(|alert| field(alert, "fd.realpath") == real).count()
    };
    let mut scene = scene;
    let mut alerts = 0;
    for _ in 0..200 {
        alerts = caught(&scene);
        if alerts >= opened {
            break;
        }
        thread::sleep(std::time::Duration::from_millis(50));
    }
    let lost = scene.agent.metric("falcosecurity_scap_n_drops_total");
    assert!(alerts == opened || lost > 0.0, "{opened} opens of the secret, {alerts} alerts, {lost} lost");
    scene.agent.until("alive", |_| true);
    scene.end();
}

#[test]
fn another_root_or_mount_hides_nothing() {
    require_root!("another_root_or_mount_hides_nothing");
    let scene = Scene::new(&[
        ("bind", "evt.type = mount and evt.arg.flags contains BIND and evt.arg.dev startswith DIR"),
        ("namespace", "evt.type = unshare and evt.arg.flags contains CLONE_NEWNS"),
    ]);
    let (dir, place) = (scene.dir.clone(), scene.dir.join("place"));
    fs::create_dir(&place).expect("made");
    in_child(|| {
        chroot(&dir)?;
        open("/secret", OFlag::O_RDONLY, Mode::empty()).map(drop)
    });
    let alert = scene.caught("secret", "name=/secret");
    assert_eq!(field(&alert, "fd.realpath"), dir.join("secret").display().to_string());
    let aliased = place.join("secret");
    in_child(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        mount(Some(&dir), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        open(&aliased, OFlag::O_RDONLY, Mode::empty()).map(drop)
    });
    scene.caught("namespace", "CLONE_NEWNS");
    // A second place of the same files has a name of its own; that it was made is what tells.
    scene.caught("bind", "BIND");
    scene.end();
}

#[test]
fn files_of_an_overlay_are_known_by_layer_and_place() {
    require_root!("files_of_an_overlay_are_known_by_layer_and_place");
    let scene = Scene::new(&[(
        "dropped",
        "evt.type in (open, openat) and fd.name = DIR/merged/tool and fd.is_upper_layer = true",
    )]);
    let dir = scene.dir.clone();
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(dir.join(name)).expect("made");
    }
    let show = dir.display();
    let options = format!("lowerdir={show}/lower,upperdir={show}/upper,workdir={show}/work");
    let (merged, tool) = (dir.join("merged"), dir.join("merged/tool"));
    in_child(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        // An overlay cannot lie on another one: the layers get a file system of their own.
        mount(Some("layers"), &dir, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        for name in [c"lower", c"upper", c"work", c"merged"] {
            let path = dir.join(OsStr::from_bytes(name.to_bytes()));
            mkdir(&path, Mode::S_IRWXU)?;
        }
        mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
        open(&tool, OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRWXU).map(drop)
    });
    scene.caught("dropped", "merged/tool");
    scene.end();
}

#[test]
fn deleted_and_passed_files_keep_their_name() {
    require_root!("deleted_and_passed_files_keep_their_name");
    let scene = Scene::new(&[("passed", "evt.type = read and fd.name = DIR/secret and proc.name != cat")]);
    let file = File::open(scene.secret()).expect("it opens");
    let target = format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd());
    cat("by-descriptor", |command| {
        command.arg(&target);
    });
    scene.caught("secret", "by-descriptor ");
    // A process that never opened the file reads it from a descriptor it was sent.
    let (here, there) = nix::sys::socket::socketpair(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Stream,
        None,
        nix::sys::socket::SockFlag::empty(),
    )
    .expect("a pair");
    let descriptors = [file.as_raw_fd()];
    sendmsg::<()>(
        here.as_raw_fd(),
        &[IoSlice::new(b"x")],
        &[ControlMessage::ScmRights(&descriptors)],
        MsgFlags::empty(),
        None,
    )
    .expect("sent");
    in_child(|| {
        // SAFETY: closes the child's copy of the descriptor it must not use.
        unsafe { libc::close(descriptors[0]) };
        let (mut byte, mut room) = ([0u8; 1], nix::cmsg_space!([RawFd; 1]));
        let mut parts = [IoSliceMut::new(&mut byte)];
        let message = recvmsg::<()>(there.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::empty())?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                let mut data = [0u8; 1];
                // SAFETY: the buffer outlives the call.
                unsafe { libc::read(received[0], data.as_mut_ptr().cast(), 1) };
            }
        }
        Ok(())
    });
    scene.caught("passed", "read");
    let deleted = scene.dir.join("gone");
    fs::rename(scene.secret(), &deleted).expect("renamed");
    fs::write(scene.secret(), "s").expect("written");
    let held = File::open(scene.secret()).expect("it opens");
    fs::remove_file(scene.secret()).expect("removed");
    let target = format!("/proc/{}/fd/{}", process::id(), held.as_raw_fd());
    cat("by-deleted", |command| {
        command.arg(&target);
    });
    scene.caught("secret", "by-deleted ");
    scene.end();
}

#[test]
fn odd_names_are_shown_whole_and_safe() {
    require_root!("odd_names_are_shown_whole_and_safe");
    let scene = Scene::new(&[
        ("odd", "evt.type in (open, openat) and fd.name startswith DIR/odd"),
        ("long", "evt.type in (open, openat) and fd.name endswith /bottom"),
    ]);
    let names: [&[u8]; 4] =
        [b"odd\nname\"}{", b"odd\xff\xfe\x80", b"odd\x1b[31mred\x07", "odd ünïcode\u{202e}".as_bytes()];
    for name in names {
        fs::write(scene.dir.join(OsStr::from_bytes(name)), "x").expect("written");
    }
    // Every line parsed as JSON, or the harness had failed.
    for part in ["odd\\nname", "odd\u{fffd}", "odd\\u001b[31mred", "ünïcode"] {
        scene.caught("odd", part);
    }
    // A component of the longest length, then a path as long as the kernel takes.
    let component = "c".repeat(255);
    fs::write(scene.dir.join("odd").with_file_name(format!("odd{}", &component[3..])), "x").expect("written");
    scene.caught("odd", &component[3..]);
    let mut deep = scene.dir.clone();
    while deep.as_os_str().len() + 256 + "/bottom".len() < 4095 {
        deep.push(&component);
    }
    let rest = 4095 - deep.as_os_str().len() - "/bottom".len() - 1;
    if rest > 1 {
        deep.push("d".repeat(rest - 1));
    }
    fs::create_dir_all(&deep).expect("made");
    let bottom = deep.join("bottom");
    assert!(bottom.as_os_str().len() >= 4090, "{}", bottom.as_os_str().len());
    fs::write(&bottom, "x").expect("written");
    let alert = scene.caught("long", "/bottom");
    assert!(field(&alert, "fd.name").len() >= 4080);
    scene.end();
}

/// Opens a file often enough that the kernel half rejects it by what it remembers of its path.
fn make_familiar(open: impl Fn()) {
    for round in 0..4 {
        (0..50).for_each(|_| open());
        thread::sleep(std::time::Duration::from_millis(if round == 0 { 100 } else { 20 }));
    }
}

#[test]
fn a_path_that_was_harmless_is_judged_anew_when_it_leads_elsewhere() {
    require_root!("a_path_that_was_harmless_is_judged_anew_when_it_leads_elsewhere");
    let opens = "evt.type in (open, openat)";
    let scene = Scene::new(&[
        ("watched", &format!("{opens} and fd.name startswith DIR/watched/")),
        ("written", &format!("{opens} and evt.is_open_write = true and fd.name = DIR/plain/file")),
        ("jailed", &format!("{opens} and fd.name = /plain/jailed")),
    ]);
    let dir = &scene.dir;
    let (plain, watched) = (dir.join("plain"), dir.join("watched"));
    fs::create_dir(&plain).expect("made");
    for name in ["file", "kept", "jailed"] {
        fs::write(plain.join(name), "f").expect("written");
    }
    let link = dir.join("link");
    symlink(plain.join("kept"), &link).expect("made");
    let folder = open(&plain, OFlag::O_PATH, Mode::empty()).expect("opened");
    let relative = || drop(openat(&folder, "kept", OFlag::O_RDONLY, Mode::empty()).expect("opened"));
    make_familiar(|| {
        drop(File::open(plain.join("file")).expect("opened"));
        drop(File::open(plain.join("jailed")).expect("opened"));
        drop(File::open(&link).expect("opened"));
        drop(File::open(dir.join("none")).expect_err("there is none"));
        relative();
    });
    // Other flags, same path.
    drop(File::options().append(true).open(plain.join("file")).expect("opened"));
    scene.caught("written", "/plain/file");
    // The same link, the same failing name, now lead to the secret.
    fs::remove_file(&link).expect("removed");
    symlink(scene.secret(), &link).expect("made");
    drop(File::open(&link).expect("opened"));
    scene.caught("secret", "/link");
    // The same descriptor and name, under a new name of the directory.
    fs::rename(&plain, &watched).expect("renamed");
    relative();
    scene.caught("watched", "/watched/kept");
    // The same text from the same place under another root.
    fs::rename(&watched, &plain).expect("renamed");
    let root = text(dir);
    in_child(|| {
        chroot(root.as_c_str())?;
        chdir("/")?;
        drop(open("plain/jailed", OFlag::O_RDONLY, Mode::empty())?);
        Ok(())
    });
    scene.caught("jailed", "/plain/jailed");
    scene.end();
}

#[test]
fn disguised_programs_are_known() {
    require_root!("disguised_programs_are_known");
    let scene = Scene::new(&[
        ("big", "evt.type in (execve, execveat) and proc.args startswith needle"),
        (
            "loader",
            "evt.type in (open, openat) and fd.name endswith /bin/cat and proc.name startswith ld-linux",
        ),
    ]);
    let mut arguments = vec![OsString::from("needle")];
    arguments.extend((0..15).map(|_| OsString::from_vec(vec![b'a'; 128 * 1024 - 1])));
    let status = Command::new("/bin/true").args(&arguments).status().expect("it runs");
    assert!(status.success());
    let alert = scene.caught("big", "needle");
    assert!(field(&alert, "proc.cmdline").len() > 3000, "what was kept is shown");
    // A program run by the loader, which is what the kernel executes.
    let loader = if cfg!(target_arch = "aarch64") {
        "/lib/ld-linux-aarch64.so.1"
    } else {
        "/lib64/ld-linux-x86-64.so.2"
    };
    let loader = fs::canonicalize(loader).expect("the loader is there");
    let status =
        Command::new(loader).arg("/bin/cat").arg(scene.secret()).stdout(process::Stdio::null()).status();
    assert!(status.expect("it runs").success());
    scene.caught("loader", "/bin/cat");
    scene.caught("secret", "ld-linux");
    scene.end();
}

#[test]
fn a_program_that_calls_itself_something_else_is_known() {
    const NAME: &str = "a_program_that_calls_itself_something_else_is_known";
    require_root!(NAME);
    let Ok(python) = fs::canonicalize("/usr/bin/python3") else { skip!(NAME, "`python3` is not installed") };
    let scene = Scene::new(&[(
        "renamed",
        "evt.type in (open, openat) and fd.name = DIR/public and proc.name = python3",
    )]);
    let script = format!(
        "import ctypes\nctypes.CDLL(None).prctl(15, b'sshd', 0, 0, 0)\nopen('{}').read()\n",
        scene.dir.join("public").display()
    );
    let own = scene.dir.join("python3");
    symlink(python, &own).expect("made");
    assert!(Command::new(&own).args(["-c", &script]).status().expect("it runs").success());
    scene.caught("renamed", "python3");
    scene.end();
}

#[test]
fn a_storm_that_overflows_the_ring_is_reported() {
    require_root!("a_storm_that_overflows_the_ring_is_reported");
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let rules = scratch.path().join("rules.yaml");
    let text = "- rule: fork\n  desc: d\n  priority: DEBUG\n  output: o\n  \
                condition: evt.type in (clone, clone3, fork, vfork) and proc.name = nothing\n";
    fs::write(&rules, text).expect("the rules are written");
    let mut agent = Agent::start_with(&rules, "kernel: {ring_bytes: 65536}\n");
    // Whether a storm outruns the agent depends on the machine; one that is kept from running loses for certain.
    agent.signal(Signal::SIGSTOP);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    in_child(|| Ok(()));
                }
            });
        }
    });
    agent.signal(Signal::SIGCONT);
    // What else the machine does is lost as well, and reported first or later.
    let alert = agent.wait_for("the loss", |alert| {
        alert.get("rule").and_then(Value::as_str) == Some("Rampart internal: event loss")
            && ["process", "exec", "scalar"].contains(&field(alert, "family"))
    });
    assert_eq!(field(&alert, "cause"), "ring_full");
    // The alert is out before the counters are shown.
    agent.until("told of the loss", |agent| agent.metric("rampart_events_ring_full_total") > 0.0);
    // Every event is in exactly one of the four, once the counters have been read again.
    agent.until("settled", |agent| agent.metric("rampart_events_unexplained") == 0.0);
    assert!(agent.stop().success());
}
