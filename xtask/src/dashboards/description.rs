//! What a dashboard shows, as people write it.

use anyhow::{Context, Result, bail};
use serde_yaml::{Mapping, Value};

/// Panels are so many units wide together; Grafana's number.
pub(super) const WIDTH: u64 = 24;
/// What `@` words stand for.
const NODES: &str = r#"instance=~"$instance""#;
const SERVICES: &str = r#"instance=~"$instance", service=~"$service""#;
const RATE: &str = "$__rate_interval";
/// What Grafana's variables stand for when there is no Grafana: everything, and more than a check takes.
const CHOSEN: [(&str, &str); 3] = [("$instance", ".+"), ("$service", ".+"), (RATE, "5m")];

/// A dashboard.
pub(super) struct Dashboard {
    pub(super) title: String,
    pub(super) uid: String,
    pub(super) text: String,
    /// Services can be chosen, beside nodes.
    pub(super) has_services: bool,
    pub(super) rows: Vec<Row>,
}

/// Panels below a heading.
pub(super) struct Row {
    pub(super) title: String,
    pub(super) panels: Vec<Panel>,
}

/// One panel.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) text: String,
    pub(super) show: Show,
    /// By Grafana's name.
    pub(super) unit: String,
    pub(super) width: u64,
    /// From here on the number is red.
    pub(super) bad: Option<f64>,
    /// Numbers with the words and colours they are shown by.
    pub(super) values: Vec<(String, String, String)>,
    /// Legends with expressions, as Grafana gets them.
    pub(super) queries: Vec<(String, String)>,
    /// What must happen before there is an answer.
    pub(super) after: Option<String>,
}

/// How a panel shows its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Stat,
    Graph,
    Stacked,
    Table,
    States,
}

/// A query, as Prometheus gets it when everything is chosen.
pub(super) struct Query {
    /// Of its panel.
    pub(super) title: String,
    pub(super) expression: String,
    pub(super) after: Option<String>,
}

impl Dashboard {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_yaml::from_str(text).context("no YAML")?;
        let map = value.as_mapping().context("no mapping")?;
        only(map, &["title", "uid", "text", "services", "rows"])?;
        let rows = map.get("rows").and_then(Value::as_sequence).context("no `rows`")?;
        Ok(Self {
            title: string(map, "title")?,
            uid: string(map, "uid")?,
            text: string(map, "text")?,
            has_services: map.get("services").and_then(Value::as_bool).unwrap_or(false),
            rows: rows.iter().map(Row::read).collect::<Result<_>>()?,
        })
    }

    /// Every query.
    pub(super) fn queries(&self) -> Vec<Query> {
        let panels = self.rows.iter().flat_map(|row| &row.panels);
        let of = |panel: &Panel| {
            let (title, after) = (panel.title.clone(), panel.after.clone());
            panel
                .queries
                .iter()
                .map(|(_, text)| Query {
                    title: title.clone(),
                    expression: plain(text),
                    after: after.clone(),
                })
                .collect::<Vec<_>>()
        };
        panels.flat_map(of).collect()
    }
}

impl Row {
    fn read(value: &Value) -> Result<Self> {
        let map = value.as_mapping().context("a row is no mapping")?;
        only(map, &["title", "panels"])?;
        let title = string(map, "title")?;
        let panels = map.get("panels").and_then(Value::as_sequence).context("a row has no `panels`")?;
        let panels = panels.iter().map(Panel::read).collect::<Result<_>>();
        Ok(Self { panels: panels.with_context(|| format!("row `{title}`"))?, title })
    }
}

impl Panel {
    fn read(value: &Value) -> Result<Self> {
        let map = value.as_mapping().context("a panel is no mapping")?;
        let title = string(map, "title")?;
        Self::read_titled(map, title.clone()).with_context(|| format!("panel `{title}`"))
    }

    fn read_titled(map: &Mapping, title: String) -> Result<Self> {
        only(map, &["title", "text", "show", "unit", "width", "bad", "values", "queries", "after"])?;
        let optional = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
        let show = match string(map, "show")?.as_str() {
            "stat" => Show::Stat,
            "graph" => Show::Graph,
            "stacked" => Show::Stacked,
            "table" => Show::Table,
            "states" => Show::States,
            other => bail!("`show: {other}` is none of stat, graph, stacked, table, states"),
        };
        let mut queries = Vec::new();
        for (legend, text) in map.get("queries").and_then(Value::as_mapping).context("no `queries`")? {
            let legend = legend.as_str().context("a legend is no text")?;
            queries.push((legend.to_owned(), expanded(text.as_str().context("a query is no text")?)?));
        }
        let mut values = Vec::new();
        for (number, shown) in map.get("values").and_then(Value::as_mapping).into_iter().flatten() {
            let word = |place: usize| shown.get(place).and_then(Value::as_str).map(str::to_owned);
            let number = number.as_i64().context("`values` are by number")?;
            let (Some(text), Some(colour)) = (word(0), word(1)) else { bail!("`values` are [text, colour]") };
            values.push((number.to_string(), text, colour));
        }
        Ok(Self {
            title,
            text: optional("text").unwrap_or_default(),
            show,
            unit: optional("unit").unwrap_or_else(|| "short".to_owned()),
            width: map.get("width").and_then(Value::as_u64).unwrap_or(WIDTH / 2),
            bad: map.get("bad").and_then(Value::as_f64),
            values,
            queries,
            after: optional("after"),
        })
    }
}

/// A mistyped key would be without effect.
fn only(map: &Mapping, known: &[&str]) -> Result<()> {
    for key in map.keys() {
        let key = key.as_str().unwrap_or_default();
        if !known.contains(&key) {
            bail!("unknown key `{key}`; there are {}", known.join(", "));
        }
    }
    Ok(())
}

fn string(map: &Mapping, key: &str) -> Result<String> {
    map.get(key).and_then(Value::as_str).map(str::to_owned).with_context(|| format!("no `{key}`"))
}

/// With the words for `@nodes` and its kin.
fn expanded(text: &str) -> Result<String> {
    let text = text.replace("@nodes", NODES).replace("@services", SERVICES).replace("@rate", RATE);
    if text.contains('@') {
        bail!("`{text}` has an unknown `@` word");
    }
    Ok(text)
}

/// Without Grafana's variables.
fn plain(text: &str) -> String {
    CHOSEN.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "title: t\nuid: u\ntext: x\nrows:\n  - title: r\n    panels:\n";

    #[test]
    fn words_are_expanded_for_grafana_and_for_prometheus() {
        let panel = "      - {title: p, show: graph, queries: {\"{{a}}\": \"rate(b{@services}[@rate])\"}}\n";
        let dashboard = Dashboard::parse(&format!("{HEAD}{panel}")).unwrap();
        let query = &dashboard.rows[0].panels[0].queries[0];
        assert_eq!(query.1, r#"rate(b{instance=~"$instance", service=~"$service"}[$__rate_interval])"#);
        assert_eq!(dashboard.queries()[0].expression, r#"rate(b{instance=~".+", service=~".+"}[5m])"#);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (panel, words) in [
            ("{title: p, show: pie, queries: {a: b}}", "show: pie"),
            ("{title: p, show: stat, quries: {a: b}}", "unknown key `quries`"),
            ("{title: p, show: stat, queries: {a: 'b{@node}'}}", "unknown `@` word"),
        ] {
            let error = Dashboard::parse(&format!("{HEAD}      - {panel}\n")).err().unwrap();
            let text = format!("{error:#}");
            assert!(text.contains(words) && text.contains("panel `p`"), "{text}");
        }
    }
}
