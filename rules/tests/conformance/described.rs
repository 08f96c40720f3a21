//! Events that upstream's facts describe in words, such as
//! `connect() ok, fd tuple client 10.0.0.5:54321 -> server 192.0.2.7:443 (tcp)`.
//!
//! The words name a call, what came of it, and facts as `name=value` or `name value`. Everything else an event of
//! that description has is derived as for the events of rule tests.

mod process;
mod scan;

use rampart_rules::{
    catalog::{CREATES_FD, EventId, FieldId, FieldType, event_ids, ids},
    filter::Filter,
    typed::{self, Arg, Environment},
    unit::{
        call::{self, Call, End, Given},
        event::{Event, Held},
    },
    value::Value,
};

use process::Tree;
use scan::{Scanner, Token};

/// Names by which an event's path argument goes.
const PATHS: [&str; 4] = ["name", "path", "filename", "pathname"];

/// An event of the process upstream's tests begin with, about nothing.
pub(crate) fn ordinary() -> Event<'static> {
    let mut event = Event::new(event_ids::OPEN);
    defaults(&mut event);
    event
}

/// The event a text describes; the error says what of it is not understood.
pub(crate) fn event(text: &str) -> Result<Event<'static>, String> {
    let mut reader = Reader::default();
    let mut scanner = Scanner::new(text);
    while let Some(token) = scanner.next() {
        reader.token(token, &mut scanner)?;
    }
    reader.finish()
}

/// What is known so far.
struct Reader {
    event: Event<'static>,
    call: Option<Call>,
    failed: bool,
    result: Option<i64>,
    error: Option<&'static str>,
    client: Option<End>,
    server: Option<End>,
    /// Whether the client's end is an address of this machine.
    client_is_local: bool,
    tree: Tree,
    known: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            event: Event::new(event_ids::OPEN),
            call: None,
            failed: false,
            result: None,
            error: None,
            client: None,
            server: None,
            client_is_local: false,
            tree: Tree::default(),
            known: 0,
        }
    }
}

impl Reader {
    fn token(&mut self, token: Token<'_>, scanner: &mut Scanner<'_>) -> Result<(), String> {
        self.known += 1;
        match token {
            Token::Call(text) => {
                self.call = Some(call::parse(text).map_err(|error| format!("{text}: {error}"))?);
            }
            Token::Member(name, id) => self.tree.member(name, id),
            Token::Pair(key, value) => self.pair(key, value)?,
            Token::Text(bytes) => self.path(bytes),
            Token::Number(number) => self.number(number),
            Token::End(end) => self.end(end),
            Token::Tuple(client, server) => (self.client, self.server) = (Some(client), Some(server)),
            Token::Word(word) => self.word(word, scanner)?,
        }
        Ok(())
    }

    fn word(&mut self, word: &str, scanner: &mut Scanner<'_>) -> Result<(), String> {
        match word {
            "ok" | "success" | "SUCCESS" | "succeeded" | "succeeds" | "successful" => self.failed = false,
            "failed" | "fails" | "failing" | "unsuccessful" => self.failed = true,
            "returned" | "returns" | "returning" | "result" => match scanner.value() {
                Some(value) => self.returned(&value)?,
                None => self.known -= 1,
            },
            "client" | "source" | "src" => {
                if let Some(end) = scanner.end() {
                    self.client = Some(end);
                } else if scanner.says_local() {
                    self.client_is_local = true;
                }
            }
            "server" | "destination" | "dest" | "dst" | "remote" => {
                if let Some(end) = scanner.end() {
                    self.server = Some(end);
                }
            }
            "->" => {
                if self.server.is_none()
                    && let Some(end) = scanner.end()
                {
                    self.server = Some(end);
                }
            }
            // What is said of both ends is what is assumed anyway.
            "neither" => scanner.skip_clause(),
            "tcp" | "udp" | "icmp" | "raw" => self.set(ids::FD_L4PROTO, Held::Text(word.into())),
            "by" | "process" => {
                if let Some(name) = scanner.plain_name() {
                    self.tree.current(&name);
                }
            }
            "unix" => {
                self.set(ids::FD_TYPE, Held::Text(b"unix".to_vec()));
                self.set(ids::FD_TYPECHAR, Held::Text(b"u".to_vec()));
                self.set(ids::FD_SOCKFAMILY, Held::Text(b"unix".to_vec()));
            }
            "no" if scanner.skip_word("ancestors") => self.tree.alone(),
            error if Call::failed_with(error).is_some() => {
                self.failed = true;
                (self.error, self.result) = Call::failed_with(error).unzip();
            }
            path if path.starts_with('/') => self.path(path.as_bytes().to_vec()),
            key if alias(key).is_some() || scan::is_event(key) => {
                if scan::is_event(key) && self.call.is_none() && alias(key).is_none() {
                    self.call = rampart_rules::catalog::event(key).map(Call::new);
                } else if let Some(value) = scanner.number_value() {
                    self.pair(key, value)?;
                }
            }
            _ => self.known -= 1,
        }
        Ok(())
    }

