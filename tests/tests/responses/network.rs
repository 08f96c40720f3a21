//! Addresses are blocked and limited, containers cut off, breakers opened; and all of it ends.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use nix::sys::{
    signal::Signal,
    socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket,
        sockopt::SendTimeout,
    },
    time::TimeVal,
};
use rampart_tests::{agent::Agent, netns::Namespace, require_root};

use crate::stage::{Stage, page, told};

/// The number of the one response in force.
fn only(agent: &mut Agent) -> String {
    agent
        .until("in force", |agent| page(agent, "/responses")["in_force"].as_array().map(Vec::len) == Some(1));
    page(agent, "/responses")["in_force"][0]["id"].to_string()
}

#[test]
fn a_container_in_quarantine_reaches_nobody_until_it_is_let_go_also_without_the_agent() {
    require_root!("a_container_in_quarantine_reaches_nobody_until_it_is_let_go_also_without_the_agent");
    let stage = Stage::new();
    let (secret, other) = (stage.path("secret"), stage.path("short"));
    let open =
        |path: &std::path::Path| format!("evt.type in (open, openat) and fd.name = {}", path.display());
    for path in [&secret, &other] {
        fs::write(path, "x").expect("written");
    }
    let (long, short) = (open(&secret), open(&other));
    let rules = [
        ("long", long.as_str(), "  response: {quarantine: {traffic: all, ttl: 10m}}"),
        ("short", short.as_str(), "  response: {quarantine: {traffic: egress, ttl: 2s}}"),
    ];
    let responses = "  mode: enforce\n  protect_nets: [127.0.0.9/32]";
    let mut agent = stage.start(&rules, responses, "");
    let servers =
        ["127.0.0.2:0", "127.0.0.9:0", "[::1]:0"].map(|at| UdpSocket::bind(at).expect("an address"));
    let [server, protected, six] = &servers;
    let (group, free) = (stage.container('c'), stage.container('d'));
    let mut inside = stage.intruder("intruder", &group);
    let mut outside = stage.intruder("neighbour", &free);
    assert!(inside.reaches(server) && inside.reaches(six) && outside.reaches(server));

    inside.run(&format!(": < {}", secret.display()));
    told(&agent, "quarantine", "done");
    assert!(!inside.reaches(server) && !inside.reaches(six), "it is cut off");
    assert!(inside.reaches(protected), "what is protected stays in reach");
    assert!(outside.reaches(server), "others are not meant");
    let id = only(&mut agent);
    agent.until("counted", |agent| {
        page(agent, "/responses")["in_force"][0]["dropped_packets"].as_u64() > Some(0)
    });

    agent.signal(Signal::SIGKILL);
    drop(agent);
    assert!(!inside.reaches(server), "the kernel goes on");
    let mut agent = stage.start(&rules, responses, "");
    assert_eq!(only(&mut agent), id, "the next agent knows of it");
    let said = stage.done(&agent, &["responses", "undo", &id]);
    assert!(said.contains("took back quarantine"), "{said}");
    assert!(inside.reaches(server) && inside.reaches(six));
    told(&agent, "quarantine", "undone");

    // One for a short time ends without an agent.
    inside.run(&format!(": < {}", other.display()));
    told(&agent, "quarantine", "done");
    assert!(!inside.reaches(server));
    agent.signal(Signal::SIGKILL);
    drop(agent);
    let end = Instant::now() + Duration::from_mins(1);
    while !inside.reaches(server) {
        assert!(Instant::now() < end, "it does not end");
    }
    let mut agent = stage.start(&rules, responses, "");
    agent.until("forgotten", |agent| {
        page(agent, "/responses")["in_force"].as_array().is_some_and(Vec::is_empty)
    });
    // What it forgets it says first.
    agent.until("taken away", |_| {
        fs::read_dir(stage.pins().join("quarantine")).expect("a directory").count() == 0
    });
}

