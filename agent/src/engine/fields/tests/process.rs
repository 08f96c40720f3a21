//! Images, ancestors, users, containers and calls told by numbers.

use super::*;

#[test]
fn an_exec_shows_the_new_image() {
    let mut record = exec(30, 20, "cat", &["cat", "-n", "/etc/shadow"]);
    record.header.task.tty = 34816;
    record.header.task.loginuid = 33;
    record.header.task.euid = 33;
    record.header.task.cap_effective = 1 << 21 | 1;
    let mut records = family();
    records.pop();
    records.push(record);
    let fixture = Fixture::new(&records);
    fixture.check(&[
        ("evt.type", "execve"),
        ("evt.res", "SUCCESS"),
        ("proc.name", "cat"),
        ("proc.exe", "cat"),
        ("proc.exepath", "/usr/bin/cat"),
        ("proc.cmdline", "cat -n /etc/shadow"),
        ("proc.exeline", "cat -n /etc/shadow"),
        ("proc.args", "-n /etc/shadow"),
        ("proc.args[1]", "/etc/shadow"),
        ("proc.args[9]", ""),
        ("proc.cmdnargs", "2"),
        ("proc.cmdlenargs", "13"),
        ("proc.cwd", "/srv/data/"),
        ("proc.env", "HOME=/root LANG=C"),
        ("proc.env[HOME]", "/root"),
        ("proc.env[PATH]", "-"),
        ("proc.tty", "34816"),
        ("proc.pid", "30"),
        ("proc.ppid", "20"),
        ("proc.pname", "bash"),
        ("proc.pexe", "-bash"),
        ("proc.pexepath", "/usr/bin/bash"),
        ("proc.pcmdline", "bash"),
        ("proc.aname[0]", "cat"),
        ("proc.aname[1]", "bash"),
        ("proc.aname[2]", "sshd"),
        ("proc.aname[3]", "systemd"),
        ("proc.aname[4]", "-"),
        ("proc.aname", "bash sshd systemd"),
        ("proc.apid", "20 10 1"),
        ("proc.aexe[2]", "/usr/sbin/sshd"),
        ("proc.aexepath[2]", "/usr/bin/sshd"),
        ("proc.acmdline[2]", "sshd -D"),
        ("proc.aenv[HOME]", "/root /root /root"),
        ("proc.aenv[1]", "HOME=/root LANG=C"),
        ("proc.sname", "sshd"),
        ("proc.sid.exe", "/usr/sbin/sshd"),
        ("proc.vpgid.name", "bash"),
        ("proc.loginshellid", "20"),
        ("proc.exe_ino", "70"),
        ("proc.is_exe_upper_layer", "false"),
        ("user.uid", "33"),
        ("user.name", "web"),
        ("user.homedir", "/srv"),
        ("user.loginuid", "33"),
        ("user.loginname", "web"),
        ("thread.cap_effective", "CAP_CHOWN CAP_SYS_ADMIN"),
        ("thread.cap_permitted", ""),
        ("evt.arg.exe", "cat"),
        ("evt.arg.ptid", "bash"),
        ("evt.arg.uid", "web"),
        ("evt.arg.filename", "cat"),
        ("evt.arg.flags", "0"),
        ("evt.arg.loginuid", "web"),
        ("fd.name", "-"),
    ]);
}

#[test]
fn executables_tell_where_they_come_from() {
    let file = FileFacts { ino: 1, flags: FILE_MEMFD | FILE_UPPER_LAYER, ..FileFacts::default() };
    let record = RecordBuilder::new(EventKind::Exec, Family::Exec)
        .strings(AttrTag::Argv, &["x"])
        .path_flags(AttrTag::ExePath, ATTR_DISCONNECTED, "memfd:x")
        .file(&file)
        .exec(&ExecFacts { flags: EXEC_WRITABLE, ..ExecFacts::default() });
    Fixture::new(&[record]).check(&[
        ("proc.exepath", "memfd:x"),
        ("proc.is_exe_from_memfd", "true"),
        ("proc.is_exe_upper_layer", "true"),
        ("proc.is_exe_lower_layer", "false"),
        ("proc.is_exe_writable", "true"),
        ("evt.arg.flags", "EXE_WRITABLE|EXE_UPPER_LAYER|EXE_FROM_MEMFD"),
        ("evt.rawarg.flags", "7"),
        ("proc.cwd", "-"),
        ("proc.pname", "-"),
        ("proc.aname", "-"),
        ("proc.exe_ino.ctime", "-"),
    ]);
}

