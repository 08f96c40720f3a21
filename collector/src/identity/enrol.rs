//! Certificates for agents: a request, a proof of which node it comes from, and a certificate for a day at most.
//!
//! What proves it: a token to join with (used up by the first key that shows it), a token that Kubernetes gave the agent's
//! pod, or the certificate of the connection. A certificate is noted in the store, together with the use of the token and
//! a record of the audit log, before it is sent.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rampart_proto::v1::{
    EnrolRequest, EnrolResponse, enrol_request::Proof, identity_service_server::IdentityService,
};
use tokio::sync::Semaphore;
use tonic::{Response, Status};

use super::{
    IdentityError, Records,
    authority::{Authority, Made, Request},
    hex,
    items::{self, Certificate, JoinToken},
    peer::{Peer, is_name},
    pem,
    review::Review,
    revoked::Watch,
    sha256,
    token::{NoToken, Refused, Text},
};
use crate::{
    audit::Note,
    ingest::now_ns,
    store::identity::{Book, Change, Expect, Kind},
    telemetry::Metrics,
};

/// Largest request.
pub const MESSAGE_MAX: usize = 32 << 10;
/// Requests worked on at a time; more are told to come again.
const AT_A_TIME: usize = 16;

/// The service.
#[derive(Debug)]
pub struct Enrolment {
    /// Who signs.
    pub authority: Arc<Authority>,
    /// Where it is noted.
    pub records: Records,
    /// What is refused.
    pub revoked: Watch,
    /// Who is asked about tokens of pods.
    pub review: Option<Review>,
    /// How long certificates are good.
    pub life: Duration,
    /// Counters.
    pub metrics: Arc<Metrics>,
    slots: Semaphore,
}

/// What showed which node it is.
#[derive(Debug)]
enum Shown {
    Token(Text),
    Account(String),
    Certificate(String),
}

impl Enrolment {
    /// The service of these.
    pub fn new(
        authority: Arc<Authority>,
        records: Records,
        revoked: Watch,
        review: Option<Review>,
        life: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let slots = Semaphore::new(AT_A_TIME);
        Self { authority, records, revoked, review, life, metrics, slots }
    }

    async fn answer(&self, peer: Option<Peer>, asked: EnrolRequest) -> Result<EnrolResponse, Status> {
        let node = asked.node;
        if !is_name(&node) {
            return Err(Status::invalid_argument(
                "the name of a node must be one that certificates can hold",
            ));
        }
        let request = Request::of(&asked.request)
            .ok_or_else(|| Status::invalid_argument("the certificate signing request cannot be used"))?;
        if self.revoked.borrow().has_node(&node) {
            return Err(Status::permission_denied("the node was revoked"));
        }
        let shown = self.shown(peer, asked.proof, &node).await?;
        let made = self.authority.sign(&request, &node, self.life).map_err(|error| failed(&error))?;
        let (serial, ends) = (made.serial.clone(), made.ends);
        let told: Vec<String> = self.authority.trusted().map(|one| hex(&sha256(one))).collect();
        self.note(shown, node.clone(), request.key(), (made.clone(), told)).await?;
        tracing::info!(node, serial, "An agent has a certificate");
        let secs = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Ok(EnrolResponse {
            certificate: pem(&made.certificate),
            authorities: self.authority.trusted().map(|one| pem(one)).collect(),
            made_secs: now_ns() / 1_000_000_000,
            ends_secs: secs(ends),
        })
    }

