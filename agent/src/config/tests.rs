use std::fmt::Write as _;

use rampart_common::{event::Family, limit::gcra::Limit};

use super::*;
use crate::limits::{class::Class, quota::Period, throttle::Mode};

fn load(text: &str) -> Result<Config, Faults> {
    load_with(text, &[], Overrides::default())
}

fn load_with(text: &str, env: &[(&str, &str)], overrides: Overrides) -> Result<Config, Faults> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rampart.yaml");
    std::fs::write(&file, text).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { file: Some(file), env, overrides, machine: Some("node-1".to_owned()), bundle: None }.load()
}

/// Faults without the directory of the test.
fn faults(text: &str) -> Vec<String> {
    let Err(Faults(faults)) = load(text) else { panic!("no fault in {text:?}") };
    faults.iter().map(|fault| fault.to_string().split_once("rampart.yaml").unwrap().1.to_owned()).collect()
}

#[test]
fn an_empty_file_is_the_documented_defaults() {
    let config = load("").unwrap();
    assert_eq!(load("# nothing\n").unwrap(), config);
    assert_eq!(load("log:\n").unwrap(), config);
    assert_eq!(config.kernel.ring_bytes, 8 << 20);
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8765");
    assert_eq!(config.node.hostname, "node-1");
    assert_eq!(config.node.shutdown_grace, Duration::from_secs(10));
    assert!(config.rules.files.is_empty() && config.output.file.is_none() && config.output.stdout.enabled);
}

#[test]
fn isolated_cpus_are_found_named_or_none() {
    let isolated = |text: &str| load(&format!("node: {{isolated_cpus: {text}}}")).unwrap().node.isolated_cpus;
    assert_eq!(load("").unwrap().node.isolated_cpus, Isolation::Auto);
    assert_eq!((isolated("auto"), isolated("None")), (Isolation::Auto, Isolation::None));
    let listed = |text: &str| Isolation::Listed(text.parse().unwrap());
    assert_eq!((isolated("3"), isolated("\"2-5,8\"")), (listed("3"), listed("2-5,8")));
    assert!(
        faults("node: {isolated_cpus: 5-2}")[0].contains("`node.isolated_cpus`: `5-2` is an empty range")
    );
}

#[test]
fn every_number_and_word_of_the_table_is_the_default_in_force() {
    // Writing each default out must change nothing: the table documents what the code does.
    let mut text = String::new();
    for key in keys::KEYS {
        if !key.default.contains(' ') {
            let name = key.env_name();
            writeln!(text, "{name}={}", key.default).unwrap();
        }
    }
    let env: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('=')).collect();
    assert!(env.len() > 12);
    assert_eq!(load_with("", &env, Overrides::default()).unwrap(), load("").unwrap());
}

#[test]
fn every_setting_of_the_table_is_read() {
    for key in keys::KEYS {
        let mut text = String::new();
        for (depth, part) in key.path.split('.').enumerate() {
            writeln!(text, "{}{part}:", "  ".repeat(depth)).unwrap();
        }
        // No setting can be a list of lists.
        let found = load(&format!("{} [[]]\n", text.trim_end())).unwrap_err().to_string();
        assert!(found.contains(&format!("`{}`", key.path)), "{}: {found}", key.path);
    }
}

#[test]
fn all_faults_are_reported_with_place_and_help() {
    let text = "log:\n  levle: debug\n  format: jsn\nkernel: {ring_bytes: 1000000}\nadmin:\n  listen: here\nextra: 1\n";
    assert_eq!(
        faults(text),
        [
            ":2:3: unknown setting `log.levle`; did you mean `level`?",
            ":7:1: unknown setting `extra`",
            ":3:11: `log.format` cannot be `jsn`; did you mean `json`?",
            ":6:11: `admin.listen` must be `ADDRESS:PORT` such as `127.0.0.1:8765`, found `here`",
            ":4:22: `kernel.ring_bytes` must be a power of two, not 1000000; the nearest above is 1048576",
        ]
    );
}

#[test]
fn wrong_shapes_are_named() {
    assert_eq!(faults("- a\n"), [":1:1: expected sections such as `log:`, found a list"]);
    assert_eq!(faults("log: info\n"), [":1:6: `log` is a section, found `info`"]);
    assert_eq!(
        faults("rules:\n  files: 7\n"),
        [":2:10: `rules.files` must be a list of file names, found `7`"]
    );
    assert_eq!(
        faults("state: {max_processes: 3}\n"),
        [":1:24: `state.max_processes` is 3; use 1024 to 4194304"]
    );
    assert_eq!(
        faults("output: {stdout: {enabled: maybe}}"),
        [":1:28: `output.stdout.enabled` must be `true` or `false`, found `maybe`"]
    );
    assert_eq!(faults("1: 2\n"), [": a setting's name must be text, found `1`"]);
}

