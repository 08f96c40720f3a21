//! The agent's part in failing over and back, in panic, in damping, and in draining.

use std::{
    io::{ErrorKind, Read as _},
    net::TcpStream,
    time::{Duration, SystemTime},
};

use nix::sys::signal::Signal;
use rampart_tests::{agent::Agent, require_root};
use serde_json::Value;

use crate::{
    agent::{House, again, page},
    stage::{Manner, Server, ask, wait},
};

fn what(name: &str) -> impl Fn(&Value) -> bool {
    let rule = format!("Rampart internal: {name}");
    move |alert: &Value| alert["rule"] == rule.as_str()
}

fn of<'a>(page: &'a Value, backend: &str) -> &'a Value {
    let backends = page["backends"].as_array().expect("backends");
    backends.iter().find(|own| own["name"] == backend).expect("a backend")
}

/// Waits until the agent's page of the service says something.
fn until(agent: &mut Agent, name: &str, holds: impl Fn(&Value) -> bool) {
    agent.until(name, |agent| holds(&page(agent, "/services/web")));
}

#[test]
fn the_way_back_waits_for_its_window() {
    require_root!("the_way_back_waits_for_its_window");
    let house = House::new("198.18.67.4:80");
    let [first, second] = ["127.0.0.2:0", "127.0.0.3:0"].map(|at| Server::new(at, Manner::Answer));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time");
    let far = (now.as_secs() / 3600 + 12) % 24;
    let settings = |window: &str| {
        format!(
            "      health: {{type: tcp, interval_secs: 1, rise: 1, fall: 1}}\n      failback_delay_secs: 0\n      \
             failback: window\n      failback_windows: ['{window}']\n      slow_start_secs: 0\n      backends:\n        \
             a: {{address: '{}'}}\n        b: {{address: '{}', tier: 1}}\n",
            first.address, second.address
        )
    };
    let closed = settings(&format!("{far:02}:00-{far:02}:30"));
    let open = settings("00:00-24:00");
    let mut agent = house.start(&closed);
    let (a, b) = (first.address.to_string(), second.address.to_string());
    assert_eq!(house.ask().expect("an answer"), a);
    let place = first.stop();
    agent.wait_for("a failover", what("failover"));
    wait(|| house.ask().is_ok_and(|name| name == b));
    let _first = again(place);
    until(&mut agent, "up again", |page| {
        of(page, "a")["health"]["up"] == true && of(page, "a")["breaker"] == "closed"
    });
    // Several looks later it is where it was.
    let looks = |page: &Value| of(page, "a")["health"]["checks"].as_u64().unwrap_or(0);
    let before = looks(&page(&agent, "/services/web"));
    until(&mut agent, "checked again", |page| looks(page) > before + 1);
    assert_eq!(page(&agent, "/services/web")["tier"], 1);
    assert_eq!(house.ask().expect("an answer"), b);
    agent.reconfigure(&house.settings(true, &open));
    agent.wait_for("a failback", what("failback"));
    wait(|| house.ask().is_ok_and(|name| name == a));
}

#[test]
fn too_few_backends_are_a_panic_and_enough_end_it() {
    require_root!("too_few_backends_are_a_panic_and_enough_end_it");
    let house = House::new("198.18.67.5:80");
    let servers = ["127.0.0.2:0", "127.0.0.3:0", "127.0.0.4:0"].map(|at| Server::new(at, Manner::Answer));
    let [a, b, c] = servers.each_ref().map(|server| server.address);
    let service = format!(
        "      health: {{type: tcp, interval_secs: 1, rise: 1, fall: 1}}\n      slow_start_secs: 0\n      exclude_secs: 0\n      \
         breaker: {{failure_threshold: 1000}}\n      backends: {{a: '{a}', b: '{b}', c: '{c}'}}\n"
    );
    let mut agent = house.start(&service);
    let [first, second, _third] = servers;
    let places = [first.stop(), second.stop()];
    let alert = agent.wait_for("a panic", what("service in panic"));
    assert_eq!((&alert["output_fields"]["service"], &alert["priority"]), (&"web".into(), &"Critical".into()));
    assert_eq!(page(&agent, "/services/web")["panic"], true);
    // Whatever is known of them, all are tried.
    wait(|| house.ask().is_err());
    wait(|| house.ask().is_ok_and(|name| name == c.to_string()));
    let _back = places.map(again);
    agent.wait_for("the end of the panic", what("service out of panic"));
    until(&mut agent, "whole", |page| {
        ["a", "b", "c"].iter().all(|name| of(page, name)["health"]["up"] == true)
    });
    for _ in 0..10 {
        house.ask().expect("an answer");
    }
}

