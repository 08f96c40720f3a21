//! Policy bundles through the whole wiring: offered, put in force, refused, taken back, found again at the next start.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{
    bundles::{
        Bundle as Signed, Digest, Offer, Standing,
        tests::{pair, sign},
    },
    control::bundle::tests::write,
    policy::kept,
};

const MORE: &str = "\
- rule: Other read
  desc: d
  condition: evt.type in (open, openat) and fd.name = /other
  output: read %fd.name
  priority: WARNING
- rule: Secret read
  enabled: false
";

fn bundle(name: &str, files: &[(&str, &str)]) -> Offer {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    let content = sign(write(1, name, &files), 1);
    let digest = Signed::open(&content, &[pair(1).1]).unwrap().digest;
    Offer { digest: Some(digest), content }
}

/// The sources of a node that takes bundles of the first key.
fn accepting(dir: &Path) -> Sources {
    let sources = sources(dir);
    let file = dir.join("rampart.yaml");
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("{hostname: n}", &format!("{{hostname: n, state_dir: {}}}", dir.display()));
    fs::write(&file, format!("{text}bundles: {{keys: ['{}']}}\nlimits: {{max_entries: 5000}}\n", pair(1).1))
        .unwrap();
    sources
}

fn rules(bench: &Bench) -> Vec<String> {
    bench.supervisor.bundle.rules.rules().iter().map(|rule| rule.name.clone()).collect()
}

fn fault(bench: &Bench) -> String {
    let standing = bench.supervisor.status.bundles.borrow().clone();
    standing.fault.map(|fault| fault.text).unwrap_or_default()
}

fn active(bench: &Bench) -> Option<Digest> {
    bench.supervisor.status.bundles.borrow().digest()
}

/// What the next start would begin with.
fn restarted(dir: &Path) -> (Sources, Config, Standing) {
    let mut sources = Sources { file: Some(dir.join("rampart.yaml")), ..Sources::default() };
    let config = sources.load().unwrap();
    let (config, standing) = kept::begin(&mut sources, config);
    (sources, config, standing)
}

#[test]
fn a_bundle_takes_effect_outlives_the_agent_and_goes_when_it_is_not_wanted() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let sources = accepting(dir.path());
        let mut bench = start_in(dir, sources, None);
        let good =
            bundle("v1", &[("policy.yaml", "limits: {max_entries: 9000}\n"), ("rules/more.yaml", MORE)]);
        bench.supervisor.take(good.clone()).await;
        assert_eq!(fault(&bench), "");
        assert_eq!((active(&bench), rules(&bench)), (good.digest, vec!["Other read".to_owned()]));
        let policy = bench.supervisor.status.policy();
        assert_eq!(policy.sources[1].0, Path::new("bundle v1:rules/more.yaml"));
        // A reload keeps it.
        bench.supervisor.reload().await;
        assert_eq!(rules(&bench), ["Other read"]);
        bench.fake.emit(&open("/secret", 0));
        bench.fake.emit(&open("/other", 1));

        let (sources, config, standing) = restarted(bench.dir.path());
        assert_eq!((standing.digest(), standing.is_accepting, standing.fault), (good.digest, true, None));
        assert_eq!((sources.bundle.unwrap().name.as_str(), config.limits.max_entries), ("v1", 9000));
        assert_eq!(config.rules.bundled.len(), 1);

        bench.supervisor.take(Offer { digest: None, content: Vec::new() }).await;
        assert_eq!(
            (active(&bench), rules(&bench), fault(&bench)),
            (None, vec!["Secret read".to_owned()], String::new())
        );
        let (_, config, standing) = restarted(bench.dir.path());
        assert_eq!((standing.active, config.limits.max_entries), (None, 5000));
        let Bench { dir, supervisor, .. } = bench;
        supervisor.shut_down(GRACE).await.unwrap();
        let found: Vec<Value> = alerts(dir.path()).into_iter().map(|alert| alert["rule"].clone()).collect();
        let count = |rule: &str| found.iter().filter(|found| *found == rule).count();
        assert_eq!((count("Other read"), count("Secret read")), (1, 0), "{found:?}");
        assert_eq!(count("Rampart internal: policy bundle in force"), 2, "{found:?}");
    });
}

