//! `ca`: who signs certificates, and how another one follows.

use std::io::Write;

use clap::{Args, Subcommand};

use super::{Fault, book};
use crate::{
    audit::Note,
    config::Config,
    identity::{
        authority::{Authority, Source},
        hex, pem,
        rotation::{self, Nodes},
        sha256,
    },
    ingest::now_ns,
};

/// `ca …`
#[derive(Debug, Subcommand)]
pub(super) enum Ca {
    /// Print its certificate, which agents may be given as `output.collector.ca_file`
    Show,
    /// Print the SHA-256 of its certificate
    Fingerprint,
    /// List the authorities that are trusted, and the nodes that do not know the next one or still use another one
    Status,
    /// Make the authority that comes next; agents are told to trust it when they renew their certificates
    Next,
    /// Let the next authority sign; refused while a node does not know it
    Switch(Sure),
    /// Trust the authority before no longer; refused while a node has a certificate of it
    Finish(Sure),
}

/// Whether to do it all the same.
#[derive(Args, Debug)]
pub(super) struct Sure {
    /// Also when nodes must join anew then
    #[arg(long)]
    force: bool,
}

fn listed(nodes: &[String]) -> String {
    if nodes.is_empty() { "none".to_owned() } else { nodes.join(", ") }
}

impl Ca {
    pub(super) fn run(self, config: &Config, actor: &str, out: &mut impl Write) -> Result<(), Fault> {
        if let Source::BuiltIn(_) = &config.identity.authority {
            // Its directory lies in the store's, which has its own rights.
            drop(book(config)?);
        }
        let authority = Authority::open(&config.identity.authority)?;
        let authority = authority.trusting(config.identity.trusted.as_deref())?;
        let own = || match &config.identity.authority {
            Source::BuiltIn(dir) => Ok(dir.as_path()),
            Source::Given { .. } => Err(Fault(
                "the authority was given: put the next one into `identity.trusted_ca_file`, see `ca status`"
                    .to_owned(),
            )),
        };
        match self {
            Self::Status => {
                let nodes = Nodes::load(&mut *book(config)?, now_ns())?;
                for (at, one) in authority.trusted().enumerate() {
                    let hash = hex(&sha256(one));
                    let role = if at == 0 { "signs" } else { "is trusted" };
                    writeln!(out, "{hash}\t{role}")?;
                    let (without, with) = (nodes.without(&hash), nodes.of_others(&hash));
                    writeln!(out, "\tnot known by: {}", listed(&without))?;
                    writeln!(out, "\tnot the signer of the certificate of: {}", listed(&with))?;
                }
            }
            Self::Next => {
                let made = rotation::next(own()?)?;
                let hash = hex(&made);
                book(config)?.change(&[], &Note::new(actor, "ca.next", &hash, ""), now_ns())?;
                writeln!(out, "the next authority is {hash}; now start all collectors anew")?;
            }
            Self::Switch(Sure { force }) => {
                let dir = own()?;
                let hash = hex(&rotation::waiting(dir)?);
                let nodes = Nodes::load(&mut *book(config)?, now_ns())?.without(&hash);
                if !nodes.is_empty() && !force {
                    return Err(Fault(format!(
                        "these do not know the next authority yet, they renew within a day: {}",
                        listed(&nodes)
                    )));
                }
                book(config)?.change(&[], &Note::new(actor, "ca.switch", &hash, ""), now_ns())?;
                rotation::switch(dir)?;
                writeln!(out, "{hash} signs; now start all collectors anew")?;
            }
            Self::Finish(Sure { force }) => {
                let dir = own()?;
                let hash = hex(&authority.fingerprint());
                let nodes = Nodes::load(&mut *book(config)?, now_ns())?.of_others(&hash);
                if !nodes.is_empty() && !force {
                    return Err(Fault(format!(
                        "these have a certificate of the authority before, they renew within a day: {}",
                        listed(&nodes)
                    )));
                }
                book(config)?.change(&[], &Note::new(actor, "ca.finish", &hash, ""), now_ns())?;
                rotation::finish(dir)?;
                writeln!(out, "only {hash} is trusted; now start all collectors anew")?;
            }
            Self::Show => write!(out, "{}", pem(authority.certificate()))?,
            Self::Fingerprint => writeln!(out, "{}", hex(&authority.fingerprint()))?,
        }
        Ok(())
    }
}
