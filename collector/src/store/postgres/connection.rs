//! One connection, and the little runtime that drives it while somebody waits for an answer.

use std::{collections::HashMap, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};
use tokio_postgres::{
    Client, Config, Error, NoTls, Statement, Transaction,
    config::{Host, SslMode},
    error::SqlState,
};

use super::{Copy, Settings, tls::Tls};
use crate::store::StoreError;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for an operation, waiting for others included.
const LIMIT: Duration = Duration::from_mins(1);
/// Data without an acknowledgement for so long ends a connection.
const UNHEARD: Duration = Duration::from_secs(20);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The machine refuses something ordinary.
    #[error("cannot start a runtime")]
    Runtime(#[source] std::io::Error),
    /// A certificate cannot be used.
    #[error("cannot use the certificates of `{place}`")]
    Certificates {
        /// Where they are.
        place: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The server did not answer.
    #[error("no answer within {} s", CONNECT.as_secs())]
    Silence,
    /// The server said no.
    #[error(transparent)]
    Postgres(#[from] Error),
}

/// A connection.
pub(super) struct Connection {
    /// Taken only at the end.
    runtime: Option<Runtime>,
    client: Client,
}

/// What a connection has learned: statements, and numbers of texts that are committed or of the transaction under way.
#[derive(Default)]
pub(super) struct Cache {
    statements: HashMap<String, Statement>,
    pub(super) texts: HashMap<String, i64>,
    pub(super) boots: HashMap<(i64, [u8; 16]), i64>,
}

impl Cache {
    pub(super) async fn statement(&mut self, db: &Transaction<'_>, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = db.prepare(sql).await?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

impl Connection {
    /// Connects.
    pub(super) fn open(settings: &Settings, copy: Copy) -> Result<Self, ConnectError> {
        let mut config = match (copy, &settings.read_url) {
            (Copy::Any, Some(url)) => url.clone(),
            _ => settings.url.clone(),
        };
        config.connect_timeout(CONNECT).tcp_user_timeout(UNHEARD).keepalives_idle(UNHEARD);
        if config.get_application_name().is_none() {
            config.application_name("rampart-collector");
        }
        let runtime = Builder::new_current_thread().enable_all().build().map_err(ConnectError::Runtime)?;
        let mode = config.get_ssl_mode();
        let is_plain = mode == SslMode::Disable || is_local(&config) && mode != SslMode::Require;
        let connected = if is_plain {
            runtime.block_on(async { timeout(CONNECT, plain(&config)).await })
        } else {
            config.ssl_mode(SslMode::Require);
            let tls = Tls::new(settings.ca_file.as_deref())?;
            runtime.block_on(async { timeout(CONNECT, encrypted(&config, tls)).await })
        };
        let client = connected.map_err(|_| ConnectError::Silence)??;
        Ok(Self { runtime: Some(runtime), client })
    }

    /// Sets the session up, when the tables are there.
    pub(super) fn enter(&mut self, is_read_only: bool) -> Result<(), StoreError> {
        let mode = if is_read_only { "on" } else { "off" };
        // A commit must be on the disk, whatever the server does for others; a stricter setting stays.
        let sql = format!(
            "SET search_path TO rampart;
             SET idle_in_transaction_session_timeout TO '30s';
             SET default_transaction_read_only TO {mode};
             SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') = 'off';"
        );
        self.run("set up the session", async |client| client.batch_execute(&sql).await)
    }

    /// Runs something and waits for it, not for ever.
    pub(super) fn run<T>(
        &mut self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let Some(runtime) = &self.runtime else { return Err(StoreError::Silence { operation }) };
        let client = &mut self.client;
        match runtime.block_on(async { timeout(LIMIT, work(client)).await }) {
            Ok(outcome) => outcome.map_err(|source| StoreError::Postgres { operation, source }),
            Err(_) => Err(StoreError::Silence { operation }),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Nothing is left to wait for, and waiting is not allowed everywhere.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn plain(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // Its errors are those of whoever waits for an answer.
    drop(tokio::spawn(connection));
    Ok(client)
}

async fn encrypted(config: &Config, tls: Tls) -> Result<Client, Error> {
    let (client, connection) = config.connect(tls).await?;
    drop(tokio::spawn(connection));
    Ok(client)
}

/// Whether the same may work on a new connection, or when it is tried again.
pub(super) fn may_pass(error: &StoreError) -> bool {
    let StoreError::Postgres { source, .. } = error else { return false };
    // Without a code it is not the server that says so: the connection is gone.
    source.code().is_none_or(|code| {
        [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
        ]
        .contains(code)
    })
}

/// Whether nothing leaves this machine.
pub(super) fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
        Host::Unix(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_sockets_are_local() {
        let local = |url: &str| is_local(&url.parse().unwrap());
        assert!(local("postgres://u@127.0.0.1/d") && local("postgres://u@localhost/d"));
        assert!(local("host=/run/postgresql user=u") && local("postgres://u@[::1]/d"));
        assert!(!local("postgres://u@db.example/d") && !local("postgres://u@127.0.0.1,10.0.0.1/d"));
    }
}