#[test]
fn budgets_are_percentages_of_one_core_and_off_unless_set() {
    let budget = |config: &Config, family: Family| config.budgets.families[family as usize];
    let config = load("").unwrap();
    assert!(config.budgets.families.iter().all(Option::is_none));
    let text =
        "budgets: {default: 5%, shed_below: WARNING, families: {open: 0.5, net: off, exec: '2.25 %'}}\n";
    let config = load(text).unwrap();
    assert_eq!(budget(&config, Family::Open), Some(5_000));
    assert_eq!(budget(&config, Family::Net), None);
    assert_eq!(budget(&config, Family::Exec), Some(22_500));
    assert_eq!(budget(&config, Family::Path), Some(50_000));
    assert_eq!(config.budgets.shed_below, Priority::Warning);
    assert_eq!(config.differences(&load("").unwrap()), ["budgets"]);
    assert_eq!(
        faults("budgets: {default: 101, families: {fd: 0}}\n"),
        [
            ":1:20: `budgets.default` must be `off` or a percentage above 0 and up to 100, such as `5%`, found `101`",
            ":1:40: `budgets.families.fd` must be `off` or a percentage above 0 and up to 100, such as `5%`, found `0`",
        ]
    );
    assert_eq!(
        faults("budgets: {families: {opne: 1%}}\n"),
        [":1:22: unknown setting `budgets.families.opne`; did you mean `open`?"]
    );
}

#[test]
fn text_that_is_no_yaml_has_a_place() {
    let found = faults("log:\n  level: [\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(":3:1: not valid YAML: "), "{found:?}");
    assert!(faults("log: {}\nlog: {}\n")[0].contains("duplicate"), "a key given twice is refused");
}

#[test]
fn an_alias_bomb_is_refused_quickly() {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let last = level - 1;
        writeln!(text, "a{level}: &a{level} [{}]", vec![format!("*a{last}"); 9].join(",")).unwrap();
    }
    assert!(faults(&text)[0].contains("limit"), "{:?}", faults(&text));
    let deep = format!("log: {}1{}\n", "[".repeat(5000), "]".repeat(5000));
    assert!(!faults(&deep).is_empty());
}

#[test]
fn bytes_that_are_no_text_and_huge_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    std::fs::write(&file, b"log:\n  level: \xff\n").unwrap();
    assert!(sources.load().unwrap_err().to_string().ends_with(":2:1: file is not UTF-8"));
    std::fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(sources.load().unwrap_err().to_string().contains("more than the 1048576 allowed"));
    std::fs::remove_file(&file).unwrap();
    assert!(sources.load().unwrap_err().to_string().contains("cannot be read: No such file"));
    let sources = Sources { file: Some(dir.path().to_owned()), ..Sources::default() };
    assert!(sources.load().unwrap_err().to_string().contains("it is a directory"));
}

#[test]
fn flags_win_over_environment_over_file() {
    let env =
        [("RAMPART_LOG__LEVEL", "debug"), ("LOG_LEVEL", "trace"), ("RAMPART_KERNEL__RING_BYTES", "65536")];
    let config =
        load_with("log: {level: error}\nkernel: {ring_bytes: 131072}\n", &env, Overrides::default()).unwrap();
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.kernel.ring_bytes, 65536);
    let overrides = Overrides {
        log_level: Some("WARNING".to_owned()),
        output: Some(Format::Json),
        ..Overrides::default()
    };
    let config = load_with("output: {stdout: {enabled: false}}", &env, overrides).unwrap();
    assert_eq!(config.log.level, "warn");
    assert!(config.output.stdout.enabled && config.output.stdout.format == Format::Json);
}

#[test]
fn the_common_log_level_name_is_understood() {
    let config =
        load_with("", &[("LOG_LEVEL", "INFO"), ("RAMPART_SHARED", "/x")], Overrides::default()).unwrap();
    assert_eq!(config.log.level, "info");
}

