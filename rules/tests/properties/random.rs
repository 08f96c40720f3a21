//! Random trees, texts, conditions and events.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use proptest::{collection::vec, prelude::*, sample::select};
use rampart_rules::{
    catalog::{self, EventId, FieldId, ids},
    condition::{
        Expr,
        ast::{Check, FieldRef, Literal, Modifier, Name, Op, Operand, Right, Transform},
    },
    source::Span,
    value::{FieldArg, FieldSource, Value},
};

/// Trees as the parser makes them: chains have at least two parts, no negation of a negation.
pub(crate) fn tree() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        4 => check().prop_map(|check| Expr::Check(Box::new(check))),
        1 => "m[a-z0-9_]{0,6}".prop_map(|text| Expr::Macro(Name { text, span: Span::default() })),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(Expr::And),
            vec(inner.clone(), 2..4).prop_map(Expr::Or),
            inner.prop_map(|inner| match inner {
                Expr::Not(inner) => *inner,
                other => Expr::Not(Box::new(other)),
            }),
        ]
    })
}

fn check() -> impl Strategy<Value = Check> {
    let made = |left, op, right| Check { left, op, op_span: Span::default(), right, span: Span::default() };
    prop_oneof![
        left().prop_map(move |left| made(left, Op::Exists, Right::None)),
        (left(), text_op(), literal()).prop_map(move |(left, op, value)| made(left, op, Right::Value(value))),
        (left(), text_op(), modifier(), vec(literal(), 0..4)).prop_map(
            move |(left, op, modifier, values)| { made(left, op, Right::List(Some(modifier), values)) }
        ),
        (left(), select(vec![Op::In, Op::Intersects, Op::PMatch]), vec(literal(), 0..4))
            .prop_map(move |(left, op, values)| made(left, op, Right::List(None, values))),
        (left(), select(vec![Op::Lt, Op::Le, Op::Gt, Op::Ge]), any::<i64>()).prop_map(
            move |(left, op, number)| {
                let bytes = number.to_string().into_bytes();
                made(left, op, Right::Value(Literal { bytes, quoted: false, span: Span::default() }))
            }
        ),
        (left(), text_op(), field()).prop_map(move |(left, op, field)| made(
            left,
            op,
            Right::Val(field, None)
        )),
        (left(), text_op(), transform()).prop_map(move |(left, op, transform)| made(
            left,
            op,
            Right::Transform(transform)
        )),
    ]
}

fn left() -> impl Strategy<Value = Operand> {
    prop_oneof![3 => field().prop_map(Operand::Field), 1 => transform().prop_map(Operand::Transform)]
}

fn field() -> impl Strategy<Value = FieldRef> {
    ("[a-z]{1,4}(\\.[a-z][a-z0-9_]{0,4}){1,2}", proptest::option::of(literal()))
        .prop_map(|(name, arg)| FieldRef { name, arg, span: Span::default() })
}

fn transform() -> impl Strategy<Value = Transform> {
    let arg = prop_oneof![
        field().prop_map(Operand::Field),
        literal().prop_map(|mut text| {
            text.quoted = true;
            Operand::Text(text)
        }),
        vec(field().prop_map(Operand::Field), 0..3).prop_map(|items| Operand::List(items, Span::default())),
    ];
    (select(vec!["tolower", "join", "getopt"]), vec(arg, 1..3), proptest::option::of(literal()))
        .prop_map(|(name, args, arg)| Transform { name: name.to_owned(), args, arg, span: Span::default() })
}

fn literal() -> impl Strategy<Value = Literal> {
    let bytes = prop_oneof![vec(any::<u8>(), 0..6), "[a-z/(),=\"' \\\\ç]{0,6}".prop_map(String::into_bytes)];
    bytes.prop_map(|bytes| Literal { bytes, quoted: false, span: Span::default() })
}

fn text_op() -> impl Strategy<Value = Op> {
    select(Op::ALL.into_iter().filter(|op| op.takes_modifier()).collect::<Vec<_>>())
}

fn modifier() -> impl Strategy<Value = Modifier> {
    select(vec![Modifier::OneOf, Modifier::AnyOf, Modifier::AllOf])
}

/// Texts made of the words of the language, and of anything.
pub(crate) fn noise() -> impl Strategy<Value = String> {
    let word = select(vec![
        "and",
        "or",
        "not",
        "(",
        ")",
        " ",
        "\n",
        "fd.name",
        "m",
        "=",
        "!=",
        "in",
        "oneof ",
        "exists",
        "\"",
        "'",
        "\\",
        "\\x4",
        "[",
        "]",
        ",",
        "val(",
        "join(",
        "ç",
        "1",
        "<",
        "\u{8}",
        "startswith ",
    ]);
    prop_oneof![vec(word, 0..40).prop_map(|words| words.concat()), any::<String>()]
}

