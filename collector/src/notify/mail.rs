//! Mails: the message, and the server that takes it.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor,
    address::Envelope,
    transport::smtp::{
        authentication::{Credentials, Mechanism},
        client::{Certificate, Tls, TlsParameters},
    },
};
use serde_json::Value;

use super::{channel::Facts, send::Fault};
use crate::ingest::now_ns;

/// Time for one answer of the server.
const LIMIT: Duration = Duration::from_secs(10);
/// The port where TLS comes before everything else.
const TLS_PORT: u16 = 465;
/// Bytes of a line of base64, and of a word of a header before it is encoded.
const LINE: usize = 76;
const WORD: usize = 42;
/// Letters of a subject.
const SUBJECT_MAX: usize = 200;

/// Where mails go.
#[derive(Clone, Debug)]
pub struct Mail {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Person,
    to: Vec<Person>,
    envelope: Envelope,
    /// Whether there is a table of the facts beside the text.
    is_html: bool,
}

/// How a server is reached.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// Its name, which its certificate must have.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether nothing is said without TLS.
    pub is_tls: bool,
    /// Who signs its certificate besides those the machine trusts, PEM.
    pub ca: Option<Vec<u8>>,
    /// Name and password.
    pub login: Option<(String, String)>,
}

/// Somebody: a name for people, and an address.
#[derive(Clone, Debug)]
struct Person {
    name: String,
    address: Address,
}

impl Mail {
    /// Mails from somebody to some, or what is wrong with an address or a certificate.
    pub fn new(server: Server, from: &str, to: &[String], is_html: bool) -> Result<Self, String> {
        let from = person(from)?;
        let to: Vec<Person> = to.iter().map(|one| person(one)).collect::<Result<_, _>>()?;
        let addresses = to.iter().map(|person| person.address.clone()).collect();
        let envelope =
            Envelope::new(Some(from.address.clone()), addresses).map_err(|error| error.to_string())?;
        Ok(Self { server: connect(server)?, from, to, envelope, is_html })
    }

    /// Sends an alert.
    pub async fn send(&self, facts: &Facts) -> Result<(), Fault> {
        let message = self.message(facts, now_ns());
        let sent = self.server.send_raw(&self.envelope, message.as_bytes()).await;
        sent.map(|_| ())
            .map_err(|error| Fault::Mail { is_final: error.is_permanent(), text: in_full(&error) })
    }

    /// The message, in RFC 5322's form; everything but ASCII is encoded.
    fn message(&self, facts: &Facts, now_ns: u64) -> String {
        let subject = facts.title.clone().unwrap_or_else(|| {
            let first = facts.output.lines().next().unwrap_or_default();
            format!("[{}] {}", facts.priority, if first.is_empty() { &facts.rule } else { first })
        });
        let to: Vec<String> = self.to.iter().map(Person::header).collect();
        // The same alert has the same number, however often it is sent.
        let id = facts.alert.get("uuid").and_then(Value::as_str).unwrap_or_default();
        let id: String =
            id.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect();
        let id = if id.is_empty() { format!("{}.{now_ns}", facts.time_ns) } else { id };
        let now = jiff::Timestamp::from_nanosecond(i128::from(now_ns)).unwrap_or_default();
        let date = jiff::fmt::rfc2822::to_string(&now.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default();
        let head = format!(
            "From: {}\r\nTo: {}\r\nSubject: {}\r\nDate: {date}\r\nMessage-ID: <{id}@rampart>\r\n\
             Auto-Submitted: auto-generated\r\nX-Rampart-Priority: {}\r\nMIME-Version: 1.0\r\n",
            self.from.header(),
            to.join(",\r\n "),
            words(&subject.chars().take(SUBJECT_MAX).collect::<String>()),
            facts.priority,
        );
        let text = part("plain", &plain(facts));
        if !self.is_html {
            return head + &text;
        }
        let edge = format!("rampart-{id}");
        format!(
            "{head}Content-Type: multipart/alternative; boundary=\"{edge}\"\r\n\r\n--{edge}\r\n{text}\r\n--{edge}\r\n{}\r\n--{edge}--\r\n",
            part("html", &html(facts))
        )
    }
}

impl Person {
    fn header(&self) -> String {
        match self.name.as_str() {
            "" => self.address.to_string(),
            name => format!("{} <{}>", words(name), self.address),
        }
    }
}

fn connect(server: Server) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let tls = if server.is_tls {
        let mut parameters = TlsParameters::builder(server.host.clone());
        if let Some(pem) = &server.ca {
            parameters = parameters
                .add_root_certificate(Certificate::from_pem(pem).map_err(|error| error.to_string())?);
        }
        let parameters = parameters.build_rustls().map_err(|error| error.to_string())?;
        if server.port == TLS_PORT { Tls::Wrapper(parameters) } else { Tls::Required(parameters) }
    } else {
        Tls::None
    };
    let mut made = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host)
        .port(server.port)
        .tls(tls)
        .timeout(Some(LIMIT));
    if let Some((user, password)) = server.login {
        made = made
            .credentials(Credentials::new(user, password))
            .authentication(vec![Mechanism::Plain, Mechanism::Login]);
    }
    Ok(made.build())
}

