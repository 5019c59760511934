//! What replicas say to each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::generations::KnownGenerations;
use super::types::{
    Entry, Profile, ReplicaId, Request, SnapshotMeta, StoredMembership, Types, Vote,
};
use crate::generation::Generation;
use crate::identity::{ClusterId, Nonce};
use crate::kv::{Answer, Command, Key, LogPosition, Refusal, Submission};

/// What one replica sends to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// The cluster of the sender, or the one that it wants to join; unknown to one
    /// that still asks for it.
    pub cluster: Option<ClusterId>,
    /// What it wants.
    pub call: Call,
}

/// What one replica wants of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Call {
    /// Append these entries (§5.3); without any it is a heartbeat.
    Append(AppendEntriesRequest<Types>),
    /// Vote for me (§5.2).
    Vote(VoteRequest<Types>),
    /// Would you vote for me? (§9.6 of the dissertation)
    PreVote(VoteRequest<Types>),
    /// Take over from me (§3.10 of the dissertation).
    TransferLeader(TransferLeaderRequest<Types>),
    /// A piece of a snapshot (§7).
    Snapshot(SnapshotChunk),
    /// Up to where must a read that starts now have been applied? (§6.4 of the
    /// dissertation) For the leader.
    ReadIndex,
    /// Run this command. For the leader.
    Submit {
        /// The key.
        key: Key,
        /// The command, and the name of the request.
        submission: Submission,
        /// How long the client still waits, in milliseconds.
        patience_ms: u32,
    },
    /// Change the members. For the leader.
    Change {
        /// How.
        change: MemberChange,
        /// How long the client still waits, in milliseconds.
        patience_ms: u32,
    },
    /// Note a member in the log. For the leader.
    Publish(Publication),
    /// What cluster are you of? Answered to whoever asks.
    Identify,
    /// Let me in. Asked of any member by one that was added and has no data.
    Join(Publication),
    /// Am I still a member? Asked by who hears of no leader.
    Hello,
    /// Can you call me, and could you lead? One voter asks another, again and
    /// again.
    Probe,
    /// Here I am, with this data: is it all that I had?
    Announce(Announcement),
}

/// What a replica tells the others before it takes part, and again whenever its
/// store has come to another generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// That of its store, which is durable.
    pub generation: Generation,
    /// The newest members that it knows; the other answers with those that it knows.
    pub members: StoredMembership,
}

/// What a member has noted in the log about itself when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The member.
    pub id: ReplicaId,
    /// Drawn when its store was created: a member whose data is gone has
    /// another one.
    pub nonce: Nonce,
    /// How it is called and reached.
    pub profile: Profile,
}

/// What became of a [`Publication`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Published {
    /// It is noted.
    Noted,
    /// There is no such member.
    NotMember,
    /// The member had another nonce before.
    OtherNonce,
}

/// Which cluster a replica is of, as it answers [`Call::Identify`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its cluster, if it knows it.
    pub cluster: Option<ClusterId>,
    /// Its nonce.
    pub nonce: Nonce,
    /// The digest of the members that it founds a cluster with; `None` when it
    /// joins one.
    pub started_with: Option<u64>,
    /// The founders of its cluster and their nonces, if it is one of them.
    pub founders: BTreeMap<ReplicaId, Nonce>,
    /// The nonces of all members that it knows of.
    pub nonces: BTreeMap<ReplicaId, Nonce>,
}

/// A piece of a snapshot file. Pieces come in order; the last one installs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// The leader that sends it.
    pub vote: Vote,
    /// What the snapshot holds.
    pub meta: SnapshotMeta,
    /// Where in the file the piece belongs, in bytes.
    pub offset: u64,
    /// The piece.
    pub data: Bytes,
    /// How long the file is, in bytes.
    pub total_bytes: u64,
}

/// A change of members that an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// Add a member; it votes when it has caught up.
    Add {
        /// Its id, never used before.
        id: ReplicaId,
        /// The base URL of its peer listener.
        peer_url: String,
    },
    /// Remove a member for good.
    Remove {
        /// Its id.
        id: ReplicaId,
    },
}

/// How a change of members ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Changed {
    /// It is committed.
    Done,
    /// The new member is added and does not vote yet; it will when it has
    /// caught up.
    Learner {
        /// What it waits for.
        why: String,
    },
}

/// Why members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ChangeError {
    /// It contradicts the members as they are.
    #[error("{0}")]
    Conflict(String),
    /// There is no such member.
    #[error("{0}")]
    NotFound(String),
    /// Something else kept it from being done, or from being known to be.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// The answer to a [`Call`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Call::Append`].
    Appended(AppendEntriesResponse<Types>),
    /// To [`Call::Vote`].
    Voted(VoteResponse<Types>),
    /// To [`Call::PreVote`].
    PreVoted(VoteResponse<Types>),
    /// To [`Call::TransferLeader`].
    Transferred(TransferLeaderResponse<Types>),
    /// To [`Call::Snapshot`].
    Snapshot(SnapshotReply),
    /// To [`Call::ReadIndex`]: the index that must have been applied.
    ReadIndex(LogPosition),
    /// To [`Call::Submit`].
    Submitted(Result<Answer, Refusal>),
    /// To [`Call::Change`].
    Changed(Result<Changed, ChangeError>),
    /// To [`Call::Hello`].
    Noted,
    /// To [`Call::Publish`].
    Published(Published),
    /// To [`Call::Identify`].
    Identity(Identity),
    /// To [`Call::Join`]: whether the sender may begin.
    Joined(Published),
    /// To anything but a question for the cluster: this replica is of another
    /// one than the sender, or knows none yet. It did nothing.
    OtherCluster {
        /// Its cluster.
        held: Option<ClusterId>,
    },
    /// To whatever only the leader answers: somebody else is, as far as this
    /// replica knows. It did nothing.
    NotLeader {
        /// Who leads, if it knows.
        leader: Option<ReplicaId>,
    },
    /// To anything, when the sender was removed from the cluster.
    Removed,
    /// To anything: it was not served, and why.
    Refused(String),
    /// To [`Call::Probe`].
    Probed {
        /// Whether the replica can call who asks.
        reaches_prober: bool,
        /// Whether it and a quorum can call one another.
        is_eligible: bool,
    },
    /// To [`Call::Announce`].
    Announced {
        /// The generations that the replica knows, its own among them. That of the
        /// sender is the one that was announced, unless it knew a later one.
        known: KnownGenerations,
        /// The newest members that it knows.
        members: StoredMembership,
    },
}

