//! What the agent starts with: the policy bundle of before, if it is there, signed, and loads.
//!
//! A bundle that cannot be used any more must not keep the agent from starting: it then runs by its own files and says so.

use std::sync::Arc;

use super::{PolicyError, load};
use crate::{
    bundles::{
        Active, Bundle, BundleError, Refused, Standing,
        keep::{KeepError, Kept},
    },
    config::{Config, Sources, fault::Faults},
};

/// Why the bundle of before is not used.
#[derive(Debug, thiserror::Error)]
enum KeptError {
    #[error(transparent)]
    Keep(#[from] KeepError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Config(#[from] Faults),
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Puts the kept bundle into the sources, where there is one that loads; gives the configuration with it.
pub fn begin(sources: &mut Sources, config: Config) -> (Config, Standing) {
    if config.bundles.keys.is_empty() {
        return (config, Standing::default());
    }
    let mut standing = Standing { is_accepting: true, ..Standing::default() };
    let mut digest = None;
    let mut with = || -> Result<Option<(Arc<Bundle>, Config)>, KeptError> {
        let Some(bytes) = Kept::new(config.bundles.dir.clone()).read()? else { return Ok(None) };
        let bundle = Arc::new(Bundle::open(&bytes, &config.bundles.keys)?);
        digest = Some(bundle.digest);
        let tried = Sources { bundle: Some(Arc::clone(&bundle)), ..sources.clone() }.load()?;
        load(&tried.rules, &tried.trading).into_bundle()?;
        Ok(Some((bundle, tried)))
    };
    let found = with();
    match found {
        Ok(None) => (config, standing),
        Ok(Some((bundle, with))) => {
            tracing::info!(name = bundle.name, digest = %bundle.digest, "The policy bundle of before is in force");
            standing.active = Some(Active::now(&bundle));
            sources.bundle = Some(bundle);
            (with, standing)
        }
        Err(error) => {
            let text = format!("the bundle kept in `{}` is not used: {error}", config.bundles.dir.display());
            tracing::error!("Policy: {text}");
            standing.fault = Some(Refused { digest, text });
            (config, standing)
        }
    }
}
