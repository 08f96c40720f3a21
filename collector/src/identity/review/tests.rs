//! Questions to a small API server.

use axum::{Json, Router, extract::State, http::HeaderMap, routing::post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

/// A server that knows tokens by name, and its settings.
pub(in crate::identity) async fn server(dir: &tempfile::TempDir) -> Settings {
    async fn review(
        State(own): State<String>,
        headers: HeaderMap,
        Json(question): Json<Value>,
    ) -> (StatusCode, Json<Value>) {
        if headers.get("authorization").is_none_or(|shown| *shown != *format!("Bearer {own}")) {
            return (StatusCode::FORBIDDEN, Json(json!({"kind": "Status"})));
        }
        assert_eq!(question["spec"]["audiences"], json!(["rampart-collector"]));
        let status = |account: &str, extra: Value, audience: &str| {
            json!({"authenticated": true, "audiences": [audience],
                   "user": {"username": account, "uid": "1", "groups": [], "extra": extra}})
        };
        let (agent, node) = ("system:serviceaccount:rampart:agent", json!({NODE: ["n1"]}));
        let status = match question["spec"]["token"].as_str().unwrap() {
            "good" => status(agent, node, "rampart-collector"),
            "elsewhere" => status(agent, node, "vault"),
            "stranger" => status("system:serviceaccount:shop:web", node, "rampart-collector"),
            "person" => status("rampart:agent", node, "rampart-collector"),
            "old" => status(agent, json!({}), "rampart-collector"),
            _ => json!({"error": "invalid bearer token"}),
        };
        (StatusCode::CREATED, Json(json!({"kind": "TokenReview", "status": status})))
    }
    let router = Router::new()
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review))
        .with_state("own-token".to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let token = dir.path().join("own");
    fs::write(&token, "own-token\n").unwrap();
    Settings {
        server,
        ca: None,
        token,
        audience: "rampart-collector".to_owned(),
        accounts: vec!["rampart:agent".to_owned()],
    }
}

#[tokio::test]
async fn a_pods_token_proves_its_node_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    // Without one, the machine's own certificates would be needed; `http` uses neither.
    let ca = dir.path().join("ca.pem");
    fs::write(&ca, rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap().cert.pem()).unwrap();
    let settings = Settings { ca: Some(ca), ..server(&dir).await };
    let review = Review::new(settings.clone()).unwrap();
    assert_eq!(review.account("good", "n1").await.unwrap(), "rampart:agent");
    for (token, node, said) in [
        ("good", "n2", "runs on `n1`"),
        ("elsewhere", "n1", "another audience"),
        ("stranger", "n1", "`system:serviceaccount:shop:web` may not join"),
        ("person", "n1", "`rampart:agent` may not join"),
        ("old", "n1", "does not say on which node"),
        ("forged", "n1", "invalid bearer token"),
    ] {
        let doubt = review.account(token, node).await.unwrap_err().to_string();
        assert!(doubt.contains(said), "{token}: {doubt}");
    }
    fs::write(&settings.token, "wrong").unwrap();
    assert!(matches!(review.account("good", "n1").await, Err(Doubt::Server(_))));
    fs::remove_file(&settings.token).unwrap();
    assert!(matches!(review.account("good", "n1").await, Err(Doubt::Own(_))));
}