/// The answer to a piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotReply {
    /// It is kept; the next piece begins here.
    Taken {
        /// In bytes.
        next_offset: u64,
    },
    /// It was the last one and the snapshot is installed.
    Installed {
        /// The vote of the receiver.
        vote: Vote,
    },
    /// A newer leader is known.
    HigherVote {
        /// Its vote.
        vote: Vote,
    },
}

/// What may not wait behind what: each lane to a replica is a link of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lane {
    /// Entries of the log.
    Log,
    /// Heartbeats and votes: small and urgent.
    Control,
    /// Read indices, which wait for heartbeats.
    Read,
    /// Clients' commands on their way to the leader, which wait for entries.
    Forward,
    /// Changes of members, which may wait for a new one.
    Members,
    /// Snapshots.
    Snapshot,
}

/// No less than what a message takes besides its keys and values.
const FRAME_BYTES: usize = 1024;

fn command_bytes(key: &Key, command: &Command) -> usize {
    key.as_str().len() + command.value_bytes()
}

/// No less than what these take in a message, in bytes.
fn members_bytes(members: &StoredMembership) -> usize {
    members.nodes().map(|(_, member)| 64 + member.peer_url.len()).sum()
}

/// No less than what an entry takes in a message, in bytes.
pub fn entry_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(Request::Command { key, command }) => {
            128 + command_bytes(key, command)
        }
        EntryPayload::Normal(Request::Once { key, command, id }) => {
            128 + command_bytes(key, command) + id.as_str().len()
        }
        EntryPayload::Normal(Request::Several(commands)) => {
            let bytes = |(key, submission): &(Key, Submission)| {
                128 + key.as_str().len() + submission.size_bytes()
            };
            commands.iter().map(bytes).sum()
        }
        EntryPayload::Normal(Request::Publish(_))
        | EntryPayload::Blank
        | EntryPayload::Membership(_) => FRAME_BYTES,
    }
}

impl Call {
    /// No less than what the call takes in a batch, in bytes.
    pub fn size_bytes(&self) -> usize {
        FRAME_BYTES
            + match self {
                Call::Append(append) => append.entries.iter().map(entry_bytes).sum(),
                Call::Snapshot(chunk) => chunk.data.len(),
                Call::Submit { key, submission, .. } => {
                    key.as_str().len() + submission.size_bytes()
                }
                Call::Vote(_)
                | Call::PreVote(_)
                | Call::TransferLeader(_)
                | Call::ReadIndex
                | Call::Change { .. }
                | Call::Publish(_)
                | Call::Identify
                | Call::Join(_)
                | Call::Hello
                | Call::Probe => 0,
                Call::Announce(Announcement { members, .. }) => members_bytes(members),
            }
    }

    /// Whether it promises and acknowledges nothing, so that a replica may ask and
    /// answer it before the others know it.
    pub fn is_preliminary(&self) -> bool {
        match self {
            Call::Identify | Call::Join(_) | Call::Hello | Call::Probe | Call::Announce(_) => true,
            Call::Append(_)
            | Call::Vote(_)
            | Call::PreVote(_)
            | Call::TransferLeader(_)
            | Call::Snapshot(_)
            | Call::ReadIndex
            | Call::Submit { .. }
            | Call::Change { .. }
            | Call::Publish(_) => false,
        }
    }
}

impl Reply {
    /// No less than what the reply takes in a batch, in bytes.
    pub fn size_bytes(&self) -> usize {
        let value = |value: &Option<Bytes>| value.as_ref().map_or(0, |bytes| bytes.len());
        FRAME_BYTES
            + match self {
                Reply::Submitted(Ok(answer)) => {
                    value(&answer.outcome.before.value) + value(&answer.outcome.after.value)
                }
                Reply::Submitted(Err(_))
                | Reply::Appended(_)
                | Reply::Voted(_)
                | Reply::PreVoted(_)
                | Reply::Transferred(_)
                | Reply::Snapshot(_)
                | Reply::ReadIndex(_)
                | Reply::Changed(_)
                | Reply::Noted
                | Reply::Published(_)
                | Reply::Identity(_)
                | Reply::Joined(_)
                | Reply::OtherCluster { .. }
                | Reply::NotLeader { .. }
                | Reply::Removed
                | Reply::Refused(_)
                | Reply::Probed { .. } => 0,
                Reply::Announced { known, members } => 32 * known.len() + members_bytes(members),
            }
    }
}
