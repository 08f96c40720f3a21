//! What is known of containers and pods beyond their control groups.
//!
//! Plain data that the look-up side fills and the field getters read, and the [`table`] that joins the two.
//! Never asks anybody: a container seen first is put into the table's outbox, the answer comes back by
//! [`table::ContainerTable::take`].

pub mod image;
pub mod table;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use self::image::ImageName;
use super::{
    cgroup::{Container, Runtime},
    users::NameTable,
};
use crate::{event::ProcessId, state::digest::FileVersion};

/// What a container runtime says about one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Who runs it.
    pub runtime: Option<Runtime>,
    /// Whole id, when the runtime knows a longer one than the control group.
    pub full_id: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Image.
    pub image: ImageName,
    /// Id of the image, without its algorithm.
    pub image_id: Option<String>,
    /// Whether it is privileged.
    pub privileged: Option<bool>,
    /// Whether it shares the node's pid namespace.
    pub host_pid: Option<bool>,
    /// Whether it shares the node's network namespace.
    pub host_network: Option<bool>,
    /// Whether it shares the node's IPC namespace.
    pub host_ipc: Option<bool>,
    /// Mounts, in the runtime's order.
    pub mounts: Vec<Mount>,
    /// Primary address.
    pub ip: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Commands that the runtime or the kubelet runs in it to see how it is.
    pub probes: Probes,
    /// The pod it belongs to.
    pub pod: Option<Sandbox>,
    /// Whether the runtime may know more a moment later: it has no process yet, or no address.
    pub unsettled: bool,
}

/// One mount of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// Path on the node.
    pub source: String,
    /// Path in the container.
    pub dest: String,
    /// Mode as the runtime gives it.
    pub mode: String,
    /// Whether it is writable.
    pub writable: bool,
    /// Propagation.
    pub propagation: String,
}

impl Mount {
    /// The form of `container.mounts`.
    pub fn text(&self) -> String {
        let Self { source, dest, mode, writable, propagation } = self;
        format!("{source}:{dest}:{mode}:{writable}:{propagation}")
    }
}

/// Probe commands, each as its argument vector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Probes {
    /// Health check of the image or the container.
    pub health: Option<Vec<String>>,
    /// Liveness probe.
    pub liveness: Option<Vec<String>>,
    /// Readiness probe.
    pub readiness: Option<Vec<String>>,
}

/// A pod as the container runtime knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    /// Whole id of the sandbox.
    pub id: String,
    /// Name of the pod.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its address.
    pub ip: Option<String>,
    /// Result of its network set-up, as JSON.
    pub cni_json: Option<String>,
}

/// A pod as the API server knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Uid.
    pub uid: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Address.
    pub ip: Option<String>,
    /// The controller that made it.
    pub owner: Option<Owner>,
    /// Its containers, by their whole ids.
    pub containers: BTreeMap<String, PodContainer>,
}

/// A container of a pod as the API server knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodContainer {
    /// Name.
    pub name: String,
    /// Image.
    pub image: ImageName,
    /// Whether it is privileged.
    pub privileged: Option<bool>,
    /// Probes.
    pub probes: Probes,
}

/// What made a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Owner {
    /// `ReplicaSet`, `ReplicationController`, `DaemonSet` and so on.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A container that is to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The container.
    pub container: Arc<Container>,
    /// A process in it.
    pub process: ProcessId,
    /// Only its names of users and groups are wanted; what else there is to know is known, or nobody knows it.
    pub names_only: bool,
}

/// News for the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// The look-up of a container ended; `None` when nobody knows it.
    Container(Arc<str>, Option<Box<Metadata>>),
    /// The user and group names of a container.
    Names(Arc<str>, Box<NameTable>),
    /// They could not be read this time.
    NoNames(Arc<str>),
    /// A pod is new or has changed.
    Pod(Arc<Pod>),
    /// A pod is gone.
    PodGone(String),
    /// These are all pods; others are gone.
    Pods(Vec<Arc<Pod>>),
    /// An executed file was read, or could not be.
    Digest(FileVersion, Option<[u8; 32]>),
}
