//! The page for people: one document with everything in it, nothing from elsewhere.

use std::sync::LazyLock;

use axum::response::Html;

/// The document, with places for style and script.
const PAGE: &str = include_str!("dashboard/page.html");
const STYLE: &str = include_str!("dashboard/style.css");
/// One script after the other: they share their names.
const SCRIPTS: [&str; 6] = [
    include_str!("dashboard/core.js"),
    include_str!("dashboard/timeline.js"),
    include_str!("dashboard/detail.js"),
    include_str!("dashboard/rollouts.js"),
    include_str!("dashboard/jobs.js"),
    include_str!("dashboard/views.js"),
];

static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| PAGE.replace("{style}", STYLE).replace("{script}", &SCRIPTS.concat()));

pub(super) async fn page() -> Html<&'static str> {
    Html(&DOCUMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_nothing_elsewhere_and_makes_no_markup_of_text() {
        for left in ["{style}", "{script}"] {
            assert!(!DOCUMENT.contains(left), "{left}");
        }
        let elsewhere = ["http:", "https:", "src=", "url(", "@import", "<link rel=\"stylesheet"];
        let markup =
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"];
        let kept = ["localStorage", "sessionStorage", "indexedDB", "document.cookie"];
        let inline = [" onclick=", " onload=", " onerror=", " style=", "javascript:"];
        for word in elsewhere.iter().chain(&markup).chain(&kept).chain(&inline) {
            assert!(!DOCUMENT.contains(word), "`{word}` is in the document");
        }
    }
}
