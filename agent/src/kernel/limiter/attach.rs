//! Attaching: per interface and direction the first rung that works, and why the others did not.

use std::{collections::BTreeSet, fmt::Write as _, fs, io, path::Path};

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode,
    links::{FdLink, Link, LinkError, PinnedLink},
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
    xdp::XdpLink,
};
use rampart_common::limit::{abi, verdict::Direction};

use super::{Limiter, LimiterError, pins};

/// Priority and handle of our clsact filter, by which a later agent finds it.
const CLSACT_PRIORITY: u16 = 1;
const CLSACT_HANDLE: TcHandle = TcHandle::new(0, 0x5241);
/// Hardware type of interfaces whose packets begin with an Ethernet header (`lo` has one too).
const ARPHRD_ETHER: u32 = 1;
const ARPHRD_LOOPBACK: u32 = 772;

/// A way to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// XDP in the driver.
    Native,
    /// XDP behind the driver.
    Generic,
    /// tc by a link.
    Tcx,
    /// tc by a filter, which no pin holds and which stays until somebody takes it away.
    Clsact,
}

/// Which rungs to try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Native XDP where the interface is a device, then tcx, then clsact.
    #[default]
    Auto,
    /// As `Auto`, without XDP: for policies that mark packets.
    Tc,
    /// This one only. Native XDP is refused on virtual interfaces all the same.
    Only(Rung),
    /// This one only, even where it does harm. For measurements.
    Force(Rung),
}

/// An interface of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Whether a driver of a device stands behind it.
    pub is_device: bool,
    /// Whether its packets begin with an Ethernet header.
    pub has_ethernet: bool,
}

/// Why a rung was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The rung.
    pub rung: Rung,
    /// Why not.
    pub reason: String,
}

/// Where the limiter is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Interface.
    pub interface: String,
    /// Which way.
    pub direction: Direction,
    /// How.
    pub rung: Rung,
    /// What was tried before.
    pub refused: Vec<Refused>,
    /// Whether a program of an agent before was exchanged in place.
    pub is_taken_over: bool,
}

/// A place of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hook {
    interface: u32,
    is_egress: bool,
}

/// What keeps a program attached.
pub(super) enum Held {
    /// A link, pinned or not: it ends with this value, unless it is pinned.
    Link(#[expect(dead_code, reason = "held for its descriptor")] FdLink),
    /// A filter, which needs nobody.
    Filter {
        /// Name of its interface.
        interface: String,
    },
}

/// The programs' links, alike for XDP and tc.
enum Fresh {
    Link(FdLink),
    Filter,
}

impl Hook {
    fn new(interface: u32, direction: Direction) -> Self {
        Self { interface, is_egress: direction == Direction::Egress }
    }

    fn direction(self) -> Direction {
        if self.is_egress { Direction::Egress } else { Direction::Ingress }
    }
}

impl Rung {
    /// The word in settings and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }

    const ALL: [Self; 4] = [Self::Native, Self::Generic, Self::Tcx, Self::Clsact];

    const fn is_xdp(self) -> bool {
        matches!(self, Self::Native | Self::Generic)
    }
}

impl Interface {
    /// Looks an interface up.
    pub fn find(name: &str) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(name)?;
        let own = Path::new("/sys/class/net").join(name);
        // In another network namespace than the mounted `/sys` the files are not there: then it counts as virtual,
        // which is the careful side, and as Ethernet, which nearly all are.
        let kind = fs::read_to_string(own.join("type")).ok().and_then(|text| text.trim().parse().ok());
        Ok(Self {
            name: name.to_owned(),
            index,
            is_device: own.join("device").exists(),
            has_ethernet: matches!(kind, None | Some(ARPHRD_ETHER | ARPHRD_LOOPBACK)),
        })
    }
}

/// The reasons in one line.
pub(super) fn reasons(refused: &[Refused]) -> String {
    let mut text = String::new();
    for one in refused {
        let separator = if text.is_empty() { "" } else { "; " };
        let _infallible = write!(text, "{separator}{}: {}", one.rung.name(), one.reason);
    }
    text
}

impl Limiter {
    /// Attaches to an interface, or exchanges the program of an agent before.
    pub fn attach(
        &mut self,
        interface: &Interface,
        direction: Direction,
        wish: Wish,
    ) -> Result<Attached, LimiterError> {
        let hook = Hook::new(interface.index, direction);
        let mut refused = Vec::new();
        for rung in rungs(wish, direction) {
            if let Some(reason) = self.objection(interface, direction, rung, wish) {
                refused.push(Refused { rung, reason });
                continue;
            }
            match self.try_rung(interface, direction, rung) {
                Ok((held, is_taken_over)) => {
                    self.attached.insert(hook, held);
                    self.leave_other_rungs(hook, rung)?;
                    return Ok(Attached {
                        interface: interface.name.clone(),
                        direction,
                        rung,
                        refused,
                        is_taken_over,
                    });
                }
                Err(error) => refused.push(Refused { rung, reason: in_words(rung, &error) }),
            }
        }
        Err(LimiterError::NoRung { interface: interface.name.clone(), direction, refused })
    }

