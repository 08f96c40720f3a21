//! Section `output.collector`.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf, time::Duration};

use hyper::Uri;

use super::Check;
use crate::{
    config::{CollectorOutput, Join, JoinProof, Secret, TlsFiles, keys},
    jobs,
    spool::Sync,
};

/// Bytes of the spool: below, a burst of a few thousand alerts is too much for it.
const SPOOL_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 40;
/// Milliseconds between two times of forcing it to the disk.
const SYNC_MS: std::ops::RangeInclusive<u64> = 10..=60_000;

impl Check {
    pub(super) fn collector(&mut self) -> Option<CollectorOutput> {
        let place = self.place("output.collector.url");
        let url = self.text("output.collector.url");
        let tls_place = self.place("output.collector.ca_file");
        let files = ["ca", "cert", "key"].map(|name| self.path(&format!("output.collector.{name}_file")));
        let join = self.join(files[0].clone());
        // `node.state_dir` itself is read later.
        let output = CollectorOutput {
            url: url.clone().unwrap_or_default(),
            tls: None,
            join: None,
            spool_dir: self
                .path("output.collector.spool_dir")
                .unwrap_or_else(|| self.state_dir().join("spool")),
            spool_bytes: self.number("output.collector.spool_bytes", &SPOOL_BYTES, 256 << 20),
            sync: match self.choice("output.collector.sync", keys::SYNC, "interval") {
                "always" => Sync::Always,
                "never" => Sync::Never,
                _ => Sync::Interval,
            },
            sync_interval: Duration::from_millis(self.number(
                "output.collector.sync_interval_ms",
                &SYNC_MS,
                1000,
            )),
            jobs: self.jobs(),
        };
        let tls = match files {
            [Some(ca), Some(cert), Some(key)] if join.is_none() => Some(TlsFiles { ca, cert, key }),
            [_, None, None] if join.is_some() => None,
            [None, None, None] => None,
            _ if join.is_some() => {
                let message =
                    "`cert_file` and `key_file` of `output.collector` do not go together with a token";
                self.raw.fault(tls_place, message.to_owned(), None);
                return None;
            }
            _ => {
                let message = "`ca_file`, `cert_file` and `key_file` of `output.collector` go together";
                self.raw.fault(tls_place, message.to_owned(), None);
                return None;
            }
        };
        let url = url?;
        match reachable(&url, tls.is_some() || join.is_some()) {
            Ok(()) => Some(CollectorOutput { tls, join, ..output }),
            Err(help) => {
                let message = format!("`output.collector.url` cannot be `{url}`");
                self.raw.fault(place, message, Some(help.to_owned()));
                None
            }
        }
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        let state = self.raw.settings.get("node.state_dir").and_then(|setting| setting.value.as_str());
        PathBuf::from(state.unwrap_or("/var/lib/rampart"))
    }

    fn jobs(&mut self) -> BTreeSet<String> {
        let path = "output.collector.jobs";
        let place = self.place(path);
        let written = self.paths_or(path, &["diagnostics", "backtest"]);
        let mut kinds = BTreeSet::new();
        for word in written {
            let word = word.to_string_lossy().into_owned();
            if jobs::KINDS.contains(&word.as_str()) {
                kinds.insert(word);
            } else {
                let help = format!("use some of {}", jobs::KINDS.join(", "));
                self.raw.fault(place.clone(), format!("`{path}` cannot have `{word}`"), Some(help));
            }
        }
        kinds
    }

    /// How to get a certificate, where something shows which node this is.
    fn join(&mut self, ca: Option<PathBuf>) -> Option<Join> {
        let file = self.path("output.collector.identity_file");
        let pin_place = self.place("output.collector.ca_sha256");
        let pin = self.text("output.collector.ca_sha256");
        let place = self.place("output.collector.service_account_token_file");
        let token = self.text("output.collector.token").map(Secret).map(JoinProof::Token);
        let token_file = self.path("output.collector.token_file").map(JoinProof::TokenFile);
        let account = self.path("output.collector.service_account_token_file").map(JoinProof::ServiceAccount);
        let ca_sha256 = pin.as_deref().and_then(sha256_of);
        if pin.is_some() && ca_sha256.is_none() {
            let help = "`rampart-collector ca fingerprint` prints it".to_owned();
            let message = "`output.collector.ca_sha256` must be 64 hexadecimal digits".to_owned();
            self.raw.fault(pin_place, message, Some(help));
        }
        // A token in the environment goes before a file.
        let proof = token.or(token_file).or(account)?;
        if matches!(proof, JoinProof::ServiceAccount(_)) && ca.is_none() && pin.is_none() {
            let message =
                "`output.collector.service_account_token_file` does not say whom to trust".to_owned();
            self.raw.fault(place, message, Some("set `ca_file` or `ca_sha256` too".to_owned()));
        }
        let file = file.unwrap_or_else(|| self.state_dir().join("collector.json"));
        Some(Join { file, ca, ca_sha256, proof })
    }
}

/// A hash, or a key of its size, as people write it; colons may stand in it.
pub(super) fn sha256_of(text: &str) -> Option<[u8; 32]> {
    let digits: String = text.chars().filter(|letter| *letter != ':').collect();
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// What is wrong with an address.
fn reachable(url: &str, has_files: bool) -> Result<(), &'static str> {
    let uri: Uri = url.parse().map_err(|_| "use an address such as `https://collector:7443`")?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback());
    match (uri.scheme_str(), has_files) {
        _ if host.is_empty() => Err("use an address such as `https://collector:7443`"),
        (Some("http"), _) if !is_loopback => Err("use `https`: `http` is for loopback only"),
        (Some("http"), true) => Err("use `https` together with certificates or a token"),
        (Some("https"), false) => Err("set `token_file`, or `ca_file`, `cert_file` and `key_file`"),
        (Some("http" | "https"), _) => Ok(()),
        _ => Err("use `http` or `https`"),
    }
}

#[cfg(test)]
mod tests {
    use super::{reachable, sha256_of};

    #[test]
    fn a_hash_is_read_with_and_without_colons() {
        assert_eq!(sha256_of(&"0a".repeat(32)), Some([10; 32]));
        assert_eq!(sha256_of(&["FF"; 32].join(":")), Some([255; 32]));
        for wrong in ["", "0a", &"0g".repeat(32), &"0a".repeat(33)] {
            assert_eq!(sha256_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_loopback_is_reached_without_certificates() {
        for url in ["http://127.0.0.1:7443", "http://localhost:1", "http://[::1]:7443"] {
            assert_eq!(reachable(url, false), Ok(()), "{url}");
            assert!(reachable(url, true).is_err(), "{url}");
        }
        assert_eq!(reachable("https://collector:7443", true), Ok(()));
        for url in [
            "http://collector:7443",
            "https://collector:7443",
            "collector:7443",
            "ftp://127.0.0.1",
            "http://",
        ] {
            assert!(reachable(url, false).is_err(), "{url}");
        }
    }
}