#[test]
fn a_failed_exec_shows_who_tried() {
    let record = RecordBuilder::syscall(libc::SYS_execve, Family::Exec, -13, &[])
        .text(AttrTag::UserPath, "./tool")
        .strings(AttrTag::Argv, &["tool", "-x", "y"])
        .path(AttrTag::BaseDir, "/dev/shm");
    after_family(record).check(&[
        ("evt.type", "execve"),
        ("evt.res", "EACCES"),
        ("proc.name", "cat"),
        ("evt.arg.res", "EACCES"),
        ("evt.arg.filename", "/dev/shm/tool"),
        ("evt.arg.exe", "tool"),
        ("evt.arg.args", "-x y"),
        ("proc.args", "-n /etc/shadow"),
        ("evt.arg.flags", "0"),
    ]);
}

#[test]
fn unknown_users_and_unset_logins() {
    let mut record = openat(3, "/x", 0, 0);
    (record.header.task.euid, record.header.task.egid) = (4242, 4242);
    after_family(record).check(&[
        ("user.name", "<NA>"),
        ("user.loginuid", "-1"),
        ("user.loginname", "<NA>"),
        ("group.name", "<NA>"),
        ("group.gid", "4242"),
    ]);
}

#[test]
fn containers_are_told_from_the_host() {
    after_family(openat(3, "/x", 0, 0)).check(&[
        ("container.id", "host"),
        ("container.name", "host"),
        ("container.image.repository", "-"),
        ("k8s.ns.name", "-"),
        ("container.start_ts", "-"),
        ("fd.containername", "host:/x"),
    ]);
    let mut entry = exec(50, 1, "nginx", &["nginx"]).path(AttrTag::Cgroup, &format!("/docker/{CONTAINER}"));
    entry.header.task.vpid = 1;
    entry.header.task.pid_ns = 77;
    Fixture::new(&[entry]).check(&[
        ("container.id", "605439acbd4f"),
        ("container.name", "-"),
        ("container.start_ts", "1700000050000000000"),
        ("container.duration", "250000000000"),
        ("proc.vpid", "1"),
        ("proc.pidns_init_start_ts", "1700000050000000000"),
    ]);
}

#[test]
fn numeric_calls_are_named() {
    let ptrace = RecordBuilder::syscall(libc::SYS_ptrace, Family::Scalar, 0, &[16, 20, 0xabc, 0]);
    after_family(ptrace).check(&[
        ("evt.arg.request", "PTRACE_ATTACH"),
        ("evt.rawarg.request", "16"),
        ("evt.arg.pid", "bash"),
        ("evt.rawarg.pid", "20"),
        ("evt.arg.addr", "ABC"),
        ("evt.args", "res=0 addr=ABC data=0 request=16(PTRACE_ATTACH) pid=20(bash)"),
        ("fd.num", "-"),
    ]);
    let module = RecordBuilder::syscall(libc::SYS_finit_module, Family::Fd, 0, &[3, 0, 1])
        .path(AttrTag::RealPath, "/tmp/rootkit.ko")
        .file(&regular());
    after_family(module).check(&[
        ("fd.name", "/tmp/rootkit.ko"),
        ("fd.num", "3"),
        ("evt.arg.fd", "<f>/tmp/rootkit.ko"),
    ]);
}

#[test]
fn an_exec_tells_what_the_process_uses() {
    let fixture = Fixture::new(&family());
    fixture.check(&[
        ("evt.arg.fdlimit", "1024"),
        ("evt.arg.pgft_maj", "1"),
        ("evt.arg.pgft_min", "2"),
        ("evt.arg.vm_swap", "0"),
        ("proc.fdlimit", "1024"),
        ("thread.pfmajor", "1"),
        ("thread.pfminor", "2"),
        ("proc.vmswap", "0"),
    ]);
    // Whatever the size of a page is here.
    let (size, resident) = (fixture.get("proc.vmsize"), fixture.get("proc.vmrss"));
    assert_eq!(
        (fixture.get("evt.arg.vm_size"), fixture.get("evt.arg.vm_rss")),
        (size.clone(), resident.clone())
    );
    let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok()).expect("a number");
    assert_eq!(number(size) * 4, number(resident) * 30);
    after_family(openat(3, "/x", 0, 0)).check(&[("proc.fdlimit", "1024")]);
}