    /// `key=value`: a field, a parameter of the call, or a usual short name.
    fn pair(&mut self, key: &str, value: Vec<u8>) -> Result<(), String> {
        if let Some(name) = key.strip_prefix("evt.arg.")
            && let Some(param) = self.def().and_then(|def| def.params.iter().find(|param| param.name == name))
            && let Some(call) = &mut self.call
        {
            call.args.push((param.name, Given::Text(value)));
            return Ok(());
        }
        if key.contains('.') {
            let (field, arg) = field(key).ok_or_else(|| format!("there is no field `{key}`"))?;
            let held = held(field, &value).ok_or_else(|| format!("`{key}` cannot hold this"))?;
            self.event.set(field, arg, held);
            return Ok(());
        }
        if matches!(key, "res" | "ret" | "retval" | "rc" | "result") {
            return self.returned(&value);
        }
        if matches!(key, "client" | "server" | "src" | "dst" | "tuple" | "addr") {
            let mut inner = Scanner::leak(&value);
            match (key, inner.next()) {
                ("client" | "src", Some(Token::End(end))) => self.client = Some(end),
                (_, Some(Token::End(end))) => self.server = Some(end),
                (_, Some(Token::Tuple(client, server))) => {
                    (self.client, self.server) = (Some(client), Some(server));
                }
                _ => return Err(format!("`{key}` is no address")),
            }
            return Ok(());
        }
        let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i64>().ok());
        let creates = self.def().is_some_and(|def| def.flags & CREATES_FD != 0);
        if key == "fd"
            && creates
            && let Some(number) = number
        {
            self.result = Some(number);
            return Ok(());
        }
        if PATHS.contains(&key) {
            self.path(value);
            return Ok(());
        }
        let mut taken = false;
        if let Some(field) = alias(key) {
            let held = held(field, &value).ok_or_else(|| format!("`{key}` cannot hold this"))?;
            self.event.set(field, Arg::None, held);
            taken = true;
        }
        let param = self.def().and_then(|def| def.params.iter().find(|param| param.name == key));
        if let (Some(param), Some(call)) = (param, &mut self.call) {
            call.args.retain(|(name, _)| *name != param.name);
            call.args.push((param.name, number.map_or(Given::Text(value.clone()), Given::Number)));
            taken = true;
        }
        if taken || matches!(key, "data" | "buffer" | "buf") {
            if !taken {
                self.event.set(ids::EVT_BUFFER, Arg::None, Held::Text(value));
            }
            return Ok(());
        }
        Err(format!("`{key}` is neither a field nor a parameter of the call"))
    }

    fn returned(&mut self, value: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(value).into_owned();
        if let Ok(number) = text.parse::<i64>() {
            self.result = Some(number);
            self.failed |= number < 0;
        } else if let Some((name, number)) = Call::failed_with(&text) {
            (self.error, self.result, self.failed) = (Some(name), Some(number), true);
        } else if text != "SUCCESS" {
            return Err(format!("`{text}` is nothing a call returns"));
        }
        Ok(())
    }

    /// A path: the call's own, else that of its descriptor.
    fn path(&mut self, bytes: Vec<u8>) {
        let param = self.def().and_then(|def| {
            let mut names = def.params.iter().map(|param| param.name);
            names.find(|name| PATHS.contains(name))
        });
        match (param, &mut self.call) {
            (Some(param), Some(call)) => {
                call.args.retain(|(name, _)| *name != param);
                call.args.push((param, Given::Text(bytes)));
            }
            _ => self.set(ids::FD_NAME, Held::Text(bytes)),
        }
    }

    /// A number behind `= `, as in `open("/x") = 3`.
    fn number(&mut self, number: i64) {
        self.result = Some(number);
        self.failed |= number < 0;
    }

    fn end(&mut self, end: End) {
        match (self.client, self.server) {
            (Some(_), None) => self.server = Some(end),
            (None, None) => self.client = Some(end),
            _ => self.known -= 1,
        }
    }

    fn def(&self) -> Option<&'static rampart_rules::catalog::EventDef> {
        self.call.as_ref().and_then(|call| EventId::def(call.event))
    }

    fn set(&mut self, field: FieldId, held: Held<'static>) {
        self.event.set(field, Arg::None, held);
    }

    fn finish(mut self) -> Result<Event<'static>, String> {
        if self.known == 0 {
            return Err("nothing of it is understood".to_owned());
        }
        self.tree.apply(&mut self.event);
        if let Some(call) = &mut self.call {
            call.result = self.result.or(call.result).or(self.failed.then_some(-1));
            call.error = self.error.or(call.error);
            let tuple = match (self.client, self.server) {
                (Some(client), Some(server)) => Some(("tuple", Given::Tuple(client, server))),
                (Some(end), None) | (None, Some(end)) => Some(("addr", Given::End(end))),
                (None, None) => None,
            };
            call.args.extend(tuple);
        }
        if let (Some(client), Some(server)) = (self.client, self.server) {
            let (local, remote) = if self.client_is_local { (client, server) } else { (server, client) };
            ends(&mut self.event, local, [ids::FD_LIP, ids::FD_LPORT, ids::FD_LNET]);
            ends(&mut self.event, remote, [ids::FD_RIP, ids::FD_RPORT, ids::FD_RNET]);
        }
        if let Some(call) = &self.call {
            let starts = matches!(call.event, event_ids::EXECVE | event_ids::EXECVEAT);
            if !starts {
                defaults(&mut self.event);
            }
            self.event.fill(call);
        }
        defaults(&mut self.event);
        Ok(self.event)
    }
}

