//! The events that upstream's facts describe in words.

use std::net::IpAddr;

use rampart_rules::value::Value;

use crate::event::Event;

/// Fields of the event a context describes; `None` when it is not known here.
pub(crate) fn event(context: &str) -> Option<Event> {
    let bytes = |text: &'static [u8]| Value::Bytes(text);
    let open = |name: &'static str| Event::new(&[("fd.name", Value::Bytes(name.as_bytes()))]);
    Some(match context {
        text if text.starts_with("connect() ok, fd tuple client 172")
            || text == "same as net_ipv4_compare" =>
        {
            connection("172.40.111.222", "142.251.111.147")?
        }
        text if text.starts_with("connect() ok, tuple client [::1]") => {
            connection("::1", "2001:4860:4860::8888")?
        }
        text if text.contains("SUBDIR/file.txt") => Event::new(&[
            ("fd.name", bytes(b"/opt/dir/SUBDIR/file.txt")),
            ("evt.arg.flags", bytes(b"O_RDWR|O_CREAT")),
        ]),
        text if text.ends_with("/opt/dir/subdir/file.txt") => open("/opt/dir/subdir/file.txt"),
        "read() data=\"hello\"" => Event::new(&[("evt.buffer", bytes(b"hello"))]),
        "read() data = 61 00 62 (hex)" => Event::new(&[("evt.buffer", bytes(b"a\0b"))]),
        "execve() ok, proc.name=\"myexe\"" => Event::new(&[("proc.name", bytes(b"myexe"))]),
        text if text.starts_with("open() ok fd=3 name=\"/p") => Event::new(&[
            ("fd.name", bytes(b"/p\xff/q\xff")),
            ("fd.directory", bytes(b"/p\xff")),
            ("fd.filename", bytes(b"q\xff")),
            ("evt.arg.name", bytes(b"/p\xff/q\xff")),
        ]),
        text if text.starts_with("execve() ok exe=\"/bin/bad") => {
            Event::new(&[("proc.name", bytes(b"bad\xff")), ("proc.exe", bytes(b"/bin/bad\xff"))])
        }
        text if text.starts_with("rename(\"/tmp/s") => {
            Event::new(&[("fs.path.source", bytes(b"/tmp/s\xff")), ("fs.path.target", bytes(b"/tmp/t\xff"))])
        }
        text if text.starts_with("open_by_handle_at()") => {
            Event::new(&[("evt.abspath", bytes(b"/tmp/a\xff"))])
        }
        text if text.starts_with("chdir(") => Event::new(&[("proc.cwd", bytes(b"/tmp/c\xff/"))]),
        text if text.ends_with("name=/tmp/file_to_run") => open("/tmp/file_to_run"),
        "epoll_create() returned -22, cpu 1" => {
            Event::new(&[("evt.cpu", Value::Int(1)), ("evt.rawarg.res", Value::Int(-22))])
        }
        text if text.ends_with("failed with fd=-1") => Event::new(&[("fd.num", Value::Int(-1))]),
        // The mock's fields stand for others here: see `engine::evaluate`.
        text if text.starts_with("mock:") => Event::new(&[
            ("proc.name", bytes(b"1")),
            ("proc.pname", bytes(b"0")),
            ("proc.exe", bytes(b"hello 'quoted'")),
            ("proc.pexe", bytes(b"hello \"quoted\"")),
        ]),
        _ => return None,
    })
}

/// A connection from a client to a server, the client being neither side's local address.
fn connection(client: &str, server: &str) -> Option<Event> {
    let (client, server) = (client.parse::<IpAddr>().ok()?, server.parse::<IpAddr>().ok()?);
    let sides: &'static [Value<'static>; 2] = Box::leak(Box::new([Value::Ip(client), Value::Ip(server)]));
    Some(Event::new(&[
        ("fd.ip", Value::Either(sides)),
        ("fd.net", Value::Either(sides)),
        ("fd.cip", Value::Ip(client)),
        ("fd.sip", Value::Ip(server)),
        // The source is not an address of this machine, so the destination counts as local.
        ("fd.lip", Value::Ip(server)),
        ("fd.rip", Value::Ip(client)),
    ]))
}
