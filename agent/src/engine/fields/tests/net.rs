//! Sockets, their addresses and roles.

use super::*;

#[test]
fn a_connect_has_a_client_and_a_server() {
    let socket = inet(libc::SOCK_STREAM, ([10, 0, 0, 5], 40_000), ([93, 184, 216, 34], 443), 1);
    let record = RecordBuilder::syscall(libc::SYS_connect, Family::Net, -115, &[6, 0, 16])
        .socket(&socket)
        .attr_flags(AttrTag::SockAddr, 0, &sockaddr_in([93, 184, 216, 34], 443));
    after_family(record).check(&[
        ("evt.res", "EINPROGRESS"),
        ("fd.num", "6"),
        ("fd.type", "ipv4"),
        ("fd.typechar", "4"),
        ("fd.name", "10.0.0.5:40000->93.184.216.34:443"),
        ("fd.l4proto", "tcp"),
        ("fd.sockfamily", "ip"),
        ("fd.connected", "true"),
        ("fd.is_server", "false"),
        ("fd.cip", "10.0.0.5"),
        ("fd.sip", "93.184.216.34"),
        ("fd.lip", "10.0.0.5"),
        ("fd.rip", "93.184.216.34"),
        ("fd.snet", "93.184.216.34"),
        ("fd.ip", "10.0.0.5/93.184.216.34"),
        ("fd.net", "10.0.0.5/93.184.216.34"),
        ("fd.port", "40000/443"),
        ("fd.sport", "443"),
        ("fd.cport", "40000"),
        ("fd.rport", "443"),
        ("fd.filename", "-"),
        ("fd.directory", "-"),
        ("fd.realpath", "-"),
        ("evt.arg.tuple", "10.0.0.5:40000->93.184.216.34:443"),
        ("evt.arg.addr", "93.184.216.34:443"),
        ("evt.arg.fd", "<4t>10.0.0.5:40000->93.184.216.34:443"),
    ]);
}

#[test]
fn a_refused_connect_shows_what_was_asked_for() {
    let socket = inet(libc::SOCK_STREAM, ([0; 4], 0), ([0; 4], 0), 7);
    let record = RecordBuilder::syscall(libc::SYS_connect, Family::Net, -111, &[6, 0, 16])
        .socket(&socket)
        .attr_flags(AttrTag::SockAddr, 0, &sockaddr_in([10, 1, 2, 3], 22));
    after_family(record).check(&[
        ("fd.name", "0.0.0.0:0->10.1.2.3:22"),
        ("fd.sip", "10.1.2.3"),
        ("fd.connected", "false"),
        ("evt.res", "ECONNREFUSED"),
    ]);
    // The descriptor was no socket at all.
    let nothing = RecordBuilder::syscall(libc::SYS_connect, Family::Net, -9, &[6, 0, 16]).attr_flags(
        AttrTag::SockAddr,
        0,
        &sockaddr_in([10, 1, 2, 3], 22),
    );
    after_family(nothing).check(&[("fd.typechar", "4"), ("fd.name", "10.1.2.3:22"), ("fd.l4proto", "<NA>")]);
}

#[test]
fn both_ip_versions_and_their_mixture() {
    let mut socket = inet(libc::SOCK_STREAM, ([0; 4], 0), ([0; 4], 0), 1);
    socket.family = libc::AF_INET6 as u16;
    (socket.local, socket.local_port) = (std::net::Ipv6Addr::LOCALHOST.octets(), 50_000);
    (socket.remote, socket.remote_port) =
        ("2001:db8::1".parse::<std::net::Ipv6Addr>().expect("ip").octets(), 443);
    let connect = RecordBuilder::syscall(libc::SYS_connect, Family::Net, 0, &[6]);
    after_family(connect.clone().socket(&socket)).check(&[
        ("fd.typechar", "6"),
        ("fd.name", "::1:50000->2001:db8::1:443"),
        ("fd.sip", "2001:db8::1"),
    ]);
    socket.local = std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
    socket.remote = std::net::Ipv4Addr::new(1, 2, 3, 4).to_ipv6_mapped().octets();
    after_family(connect.socket(&socket))
        .check(&[("fd.typechar", "4"), ("fd.name", "127.0.0.1:50000->1.2.3.4:443")]);
}

