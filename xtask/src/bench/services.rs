//! `bench services`: what a backend for each connection costs, in `connect()` and by proxies, and what clients feel when
//! a backend fails.
//!
//! All ways lead to the same web server at two addresses. The client is alone in a control group of its own, which is
//! the one that is served. Each round starts the agent and the proxies anew; the way without anybody is measured on both
//! sides of Rampart's.

mod backend;
mod envoy;
mod failing;
mod house;
mod proxy;
mod rig;
mod rows;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::backend::{PORTS, Running, web};
use self::failing::Failing;
use self::house::Vip;
use self::proxy::Proxy;
use self::rig::{Pins, Rig};
use super::measured::Report;
use super::nginx::{self, Run};
use super::stage::{Stage, pause, quiet_core};
use super::usage;
use crate::agent::Agent;
use crate::{interrupt, process, toolchain, workspace};

/// Length of one measurement.
const SECONDS: u64 = 2;
/// How connections are used, in the order of the backends' ports.
const MODES: [&str; 2] = ["keepalive", "connection"];
/// Connects that are timed, and refusals.
const CONNECTS: usize = 4000;
const REFUSALS: usize = 20_000;
/// Rounds of a run take a minute and a half each.
const MAX_ROUNDS: usize = 5;
/// How long a page may take to show what happened, and how often it is asked for.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
/// Limit for a program that only says something.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// A way to the backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// Nobody between.
    Direct,
    /// The agent and its services.
    Rampart,
    /// Its services, after it has ended.
    Alone,
    /// Somebody else's proxy.
    Proxy(Proxy),
}

/// One measurement of a way.
#[derive(Clone, Copy, Debug)]
struct Leg {
    run: Run,
    /// CPU time of a request: of client, backend and what is between them; and of the last alone.
    cpu_us: f64,
    between_us: f64,
}

/// What connects took, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Connects {
    /// Without the agent, on both sides.
    direct: f64,
    /// To the virtual address.
    served: f64,
    /// To another address, in turns with that.
    beside: f64,
    /// CPU time of a connect that is refused by an open breaker.
    refusal_us: f64,
}

/// All that was measured: legs by way and mode, with one of each round.
#[derive(Default)]
struct Measures {
    legs: BTreeMap<(Way, usize), Vec<Leg>>,
    connects: Vec<Connects>,
    failing: Vec<Failing>,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Rampart => "rampart",
            Self::Alone => "rampart_without_agent",
            Self::Proxy(proxy) => proxy.name(),
        }
    }

    fn at(self, port: u16) -> String {
        match self {
            Self::Direct => {
                let [first, _] = web(port);
                first
            }
            Self::Rampart | Self::Alone => Vip::Web(port).at().to_string(),
            Self::Proxy(proxy) => proxy.at(port).to_string(),
        }
    }
}

/// Measures all ways in turn.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    if let Err(reason) = toolchain::bench_programs() {
        return Ok(Report::skipped("services", &format!("{reason:#}")));
    }
    let (mut proxies, notes) = Proxy::here();
    let rig = Rig::enter()?;
    let web_server = backend::serve(stage.folder.path())?;
    let rounds = stage.rounds.min(MAX_ROUNDS);
    let mut measures = Measures::default();
    for round in 0..rounds {
        one_round(stage, &rig, &web_server, &mut measures)?;
        for proxy in &proxies {
            let running = proxy.start(stage.folder.path())?;
            measures.add(&rig, Way::Proxy(proxy.kind), &web_server, || running.worked())?;
        }
        if let [_, ..] = proxies.as_slice() {
            proxies.rotate_left(1);
        }
        stage.say(&format!("  round {} of {rounds} done", round + 1));
    }
    drop(web_server);
    let kinds: Vec<Way> = [Way::Direct, Way::Rampart, Way::Alone]
        .into_iter()
        .chain(Proxy::ALL.into_iter().map(Way::Proxy))
        .filter(|way| measures.legs.contains_key(&(*way, 0)))
        .collect();
    let mut report = Report::new("services", measures.results(&kinds))
        .note(format!(
            "nginx with one worker and no access log at two addresses, wrk with one thread and 16 connections for \
             {SECONDS} s, a page of 1 KiB over loopback; proxies with one thread each. The best number is the right \
             extreme of a rate, the left one of a time"
        ))
        .note(
            "`rampart` is the whole agent, which watches system calls too, on rules that nothing matches; \
             `rampart_without_agent` are its services alone, after it has ended. Ratios are of the same round, `direct` \
             the mean of both sides",
        )
        .note(
            "`cpu_us`: CPU time of a request, by the scheduler, of client, backend and what is between; `between_us` of \
             the last alone. What the kernel does for services is the client's",
        )
        .note(format!(
            "`connect.added_ns`: the median connect to a virtual address against one to a backend without the agent; \
             `connect.beside_ns`: against one to a backend in turns with it, with the agent there. {CONNECTS} of each"
        ))
        .note(format!(
            "{} clients at a time, each a connect, a byte and back, a rest of 1 ms; one that waits {} s gives up. \
             `refused_*`: the backend is killed, `silent_*`: what is sent to it is dropped. `*_breaker`: five failures in \
             a row and nothing else, `*_usual`: everything as it is by default, `*_timers`: that and \
             `syn_timeout_ms: {}`, `syn_retries: {}`",
            failing::CLIENTS,
            failing::PATIENCE.as_secs(),
            house::SYN_MS,
            house::SYN_RETRIES,
        ));
    report.notes.extend(notes);
    Ok(report)
}

