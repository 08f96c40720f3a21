//! Real container runtimes with everything they keep in a directory of their own. Dropping one ends what it runs.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::image::Image;

/// Longest wait for a runtime to come up or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a program is installed.
pub fn installed(program: &str) -> bool {
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/bin", "/sbin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).exists())
}

/// Podman and its API service.
pub struct Podman {
    dir: TempDir,
    service: Child,
}

impl Podman {
    /// Starts the service and imports `image` as `localhost/test:1`.
    pub fn start(image: &Image) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut service = podman(dir.path());
        service
            .args(["system", "service", "--time=0"])
            .arg(format!("unix://{}", socket(dir.path()).display()));
        let service = spawn(service, &dir.path().join("log"));
        let podman = Self { dir, service };
        run(podman.command().arg("import").arg(&image.layer).arg("localhost/test:1"));
        until_socket(&podman.socket());
        podman
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        socket(self.dir.path())
    }

    /// A `podman` command on this instance.
    pub fn command(&self) -> Command {
        podman(self.dir.path())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _gone_already = self.command().args(["rm", "-f", "-a", "-t", "0"]).output();
        end(&mut self.service);
        sweep(self.dir.path(), &["libpod_parent"]);
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("podman.sock")
}

fn podman(dir: &Path) -> Command {
    let mut command = Command::new("podman");
    command.arg("--root").arg(dir.join("root")).arg("--runroot").arg(dir.join("run"));
    command.args(["--cgroup-manager", "cgroupfs", "--storage-driver", "vfs", "--events-backend", "file"]);
    command.args(["--runtime", "runc"]).arg("--tmpdir").arg(dir.join("tmp"));
    command
}

/// Options of `podman run` without which a container does not start in a confined environment.
pub const PODMAN_RUN: [&str; 6] =
    ["--network", "host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];

/// containerd, with its Kubernetes plugin.
pub struct Containerd {
    dir: TempDir,
    daemon: Child,
}

impl Containerd {
    /// Starts it and imports `image` for its own clients and for Kubernetes.
    pub fn start(image: &Image) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path().display();
        let config = format!(
            "version = 2\nroot = '{at}/root'\nstate = '{at}/state'\n\
             [grpc]\naddress = '{at}/containerd.sock'\n\
             [plugins.'io.containerd.internal.v1.opt']\npath = '{at}/opt'\n\
             [plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'localhost/pause:1'\n\
             disable_apparmor = true\nrestrict_oom_score_adj = true\n\
             [plugins.'io.containerd.grpc.v1.cri'.cni]\nbin_dir = '{at}/none'\nconf_dir = '{at}/none'\n\
             [plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'native'\n"
        );
        fs::write(dir.path().join("config.toml"), config).expect("the configuration is written");
        let mut daemon = Command::new("containerd");
        daemon.arg("-c").arg(dir.path().join("config.toml"));
        let daemon = spawn(daemon, &dir.path().join("log"));
        let containerd = Self { dir, daemon };
        until_socket(&containerd.socket());
        for namespace in ["default", "k8s.io"] {
            let mut import = containerd.ctr(namespace);
            run(import.args(["images", "import", "--snapshotter", "native"]).arg(&image.archive));
        }
        containerd
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("containerd.sock")
    }

    /// Where it keeps its tasks.
    pub fn tasks(&self) -> PathBuf {
        self.dir.path().join("state/io.containerd.runtime.v2.task")
    }

    /// A `ctr` command on this instance.
    pub fn ctr(&self, namespace: &str) -> Command {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(self.socket()).args(["-n", namespace]);
        command
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for namespace in ["default", "k8s.io"] {
            let list = self.ctr(namespace).args(["tasks", "ls", "-q"]).output();
            let names =
                list.map(|list| String::from_utf8_lossy(&list.stdout).into_owned()).unwrap_or_default();
            for name in names.lines() {
                let _gone_already = self.ctr(namespace).args(["tasks", "rm", "-f", name]).output();
            }
        }
        end(&mut self.daemon);
        sweep(self.dir.path(), &["default", "kubepods"]);
    }
}

/// Takes back what a runtime leaves: mounts below its directory and empty control groups of those names.
fn sweep(dir: &Path, groups: &[&str]) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let rows = || mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    for row in rows().collect::<Vec<_>>().into_iter().rev() {
        if let [_, at, ..] = row.as_slice()
            && Path::new(at).starts_with(dir)
        {
            let _busy = umount2(*at, MntFlags::MNT_DETACH);
        }
    }
    for row in rows() {
        if let [_, at, kind, ..] = row.as_slice()
            && kind.starts_with("cgroup")
        {
            for group in groups {
                let group = Path::new(at).join(group);
                // Its last process may be about to end.
                for _ in 0..50 {
                    remove_groups(&group);
                    if !group.exists() {
                        break;
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

/// Removes a control group and those below it; one with processes stays.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _in_use = fs::remove_dir(group);
}

/// Runs a command to its end, which must be a good one.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the command runs");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn spawn(mut command: Command, log: &Path) -> Child {
    let log = File::create(log).expect("a log");
    let error = log.try_clone().expect("a log");
    command.stdin(Stdio::null()).stdout(log).stderr(error).spawn().expect("the runtime starts")
}

fn until_socket(socket: &Path) {
    let end = Instant::now() + PATIENCE;
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        assert!(Instant::now() < end, "nothing listens on `{}`", socket.display());
        thread::sleep(Duration::from_millis(20));
    }
}

fn end(child: &mut Child) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    let _gone_already = kill(Pid::from_raw(pid), Signal::SIGTERM);
    let end = Instant::now() + PATIENCE;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > end {
            let _gone_already = child.kill();
        }
        thread::sleep(Duration::from_millis(20));
    }
}
