//! How fast alerts are stored for good, and how long an agent waits for its acknowledgement.
//!
//! Prints lines that `cargo xtask bench collector` reads. A whole collector on loopback, with its store in a scratch
//! directory below the one it is started in (a disk, not memory), or with `--postgres` in a server that it starts.

#![expect(clippy::print_stdout, reason = "the report is the purpose of this program")]

#[path = "../tests/shared/servers.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "it is for tests, and tells of a failure by a panic")]
mod servers;

use std::{
    env,
    error::Error,
    time::{Duration, Instant},
};

use rampart_collector::{app::Collector, config};
use rampart_proto::v1::{
    self, AgentMessage, AlertBatch, AlertId, Hello, agent_message, agent_service_client::AgentServiceClient,
    collector_message,
};
use tokio::{sync::mpsc, time::sleep_until};
use tonic::transport::Endpoint;

/// How often it is measured.
const ROUNDS: u8 = 5;
/// Streams that send at a time.
const AGENTS: u8 = 4;
/// Alerts of each, in batches of so many.
const ALERTS: u32 = 50_000;
const BATCH: u32 = 500;
/// Batches a stream has under way: what the collector asks agents for.
const UNDER_WAY: usize = 8;
/// Alerts per second of the second part, its batches, and how long it takes.
const PACED_PER_SEC: u64 = 5000;
const PACED_BATCH: u64 = 25;
const PACED_SECS: u64 = 10;

/// Longest wait for a server.
const PATIENCE: Duration = Duration::from_mins(1);

type Fault = Box<dyn Error + Send + Sync>;

/// An alert as long as one of the shipped rules is.
fn alert(boot: u8, sequence: u64) -> v1::Alert {
    let json = format!(
        r#"{{"hostname":"node-1","output":"12:00:00.000000000: Warning Sensitive file opened for reading by non-trusted program | file=/etc/shadow gparent=sshd ggparent=systemd gggparent=<NA> evt_type=openat user=root user_uid=0 user_loginuid=0 process=cat proc_exepath=/usr/bin/cat parent=bash command=cat /etc/shadow terminal=34816 container_id=abcdef012345 container_name=desk","output_fields":{{"evt.time":1700000000000000000,"evt.type":"openat","fd.name":"/etc/shadow","proc.cmdline":"cat /etc/shadow","proc.exepath":"/usr/bin/cat","proc.name":"cat","proc.pname":"bash","proc.tty":34816,"user.loginuid":0,"user.name":"root","user.uid":0}},"policy_digest":"0123456789abcdef","priority":"Warning","rule":"Read sensitive file untrusted","sequence":{sequence},"source":"syscall","tags":["container","filesystem","host","maturity_stable","mitre_credential_access","T1555"],"time":"2023-11-14T22:13:20.000000000Z","uuid":"018bcfe5-6800-7000-8000-000000000001"}}"#
    );
    v1::Alert {
        id: Some(AlertId { boot: vec![boot; 16], cpu: 0, sequence }),
        time_ns: 1_700_000_000_000_000_000 + sequence,
        priority: v1::Priority::Warning.into(),
        rule: "Read sensitive file untrusted".to_owned(),
        source: "syscall".to_owned(),
        tags: vec!["container".to_owned(), "T1555".to_owned()],
        json,
    }
}

