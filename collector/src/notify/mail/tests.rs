//! Mails to a server on loopback that speaks SMTP, with TLS and passwords as real ones do.

use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{config, notify::channel::Channel};

/// A server and what it got.
struct Sink {
    port: u16,
    /// Who signs its certificate.
    ca: String,
    got: Arc<Mutex<Vec<Got>>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Got {
    login: Option<String>,
    is_tls: bool,
    from: String,
    to: Vec<String>,
    text: String,
}

/// How it behaves.
#[derive(Clone)]
struct Manner {
    tls: Option<TlsAcceptor>,
    /// Its answer to a message.
    answer: &'static str,
}

async fn serve(answer: &'static str, has_tls: bool) -> Sink {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::from_params(&ca, &ca_key);
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let ca = ca.self_signed(&ca_key).unwrap().pem();
    let secret = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], secret)
        .unwrap();
    let manner = Manner { tls: has_tls.then(|| TlsAcceptor::from(Arc::new(tls))), answer };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let got: Arc<Mutex<Vec<Got>>> = Arc::default();
    let list = Arc::clone(&got);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (manner, list) = (manner.clone(), Arc::clone(&list));
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                stream.write_all(b"220 sink ESMTP\r\n").await.unwrap();
                if talk(&mut stream, &manner, false, &list).await {
                    let stream = manner.tls.as_ref().unwrap().accept(stream.into_inner()).await;
                    // A client that does not trust it goes.
                    let Ok(stream) = stream else { return };
                    talk(&mut BufReader::new(stream), &manner, true, &list).await;
                }
            });
        }
    });
    Sink { port, ca, got }
}

/// True when the client wants to go on with TLS.
async fn talk<S>(stream: &mut BufReader<S>, manner: &Manner, is_tls: bool, list: &Mutex<Vec<Got>>) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut got = Got { is_tls, ..Got::default() };
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return false;
        }
        let line = line.trim_end();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match verb {
            "EHLO" if is_tls || manner.tls.is_none() => "250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN",
            "EHLO" => "250-sink\r\n250 STARTTLS",
            "STARTTLS" => {
                stream.write_all(b"220 go on\r\n").await.unwrap();
                return true;
            }
            "AUTH" => {
                let words = BASE64.decode(rest.strip_prefix("PLAIN ").unwrap()).unwrap();
                got.login = Some(String::from_utf8(words).unwrap());
                if got.login.as_deref() == Some("\0otto\0secret") { "235 welcome" } else { "535 wrong" }
            }
            "MAIL" => {
                got.from = rest.to_owned();
                "250 ok"
            }
            "RCPT" => {
                got.to.push(rest.to_owned());
                "250 ok"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await.unwrap();
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    if line == ".\r\n" {
                        break;
                    }
                    assert!(line.len() <= 998 + 2 && line.ends_with("\r\n") && line.is_ascii(), "{line:?}");
                    got.text.push_str(&line);
                }
                if manner.answer.starts_with('2') {
                    list.lock().unwrap().push(std::mem::take(&mut got));
                }
                manner.answer
            }
            "QUIT" => "221 bye",
            _ => "500 what",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
    }
}

/// The channel of these settings at a server.
fn channel(sink: &Sink, more: &str) -> (Channel, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, &sink.ca).unwrap();
    let text = format!(
        "smtp: {{hostport: 'localhost:{}', from: 'Rämpart <rampart@example.org>', to: 'a@example.org, b@example.org', ca_file: '{}', {more}}}",
        sink.port,
        ca.display()
    );
    (config::parse(&text, "file", &[]).unwrap().channels.remove(0), dir)
}

