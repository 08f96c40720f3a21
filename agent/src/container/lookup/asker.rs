//! Which runtimes are asked about a container, in which order.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::Tallies;
use crate::{
    container::{
        LookupError, containerd, cri, docker,
        grpc::Client,
        sockets::{Interface, Sockets},
    },
    state::{
        cgroup::{Container, Runtime},
        container::{Metadata, image::ImageName},
    },
};

/// Longest time for one runtime's answer.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// How long a runtime that failed is left alone when another can be asked.
const QUIET: Duration = Duration::from_secs(5);

/// What became of a question.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The answer.
    Found(Box<Metadata>),
    /// Nobody asked knows the container.
    Unknown,
    /// There is no runtime to ask, or none answers.
    NobodyToAsk,
}

/// The clients.
pub(super) struct Asker {
    sockets: Sockets,
    tallies: Arc<Tallies>,
    clients: Mutex<HashMap<PathBuf, Client>>,
    quiet: Mutex<HashMap<PathBuf, Instant>>,
}

impl Asker {
    pub(super) fn new(sockets: Sockets, tallies: Arc<Tallies>) -> Self {
        Self { sockets, tallies, clients: Mutex::default(), quiet: Mutex::default() }
    }

    /// Asks every runtime that may know the container, the likeliest first.
    pub(super) async fn ask(&self, container: &Container) -> Outcome {
        if let Some(named) = named_by_path(container) {
            return Outcome::Found(Box::new(named));
        }
        let mut answered = false;
        for (interface, socket) in self.places(container) {
            if self.is_quiet(&socket) {
                continue;
            }
            let question = self.question(interface, &socket, container);
            let answer = timeout(ANSWER_MAX, question).await.unwrap_or_else(|_| {
                self.tallies.timeouts.fetch_add(1, Relaxed);
                Err(LookupError::Timeout { socket: socket.clone() })
            });
            match answer {
                Ok(Some(metadata)) => return Outcome::Found(Box::new(metadata)),
                Ok(None) => answered = true,
                Err(error) => self.failed(&socket, &error),
            }
        }
        if answered { Outcome::Unknown } else { Outcome::NobodyToAsk }
    }

    /// Interfaces and sockets to ask, in order.
    fn places(&self, container: &Container) -> Vec<(Interface, PathBuf)> {
        use Interface::{Containerd, Cri, Docker, Podman};
        let order: &[Interface] = match (container.runtime, container.pod_uid.is_some()) {
            (Some(Runtime::Docker), _) => &[Docker, Containerd],
            (Some(Runtime::Podman), _) => &[Podman],
            (Some(Runtime::CriO), _) => &[Cri],
            (Some(Runtime::Containerd), _)
                if container.namespace.as_deref().is_some_and(|it| it != "k8s.io") =>
            {
                &[Containerd]
            }
            (Some(_), _) => &[Cri, Containerd],
            (None, true) => &[Cri, Docker, Containerd],
            (None, false) => &[Docker, Podman, Cri, Containerd],
        };
        let present = self.sockets.present();
        let of = |wanted: &Interface| {
            let wanted = *wanted;
            present.iter().filter(move |(interface, _)| *interface == wanted).cloned()
        };
        let mut places: Vec<(Interface, PathBuf)> = order.iter().flat_map(of).collect();
        // A user's runtime may say what it likes, so it is asked about containers below that user's slice only, and
        // after the node's own.
        if let Some(uid) = container.owner {
            let own = self.sockets.of_user(uid);
            places.extend(
                own.into_iter().filter(|(interface, socket)| order.contains(interface) && socket.exists()),
            );
        }
        places
    }

    async fn question(
        &self,
        interface: Interface,
        socket: &Path,
        container: &Container,
    ) -> Result<Option<Metadata>, LookupError> {
        match interface {
            Interface::Docker => docker::inspect(socket, &container.full_id, Runtime::Docker).await,
            Interface::Podman => docker::inspect(socket, &container.full_id, Runtime::Podman).await,
            Interface::Cri => cri::inspect(&self.client(socket), &container.full_id, container.runtime).await,
            Interface::Containerd => containerd::inspect(&self.client(socket), container).await,
        }
    }

    fn client(&self, socket: &Path) -> Client {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.entry(socket.to_owned()).or_insert_with(|| Client::new(socket)).clone()
    }

    fn is_quiet(&self, socket: &Path) -> bool {
        let quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        quiet.get(socket).is_some_and(|since| since.elapsed() < QUIET)
    }

    fn failed(&self, socket: &Path, error: &LookupError) {
        // A containerd without the Kubernetes plugin refuses its calls, which is no reason to leave it alone.
        if matches!(error, LookupError::Call { source, .. } if source.code() == tonic::Code::Unimplemented) {
            return;
        }
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::debug!(socket = %socket.display(), "Container runtime does not answer: {}", crate::app::in_full(error));
        quiet.insert(socket.to_owned(), Instant::now());
        if quiet.len() > 64 {
            quiet.retain(|_, since| since.elapsed() < QUIET);
        }
    }
}

/// Runtimes without an interface put the name into the group.
fn named_by_path(container: &Container) -> Option<Metadata> {
    let runtime = container.runtime.filter(|runtime| {
        matches!(
            runtime,
            Runtime::Lxc | Runtime::LibvirtLxc | Runtime::Nspawn | Runtime::Bpm | Runtime::Garden
        )
    })?;
    Some(Metadata {
        runtime: Some(runtime),
        name: Some(container.full_id.to_string()),
        image: ImageName::default(),
        ..Metadata::default()
    })
}