/// Everything but the proxies.
fn one_round(stage: &Stage, rig: &Rig, web_server: &Running, measures: &mut Measures) -> Result<()> {
    let folder = stage.folder.path();
    let backends: Vec<String> = PORTS.iter().map(|port| Way::Direct.at(*port)).collect();
    let [_, closing] = PORTS;
    let other = Way::Direct.at(closing);
    let served = Way::Rampart.at(closing);
    let nobody = || Ok(Duration::ZERO);
    pause()?;
    let before = legs(rig, &backends, web_server, nobody)?;
    let first = connects(rig, &[&other], CONNECTS)?;
    let pins = Pins::mount(folder)?;
    let agent = house::start(rig, &pins, folder, &stage.binary)?;
    measures.add(rig, Way::Rampart, web_server, || usage::run_time(agent.pid()))?;
    let both = connects(rig, &[&served, &other], CONNECTS)?;
    let refusals = refusals(rig, &agent)?;
    measures.failing.push(failing::measure(rig, &agent)?);
    let status = agent.stop()?;
    if !status.success() {
        bail!("the agent ended with {status}");
    }
    measures.add(rig, Way::Alone, web_server, nobody)?;
    drop(pins);
    pause()?;
    let after = legs(rig, &backends, web_server, nobody)?;
    let last = connects(rig, &[&other], CONNECTS)?;
    for (mode, (before, after)) in before.into_iter().zip(after).enumerate() {
        measures.legs.entry((Way::Direct, mode)).or_default().push(before.mean(&after));
    }
    let median = |of: &Timed, index: usize| of.medians.get(index).copied().unwrap_or(0.0);
    measures.connects.push(Connects {
        direct: f64::midpoint(median(&first, 0), median(&last, 0)),
        served: median(&both, 0),
        beside: median(&both, 1),
        refusal_us: refusals,
    });
    Ok(())
}

/// CPU microseconds of a connect that an open breaker refuses.
fn refusals(rig: &Rig, agent: &Agent) -> Result<f64> {
    let at = Vip::Open.at().to_string();
    // The first one opens it.
    connects(rig, &[&at], 1)?;
    let timed = connects(rig, &[&at], REFUSALS)?;
    if timed.refused != REFUSALS {
        bail!("{} of {REFUSALS} connects were refused", timed.refused);
    }
    // The page shows what the agent saw when it last looked, and the connects may be quicker than that.
    let end = Instant::now() + LOOK_LIMIT;
    loop {
        let (_, page) = agent.page("/circuit-breakers/open/a")?;
        if page.contains("\"state\":\"open\"") {
            return Ok(timed.cpu_ns / 1e3);
        }
        if Instant::now() >= end {
            bail!("the breaker is not open: {page}");
        }
        thread::sleep(LOOK);
    }
}

/// What timed connects say.
#[derive(Debug, PartialEq)]
struct Timed {
    cpu_ns: f64,
    refused: usize,
    medians: Vec<f64>,
}