/// A body, decoded.
fn decoded(part: &str) -> String {
    let (_, body) = part.split_once("\r\n\r\n").unwrap();
    let body = body.split("\r\n--").next().unwrap();
    String::from_utf8(BASE64.decode(body.replace("\r\n", "")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_goes_over_tls_with_a_password() {
    let sink = serve("250 taken", true).await;
    let (channel, _dir) = channel(&sink, "user: otto, password: secret");
    crate::notify::try_channel(&channel).await.unwrap();
    let got = sink.got.lock().unwrap().remove(0);
    assert!(got.is_tls);
    assert_eq!(got.login.as_deref(), Some("\0otto\0secret"));
    assert!(got.from.contains("<rampart@example.org>"), "{}", got.from);
    assert_eq!(got.to, ["TO:<a@example.org>", "TO:<b@example.org>"]);
    for line in [
        "From: =?UTF-8?B?UsOkbXBhcnQ=?= <rampart@example.org>\r\n",
        "To: a@example.org,\r\n b@example.org\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "Content-Type: multipart/alternative; boundary=",
    ] {
        assert!(got.text.contains(line), "`{line}` is missing in {}", got.text);
    }
    let parts: Vec<&str> = got.text.split("\r\n--rampart-").skip(1).collect();
    assert_eq!(parts.len(), 3, "two parts and an end");
    assert!(
        decoded(parts[0])
            .starts_with("A sample of an alert, to see whether it arrives\r\n\r\nrule: Test rule\r\n")
    );
    assert!(decoded(parts[1]).contains("<th align=\"left\">proc.name</th><td>sample</td>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_no_is_tried_again_or_not() {
    let fault = async |answer, has_tls, more| {
        let sink = serve(answer, has_tls).await;
        let (channel, _dir) = channel(&sink, more);
        let fault = crate::notify::try_channel(&channel).await.unwrap_err();
        assert!(sink.got.lock().unwrap().is_empty());
        (fault.is_final(), fault.to_string())
    };
    let (is_final, text) = fault("451 later", true, "").await;
    assert!(!is_final && text.contains("later"), "{text}");
    let (is_final, text) = fault("554 no such text here", true, "").await;
    assert!(is_final && text.contains("no such text here"), "{text}");
    let (_, text) = fault("250 ok", true, "user: otto, password: wrong").await;
    assert!(text.contains("wrong"), "{text}");
    let (is_final, text) = fault("250 ok", false, "").await;
    assert!(!is_final, "nothing is said to a server without TLS: {text}");
    // A certificate that nobody trusts.
    let (sink, other) = (serve("250 ok", true).await, serve("250 ok", true).await);
    let stranger = Sink { ca: other.ca, ..sink };
    let (channel, _dir) = channel(&stranger, "");
    assert!(!crate::notify::try_channel(&channel).await.unwrap_err().is_final());
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_its_own_and_no_header_by_trickery() {
    let sink = serve("250 taken", false).await;
    let more = "tls: false, outputformat: text, template: {title: \"{{ rule }}\\r\\nBcc: x@example.org é\", body: \"{{ priority }}!\\n.\\nend\"}";
    let (channel, _dir) = channel(&sink, more);
    crate::notify::try_channel(&channel).await.unwrap();
    let got = sink.got.lock().unwrap().remove(0);
    assert!(!got.is_tls && got.login.is_none());
    assert!(!got.text.contains("\r\nBcc:"), "{}", got.text);
    let subject = got.text.split("Subject: ").nth(1).unwrap().split("\r\nDate").next().unwrap();
    let words: Vec<u8> = subject
        .split("\r\n ")
        .flat_map(|word| BASE64.decode(word.trim_start_matches("=?UTF-8?B?").trim_end_matches("?=")).unwrap())
        .collect();
    assert_eq!(String::from_utf8(words).unwrap(), "Test rule Bcc: x@example.org é");
    assert!(
        decoded(&got.text).starts_with("Debug!\n.\nend\r\n\r\nrule: Test rule"),
        "{}",
        decoded(&got.text)
    );
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let fault = |more: &str| {
        let text = format!("smtp: {{hostport: 'mail.example:587', {more}}}");
        config::parse(&text, "file", &[]).unwrap_err().to_string()
    };
    let both = "from: a@b.example, to: [c@d.example]";
    assert!(fault("from: nobody, to: [c@d.example]").contains("`nobody` is no address"));
    assert!(fault("to: [c@d.example]").contains("`from` and `to`"));
    assert!(fault(&format!("{both}, user: x")).contains("belong together"));
    assert!(fault(&format!("{both}, user: x, password: y, tls: false")).contains("without TLS"));
    assert!(fault(&format!("{both}, authmechanism: external")).contains("smtp.authmechanism"));
    assert!(fault(&format!("{both}, ca_file: /no/such/file")).contains("/no/such/file"));
    assert!(fault(&format!("{both}, template: {{body: '{{{{ x'}}")).contains("smtp.template.body"));
    assert!(fault(&format!("{both}, grouping: {{by: [rule]}}")).contains("smtp.grouping.window_secs"));
    assert!(fault(&format!("{both}, grouping: {{window_secs: 5, by: [colour]}}")).contains("`rule`, `node`"));
    assert!(fault(&format!("{both}, quiet: {{times: ['always']}}")).contains("smtp.quiet.times"));
    assert!(fault(&format!("{both}, quiet: {{times: ['sat'], outside: ['sun']}}")).contains("not both"));
    assert!(fault(&format!("{both}, quiet: {{dates: [tomorrow]}}")).contains("2026-12-25"));
    assert!(
        fault(&format!("{both}, quiet: {{times: ['sat'], time_zone: Mars/Crater}}")).contains("Mars/Crater")
    );
    assert!(fault(&format!("{both}, quiet: {{except: critical}}")).contains("say when"));
    let text = "webhook: {address: 'http://a/', template: {body: x}}";
    assert!(config::parse(text, "file", &[]).unwrap_err().to_string().contains("webhook.template"));
    let env = [
        ("SMTP_HOSTPORT", "mail.example:465"),
        ("SMTP_FROM", "a@b.example"),
        ("SMTP_TO", "c@d.example"),
        ("SMTP_USER", "x"),
        ("SMTP_PASSWORD", "y"),
    ];
    let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(&*config::parse("", "file", &env).unwrap().channels[0].name, "smtp");
}
