//! What container runtimes and the API server tell.

use std::{collections::BTreeMap, sync::Arc};

use super::{CONTAINER, Fixture, exec};
use crate::{
    event::{AttrTag, build::RecordBuilder},
    state::{
        cgroup::Runtime,
        container::{Metadata, Mount, News, Owner, Pod, PodContainer, Probes, Sandbox, image::ImageName},
    },
};

const UID: &str = "63b3ebfc-2890-11e9-8154-16bf8ef8d9dc";

fn entry() -> RecordBuilder {
    let group = format!("/kubepods/besteffort/pod{UID}/{CONTAINER}");
    let mut entry = exec(50, 1, "nginx", &["nginx"]).path(AttrTag::Cgroup, &group);
    entry.header.task.vpid = 1;
    entry.header.task.pid_ns = 77;
    entry
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn metadata() -> Metadata {
    let mount = |source: &str, dest: &str, writable| Mount {
        source: source.into(),
        dest: dest.into(),
        mode: "z".into(),
        writable,
        propagation: "rprivate".into(),
    };
    let digest = format!("sha256:{}", "b".repeat(64));
    Metadata {
        runtime: Some(Runtime::Containerd),
        full_id: Some(CONTAINER.into()),
        name: Some("web".into()),
        image: ImageName::parse(&format!("reg:5000/shop/web:1.2@{digest}")),
        image_id: Some("aa".into()),
        privileged: Some(true),
        host_pid: Some(false),
        host_network: Some(true),
        host_ipc: Some(false),
        mounts: vec![mount("/var/lib/x", "/data", true), mount("/etc", "/host/etc", false)],
        ip: Some("10.1.2.3".into()),
        labels: map(&[("a", "1"), ("x", "y")]),
        probes: Probes {
            health: Some(argv(&["curl", "-f", "localhost"])),
            liveness: Some(argv(&["true"])),
            readiness: None,
        },
        pod: Some(Sandbox {
            id: "f".repeat(64),
            name: "web-1".into(),
            namespace: "shop".into(),
            uid: UID.into(),
            labels: map(&[("x", "web")]),
            ip: Some("10.1.2.3".into()),
            cni_json: Some("{}".into()),
        }),
        unsettled: false,
    }
}

fn pod(kind: &str) -> Pod {
    Pod {
        uid: UID.into(),
        name: "web-1".into(),
        namespace: "shop".into(),
        labels: map(&[("x", "web"), ("pod-template-hash", "5d4f")]),
        ip: Some("10.1.2.3".into()),
        owner: Some(Owner { kind: kind.into(), name: "web-5d4f".into(), uid: "owner-uid".into() }),
        containers: [(
            CONTAINER.to_owned(),
            PodContainer {
                name: "web".into(),
                image: ImageName::parse("shop/web:2"),
                privileged: Some(false),
                probes: Probes { readiness: Some(argv(&["sh", "-c", "ready"])), ..Probes::default() },
            },
        )]
        .into(),
    }
}

fn with(records: &[RecordBuilder], known: Option<Metadata>, pod: Option<Pod>) -> Fixture {
    let mut fixture = Fixture::new(&[]);
    fixture.state.containers.ask();
    for record in records {
        fixture.feed(record);
    }
    let containers = &mut fixture.state.containers;
    containers.take(News::Container(CONTAINER[..12].into(), known.map(Box::new)), 0);
    if let Some(pod) = pod {
        containers.take(News::Pod(Arc::new(pod)), 0);
    }
    fixture
}

/// Fixtures that together show every field of the class.
pub(super) fn everything() -> Vec<Fixture> {
    vec![
        with(&[entry()], Some(metadata()), Some(pod("ReplicaSet"))),
        with(&[entry()], None, Some(pod("ReplicationController"))),
    ]
}

#[test]
fn a_runtimes_answer_fills_the_fields() {
    with(&[entry()], Some(metadata()), None).check(&[
        ("container.id", "605439acbd4f"),
        ("container.full_id", CONTAINER),
        ("container.name", "web"),
        ("container.type", "containerd"),
        ("container.image", "reg:5000/shop/web:1.2"),
        ("container.image.repository", "reg:5000/shop/web"),
        ("container.image.tag", "1.2"),
        ("container.image.id", "aa"),
        ("container.privileged", "true"),
        ("container.host_pid", "false"),
        ("container.host_network", "true"),
        ("container.mounts", "/var/lib/x:/data:z:true:rprivate,/etc:/host/etc:z:false:rprivate"),
        ("container.ip", "10.1.2.3"),
        ("container.label[a]", "1"),
        ("container.label[none]", "-"),
        ("container.labels", "a:1,x:y"),
        ("container.healthcheck", "curl -f localhost"),
        ("container.liveness_probe", "true"),
        ("container.readiness_probe", "-"),
        ("proc.is_container_healthcheck", "false"),
        ("k8s.pod.name", "web-1"),
        ("k8s.ns.name", "shop"),
        ("k8s.pod.uid", UID),
        ("k8s.pod.sandbox_id", "ffffffffffff"),
        ("k8s.pod.label[x]", "web"),
        ("k8s.pod.labels", "x:web"),
        ("k8s.rs.name", "-"),
    ]);
}

#[test]
fn mounts_are_found_by_index_and_by_path() {
    with(&[entry()], Some(metadata()), None).check(&[
        ("container.mount[1]", "/etc:/host/etc:z:false:rprivate"),
        ("container.mount[/etc]", "/etc:/host/etc:z:false:rprivate"),
        ("container.mount.dest[/var/*]", "/data"),
        ("container.mount.source[/data]", "/var/lib/x"),
        ("container.mount.rdwr[0]", "true"),
        ("container.mount.mode[0]", "z"),
        ("container.mount.propagation[0]", "rprivate"),
    ]);
}

#[test]
fn missing_mounts_have_a_word_of_their_own() {
    let none = ["container.mount.dest[/proc*]", "container.mount.dest[7]"];
    let mut known = with(&[entry()], Some(metadata()), None);
    known.check(&none.map(|field| (field, "N/A")));
    known.path_limit = Some(1024);
    known.check(&none.map(|field| (field, "-")));
    with(&[entry()], None, None).check(&none.map(|field| (field, "-")));
}

#[test]
fn the_api_server_fills_what_the_runtime_does_not_tell() {
    with(&[entry()], None, Some(pod("ReplicaSet"))).check(&[
        ("container.name", "web"),
        ("container.image.tag", "2"),
        ("container.privileged", "false"),
        ("container.readiness_probe", "sh -c ready"),
        ("k8s.pod.name", "web-1"),
        ("k8s.pod.ip", "10.1.2.3"),
        ("k8s.rs.name", "web-5d4f"),
        ("k8s.rs.id", "owner-uid"),
        ("k8s.deployment.name", "web"),
        ("k8s.rc.name", "-"),
        ("container.mounts", "-"),
    ]);
    with(&[entry()], None, Some(pod("ReplicationController")))
        .check(&[("k8s.rc.name", "web-5d4f"), ("k8s.deployment.name", "-")]);
}

#[test]
fn the_group_alone_tells_the_pods_uid() {
    with(&[entry()], None, None).check(&[
        ("k8s.pod.uid", UID),
        ("container.full_id", CONTAINER),
        ("container.type", "-"),
        ("container.name", "-"),
        ("proc.is_container_liveness_probe", "false"),
    ]);
}

#[test]
fn probes_are_told_from_the_containers_own_processes() {
    let joins = |pid: u32, parent: u32, argv: &[&str]| {
        let group = format!("/kubepods/besteffort/pod{UID}/{CONTAINER}");
        let mut record = exec(pid, parent, argv[0], argv).path(AttrTag::Cgroup, &group);
        (record.header.task.vpid, record.header.task.pid_ns) = (pid, 77);
        record
    };
    let probe = [entry(), joins(60, 2, &["curl", "-f", "localhost"])];
    with(&probe, Some(metadata()), None)
        .check(&[("proc.is_container_healthcheck", "true"), ("proc.is_container_liveness_probe", "false")]);
    let child = [entry(), joins(60, 2, &["curl", "-f", "localhost"]), joins(61, 60, &["id"])];
    with(&child, Some(metadata()), None).check(&[("proc.is_container_healthcheck", "true")]);
    // The same command started by the container itself, and another command.
    let own = [entry(), joins(60, 50, &["curl", "-f", "localhost"])];
    with(&own, Some(metadata()), None).check(&[("proc.is_container_healthcheck", "false")]);
    let other = [entry(), joins(60, 2, &["curl", "-f", "elsewhere"])];
    with(&other, Some(metadata()), None).check(&[("proc.is_container_healthcheck", "false")]);
}
