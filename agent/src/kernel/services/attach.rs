//! Attaching, and taking over from the agent before.

use std::{fs::File, io};

use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSock, CgroupSockAddr, ProgramError, SockOps, links::FdLink,
};
use rampart_common::service::abi;

use super::{Services, ServicesError, pins};

impl Services {
    /// Attaches every program, makes them the ones in charge, and takes those of agents before away. Gives how many
    /// those were.
    pub fn attach(&mut self, now: u64) -> Result<usize, ServicesError> {
        let path = self.config.cgroup.clone();
        let cgroup = File::open(&path).map_err(pins::fault("open", &path))?;
        let mut links = Vec::new();
        for name in abi::SOCK_ADDR_PROGRAMS {
            let program: &mut CgroupSockAddr = self.program(name)?;
            let link = program
                .attach(&cgroup, CgroupAttachMode::Single)
                .and_then(|id| program.take_link(id))
                .and_then(|link| FdLink::try_from(link).map_err(no_link));
            links.push((name, link.map_err(attaching(name))?));
        }
        let name = abi::PROG_RELEASE;
        let program: &mut CgroupSock = self.program(name)?;
        let link = program
            .attach(&cgroup, CgroupAttachMode::Single)
            .and_then(|id| program.take_link(id))
            .and_then(|link| FdLink::try_from(link).map_err(no_link));
        links.push((name, link.map_err(attaching(name))?));
        let name = abi::PROG_SOCK_OPS;
        let program: &mut SockOps = self.program(name)?;
        let link = program
            .attach(&cgroup, CgroupAttachMode::Single)
            .and_then(|id| program.take_link(id))
            .and_then(|link| FdLink::try_from(link).map_err(no_link));
        links.push((name, link.map_err(attaching(name))?));
        for (name, _) in abi::TRACEPOINT_PROGRAMS {
            let program: &mut BtfTracePoint = self.program(name)?;
            let link = program.attach().and_then(|id| program.take_link(id)).map(FdLink::from);
            links.push((name, link.map_err(attaching(name))?));
        }
        for (name, link) in links {
            let Some(directory) = &self.config.pins else {
                self.held.push(link);
                continue;
            };
            let pin = pins::links(directory).join(format!("{}{name}", pins::prefix(self.instance)));
            let pinned = link.pin(&pin).map_err(|error| pins::fault("pin", &pin)(io::Error::other(error)))?;
            self.held.push(pinned.into());
        }
        self.beat(now)?;
        match &self.config.pins {
            Some(directory) => pins::remove_other_links(directory, self.instance),
            None => Ok(0),
        }
    }
}

fn no_link(error: aya::programs::links::LinkError) -> ProgramError {
    ProgramError::IOError(io::Error::other(error))
}

fn attaching(program: &'static str) -> impl FnOnce(ProgramError) -> ServicesError {
    move |source| ServicesError::Program { operation: "attach", program, source: Box::new(source) }
}
