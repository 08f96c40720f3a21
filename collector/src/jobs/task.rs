//! What a node can be asked to do, checked before it waits, and as the wire has it.

use std::{ops::RangeInclusive, time::Duration};

use rampart_proto::v1::{BacktestTask, CaptureTask, DiagnosticsTask, Job, UnblockTask, job::Task as Wire};
use serde::{Deserialize, Serialize};

/// Longest recording.
const SECS_MAX: u32 = 600;
/// What a recording may have, if nothing else is said, and at most.
const BYTES: u64 = 64 << 20;
const SIZES: RangeInclusive<u64> = 64 << 10..=1 << 30;
/// Largest rule file.
const RULES_MAX: usize = 1 << 20;
/// Time for everything but recording.
const WORK: Duration = Duration::from_mins(2);

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Task {
    /// Pack an archive for whoever helps, without secrets.
    Diagnostics {},
    /// Record what the kernel sends.
    Capture {
        /// How long.
        secs: u32,
        /// Size at which it ends.
        #[serde(default = "bytes")]
        max_bytes: u64,
    },
    /// Compare other rules with those in force, on recorded events.
    Backtest {
        /// The other rules, YAML.
        rules: String,
        /// Job whose recording, on the same node, is used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        capture: Option<String>,
        /// How long to record, where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secs: Option<u32>,
    },
    /// Take back what a response has done, or a denied source.
    Unblock {
        /// Number of the response on its node.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        response: Option<u64>,
        /// Address or prefix in the list of denied sources.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
}

const fn bytes() -> u64 {
    BYTES
}

/// Why a task makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// Too short or too long.
    #[error("`secs` must be 1 to {SECS_MAX}")]
    Secs,
    /// Too small or too large.
    #[error("`max_bytes` must be 65536 to {}", SIZES.end())]
    Bytes,
    /// None, or too many.
    #[error("`rules` must be YAML of at most 1 MiB")]
    Rules,
    /// Neither or both.
    #[error("a backtest needs `capture` (a job of the same node) or `secs` (to record for it), not both")]
    Events,
    /// Neither or both.
    #[error("`unblock` needs `response` (its number) or `source` (an address or prefix), not both")]
    What,
    /// Nobody knows where it is.
    #[error("this needs `node`: what it is about is on one node")]
    Node,
}

