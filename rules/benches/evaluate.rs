//! How many events per second one core evaluates against all upstream rules, or the base pack without them.

#![expect(clippy::print_stdout, reason = "the report is the purpose of this program")]

use std::{
    env, fs,
    hint::black_box,
    path::PathBuf,
    time::{Duration, Instant},
};

use rampart_rules::{
    catalog::{EventId, FieldId, event_ids, ids},
    load::{LoadOptions, Source, load},
    pack::BASE_PACK,
    rule::RuleSet,
    value::{FieldArg, FieldSource, Value},
};

/// An event in which every text is the same ordinary one for its field.
struct Event {
    name: &'static str,
    read: bool,
}

impl FieldSource for Event {
    fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a> {
        let text = |text: &'static str| Value::Bytes(text.as_bytes());
        match field {
            ids::FD_NAME => text(self.name),
            ids::FD_DIRECTORY => text("/usr/lib/x86_64-linux-gnu"),
            ids::FD_FILENAME => text("libc.so.6"),
            ids::FD_TYPECHAR => text("f"),
            ids::PROC_EXE | ids::PROC_EXEPATH => text("/usr/lib/postgresql/16/bin/postgres"),
            ids::PROC_PNAME | ids::PROC_SNAME => text("systemd"),
            ids::PROC_CMDLINE => {
                text("postgres -D /var/lib/postgresql/16/main -c config_file=/etc/postgresql.conf")
            }
            ids::PROC_ANAME if arg == FieldArg::None => Value::Any(&[Value::Bytes(b"systemd")]),
            ids::PROC_ANAME if arg == FieldArg::Index(1) => text("systemd"),
            ids::PROC_NAME | ids::USER_NAME => text("postgres"),
            ids::USER_UID => Value::Uint(113),
            ids::EVT_IS_OPEN_READ => Value::Bool(self.read),
            ids::EVT_IS_OPEN_WRITE => Value::Bool(!self.read),
            ids::EVT_RES => text("SUCCESS"),
            ids::FD_NUM | ids::EVT_RAWRES => Value::Int(3),
            ids::EVT_NUM => Value::Uint(4711),
            ids::CONTAINER_ID => text("host"),
            ids::EVT_ARG => text("O_RDONLY|O_CLOEXEC"),
            _ => Value::Null,
        }
    }
}

fn main() {
    let shared = env::var_os("RAMPART_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let files = ["falco_rules.yaml", "falco-incubating_rules.yaml"];
    let mut sources: Vec<Source> = files
        .iter()
        .filter_map(|name| {
            let text = fs::read(shared.join("falco/rules").join(name)).ok()?;
            Some(Source { name: (*name).to_owned(), text })
        })
        .collect();
    if sources.is_empty() {
        println!("upstream's rules are not there, this measures the base pack only");
        sources.push(Source { name: "base.yaml".to_owned(), text: BASE_PACK.into() });
    }
    let started = Instant::now();
    let loaded = load(&sources, &LoadOptions::default());
    let Some(rules) = loaded.rules else {
        println!("the rules do not load");
        return;
    };
    println!("load: {} rules in {:.1?}", rules.rules().len(), started.elapsed());
    let library = Event { name: "/usr/lib/x86_64-linux-gnu/libc.so.6", read: true };
    let table = Event { name: "/var/lib/postgresql/16/main/base/16384/2619", read: false };
    measure("openat for reading", &rules, event_ids::OPENAT, &library);
    measure("openat for writing", &rules, event_ids::OPENAT, &table);
    measure("execve", &rules, event_ids::EXECVE, &library);
    measure("connect", &rules, event_ids::CONNECT, &table);
}

/// Best and median of several runs.
fn measure(what: &str, rules: &RuleSet, event: EventId, source: &Event) {
    // Short rounds: on a busy machine some of them still run undisturbed.
    const ROUNDS: usize = 301;
    const EVENTS: u32 = 500;
    let tried = rules.rules_of(event).count();
    let mut matched = 0u32;
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..EVENTS {
                rules.evaluate(event, black_box(source), |_| matched += 1);
            }
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let rate = |time: Duration| f64::from(EVENTS) / time.as_secs_f64();
    let best = rate(times.first().copied().unwrap_or_default());
    let median = rate(times.get(ROUNDS / 2).copied().unwrap_or_default());
    println!(
        "{what}: {:.0} ns per event (median {:.0}), {:.2} M events/s over {tried} rules, {matched} matches",
        1e9 / best,
        1e9 / median,
        best / 1e6
    );
}
