//! Paths of every runtime, and of none.

use std::fs;

use super::{CACHE_LIMIT, CgroupCache, Container, CtrTasks, Runtime, container, container_id};

const ID: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";

fn id(path: &str) -> Option<String> {
    container_id(path.as_bytes(), &CtrTasks::Below(Vec::new()))
}

#[test]
fn runtimes_are_recognised() {
    for path in [
        format!("/docker/{ID}"),
        format!("/system.slice/docker-{ID}.scope"),
        format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"),
        format!("/kubepods/besteffort/pod1/crio-{ID}"),
        format!("/user.slice/user-1000.slice/libpod-{ID}.scope/container"),
        format!("/system.slice/nerdctl-{ID}.scope"),
    ] {
        assert_eq!(id(&path).as_deref(), Some("605439acbd4f"), "{path}");
    }
    assert_eq!(id("/lxc/web").as_deref(), Some("web"));
    assert_eq!(id("/lxc.payload.web/init.scope").as_deref(), Some("web"));
}

fn told(path: &str) -> Container {
    container(path.as_bytes(), &CtrTasks::Below(Vec::new())).expect("a container")
}

#[test]
fn the_path_tells_runtime_pod_owner_and_namespace() {
    let found = told(&format!(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod63b3ebfc_2890_11e9_8154_16bf8ef8d9dc.slice/crio-{ID}.scope"
    ));
    assert_eq!(found.runtime, Some(Runtime::CriO));
    assert_eq!(found.pod_uid.as_deref(), Some("63b3ebfc-2890-11e9-8154-16bf8ef8d9dc"));
    assert_eq!((&*found.full_id, found.owner), (ID, None));
    for path in [
        format!("/kubepods/podac04f3f2-1f2c-11e9-b015-1ebee232acfa/{ID}"),
        format!(
            "/kubepods.slice/kubepods-podac04f3f2_1f2c_11e9_b015_1ebee232acfa.slice/cri-containerd-{ID}.scope"
        ),
    ] {
        assert_eq!(told(&path).pod_uid.as_deref(), Some("ac04f3f2-1f2c-11e9-b015-1ebee232acfa"), "{path}");
    }
    let file =
        told(&format!("/kubepods-burstable-podbd12dd3393227d950605a2444b13c27a.slice:cri-containerd:{ID}"));
    assert_eq!(file.pod_uid.as_deref(), Some("bd12dd3393227d950605a2444b13c27a"));
    assert_eq!(file.runtime, Some(Runtime::Containerd));
    let rootless = told(&format!(
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"
    ));
    assert_eq!((rootless.owner, rootless.runtime), (Some(1000), Some(Runtime::Podman)));
    let ctr = container(b"/moby/web-server-number-1", &CtrTasks::Any).expect("a container");
    assert_eq!((&*ctr.id, &*ctr.full_id), ("web-server-n", "web-server-number-1"));
    assert_eq!(ctr.namespace.as_deref(), Some("moby"));
    assert_eq!(told(&format!("/docker/{ID}")).runtime, Some(Runtime::Docker));
    assert_eq!(told(&format!("/ecs/task/{ID}")).runtime, None);
}

#[test]
fn runtimes_that_name_their_containers() {
    for (path, name, runtime) in [
        ("/machine.slice/machine-web\\x2d1.scope", "web-1", Runtime::Nspawn),
        ("/machine.slice/systemd-nspawn@db.service/payload/init.scope", "db", Runtime::Nspawn),
        ("/machine.slice/machine-lxc\\x2d7\\x2dweb.scope/init", "7\\x2dweb", Runtime::LibvirtLxc),
        ("/machine/web.libvirt-lxc", "web", Runtime::LibvirtLxc),
        ("/libvirt/lxc/web", "web", Runtime::Lxc),
        ("/system.slice/bpm-job.scope", "job", Runtime::Bpm),
        ("/bpm-job", "job", Runtime::Bpm),
        ("/garden/e83e22b1-7f3a-4c7d-6f2e-1b7a", "e83e22b1-7f3", Runtime::Garden),
    ] {
        let found = told(path);
        assert_eq!((&*found.id, found.runtime), (name, Some(runtime)), "{path}");
    }
    for path in [
        "/machine.slice/systemd-nspawn@db.service/supervisor",
        "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
        &format!("/machine.slice/libpod-conmon-{ID}.scope"),
        &format!("/machine.slice/machine-libpod_pod_{ID}.slice"),
    ] {
        assert_eq!(id(path), None, "{path}");
    }
}

