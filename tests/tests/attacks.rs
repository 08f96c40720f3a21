//! What attackers do so that a rule does not see them, each for real against the running agent, each detected.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]
#![expect(unsafe_code, reason = "attacks are made of raw system calls")]

use std::{
    ffi::{CString, OsStr, OsString},
    fmt::Write as _,
    fs::{self, File},
    io::{IoSlice, IoSliceMut},
    os::{
        fd::{AsRawFd, RawFd},
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
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
};
use rampart_tests::{agent::Agent, require_root};
use serde_json::Value;
use tempfile::TempDir;

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
                 output: '%evt.type %fd.name %fd.realpath %proc.name %proc.pid %proc.cmdline %evt.args'\n",
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

/// Runs a closure in a child process that shares nothing which it may change; the closure must not allocate locks.
fn in_child(act: impl FnOnce() -> nix::Result<()>) {
    // SAFETY: the child runs the closure and ends without unwinding or running the parent's destructors.
    match unsafe { libc::fork() } {
        0 => {
            let code = i32::from(act().is_err());
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(code) }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for the child made above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0, "the attempt itself failed");
        }
    }
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
    let dir = text(&scene.dir);
    in_child(|| {
        // SAFETY: NUL-ended names that outlive the calls.
        unsafe {
            let fd = libc::open(dir.as_ptr(), libc::O_PATH);
            libc::fchdir(fd);
            libc::prctl(libc::PR_SET_NAME, c"by-fchdir".as_ptr());
            libc::open(c"secret".as_ptr(), libc::O_RDONLY);
            libc::chdir(c"/".as_ptr());
            libc::openat(fd, c"./secret".as_ptr(), libc::O_WRONLY);
        }
        Ok(())
    });
    let mut seen = Vec::new();
    scene.agent.wait_for("both opens", |alert| {
        let args = field(alert, "evt.args");
        if field(alert, "fd.realpath") == scene.secret().display().to_string()
            && !seen.contains(&args.to_owned())
        {
            seen.push(args.to_owned());
        }
        seen.iter().any(|args| args.contains("O_RDONLY")) && seen.iter().any(|args| args.contains("O_WRONLY"))
    });
    scene.end();
}

/// One thread opens, another rewrites the name in memory all the time: what was opened is what counts.
#[test]
fn a_name_rewritten_during_the_call_hides_nothing() {
    require_root!("a_name_rewritten_during_the_call_hides_nothing");
    const ROUNDS: usize = 20_000;
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
            // SAFETY: all-zero is a valid `stat`, and the descriptor is our own.
            let found = unsafe {
                let mut found: libc::stat = std::mem::zeroed();
                libc::fstat(fd, &raw mut found);
                libc::close(fd);
                found.st_ino
            };
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
    let mut last = 0;
    for _ in 0..200 {
        last = caught(&scene);
        if last >= opened {
            break;
        }
        thread::sleep(std::time::Duration::from_millis(50));
    }
    let lost = scene.agent.metric("falcosecurity_scap_n_drops_total");
    assert!(last == opened || lost > 0.0, "{opened} opens of the secret, {last} alerts, {lost} lost");
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
    let root = text(&dir);
    in_child(|| {
        // SAFETY: NUL-ended names that outlive the calls.
        unsafe {
            libc::chroot(root.as_ptr());
            libc::open(c"/secret".as_ptr(), libc::O_RDONLY);
        }
        Ok(())
    });
    let alert = scene.caught("secret", "name=/secret");
    assert_eq!(field(&alert, "fd.realpath"), dir.join("secret").display().to_string());
    let aliased = text(place.join("secret"));
    in_child(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        mount(Some(&dir), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        // SAFETY: a NUL-ended name that outlives the call.
        unsafe { libc::open(aliased.as_ptr(), libc::O_RDONLY) };
        Ok(())
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
    let (merged, tool) = (dir.join("merged"), text(dir.join("merged/tool")));
    in_child(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        // An overlay cannot lie on another one: the layers get a file system of their own.
        mount(Some("layers"), &dir, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        for name in [c"lower", c"upper", c"work", c"merged"] {
            let path = dir.join(OsStr::from_bytes(name.to_bytes()));
            nix::unistd::mkdir(&path, nix::sys::stat::Mode::S_IRWXU)?;
        }
        mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
        // SAFETY: a NUL-ended name that outlives the call.
        unsafe { libc::open(tool.as_ptr(), libc::O_CREAT | libc::O_WRONLY, 0o755) };
        Ok(())
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

#[test]
fn disguised_programs_are_known() {
    require_root!("disguised_programs_are_known");
    let scene = Scene::new(&[
        ("big", "evt.type in (execve, execveat) and proc.args startswith needle"),
        ("renamed", "evt.type in (open, openat) and fd.name = DIR/public and proc.name = python3"),
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
    // A program that calls itself something else.
    let script = format!(
        "import ctypes\nctypes.CDLL(None).prctl(15, b'sshd', 0, 0, 0)\nopen('{}').read()\n",
        scene.dir.join("public").display()
    );
    let python = fs::canonicalize("/usr/bin/python3").expect("python is there");
    let own = scene.dir.join("python3");
    symlink(python, &own).expect("made");
    assert!(Command::new(&own).args(["-c", &script]).status().expect("it runs").success());
    scene.caught("renamed", "python3");
    // A program run by the loader, which is what the kernel executes.
    let loader = fs::canonicalize("/lib64/ld-linux-x86-64.so.2").expect("the loader is there");
    let status =
        Command::new(loader).arg("/bin/cat").arg(scene.secret()).stdout(process::Stdio::null()).status();
    assert!(status.expect("it runs").success());
    scene.caught("loader", "/bin/cat");
    scene.caught("secret", "ld-linux");
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
    for _ in 0..40 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..250 {
                        in_child(|| Ok(()));
                    }
                });
            }
        });
        if agent.metric("falcosecurity_scap_n_drops_total") > 0.0 {
            break;
        }
    }
    let alert = agent.wait_for("the loss", |alert| {
        alert.get("rule").and_then(Value::as_str) == Some("Rampart internal: event loss")
    });
    assert_eq!(field(&alert, "cause"), "ring_full");
    assert!(["process", "exec", "scalar"].contains(&field(&alert, "family")), "{alert}");
    // Every event is in exactly one of the four, once the counters have been read again.
    agent.until("settled", |agent| {
        let of = |state: &str| agent.metric(&format!("rampart_events_{state}_total"));
        of("seen") == of("filtered") + of("emitted") + of("lost")
    });
    assert!(agent.stop().success());
}