/// Conditions over the fields of [`Event`], all of which compile.
pub(crate) fn condition() -> impl Strategy<Value = String> {
    let leaf = leaf();
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" and "))),
            vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" or "))),
            inner.prop_map(|inner| format!("not ({inner})")),
        ]
    })
}

/// Short chains of comparisons, which contradict and imply each other more often than whole conditions do.
pub(crate) fn chain() -> impl Strategy<Value = String> {
    let part = (leaf(), any::<bool>())
        .prop_map(|(leaf, negated)| if negated { format!("not {leaf}") } else { leaf });
    (vec(part, 1..4), select(vec![" and ", " or "])).prop_map(|(parts, word)| parts.join(word))
}

/// Texts that are near the values of the fields.
const TEXTS: [&str; 12] =
    ["''", "a", "ab", "AB", "abc", "b", "/etc", "/etc/shadow", "/etc/*", "a*", "*b?", "'[a-c]b'"];
const NUMBERS: [&str; 6] = ["0", "1", "-1", "7", "4294967295", "1000"];
const ADDRESSES: [&str; 4] = ["10.0.0.1", "10.1.2.3", "192.168.0.1", "::1"];
const NETWORKS: [&str; 4] = ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "::/0"];

fn leaf() -> impl Strategy<Value = String> {
    let texts = || {
        let fields = vec![
            "proc.name",
            "fd.name",
            "proc.aname",
            "proc.aname[2]",
            "tolower(proc.name)",
            "basename(fd.name)",
            "concat(proc.name, fd.name)",
            "join('-', (proc.name, 'x'))",
        ];
        select(fields)
    };
    let listed = |pool: &'static [&'static str]| {
        vec(select(pool), 0..8).prop_map(|values| format!("({})", values.join(", ")))
    };
    prop_oneof![
        (texts(), text_op_without_bytes(), select(&TEXTS[..]))
            .prop_map(|(field, op, value)| format!("{field} {op} {value}")),
        (texts(), text_op_without_bytes(), select(vec!["oneof", "anyof", "allof"]), listed(&TEXTS))
            .prop_map(|(field, op, modifier, list)| format!("{field} {op} {modifier} {list}")),
        (texts(), select(vec!["in", "intersects", "pmatch"]), listed(&TEXTS))
            .prop_map(|(field, op, list)| format!("{field} {op} {list}")),
        (
            select(vec!["proc.pid", "user.uid", "len(proc.name)"]),
            select(vec!["=", "!=", "<", "<=", ">", ">="]),
            select(&NUMBERS[..])
        )
            .prop_map(|(field, op, value)| format!("{field} {op} {value}")),
        (select(vec!["proc.pid", "user.uid"]), listed(&NUMBERS))
            .prop_map(|(field, list)| format!("{field} in {list}")),
        (select(vec!["fd.ip", "fd.sip"]), select(vec!["=", "!="]), select(&ADDRESSES[..]))
            .prop_map(|(field, op, value)| format!("{field} {op} {value}")),
        (select(vec!["fd.ip", "fd.sip"]), listed(&ADDRESSES))
            .prop_map(|(field, list)| format!("{field} in {list}")),
        (select(vec!["fd.net", "fd.snet"]), select(vec!["=", "!="]), select(&NETWORKS[..]))
            .prop_map(|(field, op, value)| format!("{field} {op} {value}")),
        (select(vec!["fd.net", "fd.snet"]), listed(&NETWORKS))
            .prop_map(|(field, list)| format!("{field} in {list}")),
        (select(vec!["in", "intersects"]), listed(&TEXTS))
            .prop_map(|(op, list)| format!("fd.types {op} {list}")),
        select(vec!["true", "false"]).prop_map(|value| format!("evt.is_open_read={value}")),
        select(FIELDS.iter().map(|field| field.def().name).collect::<Vec<_>>())
            .prop_map(|field| format!("{field} exists")),
        (select(vec!["=", "!=", "contains", "startswith", "<", "glob"]))
            .prop_map(|op| format!("proc.name {op} val(fd.name)")),
        Just("proc.pid = val(proc.ppid)".to_owned()),
        (select(vec!["=", "!="]), select(vec!["open", "close", "execve"]))
            .prop_map(|(op, name)| format!("evt.type {op} {name}")),
        Just("evt.type in (open, execve)".to_owned()),
    ]
}

fn text_op_without_bytes() -> impl Strategy<Value = &'static str> {
    select(vec!["=", "!=", "contains", "icontains", "startswith", "endswith", "glob", "iglob"])
}