    /// What proves which node it is.
    async fn shown(&self, peer: Option<Peer>, proof: Option<Proof>, node: &str) -> Result<Shown, Status> {
        match (proof, peer) {
            (Some(Proof::JoinToken(text)), _) => text
                .parse()
                .map(Shown::Token)
                .map_err(|error: NoToken| Status::unauthenticated(error.to_string())),
            (Some(Proof::ServiceAccountToken(token)), _) => {
                let Some(review) = &self.review else {
                    return Err(Status::unauthenticated("tokens of Kubernetes are not accepted here"));
                };
                review.account(&token, node).await.map(Shown::Account).map_err(|doubt| {
                    tracing::warn!(node, "A pod's token proves nothing: {doubt}");
                    Status::unauthenticated(doubt.to_string())
                })
            }
            (None, Some(peer)) => {
                if !peer.speaks_for(node) {
                    return Err(Status::permission_denied("the certificate does not name this node"));
                }
                if self.revoked.borrow().has_serial(&peer.serial) {
                    return Err(Status::permission_denied("the certificate was revoked"));
                }
                Ok(Shown::Certificate(peer.serial))
            }
            (None, None) => Err(Status::unauthenticated("a token to join with is needed")),
        }
    }

    /// Notes the certificate, or says why there is none.
    async fn note(
        &self,
        shown: Shown,
        node: String,
        key: String,
        made: (Made, Vec<String>),
    ) -> Result<(), Status> {
        let noted = self.records.run(move |book| note(book, &shown, &node, &key, &made));
        match noted.await {
            Ok(outcome) => outcome.map_err(|refused| Status::unauthenticated(refused.to_string())),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// Uses the token, if it is one, and notes the certificate.
fn note(
    book: &mut dyn Book,
    shown: &Shown,
    node: &str,
    key: &str,
    (made, told): &(Made, Vec<String>),
) -> Result<Result<(), Refused>, IdentityError> {
    let now = now_ns();
    // Another connection may use the token at the same time: then its state is looked at again.
    for _ in 0..3 {
        let mut changes = Vec::new();
        let proof = match shown {
            Shown::Token(text) => {
                let Some((item, revision)) = items::get::<JoinToken>(book, Kind::Token, &text.id)? else {
                    return Ok(Err(Refused::Unknown));
                };
                let ends = item.ends_ns;
                match text.used(item, node, key, now) {
                    Ok(used) => {
                        let value = items::write(&used)?;
                        let change = Change::put(Kind::Token, &text.id, Expect::Revision(revision), value);
                        changes.push(change.until(ends));
                    }
                    Err(refused) => return Ok(Err(refused)),
                }
                format!("token {}", text.id)
            }
            Shown::Account(name) => format!("service account {name}"),
            Shown::Certificate(serial) => format!("certificate {serial}"),
        };
        let ends_ns = made.ends.duration_since(UNIX_EPOCH).map_or(0, |end| end.as_nanos() as u64);
        let detail = format!("serial {}, by {proof}", made.serial);
        let certificate =
            Certificate { node: node.to_owned(), created_ns: now, ends_ns, proof, told: told.clone() };
        let value = items::write(&certificate)?;
        changes.push(Change::put(Kind::Certificate, &made.serial, Expect::Absent, value).until(ends_ns));
        let written = Note::new(format!("node:{node}"), "certificate.issue", node, detail);
        if book.change(&changes, &written, now)? {
            return Ok(Ok(()));
        }
    }
    Ok(Err(Refused::Used))
}

#[tonic::async_trait]
impl IdentityService for Enrolment {
    async fn enrol(&self, request: tonic::Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let Ok(_slot) = self.slots.try_acquire() else {
            return Err(Status::resource_exhausted("too many requests at a time"));
        };
        let peer = request.peer_certs().as_ref().and_then(|chain| chain.first()).and_then(Peer::of);
        let asked = request.into_inner();
        let node: String = asked.node.chars().take(253).collect();
        let answer = self.answer(peer, asked).await;
        let outcome = if answer.is_ok() { "issued" } else { "refused" };
        self.metrics.enrolments.with_label_values(&[outcome]).inc();
        if let Err(status) = &answer {
            tracing::warn!(node, "No certificate was made: {}", status.message());
        }
        answer.map(Response::new)
    }
}

fn failed(error: &IdentityError) -> Status {
    tracing::error!("A certificate cannot be made: {error}");
    Status::unavailable("the collector cannot make certificates at the moment")
}
