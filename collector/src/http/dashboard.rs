//! The page for people: one document without anything from elsewhere.

use axum::response::Html;

/// The page.
const PAGE: &str = include_str!("dashboard.html");

pub(super) async fn page() -> Html<&'static str> {
    Html(PAGE)
}