    /// Detaches from every other place than these, also from those of an agent before. Gives how many. (clsact filters
    /// of an agent before are not known any more.)
    pub fn detach_except(&mut self, wanted: &BTreeSet<(u32, Direction)>) -> Result<usize, LimiterError> {
        let is_wanted = |hook: &Hook| wanted.contains(&(hook.interface, hook.direction()));
        let mut gone = 0;
        let others: Vec<Hook> = self.attached.keys().filter(|hook| !is_wanted(hook)).copied().collect();
        for hook in others {
            match self.attached.remove(&hook) {
                Some(Held::Filter { interface }) => {
                    let kind = if hook.is_egress { TcAttachType::Egress } else { TcAttachType::Ingress };
                    let old =
                        SchedClassifierLink::attached(&interface, kind, CLSACT_PRIORITY, CLSACT_HANDLE, None);
                    // An interface that is gone took its filters along.
                    let _ = old.map(Link::detach);
                    gone += 1;
                }
                // A pinned link is counted when its pin goes.
                Some(Held::Link(_)) => gone += usize::from(self.pins.is_none()),
                None => {}
            }
        }
        let Some(pins) = &self.pins else { return Ok(gone) };
        let links = pins::links(pins);
        for entry in fs::read_dir(&links).map_err(pins::fault("read", &links))? {
            let path = entry.map_err(pins::fault("read", &links))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let mut hooks = wanted.iter().map(|(interface, direction)| Hook::new(*interface, *direction));
            if !hooks.any(|hook| Rung::ALL.iter().any(|rung| pin_name(hook, *rung) == name)) {
                fs::remove_file(&path).map_err(pins::fault("remove", &path))?;
                gone += 1;
            }
        }
        Ok(gone)
    }

    /// What speaks against a rung before it is tried.
    fn objection(
        &self,
        interface: &Interface,
        direction: Direction,
        rung: Rung,
        wish: Wish,
    ) -> Option<String> {
        if !interface.has_ethernet {
            return Some("its packets have no Ethernet header".to_owned());
        }
        if !rung.is_xdp() {
            return None;
        }
        if direction == Direction::Egress {
            return Some("XDP sees no packets that leave".to_owned());
        }
        if self.xdp.is_none() {
            return Some("the kernel takes no XDP program".to_owned());
        }
        if rung == Rung::Native && !interface.is_device && wish != Wish::Force(rung) {
            return Some("a virtual interface would lose its segmentation offload".to_owned());
        }
        None
    }

    fn try_rung(
        &mut self,
        interface: &Interface,
        direction: Direction,
        rung: Rung,
    ) -> Result<(Held, bool), ProgramError> {
        let hook = Hook::new(interface.index, direction);
        let pin = self.pins.as_ref().map(|pins| pins::links(pins).join(pin_name(hook, rung)));
        let old = pin.as_deref().and_then(pinned);
        let (fresh, is_taken_over) = if rung.is_xdp() {
            let mode = if rung == Rung::Native { XdpMode::Driver } else { XdpMode::Skb };
            let name = self.xdp.unwrap_or(abi::PROG_XDP);
            let program: &mut Xdp = self.ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()?;
            attach_xdp(program, interface.index, mode, old)?
        } else {
            let name = if hook.is_egress { abi::PROG_EGRESS } else { abi::PROG_INGRESS };
            let kind = if hook.is_egress { TcAttachType::Egress } else { TcAttachType::Ingress };
            let program: &mut SchedClassifier =
                self.ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()?;
            if rung == Rung::Tcx {
                attach_tcx(program, &interface.name, kind, old)?
            } else {
                attach_clsact(program, &interface.name, kind)?
            }
        };
        let Fresh::Link(link) = fresh else {
            return Ok((Held::Filter { interface: interface.name.clone() }, is_taken_over));
        };
        let Some(pin) = pin.filter(|_| !is_taken_over) else { return Ok((Held::Link(link), is_taken_over)) };
        // A pin that is there although its link was of no use any more.
        let _absent = fs::remove_file(&pin);
        let pinned = link.pin(&pin).map_err(|error| ProgramError::IOError(io::Error::other(error)))?;
        Ok((Held::Link(pinned.into()), false))
    }

