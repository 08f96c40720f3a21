//! `rampart services` and `rampart breakers`: who serves what, who is left out and why, and changes of both.

mod text;

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;

use super::{
    Outcome,
    ask::Agent,
    complain,
    watch::{Look, Shared, WatchArgs},
};

pub(super) const SERVICES_EXAMPLES: &str = "\
Examples:
  rampart services list                        services with their backends
  rampart services list --watch                the same, live; `-o json` gives one object a line
  rampart services drain orders/b              no new connections to this backend
  rampart services enable orders/b
  rampart services failback orders             return to the best tier now
  rampart services set quotes -f quotes.yaml   make a service, or change one that was made so
  rampart services remove quotes

The file of `set` (`-` is standard input) has what stands below a service's name in the configuration, as YAML or JSON.
Changes are kept over a restart of the agent and noted in `audit.jsonl` in `node.state_dir`. They need root, who is known
on the agent's socket, or the token of `admin.token_file`.

Exit codes: 0 done, 1 the agent refuses, 2 no agent answers.";

pub(super) const BREAKERS_EXAMPLES: &str = "\
Examples:
  rampart breakers list                        circuit breakers: state, failures, when they are tried again
  rampart breakers list --watch                the same, live; `-o json` gives one object a line
  rampart breakers get orders/b                one of them, with what led to its state
  rampart breakers reset orders/b              close it and forget
  rampart breakers force-open orders/b         nothing gets through until `auto`
  rampart breakers auto orders/b

Changes are noted in `audit.jsonl` in `node.state_dir`. They need root, who is known on the agent's socket, or the token
of `admin.token_file`.

Exit codes: 0 done, 1 the agent refuses, 2 no agent answers.";

/// What is asked of a backend needs its name.
const NO_BACKEND: &str = "name the backend too, as `SERVICE/BACKEND`";

#[derive(Args, Clone, Debug)]
pub(super) struct ServicesArguments {
    #[command(subcommand)]
    action: ServicesAction,
}

#[derive(Args, Clone, Debug)]
pub(super) struct BreakersArguments {
    #[command(subcommand)]
    action: BreakersAction,
}

#[derive(Clone, Debug, Subcommand)]
enum ServicesAction {
    /// All services and their backends
    List(Look),
    /// One service
    Get(One),
    /// Send no new connections to a backend
    Drain(Named),
    /// The same, and do not check it
    Maintenance(Named),
    /// Use a backend again
    Enable(Named),
    /// Return to the best tier now
    Failback(Named),
    /// Make a service that the configuration does not have, or change one that was made so
    Set(Settings),
    /// Take away a service that was made with `set`
    Remove(Named),
}

#[derive(Clone, Debug, Subcommand)]
enum BreakersAction {
    /// All circuit breakers
    List(Look),
    /// One circuit breaker, with what led to its state
    Get(One),
    /// Close one and forget what led to its state
    Reset(Named),
    /// Let nothing through
    ForceOpen(Named),
    /// Let everything through
    ForceClose(Named),
    /// Let one work by itself again
    Auto(Named),
}

#[derive(Args, Clone, Debug)]
struct Named {
    /// Service, or service and backend as `SERVICE/BACKEND`
    #[arg(value_parser = name)]
    name: String,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Args, Clone, Debug)]
struct Settings {
    #[command(flatten)]
    named: Named,
    /// Its settings, as below its name in `services.list`; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args, Clone, Debug)]
struct One {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    watch: WatchArgs,
}

/// Names have only letters that pages' paths may have as they are.
fn name(text: &str) -> Result<String, String> {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
    };
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() <= 2 && parts.into_iter().all(is_part) {
        Ok(text.to_owned())
    } else {
        Err("expected `SERVICE` or `SERVICE/BACKEND`".to_owned())
    }
}

/// What is asked: method, page with what goes with it, and how people read the answer.
struct Asked {
    method: Method,
    page: String,
    body: Vec<u8>,
    text: fn(&Value) -> String,
}

