//! The keys `threshold`, `throttle`, `active` and `sequence` of a rule: read, and compiled with the rest of it.

use std::sync::Arc;

use super::{
    read::{Read, item::Item},
    resolve::{Lists, Macros},
};
use crate::{
    condition::{Expr, quote::escape},
    diagnostic::{Diagnostic, code},
    duration,
    event_set::{self, EventSet},
    filter::Filter,
    source::{Mapped, Span},
    typed::{self, Checker, Environment, FieldUse},
    window::{
        BURST_MAX, BY_MAX, COUNT_MAX, Cron, STEPS_MAX, Sequence, Step, Threshold, Throttle, WITHIN_MAX_MS,
        Window,
    },
    yaml::Node,
};

/// The keys.
pub(super) const KEYS: [&str; 4] = ["threshold", "throttle", "active", "sequence"];
/// Sessions of a calendar, and the time outside of them.
const SESSIONS: [&str; 5] = ["pre_open", "auction", "continuous", "post_close", "closed"];

/// The keys as read.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) threshold: Option<Rate>,
    pub(super) throttle: Option<Rate>,
    pub(super) active: Option<Active>,
    pub(super) sequence: Option<Steps>,
}

/// A number of events in a time.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    count: u64,
    sum: Option<Mapped>,
    time_ns: u64,
    by: Vec<Mapped>,
}

/// When a rule counts.
#[derive(Clone, Debug)]
pub(super) struct Active {
    /// A condition on the session.
    condition: Option<String>,
    cron: Option<Cron>,
}

/// What comes before.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    before: Vec<(Mapped, Option<Vec<Mapped>>, Span)>,
    within_ns: u64,
    by: Vec<Mapped>,
}

/// What conditions are compiled with.
#[derive(Clone, Copy)]
pub(super) struct Place<'p, 'a> {
    pub(super) lists: &'p Lists<'a>,
    pub(super) macros: &'p Macros<'a>,
    pub(super) environment: Environment,
}

/// One of the keys, being read.
struct Key<'i> {
    item: Item<'i>,
    file: &'i str,
    name: &'static str,
    node: &'i Node,
}

impl Draft {
    /// Reads the keys that are there.
    pub(super) fn read(item: Item<'_>, file: &str) -> Read<Self> {
        let mut draft = Self::default();
        for name in KEYS {
            let Some(node) = item.get(name).filter(|node| !node.is_null()) else { continue };
            let key = Key { item, file, name, node };
            match name {
                "threshold" => {
                    let known = ["count", "within", "sum", "by"];
                    draft.threshold = Some(key.rate(("count", COUNT_MAX), "within", &known)?);
                }
                "throttle" => {
                    let known = ["burst", "per", "by"];
                    draft.throttle = Some(key.rate(("burst", BURST_MAX), "per", &known)?);
                }
                "active" => draft.active = Some(key.active()?),
                _ => draft.sequence = Some(key.steps()?),
            }
        }
        Ok(draft)
    }

    /// Whether none is there.
    pub(super) fn is_empty(&self) -> bool {
        self.threshold.is_none()
            && self.throttle.is_none()
            && self.active.is_none()
            && self.sequence.is_none()
    }

    /// Compiles them. The tree of the rule's condition becomes that of every event the rule has to see.
    pub(super) fn compile(
        &self,
        tree: Expr,
        place: Place<'_, '_>,
        span: Span,
    ) -> Result<(Expr, Option<Arc<Window>>), Vec<Diagnostic>> {
        let mut tree = tree;
        if let Some(text) = self.active.as_ref().and_then(|active| active.condition.as_ref()) {
            let mut condition = Mapped::default();
            condition.push_fixed(text, span);
            let session = place.macros.condition(&condition, place.lists, span)?;
            tree = Expr::And(vec![tree, session]);
        }
        let sequence = match &self.sequence {
            None => None,
            Some(steps) => {
                let (sequence, all) = steps.compile(tree, place)?;
                tree = all;
                Some(sequence)
            }
        };
        let threshold = self.threshold.as_ref().map(|rate| -> Result<Threshold, Vec<Diagnostic>> {
            let by = fields(&rate.by, place.environment)?;
            let mut sum = fields(rate.sum.as_slice(), place.environment)?;
            Ok(Threshold { count: rate.count, sum: sum.pop(), within_ns: rate.time_ns, by })
        });
        let throttle = self.throttle.as_ref().map(|rate| -> Result<Throttle, Vec<Diagnostic>> {
            let by = fields(&rate.by, place.environment)?;
            Ok(Throttle { burst: rate.count as u32, per_ns: rate.time_ns, by })
        });
        let window = Window {
            threshold: threshold.transpose()?,
            throttle: throttle.transpose()?,
            active: self.active.as_ref().and_then(|active| active.cron.clone()),
            sequence,
        };
        let any = window.is_conditional() || window.throttle.is_some();
        Ok((tree, any.then(|| Arc::new(window))))
    }
}