#[test]
fn environment_faults_name_the_variable() {
    let env =
        [("RAMPART_LOG__LEVLE", "x"), ("RAMPART_RULES__WATCH", "perhaps"), ("RAMPART_RULES__FILES", "a,b")];
    let text = load_with("", &env, Overrides::default()).unwrap_err().to_string();
    assert_eq!(
        text,
        "environment variable `RAMPART_LOG__LEVLE`: `RAMPART_LOG__LEVLE` names no setting; did you mean `RAMPART_LOG__LEVEL`?\n\
         environment variable `RAMPART_RULES__WATCH`: `rules.watch` must be `true` or `false`, found `perhaps`"
    );
    let config = load_with("", &env[2..], Overrides::default()).unwrap();
    assert_eq!(config.rules.files, [PathBuf::from("a"), PathBuf::from("b")]);
}

#[test]
fn an_agent_that_could_not_say_anything_is_refused() {
    let found = load("output: {stdout: {enabled: false}}").unwrap_err().to_string();
    assert!(found.contains("every output is off"), "{found}");
}

#[test]
fn limits_are_read_with_every_fault_at_its_place() {
    let text = "limits:
  enabled: true
  interfaces: {eth0: {directions: [ingress, egress], hook: tcx}, eth1: {}}
  policies:
    web:
      rate: 5k/m
      unit: packets
      match: {protocol: tcp, ports: [80, 443], sources: [10.1.2.3/8, '2001:db8::1']}
    rest: {rate: 10, burst: 3, mode: penalize, key_v4: 24}
";
    let limits = load(text).unwrap().limits;
    let web = &limits.policies["web"];
    assert_eq!(web.limit, Limit::new(5000, 60_000_000_000, 83).unwrap());
    assert_eq!((web.protocol, web.ports.as_slice()), (Some(6), [80, 443].as_slice()));
    assert_eq!(
        web.sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/8", "2001:db8::1/128"]
    );
    assert_eq!(limits.policies["rest"].key_v4, 24);
    assert_eq!(limits.interfaces["eth0"].directions.len(), 2);
    let faulty = "limits:
  interfaces:
    eth0: {direction: [up], hook: fast}
  policies:
    a: {burst: 1}
    b: {rate: 10/d}
    c: {rate: 1/s, match: {ports: [0, x], sources: ['2001:db8::/96', here]}}
    d: {rate: 1/s, action: fling}
    e: {rate: 1/s, direction: egress}
    f: {rate: 2/s, direction: egress}
  deny: [nobody]
";
    assert_eq!(
        faults(faulty),
        [
            ":3:12: unknown setting `limits.interfaces.eth0.direction`; did you mean `directions`?",
            ":3:29: `limits.interfaces.eth0.hook` must be one of auto, native, native_virtual, tcx, clsact, generic, found `fast`",
            ":5:5: `limits.policies.a` has no rate; set it, such as `rate: 1000/s`",
            ":6:9: `limits.policies.b.rate` must be a number per second, or such as `1000/s`, `90/m`, `5k/h`, found `10/d`",
            ":7:28: `limits.policies.c.match.ports` names the port `0`",
            ":7:28: `limits.policies.c.match.ports` names the port `x`",
            ":7:28: `limits.policies.c.match.ports` needs a protocol that has ports; set `protocol` to `tcp`, `udp` or `sctp`",
            ":7:43: `limits.policies.c.match.sources` names `2001:db8::/96`, a part of a /64; use a /64 or shorter, or a single address",
            ":7:43: `limits.policies.c.match.sources` names `here`, which is no address; write `192.0.2.1`, `192.0.2.0/24` or `2001:db8::/48`",
            ":8:20: `limits.policies.d.action` must be one of drop, reset, mark, observe, found `fling`",
            ":11:9: `limits.deny` names `nobody`, which is no address; write `192.0.2.1`, `192.0.2.0/24` or `2001:db8::/48`",
            ":10:5: the policies `e` and `f` are about the same packets; give one of them other `sources`, `ports` or `interfaces`",
        ]
    );
}

#[test]
fn a_default_policy_comes_from_names_that_others_use() {
    let env = [("RATE_LIMIT_REQUESTS", "120"), ("RATE_LIMIT_WINDOW_SECONDS", "60")];
    let limits = load_with("", &env, Overrides::default()).unwrap().limits;
    assert_eq!(limits.policies["default"].limit, Limit::new(120, 60_000_000_000, 120).unwrap());
    assert!(load("").unwrap().limits.policies.is_empty());
}

