//! Ends connections to backends that are left out, in all network namespaces of the node, and says what became of them.
//!
//! A socket is found by what the programs keep with it or know of it, so only connections that a service gave its backend are ended.
//! Namespaces are listed anew each time. Entering one cannot be undone for sure, so [`Work::run`] wants a thread of its own
//! that ends afterwards.

mod diag;
mod spaces;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};
use rampart_common::{
    limit::packet::{TCP, UDP},
    service::{abi::Socket, wire},
};

use self::diag::{Diag, FAMILIES, Identity};
use crate::kernel::services::Sockets;

/// States of TCP sockets that are ended, as bits: all but those of servers and of what is over already.
const TCP_STATES: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
/// Those of UDP: sockets with a peer. Others find another backend with their next datagram.
const UDP_STATES: u32 = 1 << 1;
/// Looks at a namespace, at most: what was found is ended after a look, and another one came about meanwhile.
const LOOKS: usize = 3;

/// What is to be done.
pub struct Work {
    /// Numbers of the backends.
    pub backends: BTreeSet<u16>,
    /// Which socket has which.
    pub sockets: Sockets,
}

/// What became of the connections to one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// That were found.
    pub found: u64,
    /// That were ended.
    pub destroyed: u64,
    /// That had ended by themselves meanwhile.
    pub gone: u64,
    /// That could not be ended.
    pub failed: u64,
    /// Network namespaces in which there were any.
    pub namespaces: u64,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Report {
    /// By the backend's number; those without connections are there too.
    pub backends: BTreeMap<u16, Ended>,
    /// Network namespaces that were searched.
    pub searched: usize,
    /// Those that could not be.
    pub unseen: usize,
    /// The first thing that went wrong.
    pub fault: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Work {
    /// Does it. The thread is in another network namespace afterwards, and must end.
    pub fn run(&self) -> Report {
        let begun = Instant::now();
        let mut report = Report::default();
        for backend in &self.backends {
            report.backends.insert(*backend, Ended::default());
        }
        let spaces = spaces::all();
        report.unseen = spaces.unseen;
        for space in spaces.open {
            let done = setns(space, CloneFlags::CLONE_NEWNET)
                .map_err(io::Error::from)
                .and_then(|()| self.space(&mut report));
            match done {
                Ok(()) => report.searched += 1,
                Err(error) => {
                    report.unseen += 1;
                    report.fault.get_or_insert_with(|| error.to_string());
                }
            }
        }
        report.took = begun.elapsed();
        report
    }

    /// The network namespace that the thread is in.
    fn space(&self, report: &mut Report) -> io::Result<()> {
        let mut diag = Diag::open()?;
        let mut seen = BTreeSet::new();
        let mut here = BTreeSet::new();
        for _ in 0..LOOKS {
            let found = self.find(&mut diag, &mut report.fault)?;
            let mut is_news = false;
            for (identity, backend) in found {
                let ended = report.backends.entry(backend).or_default();
                if !seen.insert(identity) {
                    continue;
                }
                is_news = true;
                ended.namespaces += u64::from(here.insert(backend));
                ended.found += 1;
                match diag.destroy(&identity) {
                    Ok(()) => ended.destroyed += 1,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => ended.gone += 1,
                    Err(error) => {
                        ended.failed += 1;
                        report.fault.get_or_insert_with(|| format!("cannot end a connection: {error}"));
                    }
                }
            }
            if !is_news {
                break;
            }
        }
        Ok(())
    }

    fn find(&self, diag: &mut Diag, fault: &mut Option<String>) -> io::Result<Vec<(Identity, u16)>> {
        let mut found = Vec::new();
        for family in FAMILIES {
            diag.list(family, TCP, TCP_STATES, Some(self.sockets.streams()), |identity, value| {
                let backend = wire::value::<Socket>(value).backend;
                if self.backends.contains(&backend) {
                    found.push((identity, backend));
                }
            })?;
            let datagrams = diag.list(family, UDP, UDP_STATES, None, |identity, _| {
                let own = self.sockets.connected(identity.cookie());
                // It may have been connected to somebody else since.
                let own = own.filter(|own| (own.address, own.port) == identity.peer());
                if let Some(own) = own.filter(|own| self.backends.contains(&own.backend)) {
                    found.push((identity, own.backend));
                }
            });
            // A kernel without this list (`CONFIG_INET_UDP_DIAG`) has the other one all the same.
            if let Err(error) = datagrams {
                fault.get_or_insert_with(|| format!("cannot list UDP sockets: {error}"));
            }
        }
        Ok(found)
    }
}