impl Task {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Diagnostics {} => "diagnostics",
            Self::Capture { .. } => "capture",
            Self::Backtest { .. } => "backtest",
            Self::Unblock { .. } => "unblock",
        }
    }

    /// Whether it makes sense, on one node or any.
    pub fn check(&self, has_node: bool) -> Result<(), TaskError> {
        let is_time = |secs: u32| (1..=SECS_MAX).contains(&secs);
        let fault = match self {
            Self::Diagnostics {} => None,
            Self::Capture { secs, max_bytes } => (!is_time(*secs))
                .then_some(TaskError::Secs)
                .or_else(|| (!SIZES.contains(max_bytes)).then_some(TaskError::Bytes)),
            Self::Backtest { rules, .. } if rules.trim().is_empty() || rules.len() > RULES_MAX => {
                Some(TaskError::Rules)
            }
            Self::Backtest { capture, secs, .. } => match (capture, secs) {
                (Some(_), None) => (!has_node).then_some(TaskError::Node),
                (None, Some(secs)) => (!is_time(*secs)).then_some(TaskError::Secs),
                _ => Some(TaskError::Events),
            },
            Self::Unblock { response, source } => (response.is_some() == source.is_some())
                .then_some(TaskError::What)
                .or_else(|| (!has_node).then_some(TaskError::Node)),
        };
        fault.map_or(Ok(()), Err)
    }

    /// Time after which it is lost.
    pub fn lease(&self) -> Duration {
        let recording = match self {
            Self::Capture { secs, .. } | Self::Backtest { secs: Some(secs), .. } => *secs,
            _ => 0,
        };
        WORK + Duration::from_secs(recording.into())
    }

    /// The job as the wire has it.
    pub fn wire(&self, id: &str) -> Job {
        let task = match self.clone() {
            Self::Diagnostics {} => Wire::Diagnostics(DiagnosticsTask {}),
            Self::Capture { secs, max_bytes } => Wire::Capture(CaptureTask { secs, max_bytes }),
            Self::Backtest { rules, capture, secs } => Wire::Backtest(BacktestTask {
                rules,
                capture: capture.unwrap_or_default(),
                secs: secs.unwrap_or_default(),
            }),
            Self::Unblock { response, source } => Wire::Unblock(UnblockTask {
                response: response.unwrap_or_default(),
                source: source.unwrap_or_default(),
            }),
        };
        Job { id: id.to_owned(), lease_secs: self.lease().as_secs() as u32, task: Some(task) }
    }

    /// What it is about, for the audit log.
    pub fn detail(&self) -> String {
        match self {
            Self::Diagnostics {} => "diagnostics".to_owned(),
            Self::Capture { secs, .. } => format!("capture of {secs} s"),
            Self::Backtest { rules, capture: Some(capture), .. } => {
                format!("backtest of {} bytes of rules on the recording of {capture}", rules.len())
            }
            Self::Backtest { rules, secs, .. } => {
                format!("backtest of {} bytes of rules on {} s", rules.len(), secs.unwrap_or_default())
            }
            Self::Unblock { response: Some(number), .. } => format!("unblock response {number}"),
            Self::Unblock { source, .. } => format!("unblock {}", source.as_deref().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Task, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn tasks_are_read_and_checked() {
        assert_eq!(of(r#"{"kind":"capture","secs":5}"#), Ok(Task::Capture { secs: 5, max_bytes: BYTES }));
        assert!(of(r#"{"kind":"capture","secs":5,"x":1}"#).unwrap_err().contains("unknown field"));
        assert!(of(r#"{"kind":"reboot"}"#).unwrap_err().contains("unknown variant"));
        for (text, has_node, expected) in [
            (r#"{"kind":"diagnostics"}"#, false, Ok(())),
            (r#"{"kind":"capture","secs":0}"#, true, Err(TaskError::Secs)),
            (r#"{"kind":"capture","secs":601}"#, true, Err(TaskError::Secs)),
            (r#"{"kind":"capture","secs":1,"max_bytes":1}"#, true, Err(TaskError::Bytes)),
            (r#"{"kind":"backtest","rules":" ","secs":1}"#, true, Err(TaskError::Rules)),
            (r#"{"kind":"backtest","rules":"[]"}"#, true, Err(TaskError::Events)),
            (r#"{"kind":"backtest","rules":"[]","secs":1,"capture":"a"}"#, true, Err(TaskError::Events)),
            (r#"{"kind":"backtest","rules":"[]","capture":"a"}"#, false, Err(TaskError::Node)),
            (r#"{"kind":"backtest","rules":"[]","capture":"a"}"#, true, Ok(())),
            (r#"{"kind":"unblock"}"#, true, Err(TaskError::What)),
            (r#"{"kind":"unblock","response":1,"source":"::1"}"#, true, Err(TaskError::What)),
            (r#"{"kind":"unblock","source":"192.0.2.1"}"#, false, Err(TaskError::Node)),
            (r#"{"kind":"unblock","source":"192.0.2.1"}"#, true, Ok(())),
        ] {
            assert_eq!(of(text).unwrap().check(has_node), expected, "{text}");
        }
    }

    #[test]
    fn a_lease_covers_the_recording() {
        let capture = of(r#"{"kind":"capture","secs":600}"#).unwrap();
        assert_eq!(capture.lease(), WORK + Duration::from_mins(10));
        assert_eq!(capture.wire("a").lease_secs, 720);
    }
}
