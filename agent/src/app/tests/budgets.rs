//! CPU budgets through the whole wiring: detector, plan of the kernel, alerts, status, reload.

use super::*;
use crate::{admin::top, telemetry::metrics};

const RULES: &str = "\
- rule: Secret read
  desc: d
  condition: evt.type in (open, openat) and fd.name startswith /sec
  output: read %fd.name by %proc.name
  priority: INFO
- rule: Protected
  desc: d
  condition: evt.type in (open, openat) and fd.name startswith /secret
  output: read %fd.name
  priority: WARNING
";

/// No rule can keep a budget of a millionth of a core.
const BUDGETS: &str =
    "budgets: {families: {open: 0.0001}, window_secs: 1, return_windows: 100, shed_below: notice}\n";

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not happen within 30 s");
}

fn count(dir: &Path, rule: &str) -> usize {
    alerts(dir).iter().filter(|alert| alert["rule"] == rule).count()
}

#[test]
fn a_rule_that_costs_too_much_leaves_the_kernel_and_a_reload_brings_it_back() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let sources = sources(dir.path());
        fs::write(dir.path().join("rules.yaml"), RULES).unwrap();
        let file = dir.path().join("rampart.yaml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}{BUDGETS}")).unwrap();
        let Bench { dir, fake, mut supervisor } = start_in(dir, sources, None);
        let dir = dir.path();
        let status = Arc::clone(&supervisor.status);
        let mut signals = Signals::install().unwrap();
        let mut sequence = 0;
        let mut read = || {
            fake.emit(&open("/secret", sequence));
            sequence += 1;
        };
        let driver = async {
            until("a beat", || status.detection().beat.is_some()).await;
            for _ in 0..1000 {
                read();
            }
            until("the shedding", || count(dir, "Rampart internal: rule shed") == 1).await;
            until("the plan without the rule", || fake.state().generation == 2).await;
            read();
            until("the other rule's match", || count(dir, "Protected") == 1).await;
            until("the new status", || !status.detection().shed.is_empty()).await;
        };
        tokio::select! {
            ended = supervisor.supervise(&mut signals) => panic!("{ended:?}"),
            () = driver => {}
        }
        let found = alerts(dir);
        let shed = found.iter().find(|alert| alert["rule"] == "Rampart internal: rule shed").unwrap();
        assert_eq!(
            (shed["priority"].as_str(), shed["output_fields"]["rule"].as_str()),
            (Some("Warning"), Some("Secret read"))
        );
        assert_eq!(count(dir, "Secret read"), 1000, "until it went each was reported");
        let page = top::page(&status);
        assert_eq!((page.rules[0].shed.as_slice(), page.rules[1].shed.len()), (&["open".to_owned()][..], 0));
        let metrics = metrics::page(&status, Instant::now()).unwrap();
        assert!(metrics.contains("rampart_rule_shed{family=\"open\",rule=\"Secret read\"} 1\n"), "{metrics}");

        supervisor.reload().await;
        assert_eq!(fake.state().generation, 3);
        read();
        supervisor.shut_down(GRACE).await.unwrap();
        assert_eq!(count(dir, "Secret read"), 1001);
        assert!(status.detection().shed.is_empty());
    });
}
