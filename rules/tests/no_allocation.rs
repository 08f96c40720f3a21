//! Evaluation takes no memory, whatever the rules are.

use rampart_rules::{
    catalog::{FieldId, event_ids, ids},
    load::{LoadOptions, Source, load},
    pack::BASE_PACK,
    rule::Matching,
    value::{FieldArg, FieldSource, Value},
};

/// Every text field holds the same path.
struct Event;

impl FieldSource for Event {
    fn field<'a>(&'a self, field: FieldId, _: FieldArg<'_>) -> Value<'a> {
        match field {
            ids::EVT_IS_OPEN_READ => Value::Bool(true),
            ids::FD_NUM | ids::EVT_RAWRES => Value::Int(3),
            ids::EVT_RES => Value::Bytes(b"SUCCESS"),
            ids::FD_TYPE => Value::Bytes(b"ipv4"),
            ids::PROC_ANAME => Value::Any(&[Value::Bytes(b"sshd"), Value::Bytes(b"bash")]),
            _ => Value::Bytes(b"/etc/shadow"),
        }
    }
}

#[test]
fn evaluation_allocates_nothing() {
    let own = "- rule: patterns\n  desc: d\n  priority: INFO\n  output: o\n  condition: >\n    evt.type=open and \
               (fd.name glob '/etc/*[x-z]' or fd.name icontains NOPE or fd.name regex 'x+y' or fd.name pmatch \
               (/usr, /etc/*/x) or proc.aname in (a, b, c, d, e, f) or fd.name in (a, b, c, d, e, f) or \
               fd.name startswith /b or fd.name startswith /c or fd.name endswith anyof (a, b) or \
               proc.name = val(proc.pname) and proc.pid > 5)\n";
    let sources = [BASE_PACK, own].map(|text| Source { name: "t".to_owned(), text: text.into() });
    let options = LoadOptions { matching: Matching::All, ..LoadOptions::default() };
    let rules = load(&sources, &options).rules.expect("the rules load");
    let evaluate = || {
        let mut matches = 0;
        for event in [event_ids::OPEN, event_ids::EXECVE, event_ids::CONNECT, event_ids::PTRACE] {
            rules.evaluate(event, &Event, |_| matches += 1);
        }
        matches
    };
    // The first time lets the regular expressions set up their caches.
    assert!(evaluate() > 0, "an event that matches nothing would prove little");
    let used = allocation_counter::measure(|| {
        for _ in 0..100 {
            evaluate();
        }
    });
    assert_eq!(used.count_total, 0, "{used:?}");
}
