//! The whole agent beside real container runtimes: an alert of a container says what the runtime knows of it, also
//! when the container's first process raises it.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::{fs, path::Path};

use rampart_tests::{
    agent::Agent,
    cri,
    image::Image,
    require_root,
    runtime::{Containerd, PODMAN_RUN, Podman, installed, run},
    skip,
};
use serde_json::Value;
use tempfile::TempDir;

/// Rules of which one needs metadata to be judged, and one only to be shown.
const RULES: &str = "
- rule: Privileged read
  desc: d
  condition: evt.type in (open, openat) and fd.name = /etc/secret and container.id != host and container.privileged = true
  output: read type=%container.type image=%container.image.repository:%container.image.tag mounts=%container.mounts
    mount=%container.mount.dest[SOURCE] pid=%container.host_pid net=%container.host_network full=%container.full_id
    pod=%k8s.pod.name/%k8s.ns.name/%k8s.pod.uid label=%k8s.pod.label[app] sandbox=%k8s.pod.full_sandbox_id
    digest=%container.image.digest own=%container.label[own] user=%user.name
  priority: WARNING
- rule: Unprivileged read
  desc: d
  condition: evt.type in (open, openat) and fd.name = /etc/secret and container.id != host
  output: read type=%container.type image=%container.image mounts=%container.mounts user=%user.name
  priority: NOTICE
";

struct Bench {
    image: Image,
    source: TempDir,
    scratch: TempDir,
}

impl Bench {
    /// Makes the image; `None` without what it takes.
    fn make() -> Option<Self> {
        let scratch = tempfile::tempdir().expect("a directory");
        let image = Image::make(scratch.path())?;
        Some(Self { image, source: tempfile::tempdir().expect("a directory"), scratch })
    }

    /// An agent that knows one socket.
    fn agent(&self, settings: &str) -> Agent {
        let rules = self.scratch.path().join("rules.yaml");
        let text = RULES.replace("SOURCE", &self.source().display().to_string());
        fs::write(&rules, text).expect("the rules are written");
        Agent::start_with(&rules, settings)
    }

    /// What the containers mount.
    fn source(&self) -> &Path {
        self.source.path()
    }
}

fn field<'a>(alert: &'a Value, name: &str) -> Option<&'a Value> {
    alert.get("output_fields")?.get(name).filter(|value| !value.is_null())
}

fn text<'a>(alert: &'a Value, name: &str) -> &'a str {
    field(alert, name).and_then(Value::as_str).unwrap_or("-")
}

/// What the containers run: reads that go on, because a runtime may be too busy with the start to answer in time
/// for the first.
const READS: [&str; 3] = ["/bin/sh", "-c", "while :; do cat /etc/secret; sleep 0.2; done"];

/// The first alert of a rule about the container of that id that knows the image.
#[expect(clippy::print_stdout, reason = "how long it waited is worth reading")]
fn alert_of(agent: &Agent, rule: &str, id: &str) -> Value {
    let short = id.get(..12).unwrap_or(id);
    let of = |alert: &Value| text(alert, "container.id") == short;
    let first = agent.wait_for("any", |alert| of(alert));
    println!("{rule}: the first alert waited {:?}", first.get("container_metadata").map(Value::to_string));
    let alert = agent.wait_for(rule, |alert| {
        alert.get("rule").and_then(Value::as_str) == Some(rule)
            && of(alert)
            && text(alert, "container.name") != "-"
    });
    let outcome = alert.get("container_metadata").and_then(|wait| wait.get("outcome")?.as_str());
    assert!(matches!(outcome, None | Some("arrived")), "{alert}");
    alert
}

#[test]
fn podman_tells_of_its_containers() {
    const NAME: &str = "podman_tells_of_its_containers";
    require_root!(NAME);
    if !installed("podman") || !installed("runc") {
        skip!(NAME, "podman or runc is not installed");
    }
    let Some(bench) = Bench::make() else { skip!(NAME, "no busybox for the image") };
    let podman = Podman::start(&bench.image);
    let agent = bench.agent(&format!(
        "containers: {{docker_sockets: [], cri_sockets: [], containerd_sockets: [], podman_sockets: ['{}']}}\n",
        podman.socket().display()
    ));
    let start = |name: &str, more: &[&str]| {
        let mount = format!("{}:/host:ro", bench.source().display());
        let mut command = podman.command();
        command.args(["run", "-d", "--name", name, "-v", &mount, "--label", "own=x"]);
        run(command.args(PODMAN_RUN).args(more).args(["localhost/test:1"]).args(READS))
    };
    let id = start("priv", &["--privileged"]);
    let alert = alert_of(&agent, "Privileged read", &id);
    assert_eq!(text(&alert, "container.name"), "priv");
    assert_eq!(text(&alert, "container.type"), "podman");
    assert_eq!(text(&alert, "container.full_id"), id);
    assert_eq!(text(&alert, "container.image.repository"), "localhost/test");
    assert_eq!(text(&alert, "container.image.tag"), "1");
    assert!(text(&alert, "container.image.digest").starts_with("sha256:"), "{alert}");
    assert_eq!(text(&alert, &format!("container.mount.dest[{}]", bench.source().display())), "/host");
    assert_eq!(text(&alert, "container.label[own]"), "x");
    assert_eq!(field(&alert, "container.host_network"), Some(&Value::Bool(true)));
    assert_eq!(field(&alert, "container.host_pid"), Some(&Value::Bool(false)));
    let id = start("plain", &["--user", "4711:4711"]);
    let alert = alert_of(&agent, "Unprivileged read", &id);
    assert_eq!(
        (text(&alert, "container.name"), text(&alert, "container.image")),
        ("plain", "localhost/test:1")
    );
    assert!(agent.metric("rampart_container_lookups_total{outcome=\"found\"}") >= 2.0);
    assert!(agent.stop().success());
}