#[test]
fn more_policies_than_the_kernel_holds_are_refused() {
    let many: Vec<String> =
        (0..63).map(|n| format!("    p{n}: {{rate: 1/s, match: {{protocol: {n}}}}}\n")).collect();
    let found = faults(&format!("limits:\n  policies:\n{}", many.concat()));
    assert_eq!(found, [":3:5: 63 policies are more than the 62 that are possible"]);
    assert!(load(&format!("limits:\n  policies:\n{}", many[1..].concat())).is_ok());
}

#[test]
fn a_policy_may_be_of_a_service() {
    let services = "services:
  vip_cidrs: [198.18.0.0/24]
  list:
    orders: {vip: '198.18.0.1:9001', backends: {a: '10.0.0.5:9101', b: '10.0.0.6:9101', c: '10.0.0.7:9102'}}
";
    let text = format!("{services}limits:\n  policies:\n    a: {{rate: 1/s, match: {{service: orders}}}}\n");
    let policy = load(&text).unwrap().limits.policies["a"].clone();
    assert_eq!((policy.protocol, policy.ports), (Some(6), vec![9101, 9102]));
    let text = format!(
        "{services}limits:\n  policies:\n    a: {{rate: 1/s, match: {{service: order}}}}\n    b: {{rate: 1/s, match: {{service: \
         orders, ports: 1}}}}\n"
    );
    assert_eq!(
        faults(&text),
        [
            ":7:28: `limits.policies.a.match.service` names no service; `services.list` has `orders`",
            ":8:28: `limits.policies.b.match.ports` and `service` do not go together; leave `ports` out: the service says it",
        ]
    );
}

#[test]
fn quotas_classes_and_throttling_are_read_with_their_faults() {
    let text = "limits:
  time_zone: Europe/London
  deny_files: [/etc/deny]
  throttle: {mode: enforce, run_queue: 0, floor_percent: 10}
  policies:
    a: {rate: 1/s, class: order_entry, quota: {amount: 10G, per: month, at: '09:30'}}
    b: {rate: 2/s, direction: egress}
    c: {rate: 3/s, quota: {amount: 5, per: session, calendar: xetra}, match: {protocol: udp}}
trading:
  calendars:
    xetra: {time_zone: Europe/Berlin, sessions: {continuous: 'mon-fri 09:00-17:30'}}
";
    let limits = load(text).unwrap().limits;
    let Some(Period::Session(days)) = limits.policies["c"].quota.as_ref().map(|quota| &quota.period) else {
        panic!("a quota per session")
    };
    assert_eq!(days.name, "xetra");
    let quota = limits.policies["a"].quota.clone().unwrap();
    assert_eq!((quota.amount, quota.period), (10_000_000_000, Period::Month));
    assert_eq!(quota.at.to_string(), "09:30:00");
    assert_eq!(
        (limits.policies["a"].class, limits.policies["b"].class),
        (Class::OrderEntry, Class::Standard)
    );
    assert_eq!(limits.time_zone.iana_name(), Some("Europe/London"));
    assert_eq!((limits.throttle.mode, limits.throttle.run_queue), (Mode::Enforce, 0));
    assert_eq!((limits.throttle.pressure_percent, limits.throttle.floor_percent), (60, 10));
    let faulty = "limits:
  time_zone: Mars/Olympus
  deny_feeds: ['https://example.com/x', 'ftp://example.com', /etc/deny]
  throttle: {floor_percent: 3}
  policies:
    a: {rate: 1/s, class: first, quota: {per: week}}
    b: {rate: 1/s, direction: egress, quota: {amount: 0, at: noon, from: 1}}
    c: {rate: 1/s, quota: {amount: 1, per: session}}
    d: {rate: 1/s, quota: {amount: 1, per: session, calendar: xetra}}
    e: {rate: 1/s, quota: {amount: 1, calendar: xetra}}
";
    assert_eq!(
        faults(faulty),
        [
            ":6:20: `limits.policies.a.class` must be one of order_entry, market_data, interactive, standard, bulk, best_effort, found `first`",
            ":6:42: `limits.policies.a.quota.per` must be one of day, month, session, found `week`",
            ":6:34: `limits.policies.a.quota` has no amount; set it, such as `amount: 10G`",
            ":7:68: unknown setting `limits.policies.b.quota.from`",
            ":7:58: `limits.policies.b.quota.at` must be a time of day such as `\"09:30\"`, found `noon`",
            ":7:47: `limits.policies.b.quota.amount` must be a number of units, or such as `500k`, `10G`, found `0`",
            ":8:20: `limits.policies.c.quota` has no calendar; set it to a name below `trading.calendars`",
            ":9:53: `limits.policies.d.quota.calendar` names no calendar; `trading.calendars` is empty",
            ":10:39: `limits.policies.e.quota.calendar` is for a quota per session; set `per: session`, or leave `calendar` out",
            ":3:15: `limits.deny_feeds` names `ftp://example.com`, which is no web address; write such as `https://example.com/list.txt`",
            ":3:15: `limits.deny_feeds` names `/etc/deny`, which is no web address; write such as `https://example.com/list.txt`",
            ":2:14: `limits.time_zone` names `Mars/Olympus`, which is no time zone; use a name such as `Europe/London` or `America/New_York`",
            ":4:29: `limits.throttle.floor_percent` is 3; use 7 to 100",
        ]
    );
}

