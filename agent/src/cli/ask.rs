//! Asking the agent that runs on this node, and asking it for changes.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{ConfigArgs, Outcome, complain_config, in_full};
use crate::{
    admin::{
        self,
        client::{self, ClientError, Place, Question},
    },
    privilege::lock,
};

/// Which agent.
#[derive(Args, Clone, Debug)]
pub(super) struct AgentArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Address to ask [default: `admin.listen` of the configuration]
    #[arg(long, value_name = "ADDRESS:PORT")]
    address: Option<SocketAddr>,
}

/// The agent that is asked.
pub(super) struct Agent {
    address: SocketAddr,
    /// The address was given, so that nothing else is tried.
    is_chosen: bool,
    token_file: Option<PathBuf>,
    runtime_dir: PathBuf,
    runtime: Runtime,
}

impl AgentArgs {
    /// The agent, or what is wrong with the configuration.
    pub(super) fn agent(&self) -> io::Result<Result<Agent, Outcome>> {
        let config = match self.config.sources().load() {
            Ok(config) => config,
            Err(faults) => return Ok(Err(complain_config(&faults))),
        };
        Ok(Ok(Agent {
            address: self.address.unwrap_or(config.admin.listen),
            is_chosen: self.address.is_some(),
            token_file: config.admin.token_file,
            runtime_dir: config.node.runtime_dir,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        }))
    }
}

impl Agent {
    /// Gets one page, or says why there is none.
    pub(super) fn page<T: DeserializeOwned>(&self, page: &str) -> Result<T, String> {
        let address = self.address;
        let answer = self.runtime.block_on(client::get(address, page)).map_err(|error| self.why(&error))?;
        if answer.status == 404 {
            return Err(format!(
                "what listens on {address} is no agent of this version: it has no page `{page}`"
            ));
        }
        serde_json::from_slice(&answer.body).map_err(|_| {
            format!("what listens on {address} is no agent: it answered with status {}", answer.status)
        })
    }

    /// Gets a page whose absence the agent explains itself; the answer is what it says, or why it says nothing.
    pub(super) fn answer(&self, page: &str) -> Result<Value, String> {
        let question = Question { method: Method::GET, page, body: Vec::new(), token: None };
        self.exchange(&Place::Tcp(self.address), question)
    }

    /// Asks for a change: on the socket, where root needs nothing else, or over TCP with the token.
    pub(super) fn change(&self, method: Method, page: &str, body: Vec<u8>) -> Result<Value, String> {
        let socket = self.runtime_dir.join(admin::SOCKET);
        let place =
            if self.is_chosen || !socket.exists() { Place::Tcp(self.address) } else { Place::Socket(socket) };
        let token = self.token_file.as_deref().and_then(token);
        self.exchange(&place, Question { method, page, body, token: token.as_deref() })
    }

    fn exchange(&self, place: &Place, question: Question<'_>) -> Result<Value, String> {
        let answer = self.runtime.block_on(client::ask(place, question)).map_err(|error| self.why(&error))?;
        let status = answer.status;
        let body: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| format!("what listens on {place} is no agent: it answered with status {status}"))?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let error = body.get("error").and_then(Value::as_str);
        Err(error.map_or_else(|| format!("the agent answered with status {status}"), str::to_owned))
    }

    /// Says that the answer is not one of an agent.
    pub(super) fn no_agent(&self) -> String {
        format!("what listens on {} is no agent", self.address)
    }

    fn why(&self, error: &ClientError) -> String {
        let mut text = in_full(error);
        if matches!(error, ClientError::Refused { .. }) {
            let hint = match lock::holder(&self.runtime_dir) {
                Some(pid) => format!(
                    "; process {pid} is an agent of this node, listening elsewhere or not at all: see its `admin` settings"
                ),
                None => "; no agent runs on this node: start one with `rampart run`".to_owned(),
            };
            text.push_str(&hint);
        }
        text
    }
}

/// The token, when this user may read it.
fn token(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
