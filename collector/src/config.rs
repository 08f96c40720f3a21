//! The collector's configuration: one YAML file and the environment.
//!
//! Names of channels and their settings are falcosidekick's, so that its files and environment names can be used.
//! Must never change anything outside itself.

mod environment;
mod identity;
mod raw;
mod shared;
mod traces;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    bus,
    identity::{authority, review},
    notify::channel::Channel,
    store::{Place, Retention, postgres},
    traces::Settings as Traces,
};

/// The file that is read when none is named; it may be absent.
pub const DEFAULT_FILE: &str = "/etc/rampart/collector.yaml";

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `log.level`.
    pub log_level: String,
    /// `log.format: json`.
    pub is_log_json: bool,
    /// Where agents connect.
    pub grpc: Grpc,
    /// Where people look.
    pub http: Http,
    /// Who is who.
    pub identity: Identity,
    /// The file where alerts are kept, when no database is named.
    pub store: PathBuf,
    /// The database where several collectors keep them.
    pub database: Option<postgres::Settings>,
    /// How these collectors hear of each other.
    pub bus: Option<bus::Settings>,
    /// Where spans of its own work go, if anywhere.
    pub traces: Option<Traces>,
    /// How long.
    pub retention: Retention,
    /// Whom to tell.
    pub channels: Vec<Channel>,
}

/// Where agents connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grpc {
    /// The address.
    pub listen: SocketAddr,
    /// How; without, only loopback is served.
    pub tls: Option<Tls>,
}

/// How agents are met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The collector's certificate and key, PEM, for people too; without, the authority makes them.
    pub files: Option<(PathBuf, PathBuf)>,
    /// Another authority whose certificates agents may show, PEM.
    pub client_ca: Option<PathBuf>,
}

/// Where people look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The address.
    pub listen: SocketAddr,
    /// Whether it speaks HTTPS.
    pub is_tls: bool,
    /// Whether people must log in.
    pub has_login: bool,
}

/// Who is who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Where keys lie.
    pub dir: PathBuf,
    /// Who signs certificates.
    pub authority: authority::Source,
    /// Further authorities that agents are told to trust, and whose certificates they may show, PEM.
    pub trusted: Option<PathBuf>,
    /// Further names of the collector, for its certificate.
    pub names: Vec<String>,
    /// How long certificates of agents are good.
    pub life: Duration,
    /// How tokens of pods are checked.
    pub kubernetes: Option<review::Settings>,
}

/// Why a configuration is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{place}")]
    Shape {
        /// Where it was written.
        place: String,
        /// What is wrong.
        source: serde_yaml::Error,
    },
    /// A setting's value cannot be.
    #[error("`{key}`: {problem}")]
    Value {
        /// The setting.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

impl Config {
    /// Where alerts are kept.
    pub fn place(&self) -> Place {
        self.database
            .clone()
            .map_or_else(|| Place::File(self.store.clone()), |settings| Place::Database(Box::new(settings)))
    }
}

/// Reads and checks a configuration, without any side effect.
pub fn load(file: Option<&Path>, env: &[(String, String)]) -> Result<Config, ConfigError> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => String::new(),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    parse(&text, &path.display().to_string(), env)
}

/// The same, of a file's text.
pub fn parse(text: &str, name: &str, env: &[(String, String)]) -> Result<Config, ConfigError> {
    let shape = |source| ConfigError::Shape { place: name.to_owned(), source };
    // The text alone is read first: its faults have lines and columns.
    if !text.trim().is_empty() {
        let _: Option<raw::Raw> = serde_yaml::from_str(text).map_err(shape)?;
    }
    let mut value: serde_yaml::Value = serde_yaml::from_str(text).map_err(shape)?;
    traces::from_environment(&mut value, env)?;
    environment::apply(&mut value, env);
    let raw: Option<raw::Raw> = serde_yaml::from_value(value)
        .map_err(|source| ConfigError::Shape { place: format!("{name} and the environment"), source })?;
    raw::check(raw.unwrap_or_default())
}

#[cfg(test)]
mod tests;