fn connects(rig: &Rig, addresses: &[&str], count: usize) -> Result<Timed> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = rig.client(&program);
    command.args(["workload", "connect", "--count", &count.to_string(), "--cpu", &quiet_core().to_string()]);
    command.args(addresses);
    let finished = process::bounded(&mut command, ANSWER_LIMIT)?;
    if !finished.success() {
        bail!("`{}` failed: {}", process::describe(&command), finished.tail());
    }
    timed(&finished.stdout).with_context(|| format!("connects said `{}`", finished.stdout.trim()))
}

fn timed(text: &str) -> Option<Timed> {
    let mut lines = text.lines();
    let mut all = Timed { cpu_ns: lines.next()?.parse().ok()?, refused: 0, medians: Vec::new() };
    for line in lines {
        let mut words = line.split(' ').skip(1);
        all.refused += words.next()?.parse::<usize>().ok()?;
        all.medians.push(words.next()?.parse().ok()?);
    }
    Some(all)
}

/// One leg of each mode.
fn legs(
    rig: &Rig,
    addresses: &[String],
    web_server: &Running,
    between: impl Fn() -> Result<Duration>,
) -> Result<Vec<Leg>> {
    addresses.iter().map(|address| leg(rig, address, web_server, &between)).collect()
}

fn leg(
    rig: &Rig,
    address: &str,
    web_server: &Running,
    between: impl Fn() -> Result<Duration>,
) -> Result<Leg> {
    if interrupt::pending() {
        bail!("interrupted");
    }
    let program = workspace::program("wrk").context("there is no `wrk`")?;
    let (client, server, other) = (usage::children_s()?, web_server.worked()?, between()?);
    let said = nginx::said(rig.client(&program), address, SECONDS)?;
    let between_s = between()?.saturating_sub(other).as_secs_f64();
    let server_s = web_server.worked()?.saturating_sub(server).as_secs_f64();
    let client_s = usage::children_s()? - client;
    let run = nginx::read(&said).with_context(|| format!("no numbers in `{}`", said.trim()))?;
    if said.contains("Socket errors") || said.contains("Non-2xx") {
        bail!("the client met errors at {address}: {}", said.trim());
    }
    let requests = requests(&said).context("the client does not say how many requests there were")?;
    let each_us = |seconds: f64| seconds * 1e6 / requests;
    Ok(Leg { run, cpu_us: each_us(client_s + server_s + between_s), between_us: each_us(between_s) })
}

/// How many requests the client made.
fn requests(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    line.split_whitespace().next()?.parse().ok().filter(|count| *count > 0.0)
}

impl Leg {
    fn mean(&self, other: &Self) -> Self {
        let mean = |pick: fn(&Self) -> f64| f64::midpoint(pick(self), pick(other));
        Self {
            run: Run {
                per_second: mean(|leg| leg.run.per_second),
                p50_us: mean(|leg| leg.run.p50_us),
                p99_us: mean(|leg| leg.run.p99_us),
            },
            cpu_us: mean(|leg| leg.cpu_us),
            between_us: mean(|leg| leg.between_us),
        }
    }
}

impl Measures {
    /// Measures a way in both modes.
    fn add(
        &mut self,
        rig: &Rig,
        way: Way,
        web_server: &Running,
        between: impl Fn() -> Result<Duration>,
    ) -> Result<()> {
        pause()?;
        let addresses: Vec<String> = PORTS.iter().map(|port| way.at(*port)).collect();
        let legs = legs(rig, &addresses, web_server, between)
            .with_context(|| format!("`{}` could not be measured", way.name()))?;
        for (mode, leg) in legs.into_iter().enumerate() {
            self.legs.entry((way, mode)).or_default().push(leg);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say_is_read() {
        assert_eq!(requests("  16 connections\n  400 requests in 2.00s, 1MB read\n"), Some(400.0));
        assert_eq!(requests("  0 requests in 2.00s, 0B read\n"), None);
        let expected = Timed { cpu_ns: 9000.0, refused: 3, medians: vec![7000.0, 6000.0] };
        assert_eq!(timed("9000\n10 3 7000\n10 0 6000\n"), Some(expected));
        assert_eq!(timed("x"), None);
    }
}