#[test]
fn datagrams_name_their_peer_once() {
    let send = |port| {
        of_cat(
            RecordBuilder::syscall(libc::SYS_sendto, Family::Net, 5, &[6, 0, 5])
                .socket(&inet(libc::SOCK_DGRAM, ([0; 4], 33_333), ([0; 4], 0), 7))
                .attr_flags(AttrTag::SockAddr, 0, &sockaddr_in([8, 8, 8, 8], port)),
        )
    };
    let mut fixture = Fixture::new(&family());
    fixture.feed(&send(53));
    fixture.check(&[
        ("fd.name", "0.0.0.0:33333->8.8.8.8:53"),
        ("fd.l4proto", "udp"),
        ("fd.connected", "false"),
        ("fd.name_changed", "true"),
        ("fd.sport", "53"),
        ("evt.is_io_write", "true"),
        ("evt.io_dir", "write"),
        ("evt.arg.size", "5"),
    ]);
    fixture.feed(&send(53));
    fixture.check(&[("fd.name_changed", "false")]);
    fixture.feed(&send(54));
    fixture.check(&[("fd.name_changed", "true")]);
}

#[test]
fn a_reply_of_a_server_keeps_the_roles() {
    let socket = inet(libc::SOCK_STREAM, ([10, 0, 0, 5], 8080), ([10, 0, 0, 9], 51_000), 1);
    let record = RecordBuilder::syscall(libc::SYS_sendto, Family::Net, 5, &[6]).socket(&socket);
    after_family(record).check(&[
        ("fd.is_server", "true"),
        ("fd.name", "10.0.0.9:51000->10.0.0.5:8080"),
        ("fd.sport", "8080"),
        ("fd.lport", "8080"),
        ("fd.cip", "10.0.0.9"),
    ]);
}

#[test]
fn other_sockets() {
    let packet = RecordBuilder::syscall(libc::SYS_socket, Family::Net, 3, &[17, 3, 768]);
    after_family(packet).check(&[("evt.arg.domain", "AF_PACKET"), ("fd.num", "3"), ("fd.type", "-")]);
    let fresh = RecordBuilder::syscall(libc::SYS_socket, Family::Net, 3, &[2, 1, 0]).socket(&inet(
        libc::SOCK_STREAM,
        ([0; 4], 0),
        ([0; 4], 0),
        7,
    ));
    after_family(fresh).check(&[
        ("fd.typechar", "4"),
        ("fd.name", ""),
        ("fd.sip", "-"),
        ("evt.arg.tuple", "-"),
    ]);
    let lone = SocketFacts { sock: 0xab, family: 1, kind: 1, ..SocketFacts::default() };
    let fresh = RecordBuilder::syscall(libc::SYS_socket, Family::Net, 3, &[1, 1, 0]).socket(&lone);
    after_family(fresh).check(&[("fd.typechar", "u"), ("fd.name", "")]);
    let unix = SocketFacts { peer: 0xcd, ..lone };
    let connect = RecordBuilder::syscall(libc::SYS_connect, Family::Net, 0, &[5]).socket(&unix).attr_flags(
        AttrTag::SockAddr,
        0,
        b"\x01\0/run/docker.sock\0\0",
    );
    after_family(connect).check(&[
        ("fd.typechar", "u"),
        ("fd.sockfamily", "unix"),
        ("fd.name", "ab->cd /run/docker.sock"),
        ("fd.l4proto", "<NA>"),
        ("evt.arg.addr", "/run/docker.sock"),
    ]);
    let mut raw = inet(libc::SOCK_RAW, ([10, 0, 0, 1], 0), ([10, 0, 0, 2], 0), 7);
    raw.protocol = libc::IPPROTO_ICMP as u16;
    let ping = RecordBuilder::syscall(libc::SYS_sendto, Family::Net, 8, &[5]).socket(&raw);
    after_family(ping).check(&[("fd.l4proto", "icmp"), ("fd.name", "10.0.0.1->10.0.0.2")]);
}
