//! `rampart limits`: what limits are in force, who is over them, and lists and grants to change.

mod text;

use std::{io, net::IpAddr, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use form_urlencoded::{Serializer, byte_serialize};
use hyper::Method;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    Outcome,
    ask::Agent,
    complain,
    record::duration,
    watch::{Look, Shared, WatchArgs},
};
use crate::limits::{files, hitters::shown};

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart limits list                                     policies, lists and grants in force
  rampart limits explain 203.0.113.7                      which policy it has, why, and what is left of it
  rampart limits top                                      prefixes that are over most, with a proposed rule
  rampart limits top --watch                              the same, live; `-o json` gives one object a line
  rampart limits deny 203.0.113.0/24 --for 1h
  rampart limits grant 198.51.100.7 --rate 500/s --for 2h --comment 'migration'
  rampart limits undeny 203.0.113.0/24
  rampart limits get web -o json | jq .counted

Changes are kept over a restart of the agent and noted in `audit.jsonl` in `node.state_dir`. They need root, who is known
on the agent's socket, or the token of `admin.token_file`. What must not be locked out cannot be denied.

Exit codes: 0 done, 1 the agent refuses, 2 no agent answers.";

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Policies, lists and grants in force
    List(Look),
    /// One policy: settings, counters, who was over it
    Get(Get),
    /// Raise the limits of a source for a while
    Grant(Grant),
    /// End a grant
    Ungrant(Remove),
    /// Let a source pass
    Allow(List),
    /// Take a source from the list of those that pass
    Unallow(Remove),
    /// Drop what comes from a source
    Deny(List),
    /// Take a source from the list of those that are dropped
    Undeny(Remove),
    /// Prefixes that the rejected packets of the last minute came from, with a proposed rule for each
    Top(Look),
    /// Which policy a source has, why, what is left of its allowance, and recent verdicts
    Explain(Explain),
}

#[derive(Args, Clone, Debug)]
struct Get {
    /// Name of the policy
    policy: String,
    #[command(flatten)]
    look: Look,
}

#[derive(Args, Clone, Debug)]
struct Grant {
    /// Address or prefix
    #[arg(value_parser = net)]
    net: IpNet,
    /// What comes on top of each policy's rate, such as `500/s`, `90/m`, `5k/h`
    #[arg(long)]
    rate: String,
    /// What comes on top of its burst [default: what the rate brings in a second]
    #[arg(long)]
    burst: Option<u64>,
    /// How long, such as `90s`, `30m`, `2h`
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    span: Duration,
    /// Why
    #[arg(long)]
    comment: Option<String>,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Args, Clone, Debug)]
struct List {
    /// Address or prefix
    #[arg(value_parser = net)]
    net: IpNet,
    /// How long, such as `90s`, `30m`, `2h` [default: until it is taken away]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    span: Option<Duration>,
    /// Why
    #[arg(long)]
    comment: Option<String>,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Args, Clone, Debug)]
struct Remove {
    /// Address or prefix
    #[arg(value_parser = net)]
    net: IpNet,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Args, Clone, Debug)]
struct Explain {
    /// Address
    ip: IpAddr,
    /// Protocol: tcp, udp, sctp, icmp, icmpv6 or a number [default: all]
    #[arg(long)]
    protocol: Option<String>,
    /// Destination port [default: all]
    #[arg(long)]
    port: Option<u16>,
    /// Interface [default: all]
    #[arg(long)]
    interface: Option<String>,
    /// Which way
    #[arg(long, value_enum, default_value_t = Way::Ingress)]
    direction: Way,
    #[command(flatten)]
    look: Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// What comes in
    Ingress,
    /// What goes out
    Egress,
}

