//! `rampart run`.

use clap::Args;
use rampart_rules::diagnostic::render;

use super::{FormatArg, Outcome, PolicyArgs, complain, complain_config, in_full, load_rules};
use crate::{
    app,
    config::{self, Overrides, Sources},
    policy::kept,
    telemetry,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart run                                     the built-in rules, alerts as text
  rampart run -r /etc/falco/falco_rules.yaml -o json
  rampart run -c rampart.yaml --log-level debug

Signals: SIGTERM and SIGINT stop in order, SIGHUP reloads rules, SIGUSR1 reopens the alert file.
`--help` lists every setting of the configuration file.";

/// The examples and the table of settings; made once, when the help is asked for.
pub(super) fn long_help() -> String {
    format!(
        "{EXAMPLES}\n\nSettings of the configuration file, with the environment name that overrides each:\n\n{}",
        config::reference()
    )
}

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Form of the alerts on standard output [default: `output.stdout.format`, or text]
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<FormatArg>,
    /// How much the agent logs about itself: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let overrides = Overrides {
        rules: arguments.policy.rules.clone(),
        output: arguments.output.map(Into::into),
        log_level: arguments.log_level.clone(),
    };
    let mut sources = Sources::of_process(arguments.policy.config.config.clone(), overrides);
    let config = match sources.load() {
        Ok(config) => config,
        Err(faults) => return complain_config(&faults),
    };
    telemetry::init(&config.log);
    let (config, standing) = kept::begin(&mut sources, config);
    let (bundle, findings, texts) = match load_rules(&config) {
        Ok(loaded) => loaded,
        Err(outcome) => return outcome,
    };
    for warning in render::concise(&findings, &texts).lines() {
        tracing::warn!("{warning}");
    }
    tracing::info!(rules = bundle.rules.rules().len(), digest = %bundle.digest, "Rules are loaded");
    match app::run(sources, config, bundle, standing) {
        Ok(()) => Outcome::Clean,
        Err(error) => {
            complain(&in_full(&error));
            if error.is_internal() { Outcome::Internal } else { Outcome::Unusable }
        }
    }
}