/// `address`, or `name <address>`.
fn person(text: &str) -> Result<Person, String> {
    let text = text.trim();
    let (name, address) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) => (name.trim().trim_matches('"'), address),
        None => ("", text),
    };
    let address = address.trim().parse().map_err(|_| format!("`{text}` is no address of a mail"))?;
    Ok(Person { name: name.to_owned(), address })
}

/// A text of a header: as it is, or as encoded words.
fn words(text: &str) -> String {
    let is_plain = |byte: u8| {
        matches!(byte, b' ' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z') || b"-_./:[]`'!?+#@*".contains(&byte)
    };
    if text.len() <= LINE - "Subject: ".len() && text.bytes().all(is_plain) && !text.contains("=?") {
        return text.to_owned();
    }
    let mut encoded = Vec::new();
    let mut word = String::new();
    for letter in text.chars() {
        if word.len() + letter.len_utf8() > WORD {
            encoded.push(std::mem::take(&mut word));
        }
        word.push(if letter.is_control() { ' ' } else { letter });
    }
    encoded.push(word);
    let encoded: Vec<String> =
        encoded.iter().map(|word| format!("=?UTF-8?B?{}?=", BASE64.encode(word))).collect();
    encoded.join("\r\n ")
}

fn part(kind: &str, text: &str) -> String {
    let body = BASE64.encode(text);
    let lines: Vec<&str> =
        body.as_bytes().chunks(LINE).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!(
        "Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        lines.join("\r\n")
    )
}

fn rows(facts: &Facts) -> Vec<(String, String)> {
    let mut rows = vec![
        ("rule".to_owned(), facts.rule.clone()),
        ("priority".to_owned(), facts.priority.name().to_owned()),
        ("hostname".to_owned(), facts.hostname.clone()),
        ("source".to_owned(), facts.source.clone()),
        ("time".to_owned(), facts.time.clone()),
    ];
    if !facts.tags.is_empty() {
        rows.push(("tags".to_owned(), facts.tags.join(", ")));
    }
    for (name, value) in &facts.fields {
        match value {
            Value::Null => {}
            Value::String(text) => rows.push((name.clone(), text.clone())),
            other => rows.push((name.clone(), other.to_string())),
        }
    }
    rows
}

fn plain(facts: &Facts) -> String {
    let rows: Vec<String> = rows(facts).iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{}\r\n\r\n{}", facts.output, rows.concat())
}

fn html(facts: &Facts) -> String {
    let row = |(name, value): &(String, String)| {
        format!("<tr><th align=\"left\">{}</th><td>{}</td></tr>\r\n", escaped(name), escaped(value))
    };
    let rows = rows(facts).iter().map(row).collect::<Vec<_>>().concat();
    format!(
        "<!doctype html>\r\n<html><body><p style=\"white-space: pre-wrap\">{}</p>\r\n<table>\r\n{rows}</table></body></html>\r\n",
        escaped(&facts.output)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
