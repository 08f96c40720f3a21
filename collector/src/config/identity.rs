//! Sections `grpc`, `http` and `identity`: who is met where, how, and by which proof.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::{ConfigError, Grpc, Http, Identity, Tls, raw::wrong};
use crate::identity::{authority::Source, peer::is_name, review::Settings};

/// Seconds that a certificate of an agent is good: a day, and never longer.
const LIFE_SECS: u64 = 86_400;
/// Shorter, and agents do nothing else than ask for new ones.
const LIFE_SECS_MIN: u64 = 300;
/// Where a pod finds its own token and the API server's authority.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGrpc {
    listen: Option<SocketAddr>,
    tls: When,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_ca_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHttp {
    listen: Option<SocketAddr>,
    tls: When,
    auth: When,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawIdentity {
    dir: Option<PathBuf>,
    ca_cert_file: Option<PathBuf>,
    ca_key_file: Option<PathBuf>,
    trusted_ca_file: Option<PathBuf>,
    names: Vec<String>,
    certificate_secs: Option<u64>,
    kubernetes: Option<RawKubernetes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawKubernetes {
    server: Option<String>,
    ca_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    audience: Option<String>,
    accounts: Vec<String>,
}

/// When something is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum When {
    /// Off loopback.
    #[default]
    Auto,
    Always,
    Never,
}

pub(super) fn grpc(raw: RawGrpc) -> Result<Grpc, ConfigError> {
    let listen = raw.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 7443)));
    let files = match (raw.cert_file, raw.key_file) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(wrong("grpc", "`cert_file` and `key_file` go together")),
    };
    let has_files = files.is_some() || raw.client_ca_file.is_some();
    let is_tls = match raw.tls {
        When::Always => true,
        When::Auto => has_files || !listen.ip().is_loopback(),
        When::Never if has_files => {
            return Err(wrong("grpc.tls", "`never` does not go together with files of certificates"));
        }
        When::Never if !listen.ip().is_loopback() => {
            return Err(wrong("grpc.tls", "off loopback agents must show certificates: use `auto`"));
        }
        When::Never => false,
    };
    let tls = is_tls.then_some(Tls { files, client_ca: raw.client_ca_file });
    Ok(Grpc { listen, tls })
}

pub(super) fn http(raw: &RawHttp) -> Result<Http, ConfigError> {
    let listen = raw.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
    let is_open = !listen.ip().is_loopback();
    let wanted = |when: When| match when {
        When::Auto => is_open,
        When::Always => true,
        When::Never => false,
    };
    if is_open && raw.auth == When::Never {
        return Err(wrong("http.auth", "off loopback people must log in: use `auto`"));
    }
    // Without TLS off loopback, something in front of it is meant to speak it.
    Ok(Http { listen, is_tls: wanted(raw.tls), has_login: wanted(raw.auth) })
}

pub(super) fn identity(raw: RawIdentity, store: &Path) -> Result<Identity, ConfigError> {
    let beside = store.parent().unwrap_or(Path::new("")).join("identity");
    let dir = raw.dir.unwrap_or(beside);
    let authority = match (raw.ca_cert_file, raw.ca_key_file) {
        (Some(cert), Some(key)) => Source::Given { cert, key },
        (None, None) => Source::BuiltIn(dir.clone()),
        _ => return Err(wrong("identity", "`ca_cert_file` and `ca_key_file` go together")),
    };
    if let Some(name) = raw.names.iter().find(|name| !is_name(name)) {
        return Err(wrong("identity.names", format!("`{name}` is neither a name nor an address")));
    }
    let secs = raw.certificate_secs.unwrap_or(LIFE_SECS);
    if !(LIFE_SECS_MIN..=LIFE_SECS).contains(&secs) {
        return Err(wrong("identity.certificate_secs", format!("use {LIFE_SECS_MIN} to {LIFE_SECS}")));
    }
    let kubernetes = raw.kubernetes.map(kubernetes).transpose()?;
    let (trusted, names, life) = (raw.trusted_ca_file, raw.names, Duration::from_secs(secs));
    Ok(Identity { dir, authority, trusted, names, life, kubernetes })
}

