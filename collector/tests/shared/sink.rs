//! A channel that counts what it is told.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use tokio::net::TcpListener;

/// The server.
#[derive(Default)]
pub(crate) struct Sink {
    told: Mutex<HashMap<String, u32>>,
    is_failing: AtomicBool,
}

impl Sink {
    /// Starts it, and gives its address.
    pub(crate) async fn start() -> (Arc<Self>, String) {
        let sink = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/hook", post(take)).with_state(Arc::clone(&sink));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (sink, format!("http://{address}/hook"))
    }

    /// Says no from now on, or yes.
    pub(crate) fn fail(&self, is_failing: bool) {
        self.is_failing.store(is_failing, Ordering::Relaxed);
    }

    /// Different alerts it was told of, and how often it was told of one again.
    pub(crate) fn counts(&self) -> (usize, u32) {
        let told = self.told.lock().unwrap();
        (told.len(), told.values().map(|times| times - 1).sum())
    }
}

async fn take(State(sink): State<Arc<Sink>>, body: String) -> StatusCode {
    if sink.is_failing.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let alert: serde_json::Value = serde_json::from_str(&body).unwrap();
    *sink.told.lock().unwrap().entry(alert["output"].as_str().unwrap().to_owned()).or_default() += 1;
    StatusCode::OK
}
