//! The texts of rules from the agent to whoever looks at an alert.

use rampart_proto::v1::{Heartbeat, RuleText, RuleTexts};

use super::*;
use crate::identity::{hex, sha256};

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_shown_with_its_rule_as_an_agent_has_told_it() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(&dir).await;
    let text = b"- macro: m\n  condition: evt.num > 1\n- rule: R\n  condition: m\n  output: o\n";
    let digest = hex(&sha256(&[&(text.len() as u64).to_be_bytes()[..], text].concat()));
    let mut client = AgentServiceClient::new(channel(&collector).await);
    let (sender, receiver) = mpsc::channel(8);
    let hello = Hello { node: "n1".to_owned(), boot: vec![7; 16], ..Hello::default() };
    let beat = Heartbeat { policy_digest: digest.clone(), ..Heartbeat::default() };
    let json = json!({"rule": "R", "priority": "Error", "output": "x", "policy_digest": digest}).to_string();
    let mut alerts = vec![v1::Alert { json, ..alert(1, v1::Priority::Error, "R") }];
    alerts.push(alert(2, v1::Priority::Error, "R"));
    let batch = AlertBatch { number: 1, alerts };
    for kind in [
        agent_message::Kind::Hello(hello),
        agent_message::Kind::Alerts(batch),
        agent_message::Kind::Heartbeat(beat.clone()),
    ] {
        sender.send(message(kind)).await.unwrap();
    }
    let requests =
        futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<AgentMessage>| async {
            receiver.recv().await.map(|message| (message, receiver))
        });
    let mut answers = client.session(requests).await.unwrap().into_inner();
    let (mut is_stored, mut wanted) = (false, None);
    while !is_stored || wanted.is_none() {
        match answers.message().await.unwrap().expect("the stream goes on").kind {
            Some(collector_message::Kind::Ack(_)) => is_stored = true,
            Some(collector_message::Kind::Rules(asked)) => wanted = Some(asked.policy_digest),
            _ => {}
        }
    }
    assert_eq!(wanted.as_ref(), Some(&digest));
    let (status, body) = ask(&collector, "/alerts/1/rule").await;
    assert!(status == 404 && body.contains("no agent has told"), "{body}");
    let texts = vec![RuleText { name: "rules.yaml".to_owned(), text: text.to_vec() }];
    let told = RuleTexts { policy_digest: digest.clone(), texts };
    sender.send(message(agent_message::Kind::Rules(told))).await.unwrap();
    let started = std::time::Instant::now();
    let rule = loop {
        let (status, body) = ask(&collector, "/alerts/1/rule").await;
        if status == 200 {
            break serde_json::from_str::<Value>(&body).unwrap();
        }
        assert!(started.elapsed() < Duration::from_mins(1), "{body}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(rule["policy_digest"], digest);
    let shown = rule["text"].as_str().unwrap();
    assert!(shown.starts_with("# rules.yaml\n- macro: m\n") && shown.contains("- rule: R\n"), "{shown}");
    for (path, status) in [("/alerts/2/rule", 404), ("/alerts/3/rule", 404), ("/alerts/x/rule", 400)] {
        assert_eq!(ask(&collector, path).await.0, status, "{path}");
    }
    collector.stop().await;
}
