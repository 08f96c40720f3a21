//! Opens, links and duplicated descriptors.

use super::*;

#[test]
fn an_open_shows_its_path_flags_and_result() {
    let record = openat(3, "/etc/shadow", libc::O_RDONLY | libc::O_CLOEXEC, 0o777)
        .path(AttrTag::RealPath, "/etc/shadow")
        .file(&regular());
    let fixture = after_family(record);
    fixture.check(&[
        ("evt.type", "openat"),
        ("syscall.type", "openat"),
        ("evt.type.is[openat]", "1"),
        ("evt.type.is[open]", "0"),
        ("evt.category", "file"),
        ("evt.num", "5"),
        ("evt.res", "SUCCESS"),
        ("evt.rawres", "3"),
        ("evt.failed", "false"),
        ("evt.dir", "<"),
        ("evt.is_open_read", "true"),
        ("evt.is_open_write", "false"),
        ("evt.is_open_exec", "false"),
        ("evt.arg.flags", "O_RDONLY|O_CLOEXEC"),
        ("evt.rawarg.flags", "4097"),
        ("evt.arg.mode", "0"),
        ("evt.arg.dirfd", "AT_FDCWD"),
        ("evt.arg.fd", "<f>/etc/shadow"),
        ("evt.arg.name", "/etc/shadow"),
        ("evt.arg[2]", "/etc/shadow"),
        ("evt.arg.nosuch", "-"),
        ("evt.arg[40]", "-"),
        ("fd.num", "3"),
        ("fd.type", "file"),
        ("fd.typechar", "f"),
        ("fd.name", "/etc/shadow"),
        ("fd.realpath", "/etc/shadow"),
        ("fd.directory", "/etc"),
        ("fd.filename", "shadow"),
        ("fd.ino", "4711"),
        ("fd.dev.major", "8"),
        ("fd.dev.minor", "1"),
        ("fd.ip", "-"),
        ("fs.path.name", "/etc/shadow"),
        ("fs.path.realname", "/etc/shadow"),
        ("fs.path.source", "-"),
    ]);
    let args = "fd=3(<f>/etc/shadow) dirfd=-100(AT_FDCWD) name=/etc/shadow flags=4097(O_RDONLY|O_CLOEXEC) mode=0 \
                dev=8388609 ino=4711";
    assert_eq!(fixture.get("evt.args").as_deref(), Some(args));
    assert_eq!(fixture.differs(), None);
}

#[test]
fn a_failed_open_keeps_the_path_it_asked_for() {
    let record = openat(-2, "../etc//nothing", libc::O_WRONLY | libc::O_CREAT, 0o100_755)
        .path(AttrTag::BaseDir, "/tmp");
    after_family(record).check(&[
        ("fd.num", "-1"),
        ("fd.typechar", "f"),
        ("fd.name", "/etc/nothing"),
        ("fd.nameraw", "../etc/nothing"),
        ("evt.res", "ENOENT"),
        ("evt.failed", "true"),
        ("evt.count.error.file", "1"),
        ("evt.count.error.net", "0"),
        ("evt.arg.fd", "ENOENT"),
        ("evt.arg.name", "/etc/nothing"),
        ("evt.rawarg.name", "../etc//nothing"),
        ("evt.arg.mode", "0100755"),
        ("evt.is_open_write", "true"),
        ("evt.is_open_exec", "true"),
        ("fs.path.name", "-"),
        ("fd.realpath", "-"),
    ]);
    let odd = after_family(openat(-4095, "x", 0, 0).path(AttrTag::BaseDir, "/"));
    assert_eq!(odd.get("evt.res").as_deref(), Some("-4095"));
}

#[test]
fn a_relative_path_without_its_base_starts_at_the_working_directory() {
    assert_eq!(after_family(openat(-2, "x/../y", 0, 0)).get("fd.name").as_deref(), Some("/srv/data/y"));
    // Nothing is known about this process.
    let stranger = Fixture::new(&[openat(-2, "y", 0, 0)]);
    assert_eq!(stranger.get("fd.name").as_deref(), Some("<UNKNOWN>/y"));
}

#[test]
fn a_symbolic_link_has_two_views() {
    let record =
        openat(3, "/tmp/x/../note.txt", 0, 0).path(AttrTag::RealPath, "/etc/shadow").file(&regular());
    let fixture = after_family(record);
    assert_eq!(fixture.differs(), Some(("/tmp/note.txt".into(), "/etc/shadow".into())));
    for (name, lexical, real) in [
        ("fd.name", "/tmp/note.txt", "/etc/shadow"),
        ("fd.directory", "/tmp", "/etc"),
        ("fd.filename", "note.txt", "shadow"),
        ("fs.path.name", "/tmp/note.txt", "/etc/shadow"),
        ("fd.nameraw", "/tmp/x/../note.txt", "/tmp/x/../note.txt"),
        ("evt.arg.name", "/tmp/x/../note.txt", "/tmp/x/../note.txt"),
        ("fd.realpath", "/etc/shadow", "/etc/shadow"),
    ] {
        assert_eq!(fixture.seen(View::Lexical, name).as_deref(), Some(lexical), "{name}");
        assert_eq!(fixture.seen(View::Real, name).as_deref(), Some(real), "{name}");
    }
    let same = openat(3, "../../etc/shadow", 0, 0)
        .path(AttrTag::BaseDir, "/srv/data")
        .path(AttrTag::RealPath, "/etc/shadow");
    assert_eq!(after_family(same).differs(), None, "one path, written in two ways");
    let memfd =
        openat(3, "/proc/self/fd/4", 0, 0).path_flags(AttrTag::RealPath, ATTR_DISCONNECTED, "memfd:x");
    assert_eq!(after_family(memfd).differs(), None, "no path in any directory");
}

