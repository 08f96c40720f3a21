//! A namespace, pins and state that several agents of a test have in common, and ways to ask these agents.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use rampart_tests::{
    agent::{Agent, binary},
    netns::{Bpffs, Namespace},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::traffic::{arrived, rules, send};

/// What lets its bearer change things.
pub(crate) const TOKEN: &str = "a token that nobody guesses";

/// What one test's agents have in common.
pub(crate) struct Stage {
    pub(crate) scratch: TempDir,
    bpffs: Bpffs,
    pub(crate) space: Namespace,
    rules: PathBuf,
    /// First three numbers of the addresses.
    net: &'static str,
}

impl Stage {
    /// Sources are the numbers 2 and 3 of a /24; this end is number 1.
    pub(crate) fn new(name: &str, net: &'static str) -> Self {
        Self::with(name, net, &[2, 3])
    }

    /// The same with these sources.
    pub(crate) fn with(name: &str, net: &'static str, sources: &[u8]) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        std::fs::write(scratch.path().join("token"), TOKEN).expect("the token is written");
        let address = |last: u8| format!("{net}.{last}/24");
        let (outer, inner) = (address(1), sources.iter().map(|last| address(*last)).collect::<Vec<_>>());
        let inner: Vec<&str> = inner.iter().map(String::as_str).collect();
        Self {
            rules: rules(&scratch),
            bpffs: Bpffs::mount().expect("a BPF file system is mounted"),
            space: Namespace::new(name, &[&outer], &inner),
            scratch,
            net,
        }
    }

    /// Variables that keep run-time directory and state over restarts.
    fn env(&self) -> [(String, String); 3] {
        let path = |name: &str| self.scratch.path().join(name).to_string_lossy().into_owned();
        [
            ("RAMPART_NODE__RUNTIME_DIR".to_owned(), path("run")),
            ("RAMPART_NODE__STATE_DIR".to_owned(), path("state")),
            ("RAMPART_ADMIN__TOKEN_FILE".to_owned(), path("token")),
        ]
    }

    pub(crate) fn start(&self, policies: &str) -> Agent {
        self.start_in(policies, &[])
    }

    /// Starts an agent with variables of its environment.
    pub(crate) fn start_in(&self, policies: &str, more: &[(&str, &str)]) -> Agent {
        let settings = format!(
            "limits:\n  enabled: true\n  mode: enforce\n  dead_man_secs: 0\n  alert_secs: 1\n  pin_dir: {}\n  \
             interfaces: {{{}: {{}}}}\n{policies}",
            self.bpffs.pins().display(),
            self.space.interface(),
        );
        let env = self.env();
        let own = env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let env: Vec<(&str, &str)> = own.chain(more.iter().copied()).collect();
        let mut agent = Agent::start_in(&self.rules, &settings, &env);
        agent.until("limiting", |agent| agent.metric("rampart_limits_attached") > 0.0);
        agent
    }

    /// `rampart limits …`
    pub(crate) fn limits(&self, agent: &Agent, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.arg("limits").args(arguments).envs(self.env());
        command.env("RAMPART_ADMIN__LISTEN", agent.address().to_string());
        command.output().expect("the command runs")
    }

    /// The same, which must succeed; what it says.
    pub(crate) fn done(&self, agent: &Agent, arguments: &[&str]) -> String {
        let output = self.limits(agent, arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`rampart limits {}`: {complaint}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn address(&self, last: u8) -> IpAddr {
        format!("{}.{last}", self.net).parse().expect("an address")
    }

    /// How many of so many datagrams a second arrive from an address.
    pub(crate) fn arrive(&self, from: u8, port: u16, per_second: u64, span: Duration) -> u64 {
        let socket = UdpSocket::bind((self.address(1), port)).expect("a socket here");
        setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).expect("a large buffer");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        let to = SocketAddr::new(self.address(1), port);
        send(&self.space, self.address(from), to, per_second, span);
        arrived(&socket, self.address(from))
    }
}

/// Status and body of a request with a method and a token.
pub(crate) fn ask(agent: &Agent, method: &str, page: &str, token: Option<&str>, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(agent.address()).expect("the agent listens");
    let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    write!(
        stream,
        "{method} {page} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n{token}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the agent answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).expect("a JSON body"))
}

/// A page of JSON.
pub(crate) fn page(agent: &Agent, page: &str) -> Value {
    let (status, body) = agent.get(page).expect("the agent answers");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("a JSON body")
}
