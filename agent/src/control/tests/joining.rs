//! Getting a certificate and the next one, from a collector that makes very short ones.

use std::{collections::BTreeSet, fs, sync::atomic::AtomicUsize};

use rampart_proto::v1::{
    EnrolRequest, EnrolResponse,
    enrol_request::Proof,
    identity_service_server::{IdentityService, IdentityServiceServer},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
    PublicKeyData,
};
use sha2::{Digest, Sha256};
use tonic::{
    Code,
    transport::{Certificate, Identity as Shown, ServerTlsConfig},
};

use super::*;
use crate::config::{JoinProof, Secret};

/// Seconds that a certificate is good.
const LIFE: u64 = 3;
const TOKEN: &str = "rj1.000000000000.secret";

/// What was asked for.
#[derive(Clone, Debug)]
struct Asked {
    key: Vec<u8>,
    proof: Option<Proof>,
    has_shown: bool,
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
    asked: Mutex<Vec<Asked>>,
    /// Answers that get lost.
    lost: AtomicUsize,
}

#[derive(Clone)]
struct Makes(Arc<Authority>);

#[tonic::async_trait]
impl IdentityService for Makes {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Answer> {
        let has_shown = request.peer_certs().is_some();
        let EnrolRequest { node, request, proof } = request.into_inner();
        let request = CertificateSigningRequestParams::from_der(&request.into()).unwrap();
        let key = request.public_key.der_bytes().to_vec();
        self.0.asked.lock().unwrap().push(Asked { key, proof, has_shown });
        if self.0.lost.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(Answer::new(Code::Unavailable, "lost"));
        }
        let params = CertificateParams::new(vec![node]).unwrap();
        let made = params.signed_by(&request.public_key, &self.0.issuer).unwrap();
        let (certificate, authorities) = (made.pem(), self.0.certificate.pem());
        Ok(Response::new(EnrolResponse { certificate, authorities, made_secs: 0, ends_secs: LIFE }))
    }
}

impl Authority {
    fn new(lost: usize) -> Arc<Self> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        Arc::new(Self { issuer, certificate, asked: Mutex::default(), lost: lost.into() })
    }

    async fn serve(self: &Arc<Self>, store: &Arc<Store>) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let leaf = made.signed_by(&key, &self.issuer).unwrap().pem();
        let own = self.certificate.pem();
        let tls = ServerTlsConfig::new()
            .identity(Shown::from_pem(format!("{leaf}{own}"), key.serialize_pem()))
            .client_ca_root(Certificate::from_pem(own))
            .client_auth_optional(true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(AgentServiceServer::new(Fake(Arc::clone(store))))
            .add_service(IdentityServiceServer::new(Makes(Arc::clone(self))));
        tokio::spawn(async move { server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap() });
        address
    }

    fn token(&self) -> String {
        let digits: Vec<String> =
            Sha256::digest(self.certificate.der()).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{TOKEN}.{}", digits.concat())
    }
}

fn start_joining(dir: tempfile::TempDir, address: SocketAddr, proof: JoinProof) -> Bench {
    let file = dir.path().join("state/collector.json");
    start_with(dir, &format!("https://{address}"), Some(Join { file, ca: None, ca_sha256: None, proof }))
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_follow_each_other_without_a_gap() {
    let store = Arc::new(Store { acknowledges: true.into(), ..Store::default() });
    let authority = Authority::new(1);
    let address = authority.serve(&store).await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, format!("{}\n", authority.token())).unwrap();
    let mut bench = start_joining(dir, address, JoinProof::TokenFile(token));
    let mut written = 0;
    let started = Instant::now();
    while store.streams.lock().unwrap().opened < 4 {
        assert!(started.elapsed() < Duration::from_mins(1), "{:?}", authority.asked.lock().unwrap());
        written += 1;
        bench.write(&[alert(written, Priority::Warning)]);
        sleep(Duration::from_millis(20)).await;
    }
    until("all alerts", || {
        let found: BTreeSet<u64> = sequences(&store).into_iter().collect();
        found.len() as u64 == written
    })
    .await;
    until("the streams before are closed", || store.streams.lock().unwrap().open == 1).await;
    assert_eq!(store.streams.lock().unwrap().none_left, 0, "there was always a stream");
    let delivery = bench.status.delivery();
    assert!(delivery.is_connected);
    assert!(delivery.certificate.is_some_and(|own| own.ends_secs > 1_700_000_000 && own.life_secs > 0));
    let asked = authority.asked.lock().unwrap().clone();
    let proof = Some(Proof::JoinToken(authority.token()));
    for first in &asked[..2] {
        assert_eq!((&first.proof, first.has_shown, &first.key), (&proof, false, &asked[0].key));
    }
    for renewal in &asked[2..] {
        assert!(renewal.proof.is_none() && renewal.has_shown, "{renewal:?}");
    }
    let keys: BTreeSet<&Vec<u8>> = asked.iter().map(|asked| &asked.key).collect();
    assert_eq!(keys.len(), asked.len() - 1, "a new key each time, but for the answer that was lost");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_trusts_only_the_authority_of_its_token() {
    let store = Arc::new(Store::default());
    let (authority, other) = (Authority::new(0), Authority::new(0));
    let address = authority.serve(&store).await;
    let token = JoinProof::Token(Secret(other.token()));
    let bench = start_joining(tempfile::tempdir().unwrap(), address, token);
    until("a complaint", || bench.status.delivery().fault.is_some()).await;
    sleep(Duration::from_millis(200)).await;
    assert!(authority.asked.lock().unwrap().is_empty(), "the token is not shown to a stranger");
    assert_eq!(store.streams.lock().unwrap().opened, 0);
    bench.end().await;
    let none = JoinProof::Token(Secret("not a token".to_owned()));
    let bench = start_joining(tempfile::tempdir().unwrap(), address, none);
    until("a complaint", || {
        bench
            .status
            .delivery()
            .fault
            .is_some_and(|fault| fault.contains("does not name the collector's authority"))
    })
    .await;
    bench.end().await;
}
