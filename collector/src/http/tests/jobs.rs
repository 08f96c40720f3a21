//! A job from the request for it to the agent that does it, and its result back.

use std::time::Instant;

use rampart_proto::v1::{JobDone, JobReport, job_report};
use serde_json::json;
use tokio::time::sleep;

use super::{rollouts::post_json, *};

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_a_job_and_its_result_can_be_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(&dir).await;
    for (wish, status, said) in [
        (json!({}), 422, "task"),
        (json!({"task": {"kind": "reboot"}}), 422, "reboot"),
        (json!({"task": {"kind": "unblock", "response": 1}}), 422, "node"),
        (json!({"task": {"kind": "capture", "secs": 0}}), 422, "secs"),
    ] {
        let (code, answer) = post_json(&collector, "/jobs", &wish).await;
        assert!(
            code == status && answer["error"].as_str().is_some_and(|text| text.contains(said)),
            "{wish}: {answer}"
        );
    }
    let (code, job) =
        post_json(&collector, "/jobs", &json!({"task": {"kind": "diagnostics"}, "node": "n1"})).await;
    assert_eq!((code, &job["state"]), (200, &json!("waiting")), "{job}");
    let id = job["id"].as_str().unwrap().to_owned();
    let (code, _) = ask(&collector, &format!("/jobs/{id}/result")).await;
    assert_eq!(code, 404);

    let mut client = AgentServiceClient::new(channel(&collector).await);
    let (sender, receiver) = mpsc::channel(8);
    let hello = Hello {
        node: "n1".to_owned(),
        boot: vec![7; 16],
        jobs: vec!["diagnostics".to_owned()],
        ..Hello::default()
    };
    sender.send(message(agent_message::Kind::Hello(hello))).await.unwrap();
    let requests =
        futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<AgentMessage>| async {
            receiver.recv().await.map(|message| (message, receiver))
        });
    let mut answers = client.session(requests).await.unwrap().into_inner();
    let order = tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = answers.message().await.unwrap().expect("the stream goes on");
            if let Some(collector_message::Kind::Job(order)) = answer.kind {
                return order;
            }
        }
    });
    let order = order.await.expect("the job comes");
    assert!(order.id == id && order.lease_secs > 60 && order.task.is_some());
    assert_eq!(get(&collector, &format!("/jobs/{id}")).await["on"], "n1");
    let done = JobDone {
        text: "packed".to_owned(),
        name: "a\"b\r\n.tar".to_owned(),
        content: b"archive".to_vec(),
        ..JobDone::default()
    };
    let report = JobReport { id: id.clone(), outcome: Some(job_report::Outcome::Done(done)) };
    sender.send(message(agent_message::Kind::Report(report))).await.unwrap();
    let noted = tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = answers.message().await.unwrap().expect("the stream goes on");
            if let Some(collector_message::Kind::Noted(noted)) = answer.kind {
                return noted;
            }
        }
    });
    assert_eq!(noted.await.expect("the report is noted").id, id);
    let started = Instant::now();
    while get(&collector, &format!("/jobs/{id}")).await["state"] != "done" {
        assert!(started.elapsed() < PATIENCE);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&collector, &format!("/jobs/{id}/result")).await, (200, "archive".to_owned()));
    let listed = get(&collector, "/jobs?state=done&node=n1").await;
    assert_eq!(listed["jobs"][0]["id"], id.as_str());
    assert_eq!(ask(&collector, "/jobs?state=lost").await.0, 400);
    assert_eq!(post_json(&collector, &format!("/jobs/{id}/cancel"), &json!({})).await.0, 409);
    assert_eq!(post_json(&collector, "/jobs/x/redrive", &json!({})).await.0, 404);
    collector.stop().await;
}
