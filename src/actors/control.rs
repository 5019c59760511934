//! What operators ask of a proposer: its configuration, and its acceptors one
//! by one.

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use actix::{Message, Recipient};
use tokio::sync::oneshot;

use super::storage::Storage;
use crate::caspaxos::{
    AcceptorId, Collected, Configuration, ConfigurationStep, Epoch, Place, ReconfigurationError,
    Reply, Request,
};
use crate::identity::{ClusterId, OwnCluster};
use crate::kv::Key;
use crate::store::{Kept, write_configuration};

/// Makes a step to another configuration.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reconfigure {
    /// The step.
    pub step: ConfigurationStep,
    /// How long the operator waits.
    pub patience: Duration,
    /// The version that is in force and on this node's disk, or why the step
    /// was not made.
    pub answer: oneshot::Sender<Result<Epoch, ReconfigurationError>>,
}

/// Removes deleted registers from all acceptors.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Collect {
    /// Their keys, as far as is known.
    pub keys: Vec<Key>,
    /// How long it may take.
    pub patience: Duration,
    /// What it came to.
    pub answer: oneshot::Sender<Collected>,
}

/// Asks one acceptor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Inquire {
    /// The acceptor.
    pub to: AcceptorId,
    /// Where it is, if the configuration does not say.
    pub place: Option<Place>,
    /// The question.
    pub request: Request,
    /// The reply; `None` when it is known that none will come.
    pub answer: oneshot::Sender<Option<Reply>>,
}

/// Asks a proposer what it knows and does, for people who look for a fault.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Describe {
    /// The description, in fields with names.
    pub answer: oneshot::Sender<serde_json::Value>,
}

/// Tells a proposer of all that share the keys of its node.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Siblings(pub Vec<Recipient<Follow>>);

/// Tells a proposer of a configuration that is in force at a sibling.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Follow(pub Configuration);

/// What can be seen of a proposer from any thread.
pub struct ProposerView {
    cluster: OwnCluster,
    configuration: RwLock<Configuration>,
    /// Where the acceptors of all configurations are that were in force here.
    places: RwLock<Vec<Place>>,
}

impl ProposerView {
    /// The view of a proposer that starts with this cluster, if it was one of it
    /// before, and this configuration.
    pub fn new(cluster: Option<ClusterId>, configuration: Configuration) -> Arc<Self> {
        let places = RwLock::new(configuration.places.values().cloned().collect());
        let configuration = RwLock::new(configuration);
        Arc::new(ProposerView { cluster: OwnCluster::new(cluster), configuration, places })
    }

    /// The cluster, once it is known.
    pub fn cluster(&self) -> &OwnCluster {
        &self.cluster
    }

    /// The configuration in force here.
    pub fn configuration(&self) -> Configuration {
        self.configuration.read().expect(LOCK).clone()
    }

    /// Where the acceptors of this configuration and of earlier ones are.
    pub fn places(&self) -> Vec<Place> {
        self.places.read().expect(LOCK).clone()
    }

    pub(super) fn set(&self, configuration: Configuration) {
        let mut places = self.places.write().expect(LOCK);
        for place in configuration.places.values() {
            if !places.contains(place) {
                places.push(place.clone());
            }
        }
        drop(places);
        *self.configuration.write().expect(LOCK) = configuration;
    }

    /// What is to be kept, once the cluster is known.
    pub(super) fn kept(&self) -> Option<Kept> {
        Some(Kept { cluster: self.cluster.get()?, configuration: self.configuration() })
    }
}

const LOCK: &str = "nothing panics while it holds the lock";

enum Job {
    Keep(Kept),
    Then(Box<dyn FnOnce() + Send>),
}

/// Keeps the configuration of a proposer on the disk, on a thread of its own.
pub struct ConfigurationKeeper {
    jobs: Sender<Job>,
}

impl ConfigurationKeeper {
    /// Starts the thread; it ends when the keeper is dropped.
    pub fn start(path: PathBuf) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = channel();
        let run = move || {
            for job in queue {
                match job {
                    Job::Then(what) => what(),
                    Job::Keep(kept) => {
                        if let Err(error) = write_configuration(&path, &kept) {
                            log::error!(
                                "{}: the configuration cannot be kept: {error}; this process \
                                 ends; check the disk and start it again",
                                path.display()
                            );
                            std::process::exit(Storage::EXIT_STATUS);
                        }
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("configuration".into()).spawn(run)?;
        Ok((ConfigurationKeeper { jobs }, thread))
    }

    /// Keeps the cluster and the configuration.
    pub fn keep(&self, kept: Kept) {
        // The thread lives as long as this, or the process ends.
        let _ = self.jobs.send(Job::Keep(kept));
    }

    /// Does something after all that is to be kept by now is kept.
    pub fn then(&self, what: impl FnOnce() + Send + 'static) {
        let _ = self.jobs.send(Job::Then(Box::new(what)));
    }
}