fn net(text: &str) -> Result<IpNet, String> {
    files::net(text)
        .ok_or_else(|| "expected an address or prefix such as `192.0.2.1` or `192.0.2.0/24`".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let look = |look: &'_ Look| (look.shared.clone(), look.watch);
    let (shared, watch) = match &arguments.action {
        Action::List(own) | Action::Top(own) => look(own),
        Action::Get(get) => look(&get.look),
        Action::Explain(explain) => look(&explain.look),
        Action::Grant(grant) => (grant.shared.clone(), WatchArgs::default()),
        Action::Allow(list) | Action::Deny(list) => (list.shared.clone(), WatchArgs::default()),
        Action::Ungrant(remove) | Action::Unallow(remove) | Action::Undeny(remove) => {
            (remove.shared.clone(), WatchArgs::default())
        }
    };
    let agent = match shared.agent.agent()? {
        Ok(agent) => agent,
        Err(outcome) => return Ok(outcome),
    };
    // Without it, any other refusal is one of the question.
    if let Err(why) = agent.page::<Value>("/limits") {
        return Ok(complain(&why));
    }
    watch.show(shared.output, || perform(&agent, &arguments.action))
}

/// Does it; gives the answer, and how people read it.
fn perform(agent: &Agent, action: &Action) -> Result<(Value, String), String> {
    let (answer, text) = match action {
        Action::List(_) => {
            let answer = agent.answer("/limits")?;
            let text = text::list(&answer);
            (answer, text)
        }
        Action::Get(get) => {
            let answer = agent.answer(&format!("/limits/{}", encoded(&get.policy)))?;
            let text = text::policy(&answer);
            (answer, text)
        }
        Action::Grant(grant) => {
            let body = json!({
                "net": grant.net.to_string(),
                "rate": grant.rate,
                "burst": grant.burst,
                "for_secs": grant.span.as_secs(),
                "comment": grant.comment,
            });
            let answer = agent.change(Method::POST, "/limits/grants", body.to_string().into_bytes())?;
            let text = text::done(&answer, "granted");
            (answer, text)
        }
        Action::Allow(list) => put(agent, list, "/limits/allow", "allowed")?,
        Action::Deny(list) => put(agent, list, "/limits/deny", "denied")?,
        Action::Ungrant(remove) => take(agent, remove, "/limits/grants")?,
        Action::Unallow(remove) => take(agent, remove, "/limits/allow")?,
        Action::Undeny(remove) => take(agent, remove, "/limits/deny")?,
        Action::Top(_) => {
            let answer = agent.answer("/limits/top")?;
            let text = text::top(&answer);
            (answer, text)
        }
        Action::Explain(explain) => {
            let answer = agent.answer(&question(explain))?;
            let text = text::explain(&answer);
            (answer, text)
        }
    };
    Ok((answer, text))
}

fn put(agent: &Agent, list: &List, page: &str, word: &str) -> Result<(Value, String), String> {
    let body = json!({
        "net": list.net.to_string(),
        "for_secs": list.span.map(|span| span.as_secs()),
        "comment": list.comment,
    });
    let answer = agent.change(Method::POST, page, body.to_string().into_bytes())?;
    let text = text::done(&answer, word);
    Ok((answer, text))
}

fn take(agent: &Agent, remove: &Remove, page: &str) -> Result<(Value, String), String> {
    let answer = agent.change(Method::DELETE, &format!("{page}/{}", remove.net), Vec::new())?;
    let text = text::removed(&answer, &shown(remove.net));
    Ok((answer, text))
}

fn question(explain: &Explain) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("ip", &explain.ip.to_string());
    let direction = if explain.direction == Way::Egress { "egress" } else { "ingress" };
    query.append_pair("direction", direction);
    for (name, value) in [
        ("protocol", explain.protocol.clone()),
        ("port", explain.port.map(|port| port.to_string())),
        ("interface", explain.interface.clone()),
    ] {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    format!("/limits/explain?{}", query.finish())
}

/// A name as part of a page's path.
fn encoded(name: &str) -> String {
    // A query writes blanks as `+`, which in a path is a plus.
    byte_serialize(name.as_bytes()).flat_map(|part| if part == "+" { "%20" } else { part }.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_names_are_encoded() {
        assert_eq!(encoded("a b/ü"), "a%20b%2F%C3%BC");
        assert_eq!(net("192.0.2.9/24").unwrap().to_string(), "192.0.2.0/24");
        assert!(net("nobody").is_err());
    }
}
