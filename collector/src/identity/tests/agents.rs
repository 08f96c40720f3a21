//! Joining, renewing, and being refused.

use rampart_proto::v1::{
    AgentMessage, AlertBatch, CollectorMessage, EnrolRequest, EnrolResponse, Hello, agent_message,
    agent_service_client::AgentServiceClient, collector_message, enrol_request::Proof,
    identity_service_client::IdentityServiceClient,
};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::*;
use crate::identity::{peer::Peer, review};

/// A stream that stays open as long as its sender.
pub(super) struct Stream {
    sender: mpsc::Sender<AgentMessage>,
    answers: Streaming<CollectorMessage>,
}

async fn open(bench: &Bench, shown: Option<&Node>, name: &str) -> Result<Stream, Status> {
    open_by(bench.channel(shown), name).await
}

pub(super) async fn open_by(channel: Channel, name: &str) -> Result<Stream, Status> {
    let (sender, receiver) = mpsc::channel(8);
    let hello = Hello { node: name.to_owned(), boot: vec![7; 16], ..Hello::default() };
    sender.send(AgentMessage { kind: Some(agent_message::Kind::Hello(hello)) }).await.unwrap();
    let requests =
        futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<AgentMessage>| async {
            receiver.recv().await.map(|message| (message, receiver))
        });
    let answers = AgentServiceClient::new(channel).session(requests).await?.into_inner();
    Ok(Stream { sender, answers })
}

impl Stream {
    /// Whether an empty batch is acknowledged.
    pub(super) async fn works(&mut self) -> Result<(), Status> {
        let batch = AlertBatch { number: 1, alerts: Vec::new() };
        let message = AgentMessage { kind: Some(agent_message::Kind::Alerts(batch)) };
        self.sender.send(message).await.map_err(|_| Status::cancelled("gone"))?;
        loop {
            let answer = self.answers.message().await?.ok_or_else(|| Status::cancelled("ended"))?;
            if matches!(answer.kind, Some(collector_message::Kind::Ack(_))) {
                return Ok(());
            }
        }
    }

    /// How it ends.
    async fn end(mut self) -> Status {
        loop {
            match self.answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok("ended"),
                Err(status) => return status,
            }
        }
    }
}

async fn enrol(
    bench: &Bench,
    shown: Option<&Node>,
    name: &str,
    node: &Node,
    proof: Option<Proof>,
) -> Result<EnrolResponse, Status> {
    let request = EnrolRequest { node: name.to_owned(), request: node.request(), proof };
    IdentityServiceClient::new(bench.channel(shown)).enrol(request).await.map(tonic::Response::into_inner)
}

pub(super) fn join(token: &str) -> Proof {
    Proof::JoinToken(token.to_owned())
}

