//! Section `output.collector`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use hyper::Uri;

use super::Check;
use crate::{
    config::{CollectorOutput, TlsFiles, keys},
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
        // `node.state_dir` itself is read later.
        let state = self.raw.settings.get("node.state_dir").and_then(|setting| setting.value.as_str());
        let default_dir = PathBuf::from(state.unwrap_or("/var/lib/rampart")).join("spool");
        let output = CollectorOutput {
            url: url.clone().unwrap_or_default(),
            tls: None,
            spool_dir: self.path("output.collector.spool_dir").unwrap_or(default_dir),
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
        };
        let tls = match files {
            [Some(ca), Some(cert), Some(key)] => Some(TlsFiles { ca, cert, key }),
            [None, None, None] => None,
            _ => {
                let message = "`ca_file`, `cert_file` and `key_file` of `output.collector` go together";
                self.raw.fault(tls_place, message.to_owned(), None);
                return None;
            }
        };
        let url = url?;
        match reachable(&url, tls.is_some()) {
            Ok(()) => Some(CollectorOutput { tls, ..output }),
            Err(help) => {
                let message = format!("`output.collector.url` cannot be `{url}`");
                self.raw.fault(place, message, Some(help.to_owned()));
                None
            }
        }
    }
}

/// What is wrong with an address.
fn reachable(url: &str, has_files: bool) -> Result<(), &'static str> {
    let uri: Uri = url.parse().map_err(|_| "use an address such as `https://collector:7443`")?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback());
    match (uri.scheme_str(), has_files) {
        _ if host.is_empty() => Err("use an address such as `https://collector:7443`"),
        (Some("http"), _) if !is_loopback => Err("use `https`: `http` is for loopback only"),
        (Some("http"), true) => Err("use `https` together with `ca_file`, `cert_file` and `key_file`"),
        (Some("https"), false) => Err("set `ca_file`, `cert_file` and `key_file`"),
        (Some("http" | "https"), _) => Ok(()),
        _ => Err("use `http` or `https`"),
    }
}

#[cfg(test)]
mod tests {
    use super::reachable;

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
