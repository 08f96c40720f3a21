//! Jobs of the collector while the agent runs: a thread of their own.

use std::{io, sync::Arc};

use super::tasks::Tasks;
use crate::{
    captures,
    config::{Config, Sources},
    control::Uplink,
    jobs::{Line, work::Place, worker::Worker},
};

/// Name of the thread, and of its directory in `node.state_dir`.
pub(super) const JOBS: &str = "jobs";

/// Starts who does them, where the collector may ask for any.
pub(super) fn start(
    config: &Config,
    uplink: Option<&Uplink>,
    sources: &Sources,
    tasks: &mut Tasks,
) -> io::Result<Option<Arc<Line>>> {
    let kinds = config.output.collector.as_ref().map(|collector| collector.jobs.clone()).unwrap_or_default();
    let Some((line, orders)) = uplink.filter(|_| !kinds.is_empty()).and_then(Uplink::jobs) else {
        return Ok(None);
    };
    let state = &config.node.state_dir;
    let place = Place {
        jobs: state.join(JOBS),
        captures: state.join(captures::DIRECTORY),
        room: config.responses.captures_bytes,
        config_file: sources.file_path().to_owned(),
        rules: sources.overrides.rules.clone(),
    };
    let worker = Worker::new(Arc::clone(&line), orders, place, kinds);
    tasks.thread(JOBS, move || {
        worker.run();
        Ok(())
    })?;
    Ok(Some(line))
}
