//! Three collectors on one database and one bus, killed at random.

use std::{
    collections::{BTreeMap, HashSet},
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rampart_collector::alert::Filter;
use tokio::time::sleep;

use crate::{
    PATIENCE,
    agent::{Agent, label, within},
    servers,
    sink::Sink,
    until,
};

/// Collectors, and agents that send to them.
const REPLICAS: usize = 3;
const AGENTS: u8 = 4;
/// Alerts of all agents, if `RAMPART_REPLICA_ALERTS` says nothing else.
const ALERTS: u64 = 8000;

/// A collector's process.
struct Replica {
    grpc: SocketAddr,
    environment: Vec<(String, String)>,
    child: Child,
}

/// A generator that need not be good, only different each time and shown when a test fails.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let mut bytes = [0; 8];
        fs::File::open("/dev/urandom")
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes))
            .unwrap();
        Self(u64::from_le_bytes(bytes))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn spawn(environment: &[(String, String)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_rampart-collector"))
        .arg("serve")
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

impl Replica {
    fn start(database: &str, bus: &str, webhook: &str) -> Self {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let (grpc, http) = (free(), free());
        let environment = [
            ("RAMPART_COLLECTOR_STORE__URL", database.to_owned()),
            ("RAMPART_COLLECTOR_STORE__TAKEOVER_SECS", "4".to_owned()),
            ("RAMPART_COLLECTOR_BUS__URL", bus.to_owned()),
            ("RAMPART_COLLECTOR_BUS__PREFIX", "replicas".to_owned()),
            ("RAMPART_COLLECTOR_GRPC__LISTEN", grpc.to_string()),
            ("RAMPART_COLLECTOR_HTTP__LISTEN", http.to_string()),
            ("RAMPART_COLLECTOR_LOG__LEVEL", "error".to_owned()),
            ("WEBHOOK_ADDRESS", webhook.to_owned()),
        ];
        let environment: Vec<_> =
            environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let child = spawn(&environment);
        Self { grpc, environment, child }
    }

    /// Kills it without a word of warning.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = spawn(&self.environment);
    }

    fn is_there(&self) -> bool {
        TcpStream::connect(self.grpc).is_ok()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_collectors_killed_at_random_store_each_alert_once_and_tell_of_each() {
    let name = "three_collectors_killed_at_random_store_each_alert_once_and_tell_of_each";
    let database = match (servers::postgres(), servers::redis()) {
        (Ok(postgres), Ok(redis)) => (postgres, redis),
        (Err(reason), _) | (_, Err(reason)) => {
            println!("SKIP: {name}: {reason}");
            return;
        }
    };
    let (postgres, redis) = database;
    let wanted = env::var("RAMPART_REPLICA_ALERTS").ok().and_then(|text| text.parse().ok());
    let each = wanted.unwrap_or(ALERTS) / u64::from(AGENTS);
    let (sink, webhook) = Sink::start().await;
    let url = postgres.database();
    let mut replicas: Vec<Replica> =
        (0..REPLICAS).map(|_| Replica::start(&url, &redis.redis_url(), &webhook)).collect();
    for replica in &replicas {
        until("a collector listens", || replica.is_there()).await;
    }
    let places = Arc::new(replicas.iter().map(|replica| replica.grpc).collect::<Vec<_>>());
    let started = Instant::now();
    let agents: Vec<_> = (1..=AGENTS)
        .map(|boot| {
            let agent = Agent { boot, collectors: Arc::clone(&places), spool: (1..=each).collect() };
            tokio::spawn(agent.run())
        })
        .collect();
    let mut chance = Chance::new();
    println!("chance begins with {}", chance.0);
    let mut kills = 0;
    while kills < 4 || agents.iter().any(|agent| !agent.is_finished()) {
        sleep(Duration::from_millis(150 + chance.below(350))).await;
        let victim = chance.below(REPLICAS as u64) as usize;
        replicas[victim].kill();
        kills += 1;
        sleep(Duration::from_millis(chance.below(150))).await;
        replicas[victim].start_again();
        until("it listens again", || replicas[victim].is_there()).await;
        assert!(started.elapsed() < PATIENCE * 4, "the agents do not come to an end");
    }
    let mut streams = 0;
    for agent in agents {
        streams += within("an agent", agent).await.unwrap();
    }
    let acknowledged = started.elapsed();
    let all = (each * u64::from(AGENTS)) as usize;
    let place = servers::place(&url, Duration::from_secs(2));
    let stored = tokio::task::spawn_blocking(move || {
        let reader = place.reader().unwrap();
        let (mut seen, mut last) = (HashSet::new(), 0);
        loop {
            let page = reader.alerts_after(&Filter::default(), 5000, last).unwrap();
            let Some(end) = page.last() else { break };
            last = end.number;
            for stored in &page {
                let id = stored.alert.id;
                assert!(seen.insert(label(id.boot[0], id.sequence)), "stored twice: {id:?}");
            }
        }
        let nodes = reader.nodes().unwrap();
        let totals: BTreeMap<_, _> =
            nodes.into_iter().map(|node| (node.node, (node.stored, node.missing))).collect();
        (seen.len(), totals, reader.size().unwrap().alerts)
    });
    let (seen, totals, size) = stored.await.unwrap();
    assert_eq!((seen, size as usize), (all, all), "each acknowledged alert is stored");
    assert!(totals.values().all(|total| *total == (each, 0)), "{totals:?}");
    until("each alert is told", || sink.counts().0 == all).await;
    let (_, again) = sink.counts();
    println!(
        "{all} alerts over {streams} streams, {kills} kills: acknowledged after {acknowledged:.1?}, told after {:.1?}, \
         {again} told again",
        started.elapsed()
    );
}