#[test]
fn containerd_tells_of_containers_of_its_own_clients() {
    const NAME: &str = "containerd_tells_of_containers_of_its_own_clients";
    require_root!(NAME);
    if !installed("containerd") || !installed("runc") {
        skip!(NAME, "containerd or runc is not installed");
    }
    let Some(bench) = Bench::make() else { skip!(NAME, "no busybox for the image") };
    let containerd = Containerd::start(&bench.image);
    let agent = bench.agent(&format!(
        "containers: {{docker_sockets: [], cri_sockets: [], podman_sockets: [], containerd_sockets: ['{}'], \
         containerd_tasks: ['{}']}}\n",
        containerd.socket().display(),
        containerd.tasks().display()
    ));
    let start = |name: &str, more: &[&str]| {
        let mount = format!("type=bind,src={},dst=/host,options=rbind:ro", bench.source().display());
        let mut command = containerd.ctr("default");
        command.args(["run", "-d", "--snapshotter", "native", "--net-host", "--mount", &mount]);
        run(command.args(more).args([
            "--label",
            "own=x",
            "localhost/test:1",
            name,
            "/bin/cat",
            "/etc/secret",
        ]));
    };
    start("with-a-long-name", &["--privileged"]);
    let alert = alert_of(&agent, "Privileged read", "with-a-long-name");
    assert_eq!(text(&alert, "container.name"), "with-a-long-name");
    assert_eq!(text(&alert, "container.type"), "containerd");
    assert_eq!(text(&alert, "container.image.repository"), "localhost/test");
    assert!(text(&alert, "container.image.digest").starts_with("sha256:"), "{alert}");
    assert_eq!(text(&alert, &format!("container.mount.dest[{}]", bench.source().display())), "/host");
    assert_eq!(text(&alert, "container.label[own]"), "x");
    assert_eq!(field(&alert, "container.host_network"), Some(&Value::Bool(true)));
    start("plain", &[]);
    let alert = alert_of(&agent, "Unprivileged read", "plain");
    assert_eq!(text(&alert, "container.image"), "localhost/test:1");
    assert!(agent.stop().success());
}

#[test]
fn containers_of_pods_are_known_with_their_pod() {
    const NAME: &str = "containers_of_pods_are_known_with_their_pod";
    const UID: &str = "63b3ebfc-2890-11e9-8154-16bf8ef8d9dc";
    require_root!(NAME);
    if !installed("containerd") || !installed("runc") {
        skip!(NAME, "containerd or runc is not installed");
    }
    let Some(bench) = Bench::make() else { skip!(NAME, "no busybox for the image") };
    let containerd = Containerd::start(&bench.image);
    let agent = bench.agent(&format!(
        "containers: {{docker_sockets: [], podman_sockets: [], containerd_sockets: [], cri_sockets: ['{}']}}\n",
        containerd.socket().display()
    ));
    let pod = cri::Pod { name: "web-1", namespace: "shop", uid: UID, command: &READS, mount: bench.source() };
    let (sandbox, container) = cri::start(&containerd.socket(), &pod);
    let alert = alert_of(&agent, "Privileged read", &container);
    assert_eq!(text(&alert, "container.name"), "web");
    assert_eq!(text(&alert, "container.type"), "containerd");
    assert_eq!(text(&alert, "container.full_id"), container);
    assert_eq!(text(&alert, "container.image.repository"), "localhost/test");
    assert_eq!(text(&alert, &format!("container.mount.dest[{}]", bench.source().display())), "/host");
    assert_eq!((text(&alert, "k8s.pod.name"), text(&alert, "k8s.ns.name")), ("web-1", "shop"));
    assert_eq!((text(&alert, "k8s.pod.uid"), text(&alert, "k8s.pod.label[app]")), (UID, "web"));
    assert_eq!(text(&alert, "k8s.pod.full_sandbox_id"), sandbox);
    assert_eq!(field(&alert, "container.host_network"), Some(&Value::Bool(true)));
    assert!(agent.stop().success());
}