#[test]
fn quotas_are_kept_over_tables_that_can_be_looked_through() {
    let text = |entries: u32| {
        format!(
            "limits:\n  max_entries: {entries}\n  policies:\n    a: {{rate: 1/s, quota: {{amount: 1}}}}\n"
        )
    };
    assert!(load(&text(262_144)).is_ok());
    let found = faults(&text(262_145));
    assert_eq!(
        found,
        [
            ":4:5: `limits.max_entries` is 262145, which is too many for quotas; use 262144 or fewer, or take `quota` from `a`"
        ]
    );
}

#[test]
fn draining_and_windows_are_read() {
    let text = |settings: &str| format!("services:\n  list:\n    web: {{vip: '10.0.0.1:80', {settings}}}\n");
    let of = |settings: &str| load(&text(settings)).unwrap().services.list["web"].clone();
    let usual = of("");
    assert_eq!((usual.drain.after, usual.is_damped, usual.failback), (None, true, Failback::Auto));
    let graceful = of("drain: graceful, drain_when: [open, ejected], flap_damping: off").drain;
    assert_eq!(graceful.after, Some(Duration::from_secs(30)));
    let causes: Vec<&str> =
        DrainCause::ALL.into_iter().filter(|cause| graceful.is_for(*cause)).map(DrainCause::name).collect();
    assert_eq!(causes, ["open", "ejected"]);
    let at_once = of("drain: immediate").drain;
    assert_eq!(at_once.after, Some(Duration::ZERO));
    assert!(at_once.is_for(DrainCause::Down) && !at_once.is_for(DrainCause::Open));
    let window = of("failback: window, failback_windows: 22:00-06:00, failback_time_zone: Asia/Tokyo");
    assert_eq!(window.failback_windows.zone.iana_name(), Some("Asia/Tokyo"));
    for wrong in ["failback: window", "failback_windows: '22:00-06:00'", "drain_when: [tired]"] {
        assert_eq!(faults(&text(wrong)).len(), 1, "{wrong}");
    }
    let wrong = "failback: window, failback_windows: [noon], failback_time_zone: Mars/Olympus";
    assert_eq!(faults(&text(wrong)).len(), 3, "{:?}", faults(&text(wrong)));
}

#[test]
fn keys_of_bundles_and_labels_are_read_with_their_faults() {
    let key = "0a".repeat(32);
    let text = format!(
        "bundles: {{keys: ['{key}']}}\nnode: {{labels: [stage=canary, a.b/c=d_e, empty=], state_dir: /state}}"
    );
    let config = load(&text).unwrap();
    assert_eq!(config.bundles.keys, [PublicKey([10; 32])]);
    assert_eq!(config.bundles.dir, Path::new("/state/bundles"));
    let labels: Vec<_> =
        config.node.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("a.b/c", "d_e"), ("empty", ""), ("stage", "canary")]);
    assert!(load("").unwrap().bundles.keys.is_empty());
    for (text, why) in [
        ("bundles: {keys: [abc]}", "`bundles.keys`: `abc` is no public key of 64 hexadecimal digits"),
        ("node: {labels: ['=a']}", "`node.labels` cannot have `=a`"),
        ("node: {labels: ['a=b c']}", "`node.labels` cannot have `a=b c`"),
        ("node: {labels: [a=b, a=c]}", "`node.labels` has `a` twice"),
    ] {
        let found = faults(text);
        assert!(found[0].contains(why), "{found:?}");
    }
}