#[test]
fn a_remote_address_is_blocked_or_limited_and_let_go() {
    require_root!("a_remote_address_is_blocked_or_limited_and_let_go");
    let stage = Stage::new();
    let space = Namespace::new("rpresp", &["10.79.1.1/24"], &["10.79.1.2/24", "10.79.1.3/24"]);
    let (door, gate) = (47_790, 47_791);
    let rules = [
        ("door", "evt.type in (accept, accept4) and fd.sport = 47790", "  response: {block_ip: {ttl: 10m}}"),
        (
            "gate",
            "evt.type in (accept, accept4) and fd.sport = 47791",
            "  response: {limit_ip: {policy: slow, ttl: 10m}}",
        ),
    ];
    let limits = format!(
        "limits:\n  enabled: true\n  mode: enforce\n  pin_dir: {}\n  interfaces: {{rpresp0: {{}}}}\n  policies:\n    \
         slow: {{rate: 1/s, burst: 1, unit: packets, on_demand: true, match: {{protocol: udp}}}}\n",
        stage.pins().display()
    );
    let mut agent = stage.start(&rules, "  mode: enforce", &limits);
    agent.until("limiting", |agent| agent.metric("rampart_limits_generation") > 0.0);
    let connect = |own: &str, port: u16| {
        let own: Ipv4Addr = own.parse().expect("an address");
        let [a, b, c, d] = own.octets();
        space.inside(move || {
            let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
                .expect("a socket");
            bind(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0)).expect("its address");
            setsockopt(&socket, SendTimeout, &TimeVal::new(1, 0)).expect("a time");
            connect(socket.as_raw_fd(), &SockaddrIn::new(10, 79, 1, 1, port)).is_ok()
        })
    };
    let listeners = [door, gate].map(|port| TcpListener::bind(("10.79.1.1", port)).expect("an address"));
    let [first, second] = &listeners;

    assert!(connect("10.79.1.2", door));
    drop(first.accept().expect("a connection"));
    let done = told(&agent, "block_ip", "done");
    assert_eq!(done["output_fields"]["response.target"], "10.79.1.2");
    assert!(!connect("10.79.1.2", door), "it is blocked");
    assert!(connect("10.79.1.3", gate), "others are not");
    drop(second.accept().expect("a connection"));
    told(&agent, "limit_ip", "done");

    // What is under the policy of responses gets one datagram a second through, who is not gets all.
    let server = UdpSocket::bind("10.79.1.1:0").expect("an address");
    server.set_read_timeout(Some(Duration::from_millis(300))).expect("a time");
    let place = server.local_addr().expect("an address");
    let arrive = |own: &str| {
        let own = own.to_owned();
        space.inside(move || {
            let socket = UdpSocket::bind((own.as_str(), 0)).expect("an address");
            for _ in 0..50 {
                socket.send_to(b"x", place).expect("it is sent");
            }
        });
        let mut count = 0;
        while server.recv_from(&mut [0; 8]).is_ok() {
            count += 1;
        }
        count
    };
    let limited = arrive("10.79.1.3");
    assert!((1..=5).contains(&limited), "{limited} of 50 arrived");
    let noted = page(&agent, "/limits/slow");
    assert_eq!(noted["limited"][0]["net"], "10.79.1.3", "{noted:#}");

    let listed = page(&agent, "/responses")["in_force"].clone();
    let ids: Vec<String> =
        listed.as_array().expect("a list").iter().map(|doing| doing["id"].to_string()).collect();
    assert_eq!(ids.len(), 2, "{listed:#}");
    for id in ids {
        stage.done(&agent, &["responses", "undo", &id]);
    }
    assert!(connect("10.79.1.2", gate), "it may come again");
    assert_eq!(arrive("10.79.1.3"), 50, "nobody is under the policy any more");
}

#[test]
fn the_breakers_of_a_service_are_opened_for_a_while() {
    require_root!("the_breakers_of_a_service_are_opened_for_a_while");
    let stage = Stage::new();
    let secret = stage.path("secret");
    fs::write(&secret, "x").expect("written");
    let condition = format!("evt.type in (open, openat) and fd.name = {}", secret.display());
    let rules = [
        ("order", condition.as_str(), "  response: {open_breaker: {service: orders, ttl: 3s}}"),
        ("nobody", condition.as_str(), "  response: {open_breaker: nothing}"),
    ];
    let services = format!(
        "services:\n  enabled: true\n  vip_cidrs: [198.18.90.1/32]\n  cgroup: {}\n  pin_dir: {}\n  list:\n    orders:\n      \
         vip: 198.18.90.1:80\n      health: none\n      backends: {{a: '127.0.0.2:1', b: '127.0.0.3:1'}}\n",
        stage.group().display(),
        stage.pins().display()
    );
    let mut agent = stage.start(&rules, "  mode: enforce", &services);
    agent.until("serving", |agent| agent.metric("rampart_services_generation") > 0.0);
    let mut intruder = stage.intruder("intruder", stage.group());
    intruder.run(&format!(": < {}", secret.display()));
    told(&agent, "open_breaker", "done");
    let forced = |agent: &Agent| {
        let all = page(agent, "/circuit-breakers")["circuit_breakers"].clone();
        let all = all.as_array().cloned().unwrap_or_default();
        all.iter().filter(|one| one["mode"] == "forced_open").count()
    };
    assert_eq!(forced(&agent), 2);
    let failed = told(&agent, "open_breaker", "failed");
    let why = failed["output_fields"]["response.why"].as_str().unwrap_or_default();
    assert!(why.contains("service `nothing`"), "{failed:#}");
    agent.until("let go", |agent| forced(agent) == 0);
    told(&agent, "open_breaker", "expired");
}