#[test]
fn who_comes_and_goes_is_left_out_for_a_time() {
    require_root!("who_comes_and_goes_is_left_out_for_a_time");
    let house = House::new("198.18.67.6:80");
    let [first, second] = ["127.0.0.2:0", "127.0.0.3:0"].map(|at| Server::new(at, Manner::Answer));
    let service = format!(
        "      health: none\n      exclude_secs: 0\n      slow_start_secs: 0\n      breaker: {{failure_threshold: 1}}\n      \
         backends: {{a: '{}', b: '{}'}}\n",
        first.address, second.address
    );
    let agent = house.start(&service);
    let is_out = |agent: &Agent| of(&page(agent, "/services/web"), "a")["suppressed"] == true;
    let mut flapping = Some(first);
    // It fails, and comes back; on a slow machine trips have faded a little before the next one.
    while !is_out(&agent) {
        let place = flapping.take().map(Server::stop).expect("a server");
        wait(|| {
            let _ = house.ask();
            page(&agent, "/circuit-breakers/web/a")["state"] == "open" || is_out(&agent)
        });
        flapping = Some(again(place));
        house.done(&agent, &["breakers", "reset", "web/a"]);
    }
    let alert = agent.wait_for("a backend that is left out", what("backend suppressed"));
    assert_eq!(alert["output_fields"]["backend"], "a");
    // It works and its breaker is closed, and yet it gets nothing.
    let b = second.address.to_string();
    for _ in 0..20 {
        assert_eq!(house.ask().expect("an answer"), b);
    }
    // The last one that is left is never left out.
    drop(second);
    wait(|| house.ask().is_ok());
    agent.wait_for("a backend that is used again", what("backend reused"));
}

/// Twelve connections with the server each has.
fn hold(house: &House) -> Vec<(TcpStream, String)> {
    let open = || {
        let stream = TcpStream::connect(house.vip).expect("a connection");
        let name = ask(stream.try_clone().expect("a descriptor")).expect("an answer");
        (stream, name)
    };
    (0..12).map(|_| open()).collect()
}

/// Connections to one server were ended, all others stand.
fn assert_only_ended(held: &[(TcpStream, String)], server: &str) {
    for (stream, name) in held {
        stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
        let error = (&mut &*stream).read(&mut [0; 1]).expect_err("no byte comes");
        assert_eq!(error.kind() == ErrorKind::ConnectionAborted, name == server, "{error}");
    }
}

#[test]
fn a_drain_ends_old_connections_and_says_how_many() {
    require_root!("a_drain_ends_old_connections_and_says_how_many");
    let house = House::new("198.18.67.7:80");
    let [first, second] = ["127.0.0.2:0", "127.0.0.3:0"].map(|at| Server::new(at, Manner::Answer));
    let service = |drain: &str| {
        format!(
            "      health: none\n      {drain}\n      backends: {{a: '{}', b: '{}'}}\n",
            first.address, second.address
        )
    };
    let mut agent = house.start(&service("drain: graceful\n      drain_secs: 3600"));
    let held = hold(&house);
    let a = first.address.to_string();
    let own = held.iter().filter(|(_, name)| *name == a).count();
    assert!(own > 0);

    // Who is taken back in time keeps them.
    house.done(&agent, &["services", "drain", "web/a"]);
    until(&mut agent, "draining", |page| of(page, "a")["drain"]["ends_at"].is_string());
    house.done(&agent, &["services", "enable", "web/a"]);
    until(&mut agent, "not draining", |page| of(page, "a")["drain"]["cause"].is_null());

    agent.reconfigure(&house.settings(true, &service("drain: immediate")));
    agent.until("configured", |agent| agent.log().contains("Services have new settings"));
    house.done(&agent, &["services", "drain", "web/a"]);
    let alert = agent.wait_for("a drain", what("connections drained"));
    let fields = &alert["output_fields"];
    assert_eq!((&fields["cause"], &fields["destroyed"]), (&"admin".into(), &own.into()), "{alert}");
    assert_eq!((&fields["found"], &fields["failed"]), (&own.into(), &0.into()), "{alert}");
    assert_only_ended(&held, &a);
    until(&mut agent, "told", |page| of(page, "a")["drain"]["destroyed"] == own);
    assert!((agent.metric("load_balancer_backend_drained_total") - f64::from(own as u32)).abs() < 0.5);
}

#[test]
fn a_backend_that_is_removed_while_no_agent_runs_is_drained_by_the_next() {
    require_root!("a_backend_that_is_removed_while_no_agent_runs_is_drained_by_the_next");
    let house = House::new("198.18.67.8:80");
    let [first, second] = ["127.0.0.2:0", "127.0.0.3:0"].map(|at| Server::new(at, Manner::Answer));
    let both = format!("a: '{}', b: '{}'", first.address, second.address);
    let service = |backends: &str| {
        format!("      health: none\n      drain: immediate\n      backends: {{{backends}}}\n")
    };
    let agent = house.start(&service(&both));
    let held = hold(&house);
    let a = first.address.to_string();
    let own = held.iter().filter(|(_, name)| *name == a).count();
    assert!(own > 0);
    agent.signal(Signal::SIGKILL);
    drop(agent);

    let agent = house.start(&service(&format!("b: '{}'", second.address)));
    let alert = agent.wait_for("a drain", what("connections drained"));
    let fields = &alert["output_fields"];
    assert_eq!((&fields["cause"], &fields["destroyed"]), (&"removed".into(), &own.into()), "{alert}");
    assert!(alert["output"].as_str().is_some_and(|text| text.contains(&a)), "{alert}");
    assert_only_ended(&held, &a);
}