    /// Detaches from the rungs that an agent before used at the same place.
    fn leave_other_rungs(&self, hook: Hook, taken: Rung) -> Result<(), LimiterError> {
        let Some(pins) = &self.pins else { return Ok(()) };
        for rung in Rung::ALL.into_iter().filter(|rung| *rung != taken) {
            let pin = pins::links(pins).join(pin_name(hook, rung));
            match fs::remove_file(&pin) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(pins::fault("remove", &pin)(error)),
            }
        }
        Ok(())
    }
}

/// The rungs to try, best first.
fn rungs(wish: Wish, direction: Direction) -> Vec<Rung> {
    match (wish, direction) {
        (Wish::Auto, Direction::Ingress) => vec![Rung::Native, Rung::Tcx, Rung::Clsact],
        (Wish::Auto, Direction::Egress) | (Wish::Tc, _) => vec![Rung::Tcx, Rung::Clsact],
        (Wish::Only(rung) | Wish::Force(rung), _) => vec![rung],
    }
}

fn pin_name(hook: Hook, rung: Rung) -> String {
    format!("{}-{}-{}", hook.interface, hook.direction().name(), rung.name())
}

/// The link of an agent before.
fn pinned(path: &Path) -> Option<FdLink> {
    match PinnedLink::from_pin(path) {
        Ok(link) => Some(link.into()),
        Err(LinkError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), "A pinned link cannot be used: {error}");
            None
        }
    }
}

fn attach_xdp(
    program: &mut Xdp,
    index: u32,
    mode: XdpMode,
    old: Option<FdLink>,
) -> Result<(Fresh, bool), ProgramError> {
    // A link whose interface is gone takes no program: then a new one is made.
    let replaced =
        old.and_then(|old| XdpLink::try_from(old).ok()).and_then(|old| program.attach_to_link(old).ok());
    let is_taken_over = replaced.is_some();
    let id = match replaced {
        Some(id) => id,
        None => program.attach_to_if_index(index, mode)?,
    };
    let link = FdLink::try_from(program.take_link(id)?)
        .map_err(|error| ProgramError::IOError(io::Error::other(error)))?;
    Ok((Fresh::Link(link), is_taken_over))
}

fn attach_tcx(
    program: &mut SchedClassifier,
    interface: &str,
    kind: TcAttachType,
    old: Option<FdLink>,
) -> Result<(Fresh, bool), ProgramError> {
    let replaced = old
        .and_then(|old| SchedClassifierLink::try_from(old).ok())
        .and_then(|old| program.attach_to_link(old).ok());
    let is_taken_over = replaced.is_some();
    let id = match replaced {
        Some(id) => id,
        // In front of what is there: a cluster's network redirects packets, and nobody behind sees them.
        None => {
            program.attach_with_options(interface, kind, TcAttachOptions::TcxOrder(LinkOrder::first()))?
        }
    };
    let link = FdLink::try_from(program.take_link(id)?)
        .map_err(|error| ProgramError::IOError(io::Error::other(error)))?;
    Ok((Fresh::Link(link), is_taken_over))
}

fn attach_clsact(
    program: &mut SchedClassifier,
    interface: &str,
    kind: TcAttachType,
) -> Result<(Fresh, bool), ProgramError> {
    match tc::qdisc_add_clsact(interface) {
        // It may be there already, from an agent before or from somebody else.
        Err(tc::TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
        other => other?,
    }
    let old = SchedClassifierLink::attached(interface, kind, CLSACT_PRIORITY, CLSACT_HANDLE, None);
    let replaced = old.ok().and_then(|old| program.attach_to_link(old).ok());
    let is_taken_over = replaced.is_some();
    let options = NlOptions { priority: CLSACT_PRIORITY, handle: CLSACT_HANDLE, classid: None };
    let id = match replaced {
        Some(id) => id,
        None => program.attach_with_options(interface, kind, TcAttachOptions::Netlink(options))?,
    };
    // The filter is to stay when this value is gone.
    std::mem::forget(program.take_link(id)?);
    Ok((Fresh::Filter, is_taken_over))
}

/// A refusal as a person can act on it.
fn in_words(rung: Rung, error: &ProgramError) -> String {
    let code = match error {
        ProgramError::SyscallError(fault) => fault.io_error.raw_os_error(),
        _ => None,
    };
    match code {
        Some(libc::EBUSY | libc::EEXIST) if rung.is_xdp() => {
            "another XDP program is attached, and is left there".to_owned()
        }
        Some(libc::EOPNOTSUPP) if rung == Rung::Native => "the driver has no XDP".to_owned(),
        Some(libc::EINVAL) if rung == Rung::Tcx => "this kernel has no tcx (Linux 6.6)".to_owned(),
        _ => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                let _infallible = write!(text, ": {error}");
                cause = error.source();
            }
            text
        }
    }
}