impl Steps {
    fn compile(&self, tree: Expr, place: Place<'_, '_>) -> Result<(Sequence, Expr), Vec<Diagnostic>> {
        let by = fields(&self.by, place.environment)?;
        let last = filter(&tree, place)?;
        let (mut steps, mut all) = (Vec::new(), Vec::new());
        for (text, own, span) in &self.before {
            let step = place.macros.condition(text, place.lists, *span)?;
            let of_step = own.as_ref().map_or(Ok(by.clone()), |own| fields(own, place.environment))?;
            if of_step.len() != by.len() {
                let message =
                    format!("a step has {} fields in `by`, the sequence {}", of_step.len(), by.len());
                return Err(vec![Diagnostic::new(code::BAD_WINDOW, message).at(*span)]);
            }
            steps.push(Step { holds: filter(&step, place)?, by: of_step });
            all.push(step);
        }
        all.push(tree);
        Ok((Sequence { steps, last, within_ns: self.within_ns, by }, Expr::Or(all)))
    }
}

/// A condition of its own.
fn filter(tree: &Expr, place: Place<'_, '_>) -> Result<Arc<Filter>, Vec<Diagnostic>> {
    let mut checker = Checker::new(place.environment).with_sets(place.lists.sets());
    let node = checker.condition(tree);
    let errors: Vec<Diagnostic> = checker.take().into_iter().filter(Diagnostic::is_error).collect();
    let events = event_set::of_condition(tree).unwrap_or(EventSet::EMPTY);
    match node {
        Some(node) => Ok(Arc::new(Filter::of(tree, node, events, place.environment.strict))),
        None => Err(errors),
    }
}

/// Fields by name.
fn fields(names: &[Mapped], environment: Environment) -> Result<Vec<FieldUse>, Vec<Diagnostic>> {
    names
        .iter()
        .map(|name| {
            let (filter, findings) = Filter::compile(&format!("{} exists", name.text()), environment);
            if let Some(filter) = &filter
                && let typed::Node::Test(test) = filter.condition()
                && let typed::Source::Field(field) = &test.left
            {
                return Ok(field.clone());
            }
            let place = name.span(0..name.text().len());
            let unknown =
                || Diagnostic::new(code::BAD_WINDOW, format!("`{}` is no field", name.text().escape_debug()));
            Err(vec![findings.into_iter().find(Diagnostic::is_error).unwrap_or_else(unknown).at(place)])
        })
        .collect()
}

