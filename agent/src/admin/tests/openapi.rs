//! The description of the pages against the pages.

use std::collections::BTreeSet;

use hyper::Request;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rampart_common::{counter::FamilyCounters, event::Family};
use rampart_rules::rule::Priority;

use super::{dashboard::alert, *};

fn document() -> Value {
    serde_json::from_str(include_str!("../openapi.json")).unwrap()
}

/// A path of the router as the document writes it.
fn written(path: &str) -> String {
    path.replace("{*", "{")
}

/// Whether a value is what a schema says, as far as the document's schemas go; else where it is not.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        let schema = document.pointer(pointer).ok_or_else(|| format!("{at}: there is no `{name}`"))?;
        return check(document, schema, value, at);
    }
    if let Some(ways) = schema["anyOf"].as_array() {
        let faults: Vec<String> =
            ways.iter().filter_map(|way| check(document, way, value, at).err()).collect();
        return if faults.len() < ways.len() { Ok(()) } else { Err(faults.join("; ")) };
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    let is_kind = |kind: &&str| match *kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("{at}: no type `{other}`"),
    };
    if !kinds.iter().any(is_kind) {
        return Err(format!("{at}: {value} is none of {kinds:?}"));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        return Err(format!("{at}: {value} is none of {values:?}"));
    }
    for (place, item) in value.as_array().into_iter().flatten().enumerate() {
        check(document, &schema["items"], item, &format!("{at}/{place}"))?;
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            return Err(format!("{at}: `{name}` is missing"));
        }
    }
    for (name, item) in object {
        let at = format!("{at}/{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => return Err(format!("{at} is not described")),
            (Value::Null, rest @ Value::Object(_)) => check(document, rest, item, &at)?,
            (Value::Null, _) => {}
            (known, _) => check(document, known, item, &at)?,
        }
    }
    Ok(())
}

#[test]
fn every_page_is_described_and_every_description_is_of_a_page() {
    let document = document();
    let described: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let served: BTreeSet<String> = PAGES.iter().map(|path| written(path)).collect();
    assert_eq!(described, served);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, work) in methods.as_object().unwrap() {
            let named = work["parameters"].as_array().into_iter().flatten();
            let named: BTreeSet<&str> =
                named.filter(|one| one["in"] == "path").map(|one| one["name"].as_str().unwrap()).collect();
            let wanted: BTreeSet<&str> =
                path.split('{').skip(1).map(|part| part.split('}').next().unwrap()).collect();
            assert_eq!(named, wanted, "parameters of {method} {path}");
            assert_eq!(work.get("security").is_some(), method != "get", "who may {method} {path}");
        }
    }
}

#[test]
fn the_router_takes_the_methods_that_are_described_and_no_others() {
    let status = shared();
    with_server(&status, async |address| {
        let client: Client<_, http_body_util::Full<hyper::body::Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        for (path, methods) in document()["paths"].as_object().unwrap() {
            let path = path.replace(['{', '}'], "");
            let request = Request::builder().method("PATCH").uri(format!("http://{address}{path}"));
            let answer =
                client.request(request.body(http_body_util::Full::default()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), 405, "{path}");
            let allowed = answer.headers()["allow"].to_str().unwrap().to_lowercase();
            let allowed: BTreeSet<&str> = allowed.split(',').filter(|method| *method != "head").collect();
            let wanted: BTreeSet<&str> = methods.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(allowed, wanted, "methods of {path}");
        }
    });
}

#[test]
fn answers_are_as_described() {
    let status = shared();
    status.recent.keep(alert("one", Priority::Notice));
    status.set_detection(Detection {
        beat: Some(Instant::now()),
        families: vec![(Family::Open, FamilyCounters::default(), 0)],
        ..Detection::default()
    });
    with_server(&status, async |address| {
        let document = document();
        let mut checked = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            let Some(answers) = methods["get"]["responses"].as_object() else { continue };
            if path.ends_with("/events") {
                continue;
            }
            // What nobody has configured is not there, which is an answer too.
            let answer = client::get(address, &path.replace(['{', '}'], "")).await.unwrap();
            let described = &answers.get(&answer.status.to_string());
            let described = described.unwrap_or_else(|| panic!("{path}: {} is not described", answer.status));
            let Some(schema) = described.pointer("/content/application~1json/schema") else { continue };
            let value: Value = serde_json::from_slice(&answer.body).unwrap();
            check(&document, schema, &value, path).unwrap();
            checked += 1;
        }
        assert!(checked > 15, "{checked}");
    });
}

#[test]
fn a_wrong_answer_is_noticed() {
    let document = document();
    let fault = |name: &str, value: Value| {
        let schema = serde_json::json!({ "$ref": format!("#/components/schemas/{name}") });
        check(&document, &schema, &value, "").err()
    };
    assert_eq!(fault("Versions", serde_json::json!({ "rampart_version": "1", "abi_version": "2" })), None);
    assert!(fault("Versions", serde_json::json!({ "rampart_version": "1" })).is_some());
    assert!(fault("Versions", serde_json::json!({ "rampart_version": "1", "abi_version": 2 })).is_some());
    let more = serde_json::json!({ "rampart_version": "1", "abi_version": "2", "more": 1 });
    assert!(fault("Versions", more).is_some());
    assert!(fault("State", "ajar".into()).is_some() && fault("State", "open".into()).is_none());
}
