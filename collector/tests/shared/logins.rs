//! A login at one collector of a store holds at the others, which have keys of their own.

use std::{fs, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rampart_collector::{
    app::Collector,
    audit::Note,
    config,
    identity::{
        access::Role,
        items::{Refusal, User, write},
        password,
        revoked::What,
    },
    store::identity::{Book, Change, Expect, Kind},
};
use serde_json::{Value, json};

use crate::{server_or_skip, servers};

/// Something to be done with the book.
type Work = Box<dyn FnOnce(&mut dyn Book) + Send>;

const PASSWORD: &str = "correct horse battery";

async fn start(database: &str, dir: &tempfile::TempDir) -> Collector {
    let text = format!(
        "store: {{url: '{database}'}}\ngrpc: {{listen: '127.0.0.1:0'}}\n\
         http: {{listen: '127.0.0.1:0', auth: always}}\nidentity: {{dir: '{}'}}",
        dir.path().display()
    );
    Collector::start(config::parse(&text, "file", &[]).unwrap()).await.unwrap()
}

async fn ask(collector: &Collector, line: &str, token: &str, body: &Value) -> (u16, Value) {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let (method, path) = line.split_once(' ').unwrap();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", collector.http))
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::from(body.to_string()))
        .unwrap();
    let answer = client.request(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_at_one_collector_holds_at_all_until_its_key_is_withdrawn() {
    let server = server_or_skip!(
        servers::postgres(),
        "a_login_at_one_collector_holds_at_all_until_its_key_is_withdrawn"
    );
    let database = server.database();
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let (one, other) = (start(&database, &folders[0]).await, start(&database, &folders[1]).await);
    // On threads of their own: the book waits for the database.
    let place = servers::place(&database, Duration::from_secs(20));
    let book = async |work: Work| {
        let place = place.clone();
        tokio::task::spawn_blocking(move || work(&mut *place.book().unwrap())).await.unwrap();
    };
    book(Box::new(|book| {
        let user = User { role: Role::Viewer, password: password::make(PASSWORD).unwrap(), created_ns: 1 };
        let change = Change::put(Kind::User, "vera", Expect::Anything, write(&user).unwrap());
        assert!(book.change(&[change], &Note::new("cli:test", "user.set", "vera", ""), 1).unwrap());
    }))
    .await;
    let asked = json!({ "user": "vera", "password": PASSWORD });
    let (status, answer) = ask(&one, "POST /login", "", &asked).await;
    assert_eq!(status, 200, "{answer}");
    let token = answer["token"].as_str().unwrap().to_owned();
    // At once, also at one that has started before; and at one that starts after the first has gone with its key.
    for collector in [&one, &other] {
        assert_eq!(ask(collector, "GET /me", &token, &Value::Null).await.1["name"], "user:vera");
    }
    let secrets: Vec<String> = fs::read_dir(folders[0].path().join("jwt"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap().trim().to_owned())
        .collect();
    one.stop().await;
    let third = start(&database, &folders[2]).await;
    assert_eq!(ask(&third, "GET /me", &token, &Value::Null).await.1["name"], "user:vera");

    book(Box::new(move |book| {
        let keys = book.list(Kind::TokenKey).unwrap();
        assert_eq!(keys.len(), 1, "only who has signed something tells its key");
        assert!(secrets.len() == 1 && !keys[0].value.contains(&secrets[0]), "no secret is in the store");
        let change = Change::put(
            Kind::Revoked,
            What::Key(keys[0].name.clone()).name(),
            Expect::Anything,
            write(&Refusal { since_ns: 2 }).unwrap(),
        );
        assert!(book.change(&[change], &Note::new("cli:test", "jwt.withdraw", "k", ""), 2).unwrap());
    }))
    .await;
    for collector in [&other, &third] {
        let refused = async || ask(collector, "GET /me", &token, &Value::Null).await.0 == 401;
        let started = std::time::Instant::now();
        while !refused().await {
            assert!(started.elapsed() < crate::PATIENCE, "it is still good");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // What is no token of theirs is refused by all.
    let foreign = token.replacen('.', "", 1);
    assert_eq!(ask(&third, "GET /me", &foreign, &Value::Null).await.0, 401);
    other.stop().await;
    third.stop().await;
}