/// Fields the random events have.
const FIELDS: [FieldId; 13] = [
    ids::PROC_NAME,
    ids::FD_NAME,
    ids::PROC_ANAME,
    ids::PROC_PID,
    ids::PROC_PPID,
    ids::USER_UID,
    ids::FD_IP,
    ids::FD_SIP,
    ids::FD_NET,
    ids::FD_SNET,
    ids::FD_TYPES,
    ids::EVT_IS_OPEN_READ,
    ids::EVT_TYPE,
];

/// A random event. `proc.aname[2]` is kept as if it were a field of its own.
#[derive(Clone)]
pub(crate) struct Event(BTreeMap<(FieldId, bool), Value<'static>>);

/// An event of which all fields are known.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let values: Vec<_> = FIELDS.into_iter().map(value_of).collect();
    (values, value_of(ids::PROC_NAME)).prop_map(|(values, grandparent)| {
        let mut fields: BTreeMap<_, _> = FIELDS.into_iter().map(|id| (id, false)).zip(values).collect();
        fields.insert((ids::PROC_ANAME, true), grandparent);
        Event(fields)
    })
}

/// An event of which some fields are unknown.
pub(crate) fn partial_event() -> impl Strategy<Value = Event> {
    (event(), vec(any::<bool>(), FIELDS.len() + 1)).prop_map(|(mut event, unknown)| {
        for (value, unknown) in event.0.values_mut().zip(unknown) {
            if unknown {
                *value = Value::Unknown;
            }
        }
        event
    })
}

fn value_of(field: FieldId) -> impl Strategy<Value = Value<'static>> {
    let text = |text: &'static str| Value::Bytes(text.as_bytes());
    let ip = |text: &str| Value::Ip(text.parse::<IpAddr>().unwrap());
    let texts = vec![
        Value::Null,
        text(""),
        text("a"),
        text("ab"),
        text("Abc"),
        text("b"),
        text("/etc"),
        text("/etc/shadow"),
        Value::Bytes(b"a\xff"),
    ];
    let addresses: Vec<Value<'static>> = ADDRESSES.into_iter().map(ip).collect();
    let leak = |list: Vec<Value<'static>>| -> &'static [Value<'static>] { list.leak() };
    let pool = match field {
        ids::PROC_NAME | ids::FD_NAME => texts,
        ids::PROC_ANAME => vec![
            Value::Null,
            Value::Any(leak(vec![])),
            Value::Any(leak(vec![text("a")])),
            Value::Any(leak(vec![text("ab"), text("b"), text("/etc")])),
        ],
        ids::PROC_PID | ids::PROC_PPID => {
            vec![Value::Null, Value::Int(0), Value::Int(1), Value::Int(-1), Value::Int(7)]
        }
        ids::USER_UID => vec![Value::Null, Value::Uint(0), Value::Uint(1000), Value::Uint(4_294_967_295)],
        ids::FD_SIP | ids::FD_SNET => {
            let mut pool = addresses;
            pool.push(Value::Null);
            pool
        }
        ids::FD_IP | ids::FD_NET => {
            let pairs = addresses.iter().flat_map(|&a| addresses.iter().map(move |&b| [a, b]));
            let mut pool: Vec<Value<'static>> =
                pairs.map(|pair| Value::Either(Box::leak(Box::new(pair)))).collect();
            pool.push(Value::Null);
            pool
        }
        ids::FD_TYPES => vec![
            Value::Null,
            Value::List(leak(vec![])),
            Value::List(leak(vec![text("a")])),
            Value::List(leak(vec![text("a"), text("b")])),
            Value::List(leak(vec![text("abc"), text("")])),
        ],
        ids::EVT_IS_OPEN_READ => vec![Value::Null, Value::Bool(true), Value::Bool(false)],
        // Every event has a type.
        _ => vec![text("open"), text("close"), text("execve")],
    };
    select(pool)
}

impl Event {
    /// This event with its unknown fields taken from another.
    pub(crate) fn completed(&self, other: &Self) -> Self {
        let pick = |(key, &value): (&(FieldId, bool), &Value<'static>)| {
            let known = if value == Value::Unknown { other.0[key] } else { value };
            (*key, known)
        };
        Self(self.0.iter().map(pick).collect())
    }

    /// Its type.
    pub(crate) fn event_type(&self) -> EventId {
        let Value::Bytes(name) = self.0[&(ids::EVT_TYPE, false)] else { panic!("an event has a type") };
        catalog::event(std::str::from_utf8(name).unwrap()).unwrap()
    }
}

impl FieldSource for Event {
    fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a> {
        self.0.get(&(field, arg != FieldArg::None)).copied().unwrap_or(Value::Null)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|((id, _), value)| (id.def().name, value))).finish()
    }
}