/// How a request was refused.
fn refusal<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (Code, String) {
    let status = outcome.unwrap_err();
    (status.code(), status.message().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_joins_once_and_is_refused_when_revoked() {
    let bench = Bench::start("").await;
    let token = bench.token(None);
    let mut node = Node::new();
    let (code, said) = refusal(open(&bench, None, "n1").await.map(drop));
    assert!(code == Code::Unauthenticated && said.contains("join with a token"), "{said}");
    let given = enrol(&bench, None, "n1", &node, Some(join(&token))).await.unwrap();
    assert_eq!(given.authorities, pem(bench.authority().certificate()));
    let life = given.ends_secs - given.made_secs;
    assert!((86_390..=86_400).contains(&life), "{life}");
    // The answer was lost: the same key may ask again, another one may not.
    let given = enrol(&bench, None, "n1", &node, Some(join(&token))).await.map(|_| given).unwrap();
    let other = Node::new();
    for (name, key) in [("n1", &other), ("n2", &node)] {
        let (code, said) = refusal(enrol(&bench, None, name, key, Some(join(&token))).await);
        assert!(code == Code::Unauthenticated && said == "the token was used", "{said}");
    }
    node.certificate = Some(given.certificate);

    let mut stream = open(&bench, Some(&node), "n1").await.unwrap();
    stream.works().await.unwrap();
    let (code, said) = refusal(open(&bench, Some(&node), "n2").await.map(drop));
    assert!(code == Code::PermissionDenied && said.contains("does not name this node"), "{said}");

    // The next certificate is asked for with this one, and only for this node.
    let mut next = Node::new();
    next.certificate = Some(enrol(&bench, Some(&node), "n1", &next, None).await.unwrap().certificate);
    let (code, _) = refusal(enrol(&bench, Some(&node), "n2", &next, None).await);
    assert_eq!(code, Code::PermissionDenied);
    assert_eq!(refusal(enrol(&bench, None, "n1", &next, None).await).0, Code::Unauthenticated);

    // One certificate is revoked: its stream ends, that of the other goes on.
    let mut second = open(&bench, Some(&next), "n1").await.unwrap();
    second.works().await.unwrap();
    let der = CertificateDer::from_pem_slice(node.certificate.as_ref().unwrap().as_bytes()).unwrap();
    bench.refuse(&What::Serial(Peer::of(&der).unwrap().serial));
    let end = tokio::time::timeout(Duration::from_mins(1), stream.end()).await.unwrap();
    assert!(end.code() == Code::PermissionDenied && end.message().contains("revoked"), "{end}");
    assert_eq!(refusal(open(&bench, Some(&node), "n1").await.map(drop)).0, Code::PermissionDenied);
    assert_eq!(refusal(enrol(&bench, Some(&node), "n1", &other, None).await).0, Code::PermissionDenied);
    second.works().await.unwrap();

    // Then the node: nothing it shows helps, until it is restored.
    bench.refuse(&What::Node("n1".to_owned()));
    let end = tokio::time::timeout(Duration::from_mins(1), second.end()).await.unwrap();
    assert_eq!(end.code(), Code::PermissionDenied);
    let token = bench.token(Some("n1"));
    let (_, said) = refusal(enrol(&bench, None, "n1", &other, Some(join(&token))).await);
    assert_eq!(said, "the node was revoked");
    bench.restore(&What::Node("n1".to_owned()));
    until("the node is back", async || enrol(&bench, None, "n1", &other, Some(join(&token))).await.is_ok())
        .await;
    open(&bench, Some(&next), "n1").await.unwrap().works().await.unwrap();

    let actions = bench.actions();
    let count = |action: &str| actions.iter().filter(|one| *one == action).count();
    assert_eq!((count("token.create"), count("certificate.issue")), (2, 4), "{actions:?}");
    bench.collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_good_proof_gives_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap().cert.pem())
        .unwrap();
    let api = review::tests::server(&dir).await;
    let kubernetes = format!(
        "identity: {{kubernetes: {{server: '{}', token_file: '{}', ca_file: '{}', accounts: ['rampart:agent']}}}}",
        api.server,
        api.token.display(),
        ca.display()
    );
    let bench = Bench::start(&kubernetes).await;
    let node = Node::new();
    let bound = bench.token(Some("n2"));
    let forged = Text::new([0; 32]).unwrap().to_string();
    for (name, proof, said) in [
        ("n1", Some(join("rj1.nonsense")), "this is no token"),
        ("n1", Some(join(&forged)), "the token is not known"),
        ("n1", Some(join(&bound)), "the token is for another node"),
        ("n1", None, "a token to join with is needed"),
        ("no name", Some(join(&bound)), "one that certificates can hold"),
        ("*.example", Some(join(&bound)), "one that certificates can hold"),
        ("n1", Some(Proof::ServiceAccountToken("stranger".to_owned())), "may not join"),
        ("n2", Some(Proof::ServiceAccountToken("good".to_owned())), "runs on `n1`"),
    ] {
        let (_, text) = refusal(enrol(&bench, None, name, &node, proof).await);
        assert!(text.contains(said), "{name}: {text}");
    }
    // A request whose signature is not that of its key.
    let mut request = node.request();
    let last = request.len() - 1;
    request[last] ^= 1;
    let asked = EnrolRequest { node: "n2".to_owned(), request, proof: Some(join(&bound)) };
    let answer = IdentityServiceClient::new(bench.channel(None)).enrol(asked).await;
    assert_eq!(refusal(answer).0, Code::InvalidArgument);
    enrol(&bench, None, "n1", &node, Some(Proof::ServiceAccountToken("good".to_owned()))).await.unwrap();
    enrol(&bench, None, "n2", &node, Some(join(&bound))).await.unwrap();
    assert_eq!(bench.actions(), ["token.create", "certificate.issue", "certificate.issue"]);

    // Of all who show one token at the same moment, one has it.
    let token = bench.token(None);
    let nodes: Vec<Node> = (0..8).map(|_| Node::new()).collect();
    let asking = nodes.iter().map(|node| enrol(&bench, None, "n3", node, Some(join(&token))));
    let answers = futures_util::future::join_all(asking).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    bench.collector.stop().await;
}
