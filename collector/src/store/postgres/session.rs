//! Transactions on a connection that is made again when it turns out to be gone.

use std::fmt;

use tokio_postgres::{Error, Transaction};

use super::{
    Copy, Settings,
    connection::{Cache, Connection, may_pass},
    schema,
};
use crate::store::StoreError;

/// The way to the database that is written.
pub(super) struct Session {
    pub(super) settings: Settings,
    connection: Option<(Connection, Cache)>,
}

/// Connects, and brings the database to the current format. Collectors that start together take turns.
pub(super) fn open(settings: &Settings) -> Result<Session, StoreError> {
    let mut connection = Connection::open(settings, Copy::Current)?;
    schema::migrate(&mut connection)?;
    connection.enter(false)?;
    Ok(Session { settings: settings.clone(), connection: Some((connection, Cache::default())) })
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Session {
    /// Runs in one transaction. When the connection turns out to be gone it is made again, once; everything that is done
    /// here may be done twice.
    #[expect(clippy::needless_pass_by_value, reason = "each call makes its work on the spot")]
    pub(super) fn transact<T>(
        &mut self,
        operation: &'static str,
        work: impl AsyncFn(&mut Cache, &Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        self.again(operation, &async |cache: &mut Cache, db: &Transaction<'_>| {
            work(cache, db).await.map(|value| (value, true))
        })
    }

    /// The same for work that says whether it is to stay; what was done is taken back otherwise.
    #[expect(clippy::needless_pass_by_value, reason = "each call makes its work on the spot")]
    pub(super) fn decide(
        &mut self,
        operation: &'static str,
        work: impl AsyncFn(&mut Cache, &Transaction<'_>) -> Result<bool, Error>,
    ) -> Result<bool, StoreError> {
        self.again(operation, &async |cache: &mut Cache, db: &Transaction<'_>| {
            work(cache, db).await.map(|stays| (stays, stays))
        })
    }

    fn again<T>(
        &mut self,
        operation: &'static str,
        work: &impl AsyncFn(&mut Cache, &Transaction<'_>) -> Result<(T, bool), Error>,
    ) -> Result<T, StoreError> {
        let mut is_again = false;
        loop {
            let outcome = self.attempt(operation, work);
            let may_pass = outcome.as_ref().is_err_and(may_pass);
            if outcome.is_err() {
                // Its cache may know numbers that were not committed.
                self.connection = None;
            }
            if !may_pass || std::mem::replace(&mut is_again, true) {
                return outcome;
            }
        }
    }

    fn attempt<T>(
        &mut self,
        operation: &'static str,
        work: &impl AsyncFn(&mut Cache, &Transaction<'_>) -> Result<(T, bool), Error>,
    ) -> Result<T, StoreError> {
        if self.connection.is_none() {
            let mut connection = Connection::open(&self.settings, Copy::Current)?;
            connection.enter(false)?;
            self.connection = Some((connection, Cache::default()));
        }
        let Some((connection, cache)) = &mut self.connection else {
            return Err(StoreError::Silence { operation });
        };
        connection.run(operation, async |client| {
            let transaction = client.transaction().await?;
            let (value, stays) = work(cache, &transaction).await?;
            if stays {
                transaction.commit().await?;
            } else {
                transaction.rollback().await?;
            }
            Ok(value)
        })
    }
}