pub(super) fn services(arguments: &ServicesArguments) -> io::Result<Outcome> {
    let get = |page: String, text| Asked { method: Method::GET, page, body: Vec::new(), text };
    let post = |page: String| Asked { method: Method::POST, page, body: Vec::new(), text: text::service };
    let backend = |named: &Named, action: &str| match named.name.split_once('/') {
        Some((service, backend)) => Ok(post(format!("/services/{service}/backends/{backend}/{action}"))),
        None => Err(NO_BACKEND.to_owned()),
    };
    let whole = |named: &Named| {
        if named.name.contains('/') {
            return Err("name the service alone".to_owned());
        }
        Ok(format!("/services/{}", named.name))
    };
    let unwatched = WatchArgs::default();
    let (shared, watch, asked) = match &arguments.action {
        ServicesAction::List(look) => {
            (&look.shared, look.watch, Ok(get("/services".to_owned(), text::services)))
        }
        ServicesAction::Get(one) => {
            let page = format!("/services/{}", one.named.name);
            (&one.named.shared, one.watch, Ok(get(page, text::service)))
        }
        ServicesAction::Drain(named) => (&named.shared, unwatched, backend(named, "drain")),
        ServicesAction::Maintenance(named) => (&named.shared, unwatched, backend(named, "maintenance")),
        ServicesAction::Enable(named) => (&named.shared, unwatched, backend(named, "enable")),
        ServicesAction::Failback(named) => {
            (&named.shared, unwatched, Ok(post(format!("/services/{}/failback", named.name))))
        }
        ServicesAction::Set(settings) => {
            let asked = whole(&settings.named)
                .and_then(|page| Ok(Asked { body: contents(&settings.file)?, ..post(page) }));
            (&settings.named.shared, unwatched, asked)
        }
        ServicesAction::Remove(named) => {
            let removed = |page| Asked { method: Method::DELETE, text: text::removed, ..post(page) };
            (&named.shared, unwatched, whole(named).map(removed))
        }
    };
    run(shared, watch, asked)
}

pub(super) fn breakers(arguments: &BreakersArguments) -> io::Result<Outcome> {
    let of = |named: &Named, method: Method, action: &str| {
        if !named.name.contains('/') {
            return Err(NO_BACKEND.to_owned());
        }
        let page = format!("/circuit-breakers/{}{action}", named.name);
        Ok(Asked { method, page, body: Vec::new(), text: text::breaker })
    };
    let unwatched = WatchArgs::default();
    let (shared, watch, asked) = match &arguments.action {
        BreakersAction::List(look) => {
            let page = "/circuit-breakers".to_owned();
            let asked = Asked { method: Method::GET, page, body: Vec::new(), text: text::breakers };
            (&look.shared, look.watch, Ok(asked))
        }
        BreakersAction::Get(one) => (&one.named.shared, one.watch, of(&one.named, Method::GET, "")),
        BreakersAction::Reset(named) => (&named.shared, unwatched, of(named, Method::POST, "/reset")),
        BreakersAction::ForceOpen(named) => {
            (&named.shared, unwatched, of(named, Method::POST, "/force-open"))
        }
        BreakersAction::ForceClose(named) => {
            (&named.shared, unwatched, of(named, Method::POST, "/force-close"))
        }
        BreakersAction::Auto(named) => (&named.shared, unwatched, of(named, Method::POST, "/auto")),
    };
    run(shared, watch, asked)
}

fn run(shared: &Shared, watch: WatchArgs, asked: Result<Asked, String>) -> io::Result<Outcome> {
    let Asked { method, page, body, text } = match asked {
        Ok(asked) => asked,
        Err(why) => return Ok(complain(&why)),
    };
    let agent = match shared.agent.agent()? {
        Ok(agent) => agent,
        Err(outcome) => return Ok(outcome),
    };
    // Without it, any other refusal is one of the question.
    if let Err(why) = agent.page::<Value>("/services") {
        return Ok(complain(&why));
    }
    watch.show(shared.output, || {
        let answer = exchange(&agent, &method, &page, &body)?;
        let text = text(&answer);
        Ok((answer, text))
    })
}

fn exchange(agent: &Agent, method: &Method, page: &str, body: &[u8]) -> Result<Value, String> {
    if method == Method::GET { agent.answer(page) } else { agent.change(method.clone(), page, body.to_vec()) }
}

/// What is in a file; `-` is standard input.
fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        if path == Path::new("-") {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        } else {
            fs::read(path)
        }
    };
    read().map_err(|error| format!("cannot read `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_of_paths() {
        for good in ["orders", "orders/b", "a.b-c_d/0"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "a/", "/b", "a/b/c", "a b", "a?b", "ä"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
