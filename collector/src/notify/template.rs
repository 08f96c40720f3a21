//! Texts of a channel's own: Jinja templates over the facts of an alert.

use minijinja::{Environment, Value, context, value::Serde};

use super::channel::Facts;

/// Longest text that is made; what is longer is cut.
const LETTERS_MAX: usize = 16_384;

/// What is said instead of the usual; `None` says the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// In one line: the subject of a mail, the summary of an incident.
    pub title: Option<String>,
    /// The text.
    pub body: Option<String>,
}

impl Template {
    /// What is wrong with a template, if anything is.
    pub fn check(text: &str) -> Result<(), String> {
        environment().template_from_str(text).map(|_| ()).map_err(|error| said(&error))
    }

    /// Puts the texts into the facts. One that cannot be made leaves the usual one.
    pub fn apply(&self, facts: &mut Facts) {
        let made = |text: &String| {
            let made = render(text, facts);
            made.map_err(|error| {
                tracing::warn!("A template cannot be filled, the usual text is sent: {error}");
            })
            .ok()
        };
        let (title, body) = (self.title.as_ref().and_then(made), self.body.as_ref().and_then(made));
        if let Some(title) = title {
            facts.title = Some(title.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        if let Some(body) = body {
            facts.output = body;
        }
    }
}

fn environment() -> Environment<'static> {
    Environment::new()
}

fn render(text: &str, facts: &Facts) -> Result<String, String> {
    let alerts = match facts.alert.get("alerts") {
        Some(alerts) => Value::from(Serde(alerts)),
        None => Value::from(Serde([&facts.alert])),
    };
    let values = context! {
        rule => facts.rule.clone(),
        priority => facts.priority.name(),
        source => facts.source.clone(),
        hostname => facts.hostname.clone(),
        output => facts.output.clone(),
        time => facts.time.clone(),
        tags => Value::from(Serde(&facts.tags)),
        fields => Value::from(Serde(&facts.fields)),
        count => facts.count,
        alerts => alerts,
    };
    let made = environment().render_str(text, values).map_err(|error| said(&error))?;
    Ok(made.chars().take(LETTERS_MAX).collect())
}

fn said(error: &minijinja::Error) -> String {
    let line = error.line().map_or_else(String::new, |line| format!(" (line {line})"));
    format!("{error}{line}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::sample;

    fn made(title: &str, body: &str) -> Facts {
        let template = Template { title: Some(title.to_owned()), body: Some(body.to_owned()) };
        let mut facts = Facts::of(&sample());
        template.apply(&mut facts);
        facts
    }

    #[test]
    fn a_text_is_made_of_the_facts() {
        let facts = made(
            "{{ priority|upper }}:\n {{ rule }} on {{ hostname }}",
            "{{ fields['proc.name'] }}{{ fields.nothing }}{% for tag in tags %} #{{ tag }}{% endfor %} x{{ count }} {{ alerts[0].source }} <b>",
        );
        assert_eq!(facts.title.as_deref(), Some("DEBUG: Test rule on sample"));
        assert_eq!(facts.output, "sample #sample x1 internal <b>");
    }

    #[test]
    fn what_cannot_be_made_leaves_the_usual_text() {
        let facts = made("{{ rule.a.b.c }}", "{{ 1 / 0 }}");
        assert_eq!((facts.title, facts.output), (None, Facts::of(&sample()).output));
        assert!(Template::check("{{ rule }").unwrap_err().contains("line 1"));
        assert!(Template::check("{% for x in alerts %}{{ x.rule }}{% endfor %}").is_ok());
    }
}
