//! A whole collector with TLS, and what agents and people may do there.

mod agents;
mod people;
mod rotation;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::{
    authority::{Authority, Source},
    items::{self, Refusal},
    pem,
    revoked::What,
    token::Text,
};
use crate::{
    app::Collector,
    audit::{Chain, Note},
    config,
    ingest::now_ns,
    store::{
        identity::{Book, Change, Expect, Kind},
        sqlite::{self, identity::SqliteBook},
    },
};

/// A collector and what its command line would know of it.
struct Bench {
    collector: Collector,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn start(more: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), more).await
    }

    /// Starts anew with what the one before has left.
    async fn start_again(self) -> Self {
        self.collector.stop().await;
        Self::start_in(self.dir, "").await
    }

    async fn start_in(dir: tempfile::TempDir, more: &str) -> Self {
        let text = format!(
            "store: {{path: '{}'}}\ngrpc: {{listen: '127.0.0.1:0', tls: always}}\n\
             http: {{listen: '127.0.0.1:0', tls: always, auth: always}}\n{more}",
            dir.path().join("db").display()
        );
        let collector = Collector::start(config::parse(&text, "file", &[]).unwrap()).await.unwrap();
        Self { collector, dir }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("identity")
    }

    fn book(&self) -> SqliteBook {
        sqlite::identity::book(&self.dir.path().join("db")).unwrap()
    }

    fn authority(&self) -> Authority {
        Authority::open(&Source::BuiltIn(self.folder())).unwrap()
    }

    /// A token to join with.
    fn token(&self, node: Option<&str>) -> String {
        let token = Text::new(self.authority().fingerprint()).unwrap();
        let item = token.item(node.map(str::to_owned), now_ns(), now_ns() + 3_600_000_000_000);
        let change = Change::put(Kind::Token, &token.id, Expect::Absent, items::write(&item).unwrap());
        assert!(
            self.book()
                .change(&[change], &Note::new("cli:test", "token.create", &token.id, ""), now_ns())
                .unwrap()
        );
        token.to_string()
    }

    fn refuse(&self, what: &What) {
        let value = items::write(&Refusal { since_ns: now_ns() }).unwrap();
        let change = Change::put(Kind::Revoked, what.name(), Expect::Anything, value);
        assert!(
            self.book()
                .change(&[change], &Note::new("cli:test", "revoke", what.name(), ""), now_ns())
                .unwrap()
        );
    }

    fn restore(&self, what: &What) {
        let change = Change::remove(Kind::Revoked, what.name());
        assert!(
            self.book()
                .change(&[change], &Note::new("cli:test", "restore", what.name(), ""), now_ns())
                .unwrap()
        );
    }

    /// A connection that shows a certificate, or none.
    fn channel(&self, shown: Option<&Node>) -> Channel {
        self.channel_by(&pem(self.authority().certificate()), shown)
    }

    /// A channel of a node that trusts these authorities.
    fn channel_by(&self, trusted: &str, shown: Option<&Node>) -> Channel {
        let ca = Certificate::from_pem(trusted);
        let mut tls = ClientTlsConfig::new().ca_certificate(ca);
        if let Some(node) = shown {
            tls = tls
                .identity(Identity::from_pem(node.certificate.as_ref().unwrap(), node.key.serialize_pem()));
        }
        let url = format!("https://{}", self.collector.grpc);
        Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap().connect_lazy()
    }

    /// The actions of the audit log, which must be whole.
    fn actions(&self) -> Vec<String> {
        let records = self.book().records_after(0, 1000).unwrap();
        let mut chain = Chain::default();
        for record in &records {
            chain.take(record).unwrap();
        }
        records.into_iter().map(|record| record.note.action).collect()
    }
}

/// A node's key and certificate.
struct Node {
    key: KeyPair,
    certificate: Option<String>,
}

impl Node {
    fn new() -> Self {
        Self { key: KeyPair::generate().unwrap(), certificate: None }
    }

    fn request(&self) -> Vec<u8> {
        CertificateParams::default().serialize_request(&self.key).unwrap().der().to_vec()
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_mins(1), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
