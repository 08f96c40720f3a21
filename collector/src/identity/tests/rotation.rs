//! One authority after another, as the command line and a node meet it.

use rampart_proto::v1::{
    EnrolRequest, EnrolResponse, enrol_request::Proof, identity_service_client::IdentityServiceClient,
};

use super::{
    agents::{join, open_by},
    *,
};
use crate::identity::{
    hex,
    rotation::{self, Nodes},
};

/// Asks for a certificate over a connection that trusts these authorities.
async fn enrol(
    bench: &Bench,
    trusted: &str,
    shown: Option<&Node>,
    key: &Node,
    proof: Option<Proof>,
) -> EnrolResponse {
    let request = EnrolRequest { node: "n1".to_owned(), request: key.request(), proof };
    let channel = bench.channel_by(trusted, shown);
    IdentityServiceClient::new(channel).enrol(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_from_one_authority_to_the_next_without_a_token() {
    let bench = Bench::start("").await;
    let first = pem(bench.authority().certificate());
    let nodes = |bench: &Bench| Nodes::load(&mut bench.book(), now_ns()).unwrap();
    let mut old = Node::new();
    let token = bench.token(None);
    let given = enrol(&bench, &first, None, &old, Some(join(&token))).await;
    old.certificate = Some(given.certificate);

    // The next one is told with the next certificate; until then it must not sign.
    let next = hex(&rotation::next(&bench.folder()).unwrap());
    let bench = bench.start_again().await;
    assert_eq!(nodes(&bench).without(&next), ["n1"]);
    let mut told = Node::new();
    let given = enrol(&bench, &first, Some(&old), &told, None).await;
    told.certificate = Some(given.certificate);
    let trusted = given.authorities;
    assert!(trusted.starts_with(&first) && trusted.matches("BEGIN CERTIFICATE").count() == 2);
    assert!(nodes(&bench).without(&next).is_empty());
    assert_eq!(nodes(&bench).of_others(&next), ["n1"]);

    // The next one signs: the node knows the collector, the collector the node.
    rotation::switch(&bench.folder()).unwrap();
    let bench = bench.start_again().await;
    let second = pem(bench.authority().certificate());
    assert!(first != second && trusted.ends_with(&second));
    let mut stream = open_by(bench.channel_by(&trusted, Some(&told)), "n1").await.unwrap();
    stream.works().await.unwrap();
    drop(stream);
    let stranger = open_by(bench.channel_by(&first, Some(&told)), "n1").await;
    assert!(stranger.is_err(), "who was not told does not trust the collector");
    let mut new = Node::new();
    new.certificate = Some(enrol(&bench, &trusted, Some(&told), &new, None).await.certificate);
    assert!(nodes(&bench).of_others(&next).is_empty());

    // The one before is trusted no longer.
    rotation::finish(&bench.folder()).unwrap();
    let bench = bench.start_again().await;
    let mut stream = open_by(bench.channel_by(&second, Some(&new)), "n1").await.unwrap();
    stream.works().await.unwrap();
    drop(stream);
    assert!(open_by(bench.channel_by(&second, Some(&told)), "n1").await.is_err());
    bench.collector.stop().await;
}