impl Key<'_> {
    /// `{count: 5, within: 10s, by: [fields]}`, for a sum also `sum: field`.
    fn rate(
        &self,
        (count, most): (&'static str, u64),
        time: &'static str,
        known: &[&'static str],
    ) -> Read<Rate> {
        self.known(self.node, known)?;
        let node = self.needed(count)?;
        let number = node.as_text().and_then(|text| text.parse::<u64>().ok());
        let number = number.filter(|number| (1..=most).contains(number));
        let wrong = || self.fault(node, format!("`{count}` must be a whole number from 1 to {most}"));
        let by = self.by(self.node)?.unwrap_or_default();
        let sum = match self.node.get("sum") {
            None => None,
            Some(node) if node.as_text().is_some() => Some(node.mapped(self.file)),
            Some(node) => return Err(self.fault(node, "`sum` must be a field".to_owned())),
        };
        Ok(Rate { count: number.ok_or_else(wrong)?, sum, time_ns: self.time(time)?, by })
    }

    /// `{session: continuous}`, `{not_session: [closed]}`, `{cron: "* 9-17 * * mon-fri"}`.
    fn active(&self) -> Read<Active> {
        self.known(self.node, &["session", "not_session", "calendar", "cron"])?;
        let calendar = match self.node.get("calendar") {
            None => String::new(),
            Some(node) => match node.as_text().filter(|name| is_name(name)) {
                Some(name) => format!("[{name}]"),
                None => return Err(self.fault(node, "`calendar` must be the name of a calendar".to_owned())),
            },
        };
        let field = format!("trading.session{calendar}");
        let mut parts = Vec::new();
        if let Some(node) = self.node.get("session") {
            parts.push(format!("{field} in ({})", self.sessions(node)?));
        }
        if let Some(node) = self.node.get("not_session") {
            // Without a calendar there is no outside.
            parts.push(format!("{field} exists and not {field} in ({})", self.sessions(node)?));
        }
        let cron = match self.node.get("cron") {
            None => None,
            Some(node) => {
                let cron = Cron::read(node.as_text().unwrap_or_default());
                Some(cron.map_err(|fault| self.fault(node, format!("`cron`: {fault}")))?)
            }
        };
        if parts.is_empty() && cron.is_none() {
            let message = "`active` needs `session`, `not_session` or `cron`".to_owned();
            return Err(self.fault(self.node, message));
        }
        Ok(Active { condition: (!parts.is_empty()).then(|| parts.join(" and ")), cron })
    }

    fn sessions(&self, node: &Node) -> Read<String> {
        let words = node.as_seq().unwrap_or(std::slice::from_ref(node));
        let mut out = Vec::new();
        for word in words {
            let text = word.as_text().unwrap_or_default();
            if !SESSIONS.contains(&text) {
                let message = format!("unknown session `{}`", text.escape_debug());
                let mut finding = self.fault(word, message);
                finding.help = Some(format!("a session is one of {}", SESSIONS.join(", ")));
                return Err(Box::new(finding.did_you_mean(text, SESSIONS)));
            }
            out.push(escape(text.as_bytes()));
        }
        if out.is_empty() {
            return Err(self.fault(node, "no session is named".to_owned()));
        }
        Ok(out.join(", "))
    }

    /// `{after: CONDITION, within: 30s, by: [fields]}`, where `after` may be several steps.
    fn steps(&self) -> Read<Steps> {
        self.known(self.node, &["after", "within", "by"])?;
        let after = self.needed("after")?;
        let nodes = after.as_seq().unwrap_or(std::slice::from_ref(after));
        let mut steps = Vec::new();
        for node in nodes {
            let (condition, own) = match node.as_map() {
                Some(_) => {
                    self.known(node, &["condition", "by"])?;
                    let missing = || self.fault(node, "a step has no `condition`".to_owned());
                    (node.get("condition").ok_or_else(missing)?, self.by(node)?)
                }
                None => (node, None),
            };
            if condition.as_text().is_none_or(|text| text.trim().is_empty()) {
                return Err(self.fault(condition, "a step must be a condition".to_owned()));
            }
            steps.push((condition.mapped(self.file), own, condition.span));
        }
        if steps.is_empty() || steps.len() > STEPS_MAX {
            return Err(self.fault(after, format!("`after` must have 1 to {STEPS_MAX} steps")));
        }
        let by = self.by(self.node)?.unwrap_or_default();
        Ok(Steps { before: steps, within_ns: self.time("within")?, by })
    }

    fn time(&self, name: &'static str) -> Read<u64> {
        let node = self.needed(name)?;
        let ms = node.as_text().and_then(duration::parse_ms).filter(|ms| *ms <= WITHIN_MAX_MS);
        let wrong = || {
            let mut finding = self.fault(node, format!("`{name}` must be a time up to a week"));
            finding.help = Some("write it with units, such as `500ms`, `30s`, `1h30m`".to_owned());
            finding
        };
        Ok(ms.ok_or_else(wrong)? * 1_000_000)
    }

    fn by(&self, node: &Node) -> Read<Option<Vec<Mapped>>> {
        let Some(by) = node.get("by").filter(|by| !by.is_null()) else { return Ok(None) };
        let names = by.as_seq().unwrap_or(std::slice::from_ref(by));
        if names.len() > BY_MAX || names.iter().any(|name| name.as_text().is_none_or(str::is_empty)) {
            return Err(self.fault(by, format!("`by` must be up to {BY_MAX} fields")));
        }
        Ok(Some(names.iter().map(|name| name.mapped(self.file)).collect()))
    }

    fn needed(&self, name: &'static str) -> Read<&Node> {
        self.node.get(name).ok_or_else(|| self.fault(self.node, format!("`{}` has no `{name}`", self.name)))
    }

    fn known(&self, node: &Node, known: &[&'static str]) -> Read<()> {
        let Some(pairs) = node.as_map() else {
            return Err(self.fault(node, format!("`{}` must be a map, not {}", self.name, node.describe())));
        };
        for (key, _) in pairs {
            let name = key.as_text().unwrap_or_default();
            if !known.contains(&name) {
                let message = format!("unknown key `{}` of `{}`", name.escape_debug(), self.name);
                let finding = self.fault(key, message);
                return Err(Box::new(finding.did_you_mean(name, known.iter().copied())));
            }
        }
        Ok(())
    }

    fn fault(&self, node: &Node, message: String) -> Box<Diagnostic> {
        Box::new(self.item.fault(code::BAD_WINDOW, message).at(node.span))
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
