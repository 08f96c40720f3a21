//! Dashboards in the form that Grafana loads.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::description::{Dashboard, Panel, Show, WIDTH};

/// Version of the form; Grafana brings older ones to its own.
const SCHEMA: u32 = 39;
/// Every query goes to the Prometheus that is chosen.
const SOURCE: &str = "${datasource}";

/// What can be chosen on a dashboard.
pub(super) struct Variable {
    pub(super) name: &'static str,
    /// Its values are those of a label.
    pub(super) label: &'static str,
    /// Of this metric.
    pub(super) metric: &'static str,
}

/// The choices of a dashboard.
pub(super) fn variables(dashboard: &Dashboard) -> Vec<Variable> {
    let mut variables = vec![Variable { name: "instance", label: "instance", metric: "rampart_ready" }];
    if dashboard.has_services {
        variables.push(Variable { name: "service", label: "service", metric: "circuit_breaker_state" });
    }
    variables
}

/// The file.
pub(super) fn file(dashboard: &Dashboard) -> Result<String> {
    let mut choices = vec![json!({
        "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0,
    })];
    choices.extend(variables(dashboard).iter().map(choice));
    let value = json!({
        "title": dashboard.title,
        "uid": dashboard.uid,
        "description": dashboard.text,
        "tags": ["rampart"],
        "schemaVersion": SCHEMA,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": { "from": "now-3h", "to": "now" },
        "timezone": "",
        "templating": { "list": choices },
        "annotations": { "list": [] },
        "links": [{
            "title": "Rampart", "type": "dashboards", "tags": ["rampart"], "asDropdown": true,
            "includeVars": true, "keepTime": true,
        }],
        "panels": panels(dashboard)?,
    });
    Ok(serde_json::to_string_pretty(&value).context("cannot write JSON")? + "\n")
}

fn choice(variable: &Variable) -> Value {
    let query = format!("label_values({}, {})", variable.metric, variable.label);
    json!({
        "name": variable.name,
        "label": if variable.name == "instance" { "Node" } else { "Service" },
        "type": "query",
        "datasource": { "type": "prometheus", "uid": SOURCE },
        "definition": query,
        "query": { "query": query, "refId": variable.name },
        "refresh": 2,
        "sort": 1,
        "multi": true,
        "includeAll": true,
        "allValue": ".+",
        "current": { "text": "All", "value": "$__all" },
    })
}

/// Panels from left to right, in rows with headings.
fn panels(dashboard: &Dashboard) -> Result<Vec<Value>> {
    let (mut panels, mut id, mut y) = (Vec::new(), 0_u64, 0);
    let mut next = || {
        id += 1;
        id
    };
    for row in &dashboard.rows {
        panels.push(json!({
            "id": next(), "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": { "x": 0, "y": y, "w": WIDTH, "h": 1 },
        }));
        y += 1;
        let (mut x, mut height) = (0, 0);
        for panel in &row.panels {
            if panel.width > WIDTH {
                bail!("panel `{}` is wider than {WIDTH}", panel.title);
            }
            if x + panel.width > WIDTH {
                y += height;
                (x, height) = (0, 0);
            }
            let own = if panel.show == Show::Stat { 4 } else { 8 };
            panels.push(shown(panel, next(), &json!({ "x": x, "y": y, "w": panel.width, "h": own })));
            x += panel.width;
            height = height.max(own);
        }
        y += height;
    }
    Ok(panels)
}

fn shown(panel: &Panel, id: u64, place: &Value) -> Value {
    let is_moment = matches!(panel.show, Show::Stat | Show::Table);
    let targets: Vec<Value> = ('A'..='Z')
        .zip(&panel.queries)
        .map(|(letter, (legend, expression))| {
            json!({
                "refId": letter.to_string(),
                "datasource": { "type": "prometheus", "uid": SOURCE },
                "expr": expression,
                "legendFormat": legend,
                "instant": is_moment,
                "range": !is_moment,
                "format": if panel.show == Show::Table { "table" } else { "time_series" },
            })
        })
        .collect();
    let mut text = panel.text.clone();
    if let Some(after) = &panel.after {
        let separator = if text.is_empty() { "" } else { " " };
        text.extend([separator, "Empty until ", after, "."]);
    }
    let (kind, options, custom) = match panel.show {
        Show::Stat => (
            "stat",
            json!({ "reduceOptions": { "calcs": ["lastNotNull"] }, "colorMode": "value", "graphMode": "none" }),
            json!({}),
        ),
        Show::Graph | Show::Stacked => (
            "timeseries",
            json!({ "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi" } }),
            json!({
                "fillOpacity": if panel.show == Show::Stacked { 40 } else { 10 },
                "stacking": { "mode": if panel.show == Show::Stacked { "normal" } else { "none" } },
                "showPoints": "never",
            }),
        ),
        Show::Table => ("table", json!({ "showHeader": true }), json!({ "align": "auto" })),
        Show::States => (
            "state-timeline",
            json!({ "showValue": "never", "mergeValues": true, "legend": { "displayMode": "list", "placement": "bottom" } }),
            json!({ "fillOpacity": 80 }),
        ),
    };
    let mut steps = vec![json!({ "color": "green", "value": null })];
    steps.extend(panel.bad.map(|bad| json!({ "color": "red", "value": bad })));
    let words: serde_json::Map<String, Value> = panel
        .values
        .iter()
        .map(|(number, text, colour)| (number.clone(), json!({ "text": text, "color": colour })))
        .collect();
    let mappings = if words.is_empty() { json!([]) } else { json!([{ "type": "value", "options": words }]) };
    let transformations = match panel.show {
        Show::Table => json!([
            { "id": "merge", "options": {} },
            { "id": "organize", "options": { "excludeByName": { "Time": true } } },
        ]),
        _ => json!([]),
    };
    json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "description": text,
        "datasource": { "type": "prometheus", "uid": SOURCE },
        "gridPos": place,
        "targets": targets,
        "options": options,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": if matches!(panel.show, Show::Graph | Show::Stacked) { json!(0) } else { Value::Null },
                "custom": custom,
                "thresholds": { "mode": "absolute", "steps": steps },
                "mappings": mappings,
            },
            "overrides": [],
        },
        "transformations": transformations,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn panels_have_numbers_of_their_own_and_do_not_overlap() {
        let head = "title: t\nuid: u\ntext: x\nrows:\n";
        let row = "  - title: r\n    panels:\n";
        let panel = |width: u64, show: &str| {
            format!("      - {{title: p, show: {show}, width: {width}, queries: {{a: up}}}}\n")
        };
        let text = [
            head,
            row,
            &panel(6, "stat"),
            &panel(12, "graph"),
            &panel(12, "table"),
            row,
            &panel(24, "states"),
        ]
        .concat();
        let dashboard = Dashboard::parse(&text).unwrap();
        let value: Value = serde_json::from_str(&file(&dashboard).unwrap()).unwrap();
        let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
        for panel in value["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()));
            let of = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            for x in of("x")..of("x") + of("w") {
                for y in of("y")..of("y") + of("h") {
                    assert!(x < WIDTH && cells.insert((x, y)), "{x} {y}");
                }
            }
        }
        assert_eq!(ids.len(), 6);
        assert_eq!(value["panels"][1]["targets"][0]["expr"], "up");
    }
}
