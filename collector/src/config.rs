//! The collector's configuration: one YAML file and the environment.
//!
//! Names of channels and their settings are falcosidekick's, so that its files and environment names can be used.
//! Must never change anything outside itself.

mod environment;
mod raw;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{notify::channel::Channel, store::Retention};

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
    pub http: SocketAddr,
    /// Where alerts are kept.
    pub store: PathBuf,
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
    /// Files for TLS; without, only loopback is served.
    pub tls: Option<Tls>,
}

/// Files for TLS, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The collector's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whose certificates agents must show.
    pub client_ca: PathBuf,
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
    environment::apply(&mut value, env);
    let raw: Option<raw::Raw> = serde_yaml::from_value(value)
        .map_err(|source| ConfigError::Shape { place: format!("{name} and the environment"), source })?;
    raw::check(raw.unwrap_or_default())
}

#[cfg(test)]
mod tests;
