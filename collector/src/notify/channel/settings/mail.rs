//! `smtp`.

use std::{fs, path::PathBuf};

use serde::Deserialize;

use super::{Filter, Made, OneOrMany, Words, channel, given, wishes, wrong};
use crate::notify::{
    channel::Kind,
    mail::{Mail, Server},
};

/// The port where mails are handed in.
const PORT: u16 = 587;

section!(
    /// `smtp`; `ca_file` is not falcosidekick's.
    Smtp {
        hostport: String,
        tls: Option<bool>,
        authmechanism: String,
        user: String,
        password: String,
        from: String,
        to: OneOrMany,
        outputformat: String,
        ca_file: Option<PathBuf>,
    }
);

impl Smtp {
    /// The channel, when its server is set.
    pub fn channel(self, name: &str) -> Made {
        let common = self.common().check(name)?;
        let Some(address) = given(self.hostport) else { return Ok(None) };
        let bad = || wrong(name, "hostport", "use a name and a port such as `smtp.example:587`");
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host.trim_matches(['[', ']']), port.parse().map_err(|_| bad())?),
            None => (address.as_str(), PORT),
        };
        if host.is_empty() || host.contains('/') {
            return Err(bad());
        }
        let is_tls = self.tls.unwrap_or(true);
        match self.authmechanism.to_ascii_lowercase().as_str() {
            "" | "plain" | "login" => {}
            _ => return Err(wrong(name, "authmechanism", "use `plain` or `login`")),
        }
        let login = match (given(self.user), given(self.password)) {
            (None, None) => None,
            (Some(user), Some(password)) => Some((user, password)),
            _ => return Err(wrong(name, "user", "`user` and `password` belong together")),
        };
        let is_here =
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if login.is_some() && !is_tls && !is_here {
            return Err(wrong(name, "tls", "a password is not sent without TLS: use `true`"));
        }
        let ca = match &self.ca_file {
            None => None,
            Some(path) => Some(fs::read(path).map_err(|error| {
                wrong(name, "ca_file", &format!("cannot read `{}`: {error}", path.display()))
            })?),
        };
        let is_html = match self.outputformat.to_ascii_lowercase().as_str() {
            "" | "html" => true,
            "text" => false,
            _ => return Err(wrong(name, "outputformat", "use `html` or `text`")),
        };
        let to: Vec<String> = match self.to {
            OneOrMany::One(text) => text.split(',').map(|one| one.trim().to_owned()).collect(),
            OneOrMany::Many(list) => list,
        };
        if to.is_empty() || self.from.is_empty() {
            return Err(wrong(name, "from", "`from` and `to` are needed"));
        }
        let server = Server { host: host.to_owned(), port, is_tls, ca, login };
        let mail =
            Mail::new(server, &self.from, &to, is_html).map_err(|problem| wrong(name, "from", &problem))?;
        channel(name, &common, Words::new(), Kind::Smtp(Box::new(mail)))
    }
}
