//! A root file system that swallows changes: an overlay of the machine's own root, kept in memory, in a mount
//! namespace of its own. Cases see every file where it belongs, and nothing they do is left afterwards.

use std::{
    env, fs,
    os::unix::{fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::{pivot_root, setsid},
};

/// Where this program lies on the stage, under the name of the generator that the cases were written for: rules see it
/// as the parent of the first process. Links to it are made in `/tmp`, which is a mount of its own in containers.
const SELF: &str = "/tmp/rampart/event-generator";
/// Devices that programs take for granted.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Builds the stage and enters it: `stage FOLDER PASSWD host ADDRESS…`, or `stage FOLDER PASSWD run COMMAND…`, whose
/// command runs beside the stage and finds it in `FOLDER/root`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [folder, passwd, part, rest @ ..] = arguments else {
        bail!("usage: stage FOLDER PASSWD (host ADDRESS… | run COMMAND…)")
    };
    let root = build(Path::new(folder), Path::new(passwd))?;
    match part.as_str() {
        "host" => {
            enter(&root)?;
            // The server outlives this process and so becomes a child of the first process: what started the
            // command must not count among the ancestors that rules look at.
            setsid().context("cannot begin a session")?;
            Command::new(SELF)
                .arg("serve")
                .args(rest)
                .spawn()
                .with_context(|| format!("cannot run `{SELF}`"))?;
            Ok(())
        }
        "run" => {
            let [program, rest @ ..] = rest else { bail!("no command was given") };
            let error = Command::new(program).args(rest).exec();
            Err(error).with_context(|| format!("cannot run `{program}`"))
        }
        other => bail!("unknown part `{other}` of the stage"),
    }
}

fn build(folder: &Path, passwd: &Path) -> Result<PathBuf> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot leave the mount namespace")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot keep mounts private")?;
    mount(Some("rampart-triggers"), folder, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .with_context(|| format!("cannot mount memory on `{}`", folder.display()))?;
    let [root, upper, work] = ["root", "upper", "work"].map(|name| folder.join(name));
    for directory in [&root, &upper, &work] {
        fs::create_dir(directory).with_context(|| format!("cannot make `{}`", directory.display()))?;
    }
    let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .context("cannot lay an overlay over the root file system")?;
    let copy = |from: &Path, to: &str| {
        let to = root.join(to.trim_start_matches('/'));
        to.parent().map(fs::create_dir_all).transpose()?;
        fs::copy(from, &to).with_context(|| format!("cannot copy `{}` to `{}`", from.display(), to.display()))
    };
    copy(&env::current_exe().context("cannot find this program's own file")?, SELF)?;
    copy(passwd, "/etc/passwd")?;
    Ok(root)
}

/// Makes the stage this process's root, with the machine's processes, devices of its own and a network of its own.
fn enter(root: &Path) -> Result<()> {
    let none: Option<&str> = None;
    let bind = |name: &str| {
        let (from, to) = (Path::new("/").join(name), root.join(name));
        mount(Some(&from), &to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
            .with_context(|| format!("cannot mount `{}`", to.display()))
    };
    let memory = |name: &str, mode: &str| {
        let to = root.join(name);
        fs::create_dir_all(&to)?;
        mount(Some("stage"), &to, Some("tmpfs"), MsFlags::empty(), Some(format!("mode={mode}").as_str()))
            .with_context(|| format!("cannot mount memory on `{}`", to.display()))
    };
    bind("proc")?;
    bind("sys")?;
    // A file that a case leaves in the machine's own `/dev` would stay.
    memory("dev", "755")?;
    memory("dev/shm", "1777")?;
    for device in DEVICES {
        let name = format!("dev/{device}");
        fs::write(root.join(&name), "").with_context(|| format!("cannot make `{name}`"))?;
        bind(&name)?;
    }
    fs::create_dir(root.join("dev/pts"))?;
    bind("dev/pts")?;
    symlink("pts/ptmx", root.join("dev/ptmx"))?;
    symlink("/proc/self/fd", root.join("dev/fd"))?;
    unshare(CloneFlags::CLONE_NEWNET).context("cannot leave the network namespace")?;
    env::set_current_dir(root).context("cannot enter the stage")?;
    pivot_root(".", ".").context("cannot make the stage the root")?;
    umount2(".", MntFlags::MNT_DETACH).context("cannot let go of the old root")?;
    env::set_current_dir("/").context("cannot enter the stage")
}
