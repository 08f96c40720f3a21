//! A stand-in for the one page of the API server that a collector asks: whose token is this?

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Where it answers.
const PAGE: &str = "POST /apis/authentication.k8s.io/v1/tokenreviews ";
/// Limit for one question.
const LIMIT: Duration = Duration::from_secs(10);

/// What it knows.
#[derive(Clone)]
pub(super) struct Known {
    /// The token of the agent's pod.
    pub(super) token: String,
    /// For whom that token is.
    pub(super) audience: String,
    /// Whose it is: `NAMESPACE:NAME`.
    pub(super) account: String,
    /// Where the pod runs.
    pub(super) node: String,
    /// The token that who asks must show.
    pub(super) asker: String,
}

/// Answers until this process ends.
pub(super) fn serve(known: Known) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    let address = listener.local_addr().context("cannot listen")?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who asks badly gets no answer.
            let _ = answer(stream, &known);
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream, known: &Known) -> Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse()?;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let may_ask = head.lines().any(|line| {
        let header = line.split_once(':');
        header.is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("authorization") && value.trim() == format!("Bearer {}", known.asker)
        })
    });
    let (code, text) = if !head.starts_with(PAGE) {
        ("404 Not Found", json!({ "kind": "Status" }))
    } else if !may_ask {
        ("403 Forbidden", json!({ "kind": "Status" }))
    } else {
        ("201 Created", known.judged(&serde_json::from_slice(&body)?))
    };
    let text = text.to_string();
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 {code}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )?;
    Ok(())
}

impl Known {
    fn judged(&self, question: &Value) -> Value {
        let spec = &question["spec"];
        let is_for = spec["audiences"].as_array().is_some_and(|all| all.contains(&json!(self.audience)));
        let status = if spec["token"] == self.token && is_for {
            let extra = json!({ "authentication.kubernetes.io/node-name": [self.node] });
            let user =
                json!({ "username": format!("system:serviceaccount:{}", self.account), "extra": extra });
            json!({ "authenticated": true, "audiences": [self.audience], "user": user })
        } else {
            json!({ "error": "invalid bearer token" })
        };
        json!({ "kind": "TokenReview", "status": status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pods_token_for_this_audience_is_known() {
        let text = |text: &str| text.to_owned();
        let known = Known {
            token: text("a"),
            audience: text("b"),
            account: text("c:d"),
            node: text("e"),
            asker: text("f"),
        };
        let ask = |token: &str, audience: &str| {
            known.judged(&json!({ "spec": { "token": token, "audiences": [audience] } }))["status"].clone()
        };
        assert_eq!(ask("a", "b")["user"]["username"], "system:serviceaccount:c:d");
        assert!(ask("a", "x").get("authenticated").is_none());
        assert!(ask("x", "b").get("authenticated").is_none());
    }
}
