//! The way from a signal or a changed file to new rules: the same as at the start, and nothing is touched unless
//! all of it succeeds.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use rampart_rules::set::Sets;

use super::{
    Bundle, PolicyError,
    files::{self, Stamp},
    watch::Watch,
};
use crate::{
    bundles,
    config::{self, Config, Limits, Responses, RuleList, Services, Sources, fault::Faults},
};

/// Remembers what is in force.
#[derive(Debug)]
pub struct Reloader {
    sources: Sources,
    config: Config,
    watch: Watch,
}

/// A reload that can be put in force.
#[derive(Debug)]
pub struct Reload {
    /// The new rules.
    pub bundle: Bundle,
    /// Warnings, rendered.
    pub warnings: Vec<String>,
    /// Sections of the configuration that changed and take effect at the next start only.
    pub waiting: Vec<&'static str>,
    /// Settings of the rate limiter, which take effect at once but for those that wait.
    pub limits: Limits,
    /// Services, which take effect at once but for what waits.
    pub services: Services,
    /// Responses, likewise.
    pub responses: Responses,
    config: Config,
    signed: Option<Arc<bundles::Bundle>>,
}

/// Why what was in force stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration is faulty.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The rules are.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl Reload {
    /// Settings of the rate limiter as the next start would take them.
    pub fn written_limits(&self) -> &Limits {
        &self.config.limits
    }
}

impl Reloader {
    /// Starts from what was just loaded.
    pub fn new(sources: Sources, config: Config) -> Self {
        let watch = Watch::new(stamps(&sources, &config.rules.files));
        Self { sources, config, watch }
    }

    /// Whether the kernel is to reject what no rule can match.
    pub fn pushdown(&self) -> bool {
        self.config.pushdown.enabled
    }

    /// The same rules with other members of their lists.
    pub fn renew(&self, bundle: &Bundle, sets: Sets) -> Result<Bundle, PolicyError> {
        super::renew(bundle, &self.config.rules, &self.config.trading, sets)
    }

    /// The lists in force.
    pub fn lists(&self) -> &BTreeMap<String, RuleList> {
        &self.config.rules.lists
    }

    /// Looks at the files once; true when a finished change waits to be loaded.
    pub fn changed(&mut self) -> bool {
        self.config.rules.watch && self.watch.look(stamps(&self.sources, &self.config.rules.files))
    }

    /// Whose policy bundles are taken, and where the one in force is kept.
    pub fn bundles(&self) -> &config::Bundles {
        &self.config.bundles
    }

    /// Loads configuration and rules anew, without putting them in force.
    pub fn load(&mut self) -> Result<Reload, ReloadError> {
        self.load_with(self.sources.bundle.clone())
    }

    /// The same with another policy bundle, or without one.
    pub fn load_with(&mut self, signed: Option<Arc<bundles::Bundle>>) -> Result<Reload, ReloadError> {
        // Stamps first: a change during the load is then seen as one.
        self.watch.reset(stamps(&self.sources, &self.config.rules.files));
        let sources = Sources { bundle: signed.clone(), ..self.sources.clone() };
        let config = sources.load()?;
        let (bundle, findings, texts) = super::load(&config.rules, &config.trading).into_bundle()?;
        let concise = rampart_rules::diagnostic::render::concise(&findings, &texts);
        let waiting = self.config.differences(&config);
        let limits = config.limits.after(&self.config.limits);
        let services = config.services.after(&self.config.services);
        let responses = config.responses.after(&self.config.responses);
        let warnings = concise.lines().map(str::to_owned).collect();
        Ok(Reload { bundle, warnings, waiting, limits, services, responses, config, signed })
    }

    /// Notes that a reload was put in force.
    pub fn accept(&mut self, reload: Reload) -> Bundle {
        if reload.config.rules.files != self.config.rules.files {
            self.watch.reset(stamps(&self.sources, &reload.config.rules.files));
        }
        // Sections that wait for a restart stay what they are, so that they are named again next time.
        self.config.rules = reload.config.rules;
        self.config.trading = reload.config.trading;
        self.config.limits = reload.limits;
        self.config.services = reload.services;
        self.config.responses = reload.responses;
        self.sources.bundle = reload.signed;
        reload.bundle
    }
}

fn stamps(sources: &Sources, rules: &[PathBuf]) -> Vec<Stamp> {
    let mut names = vec![sources.file_path().to_owned()];
    names.extend_from_slice(rules);
    files::stamps(&names)
}
