//! Asking the agent that runs on this node.

use std::{io, net::SocketAddr, path::PathBuf};

use clap::Args;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use super::{ConfigArgs, Outcome, complain_config, in_full};
use crate::{
    admin::client::{self, ClientError},
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