fn kubernetes(raw: RawKubernetes) -> Result<Settings, ConfigError> {
    let server = raw.server.unwrap_or_else(|| "https://kubernetes.default.svc".to_owned());
    if !server.starts_with("https://") && !server.starts_with("http://127.0.0.1:") {
        return Err(wrong(
            "identity.kubernetes.server",
            "use an address such as `https://kubernetes.default.svc`",
        ));
    }
    if raw.accounts.is_empty() {
        return Err(wrong("identity.kubernetes.accounts", "name the service accounts that may join"));
    }
    let is_account = |account: &String| {
        account.split_once(':').is_some_and(|(space, name)| !space.is_empty() && !name.is_empty())
    };
    if let Some(account) = raw.accounts.iter().find(|account| !is_account(account)) {
        let problem = format!("`{account}` is not written `NAMESPACE:NAME`");
        return Err(wrong("identity.kubernetes.accounts", problem));
    }
    let default = |name: &str| Path::new(ACCOUNT).join(name);
    Ok(Settings {
        ca: raw.ca_file.or_else(|| server.starts_with("https:").then(|| default("ca.crt"))),
        token: raw.token_file.unwrap_or_else(|| default("token")),
        server,
        audience: raw.audience.unwrap_or_else(|| "rampart-collector".to_owned()),
        accounts: raw.accounts,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Config, parse};
    use super::*;

    fn config(text: &str) -> Config {
        parse(text, "file", &[]).unwrap()
    }

    fn fault(text: &str) -> String {
        parse(text, "file", &[]).unwrap_err().to_string()
    }

    #[test]
    fn off_loopback_everything_is_on() {
        let open = config("grpc: {listen: '0.0.0.0:1'}\nhttp: {listen: '[::]:2'}");
        assert_eq!(open.grpc.tls, Some(Tls::default()));
        assert!(open.http.is_tls && open.http.has_login);
        let closed = config("");
        assert!(closed.grpc.tls.is_none() && !closed.http.is_tls && !closed.http.has_login);
        let careful = config("grpc: {tls: always}\nhttp: {tls: always, auth: always}");
        assert!(careful.grpc.tls.is_some() && careful.http.is_tls && careful.http.has_login);
        let behind = config("http: {listen: '0.0.0.0:1', tls: never}");
        assert!(!behind.http.is_tls && behind.http.has_login);
        assert!(fault("grpc: {listen: '0.0.0.0:1', tls: never}").contains("must show certificates"));
        assert!(fault("http: {listen: '0.0.0.0:1', auth: never}").contains("must log in"));
        assert!(fault("grpc: {cert_file: a}").contains("go together"));
        assert!(fault("grpc: {tls: never, client_ca_file: a}").contains("does not go together"));
    }

    #[test]
    fn identities_lie_beside_the_store() {
        let own = config("store: {path: /data/collector.db}").identity;
        assert_eq!(own.authority, Source::BuiltIn("/data/identity".into()));
        assert_eq!((own.life.as_secs(), own.kubernetes), (86_400, None));
        let given =
            config("identity: {ca_cert_file: a, ca_key_file: b, names: [collector.example, 10.0.0.1]}");
        assert_eq!(given.identity.authority, Source::Given { cert: "a".into(), key: "b".into() });
        for (text, said) in [
            ("identity: {ca_cert_file: a}", "go together"),
            ("identity: {certificate_secs: 86401}", "300 to 86400"),
            ("identity: {certificate_secs: 10}", "300 to 86400"),
            ("identity: {names: ['a b']}", "`a b`"),
            ("identity: {kubernetes: {}}", "name the service accounts"),
            ("identity: {kubernetes: {accounts: [agent]}}", "NAMESPACE:NAME"),
            ("identity: {kubernetes: {accounts: ['a:b'], server: 'http://api'}}", "use an address"),
        ] {
            assert!(fault(text).contains(said), "{text}: {}", fault(text));
        }
        let kubernetes =
            config("identity: {kubernetes: {accounts: ['rampart:agent']}}").identity.kubernetes.unwrap();
        assert_eq!(
            (kubernetes.server.as_str(), kubernetes.audience.as_str()),
            ("https://kubernetes.default.svc", "rampart-collector")
        );
    }
}