fn ends(event: &mut Event<'static>, end: End, [address, port, net]: [FieldId; 3]) {
    event.set_missing(address, Arg::None, Held::One(Value::Ip(end.address)));
    event.set_missing(port, Arg::None, Held::One(Value::Uint(end.port.into())));
    event.set_missing(net, Arg::None, Held::One(Value::Ip(end.address)));
}

/// What is so unless it is said otherwise: the first process of the machine, on its second processor.
fn defaults(event: &mut Event<'static>) {
    for (field, text) in [
        (ids::PROC_NAME, "init"),
        (ids::PROC_EXE, "/sbin/init"),
        (ids::PROC_EXEPATH, "/sbin/init"),
        (ids::PROC_CWD, "/root/"),
        (ids::CONTAINER_ID, "host"),
        (ids::EVT_SOURCE, "syscall"),
    ] {
        event.set_missing(field, Arg::None, Held::Text(text.into()));
    }
    for field in [ids::THREAD_TID, ids::PROC_PID, ids::PROC_VPID] {
        event.set_missing(field, Arg::None, Held::One(Value::Int(1)));
    }
    event.set_missing(ids::EVT_CPU, Arg::None, Held::One(Value::Int(1)));
    let name = match rampart_rules::value::FieldSource::field(event, ids::PROC_NAME, Arg::None.as_ref()) {
        Value::Bytes(name) => name.to_vec(),
        _ => Vec::new(),
    };
    event.set_missing(ids::PROC_ANAME, Arg::Index(0), Held::Text(name));
}

/// Short names that descriptions use for fields.
fn alias(key: &str) -> Option<FieldId> {
    Some(match key {
        "cpu" => ids::EVT_CPU,
        "exe" => ids::PROC_EXE,
        "exepath" => ids::PROC_EXEPATH,
        "comm" | "proc" => ids::PROC_NAME,
        "args" => ids::PROC_ARGS,
        "cmdline" => ids::PROC_CMDLINE,
        "cwd" => ids::PROC_CWD,
        "env" => ids::PROC_ENV,
        "pid" => ids::PROC_PID,
        "vpid" => ids::PROC_VPID,
        "ppid" => ids::PROC_PPID,
        "tid" => ids::THREAD_TID,
        "uid" | "euid" => ids::USER_UID,
        "gid" => ids::GROUP_GID,
        "user" => ids::USER_NAME,
        "group" => ids::GROUP_NAME,
        "loginuid" => ids::USER_LOGINUID,
        "tty" => ids::PROC_TTY,
        "container" => ids::CONTAINER_ID,
        "fd" => ids::FD_NUM,
        "num" => ids::EVT_NUM,
        "proto" | "l4proto" => ids::FD_L4PROTO,
        "dev" => ids::FD_DEV,
        "ino" | "inode" => ids::FD_INO,
        _ => return None,
    })
}

/// The field of that name, as a condition would name it.
pub(crate) fn field(name: &str) -> Option<(FieldId, Arg)> {
    let environment = Environment { container_fields: true, strict: false };
    let filter = Filter::compile(&format!("{name} exists"), environment).0?;
    match filter.condition() {
        typed::Node::Test(test) => match &test.left {
            typed::Source::Field(used) => Some((used.id, used.arg.clone())),
            _ => None,
        },
        _ => None,
    }
}

/// A value in the type of its field.
fn held(field: FieldId, bytes: &[u8]) -> Option<Held<'static>> {
    let text = || std::str::from_utf8(bytes).ok();
    Some(Held::One(match field.def().ty {
        FieldType::Int | FieldType::RelTime => Value::Int(text()?.parse().ok()?),
        FieldType::Uint | FieldType::Port | FieldType::AbsTime => Value::Uint(text()?.parse().ok()?),
        FieldType::Float => Value::Float(text()?.parse().ok()?),
        FieldType::Bool => Value::Bool(text()?.parse().ok()?),
        FieldType::Ip | FieldType::Net => Value::Ip(text()?.parse().ok()?),
        FieldType::Dyn => match text()?.parse() {
            Ok(number) => Value::Int(number),
            Err(_) => return Some(Held::Text(bytes.to_vec())),
        },
        FieldType::Text | FieldType::Path | FieldType::Buffer => return Some(Held::Text(bytes.to_vec())),
    }))
}
