//! `/dashboard`: one document with everything in it, and the state it shows.
//!
//! Nothing is loaded from elsewhere and nothing from outside becomes markup: the document has its own policy, under which
//! only its own script and styles count, named by a number of each answer, and under which text never turns into HTML.

use std::{fs, time::Instant};

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::pages;
use crate::telemetry::{limits, services, status::Status};

/// The document, with places for script, styles and the number.
const PAGE: &str = include_str!("dashboard/page.html");
const STYLE: &str = include_str!("dashboard/style.css");
const SCRIPT: &str = include_str!("dashboard/script.js");

/// The document.
pub(super) async fn page() -> Response {
    let mut random = [0; 16];
    if let Err(error) = getrandom::fill(&mut random) {
        tracing::error!(%error, "The dashboard needs a random number");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let nonce = format!("{:032x}", u128::from_ne_bytes(random));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, document(&nonce)).into_response()
}

fn document(nonce: &str) -> String {
    PAGE.replace("{nonce}", nonce).replace("{style}", STYLE).replace("{script}", SCRIPT)
}

/// Everything that the document shows, alerts apart.
pub(super) fn state(status: &Status, top: Value) -> Value {
    let mut limits = limits::document(&status.limits());
    if let Some(limits) = limits.as_object_mut() {
        // They are many, and what they add up to is in `top`.
        limits.remove("recent");
        limits.insert("top".to_owned(), top);
    }
    let serving = status.services();
    json!({
        "now": Timestamp::now().to_string(),
        "agent": pages::details(status, Instant::now()),
        "load": load(),
        "services": services::services(&serving),
        "breakers": services::breakers(&serving),
        "limits": limits,
    })
}

/// The node's load over one, five and fifteen minutes.
fn load() -> Option<Vec<f64>> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').take(3).map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_nothing_elsewhere_and_has_no_inline_handlers() {
        let document = document("0123abcd");
        assert_eq!(document.matches("nonce=\"0123abcd\"").count(), 2);
        for left in ["{nonce}", "{style}", "{script}"] {
            assert!(!document.contains(left), "{left}");
        }
        let elsewhere = ["http:", "https:", "src=", "url(", "@import", "<link rel=\"stylesheet"];
        let markup =
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"];
        let kept = ["localStorage", "sessionStorage", "indexedDB", "cookie"];
        let inline = [" onclick=", " onload=", " onerror=", " style=", "javascript:"];
        for word in elsewhere.iter().chain(&markup).chain(&kept).chain(&inline) {
            assert!(!document.contains(word), "`{word}` is in the document");
        }
    }

    #[test]
    fn the_load_is_three_numbers() {
        assert_eq!(load().map(|load| load.len()), Some(3));
    }
}