#[test]
fn a_group_inside_a_container_belongs_to_it() {
    assert_eq!(id(&format!("/docker/{ID}/system.slice/sshd.service")).as_deref(), Some("605439acbd4f"));
    let inner = "7951fb549ab99e0722a949b6c121634e1f3a36b5bacbe5392991e3b12251e6b8";
    assert_eq!(id(&format!("/docker/{ID}/kubelet/pod1/{inner}")).as_deref(), Some("7951fb549ab9"));
}

#[test]
fn ordinary_groups_are_the_host() {
    for path in ["/", "", "/user.slice/user-0.slice/session-1.scope", "/init.scope", "/lxc/x.service"] {
        assert_eq!(id(path), None, "{path}");
    }
    assert_eq!(id(&format!("/docker/{ID}00")), None);
}

#[test]
fn two_level_groups_need_a_task() {
    // Two-level groups of programs that are no container runtime.
    let path = b"/batch/3c5dfd6f522e0d4f8a3834551e3e5bfa";
    assert_eq!(container_id(path, &CtrTasks::default()), None);
    assert_eq!(container_id(path, &CtrTasks::Any).as_deref(), Some("3c5dfd6f522e"));
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(root.path().join("default/web-1")).expect("a task directory");
    let tasks = CtrTasks::Below(vec![root.path().to_owned()]);
    assert_eq!(container_id(b"/default/web-1", &tasks).as_deref(), Some("web-1"));
    assert_eq!(container_id(b"/default/web-2", &tasks), None);
    assert_eq!(container_id(b"/default/..", &tasks), None);
}

#[test]
fn this_process_is_in_a_container_only_by_a_full_id() {
    let own = fs::read("/proc/self/cgroup").expect("own groups");
    let mut cache = CgroupCache::default();
    for path in crate::state::procfs::cgroup_paths(&own) {
        let found = cache.resolve(0, [path]);
        let named = path.windows(64).any(|part| part.iter().all(u8::is_ascii_hexdigit));
        assert!(found.is_none() || named, "{}", String::from_utf8_lossy(path));
    }
}

#[test]
fn shared_cgroup_facts_hold() {
    let Some(cases) = crate::shared_facts::section("cgroup_container_id") else { return };
    for case in &cases {
        let path = case.bytes("cgroup");
        assert_eq!(
            container_id(&path, &CtrTasks::Any),
            case.text("container_id"),
            "{}",
            case.text("name").unwrap_or_default()
        );
    }
    assert!(cases.len() >= 15, "only {} facts", cases.len());
}

#[test]
fn the_cache_is_bounded_and_ignores_the_root_group() {
    let mut cache = CgroupCache::default();
    let path = format!("/docker/{ID}");
    assert_eq!(cache.resolve(1, [path.as_bytes()]).map(|it| it.id.clone()).as_deref(), Some("605439acbd4f"));
    assert_eq!(cache.group(1), None);
    for group in 2..2 + CACHE_LIMIT as u64 + 10 {
        cache.resolve(group, [&b"/x.slice"[..], path.as_bytes()]);
    }
    assert!(cache.by_group.len() <= CACHE_LIMIT);
    let last = cache.group(CACHE_LIMIT as u64 + 11).flatten();
    assert_eq!(last.map(|it| it.id.clone()).as_deref(), Some("605439acbd4f"));
}