#[test]
fn what_cannot_be_used_leaves_the_bundle_before_it_in_force() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let sources = accepting(dir.path());
        let mut bench = start_in(dir, sources, None);
        let good = bundle("v1", &[("rules/more.yaml", MORE)]);
        bench.supervisor.take(good.clone()).await;
        let mut tampered = bundle("v2", &[("rules/more.yaml", MORE)]);
        *tampered.content.last_mut().unwrap() ^= 1;
        let mut mistaken = bundle("v2", &[("rules/more.yaml", MORE)]);
        mistaken.digest = Some(Digest([7; 32]));
        let foreign = Offer {
            digest: Some(Digest([8; 32])),
            content: sign(write(1, "v2", &[("rules/a.yaml", b"")]), 2),
        };
        for (offer, why) in [
            (tampered, "is not one of `bundles.keys`"),
            (foreign, "is not one of `bundles.keys`"),
            (mistaken, "not the one that was announced"),
            (
                bundle(
                    "v2",
                    &[(
                        "rules/a.yaml",
                        "- rule: A\n  condition: fd.nme = 1\n  output: o\n  desc: d\n  priority: INFO\n",
                    )],
                ),
                "bundle v2:rules/a.yaml:2:",
            ),
            (
                bundle("v3", &[("policy.yaml", "output: {stdout: {enabled: false}}\n")]),
                "bundle v3:policy.yaml:1:28: `output.stdout.enabled` cannot be set by a bundle",
            ),
            (bundle("v3", &[("policy.yaml", "limits: {pin_dir: /tmp}\n")]), "names files of one node"),
            (
                bundle("v3", &[("policy.yaml", "limits:\n  policies:\n    a: {rate: 0}\n")]),
                "bundle v3:policy.yaml:3:",
            ),
            (bundle("v3", &[("policy.yaml", "lmits: {}\n")]), "unknown setting `lmits`"),
        ] {
            bench.supervisor.take(offer.clone()).await;
            assert!(fault(&bench).contains(why), "{why}: {}", fault(&bench));
            assert_eq!(bench.supervisor.status.bundles.borrow().fault.as_ref().unwrap().digest, offer.digest);
            assert_eq!(
                (active(&bench), rules(&bench)),
                (good.digest, vec!["Other read".to_owned()]),
                "{why}"
            );
            assert_eq!(restarted(bench.dir.path()).2.digest(), good.digest, "{why}");
        }
        // Limits that are on, and that no table holds.
        let ports: Vec<String> = (1..3000).map(|port: u32| port.to_string()).collect();
        let many = format!(
            "limits: {{enabled: true, policies: {{a: {{rate: 5/s, match: {{protocol: tcp, ports: [{}]}}}}}}}}\n",
            ports.join(", ")
        );
        bench.supervisor.take(bundle("v3", &[("policy.yaml", &many)])).await;
        assert!(
            fault(&bench).starts_with("the rate limits of the node do not fit with it: "),
            "{}",
            fault(&bench)
        );
        assert_eq!(active(&bench), good.digest);
        // A state directory that takes nothing: nothing is in force that the next start does not know.
        let folder = bench.dir.path().join("bundles");
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "").unwrap();
        bench.supervisor.take(bundle("v4", &[("rules/a.yaml", "")])).await;
        assert!(fault(&bench).contains("cannot"), "{}", fault(&bench));
        assert_eq!(active(&bench), good.digest);
        // It is asked for what it has: what was refused is forgotten.
        bench.supervisor.take(good).await;
        assert_eq!(fault(&bench), "");
        let Bench { dir, supervisor, .. } = bench;
        supervisor.shut_down(GRACE).await.unwrap();
        let refused = alerts(dir.path())
            .iter()
            .filter(|alert| alert["rule"] == "Rampart internal: policy bundle refused")
            .count();
        assert_eq!(refused, 10);
    });
}

#[test]
fn a_kept_bundle_that_is_not_good_any_more_does_not_stop_a_start() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let sources = accepting(dir.path());
        let mut bench = start_in(dir, sources, None);
        let good = bundle("v1", &[("rules/more.yaml", MORE)]);
        bench.supervisor.take(good.clone()).await;
        let path = bench.dir.path();
        let kept = path.join("bundles/current");
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        let start = |why: &str| {
            let (sources, config, standing) = restarted(path);
            assert!(sources.bundle.is_none() && config.rules.bundled.is_empty() && standing.active.is_none());
            let fault = standing.fault.unwrap();
            assert!(fault.text.contains(why), "{}", fault.text);
            fault.digest
        };
        // Somebody writes into the state directory.
        let mut bytes = fs::read(&kept).unwrap();
        bytes[20] ^= 1;
        fs::write(&kept, &bytes).unwrap();
        assert_eq!(start("the signature of the bundle is wrong"), None);
        // An agent that began like this and is to have none forgets it.
        let before = bench.supervisor.status.bundles.send_replace(restarted(path).2);
        bench.supervisor.take(Offer { digest: None, content: Vec::new() }).await;
        assert!(fault(&bench).is_empty() && !kept.exists());
        bench.supervisor.status.bundles.send_replace(before);
        // The rules it builds on are others now.
        fs::write(&kept, &good.content).unwrap();
        fs::write(path.join("rules.yaml"), "").unwrap();
        assert_eq!(start("Secret read"), good.digest);
        // Its key counts no more; then nobody's does.
        let file = path.join("rampart.yaml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace(&pair(1).1.to_string(), &pair(2).1.to_string())).unwrap();
        assert_eq!(start("is not one of `bundles.keys`"), None);
        fs::write(&file, text.replace(&format!("'{}'", pair(1).1), "")).unwrap();
        let (_, _, standing) = restarted(path);
        assert_eq!(standing, Standing::default());
        bench.supervisor.shut_down(GRACE).await.unwrap();
    });
}