/// A stream: sends batches, at most so many under way, each not before its time; gives how long each took.
async fn agent(
    collector: &Collector,
    boot: u8,
    batches: u64,
    size: u64,
    pace: Option<Duration>,
) -> Result<Vec<Duration>, Fault> {
    let channel = Endpoint::from_shared(format!("http://{}", collector.grpc))?.connect().await?;
    let (sender, receiver) = mpsc::channel(UNDER_WAY + 1);
    let hello = Hello { node: format!("node-{boot}"), boot: vec![boot; 16], ..Hello::default() };
    sender.send(AgentMessage { kind: Some(agent_message::Kind::Hello(hello)) }).await?;
    let requests =
        futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<AgentMessage>| async {
            receiver.recv().await.map(|message| (message, receiver))
        });
    let mut answers = AgentServiceClient::new(channel).session(requests).await?.into_inner();
    let (started, mut sent, mut took) = (tokio::time::Instant::now(), Vec::new(), Vec::new());
    while (took.len() as u64) < batches {
        let next = sent.len() as u64;
        let has_room = sent.len() - took.len() < UNDER_WAY && next < batches;
        let due = started + pace.unwrap_or_default() * next as u32;
        tokio::select! {
            () = sleep_until(due), if has_room => {
                let alerts = (next * size + 1..=(next + 1) * size).map(|number| alert(boot, number)).collect();
                sent.push(Instant::now());
                let batch = AlertBatch { number: next, alerts };
                sender.send(AgentMessage { kind: Some(agent_message::Kind::Alerts(batch)) }).await?;
            }
            answer = answers.message() => {
                let Some(collector_message::Kind::Ack(ack)) = answer?.ok_or("the stream ended")?.kind else { continue };
                while took.len() as u64 <= ack.batch {
                    took.push(sent.get(took.len()).ok_or("an answer to nothing")?.elapsed());
                }
            }
        }
    }
    Ok(took)
}

async fn run() -> Result<(), Fault> {
    let dir = tempfile::tempdir_in(".")?;
    let server = if env::args().any(|word| word == "--postgres") { Some(servers::postgres()?) } else { None };
    let (name, store) = match &server {
        Some(server) => ("collector.pg_", format!("url: '{}'", server.database())),
        None => ("collector.", format!("path: '{}'", dir.path().join("db").display())),
    };
    let text =
        format!("store: {{{store}}}\ngrpc: {{listen: '127.0.0.1:0'}}\nhttp: {{listen: '127.0.0.1:0'}}");
    let collector = Collector::start(config::parse(&text, "bench", &[])?).await?;
    let mut rates = Vec::new();
    for round in 0..ROUNDS {
        let started = Instant::now();
        let boots = round * AGENTS + 1..=(round + 1) * AGENTS;
        let streams =
            boots.map(|boot| agent(&collector, boot, u64::from(ALERTS / BATCH), u64::from(BATCH), None));
        futures_util::future::try_join_all(streams).await?;
        rates.push(f64::from(u32::from(AGENTS) * ALERTS) / started.elapsed().as_secs_f64());
        println!("# round {}: {:.0} alerts/s", round + 1, rates.last().copied().unwrap_or_default());
    }
    rates.sort_unstable_by(f64::total_cmp);
    let rate = |index: usize| rates.get(index).copied().unwrap_or_default();
    let (median, lowest, highest) = (rate(rates.len() / 2), rate(0), rate(rates.len() - 1));
    println!("{name}ingest_per_s\t{median:.0}\talerts/s\t{lowest:.0}\t{highest:.0}");
    let pace = Duration::from_secs(1) * PACED_BATCH as u32 / PACED_PER_SEC as u32;
    let batches = PACED_SECS * PACED_PER_SEC / PACED_BATCH;
    let mut took = agent(&collector, u8::MAX, batches, PACED_BATCH, Some(pace)).await?;
    took.sort_unstable();
    let share = |percent: usize| {
        took.get((took.len() * percent / 100).min(took.len() - 1)).copied().unwrap_or_default()
    };
    for (id, percent) in [("ack_p50_ms", 50), ("ack_p99_ms", 99)] {
        let value = share(percent).as_secs_f64() * 1e3;
        println!("{name}{id}\t{value:.1}\tms\t{value:.1}\t{value:.1}");
    }
    collector.stop().await;
    Ok(())
}

fn main() -> Result<(), Fault> {
    tokio::runtime::Runtime::new()?.block_on(run())
}