#[test]
fn openat2_takes_flags_from_its_structure() {
    let record = RecordBuilder::syscall(libc::SYS_openat2, Family::Open, 4, &[5, 0, 0xffff, 24])
        .text(AttrTag::UserPath, "sub")
        .path(AttrTag::BaseDir, "/srv")
        .path(AttrTag::RealPath, "/srv/sub")
        .open_how((libc::O_RDWR | libc::O_DIRECTORY | libc::O_CREAT) as u64, 0o600, 0x0c);
    after_family(record).check(&[
        ("fd.name", "/srv/sub"),
        ("fd.type", "directory"),
        ("fd.directory", "/srv/sub"),
        ("evt.arg.flags", "O_DIRECTORY|O_CREAT|O_RDWR"),
        ("evt.arg.mode", "0600"),
        ("evt.arg.resolve", "RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS"),
        ("evt.arg.dirfd", "<d>/srv"),
        ("evt.is_open_read", "true"),
        ("evt.is_open_write", "true"),
    ]);
}

#[test]
fn links_have_a_source_and_a_target() {
    let args = [libc::AT_FDCWD as u64, 0, 7, 0, 0x400];
    let link = RecordBuilder::syscall(libc::SYS_linkat, Family::Path, 0, &args)
        .text(AttrTag::UserPath, "/etc/shadow")
        .text(AttrTag::UserPath2, "copy")
        .path(AttrTag::BaseDir2, "/tmp");
    after_family(link).check(&[
        ("evt.arg.oldpath", "/etc/shadow"),
        ("evt.arg.newpath", "/tmp/copy"),
        ("evt.arg.newdir", "<d>/tmp"),
        ("evt.arg.flags", "AT_SYMLINK_FOLLOW"),
        ("fs.path.source", "/tmp/copy"),
        ("fs.path.realsource", "/tmp/copy"),
        ("fs.path.realname", "-"),
        ("fs.path.sourceraw", "copy"),
        ("fs.path.target", "/etc/shadow"),
        ("fs.path.name", "-"),
        ("fd.name", "-"),
        ("fd.num", "-"),
    ]);
    let args = [0, libc::AT_FDCWD as u64, 0];
    let symlink = RecordBuilder::syscall(libc::SYS_symlinkat, Family::Path, 0, &args)
        .text(AttrTag::UserPath, "../etc/shadow")
        .text(AttrTag::UserPath2, "/tmp/l");
    after_family(symlink).check(&[
        ("evt.arg.target", "../etc/shadow"),
        ("evt.arg.linkpath", "/tmp/l"),
        ("fs.path.target", "/etc/shadow"),
        ("fs.path.targetraw", "../etc/shadow"),
    ]);
}

#[test]
fn a_duplicate_refers_to_the_same_file() {
    let socket = inet(libc::SOCK_STREAM, ([10, 0, 0, 5], 40_000), ([1, 2, 3, 4], 4444), 1);
    let dup = RecordBuilder::syscall(libc::SYS_dup3, Family::Fd, 0, &[7, 0, libc::O_CLOEXEC as u64])
        .socket(&socket);
    after_family(dup).check(&[
        ("evt.rawres", "0"),
        ("fd.num", "0"),
        ("fd.type", "ipv4"),
        ("fd.name", "10.0.0.5:40000->1.2.3.4:4444"),
        ("fd.connected", "true"),
        ("evt.arg.flags", "O_RDONLY|O_CLOEXEC"),
    ]);
    let file = |mode, magic, path: &str, flags| {
        RecordBuilder::syscall(libc::SYS_dup, Family::Fd, 9, &[3])
            .file(&FileFacts { mode, fs_magic: magic, ..FileFacts::default() })
            .path_flags(AttrTag::RealPath, flags, path)
    };
    for (record, kind, name) in [
        (file(libc::S_IFREG, 0, "/var/log/x", 0), "file", "/var/log/x"),
        (file(libc::S_IFDIR, 0, "/var", 0), "directory", "/var"),
        (file(libc::S_IFIFO, 0, "pipe:[1]", ATTR_DISCONNECTED), "pipe", "pipe:[1]"),
        (file(0, 0x0904_1934, "[eventpoll]", ATTR_DISCONNECTED), "eventpoll", "[eventpoll]"),
        (
            file(0, 0x0904_1934, "anon_inode:[io_uring]", ATTR_DISCONNECTED),
            "io_uring",
            "anon_inode:[io_uring]",
        ),
    ] {
        after_family(record).check(&[("fd.type", kind), ("fd.name", name)]);
    }
}
