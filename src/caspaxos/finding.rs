//! What the answers of acceptors say of the cluster that they are of.

use std::collections::BTreeMap;

use super::{AcceptorId, AcceptorStatus, Configuration, Epoch, Quorum, Unidentified};
use crate::identity::{ClusterId, Founding};

/// What the answers say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// Nothing yet.
    Not(Unidentified),
    /// All are empty: the cluster is to be founded under this id.
    Founds(ClusterId),
    /// The proposer belongs to this cluster. Some of its founders may not have
    /// been enrolled yet.
    Belongs(ClusterId, Vec<AcceptorId>),
}

/// The configuration that counts: the newest that is told by those of the cluster
/// that was `kept`, or, if none was, when all who answer are of one; else the one
/// that was given.
pub fn newest<'a>(
    given: &'a Configuration,
    kept: Option<ClusterId>,
    answers: &'a BTreeMap<AcceptorId, AcceptorStatus>,
) -> &'a Configuration {
    let mut clusters = answers.values().filter_map(|status| status.cluster);
    let first = clusters.next();
    if kept.is_none() && clusters.any(|other| Some(other) != first) {
        return given;
    }
    let of_it = answers.values().filter(|status| kept.is_none() || status.cluster == kept);
    let told = of_it.filter_map(|status| status.fence.configuration.as_ref());
    let newer = told.filter(|told| told.epoch > given.epoch);
    newer.max_by_key(|told| told.epoch).unwrap_or(given)
}

/// The acceptors of a configuration that have not answered.
pub fn silent(
    configuration: &Configuration,
    answers: &BTreeMap<AcceptorId, AcceptorStatus>,
) -> Vec<AcceptorId> {
    configuration.acceptors().filter(|id| !answers.contains_key(*id)).cloned().collect()
}

/// What acceptors say of their cluster.
pub fn find(
    given: &Configuration,
    kept: Option<ClusterId>,
    answers: &BTreeMap<AcceptorId, AcceptorStatus>,
) -> Finding {
    let configuration = newest(given, kept, answers);
    let asked = configuration.acceptors().filter_map(|id| Some((id, answers.get(id)?)));
    let asked: Vec<(&AcceptorId, &AcceptorStatus)> = asked.collect();
    for (index, (one, status)) in asked.iter().enumerate() {
        let same = asked[..index].iter().find(|(_, other)| other.nonce == status.nonce);
        if let Some((other, _)) = same {
            return Finding::Not(Unidentified::OneStore((*other).clone(), (*one).clone()));
        }
    }
    let silent = silent(configuration, answers);
    let mut members: BTreeMap<ClusterId, Vec<AcceptorId>> = BTreeMap::new();
    for (id, status) in answers {
        status.cluster.into_iter().for_each(|held| {
            members.entry(held).or_default().push(id.clone());
        });
    }
    let is_quorum = |holders: &[AcceptorId]| {
        configuration.prepare.is_met_by(holders) && configuration.accept.is_met_by(holders)
    };
    let is_other = |cluster| kept.is_some_and(|kept| kept != cluster);
    let other = |acceptor: &AcceptorId, held| {
        let (acceptor, kept) = (acceptor.clone(), kept.unwrap_or(held));
        Finding::Not(Unidentified::OtherCluster { acceptor, held, kept })
    };
    if let Some((cluster, holders)) = members.iter().find(|(_, holders)| is_quorum(holders)) {
        if is_other(*cluster) {
            return other(&holders[0], *cluster);
        }
        return match other_configuration(configuration, *cluster, answers) {
            Some(error) => Finding::Not(error),
            None => Finding::Belongs(*cluster, missing_founders(configuration, *cluster, answers)),
        };
    }
    let mut members = members.into_iter().map(|(cluster, holders)| (holders[0].clone(), cluster));
    let (holder, cluster) = match (members.next(), members.next()) {
        (None, _) => {
            let full = asked.iter().find(|(_, status)| status.registers > 0);
            return match (full, kept) {
                (Some((id, _)), _) => Finding::Not(Unidentified::NotEmpty((*id).clone())),
                _ if !silent.is_empty() => Finding::Not(Unidentified::Silent(silent)),
                (None, None) => Finding::Founds(id_of(configuration, answers)),
                (None, Some(cluster)) => {
                    let empty = configuration.acceptors().cloned().collect();
                    Finding::Not(Unidentified::AllLost { cluster, empty })
                }
            };
        }
        (Some(one), Some(other)) => return Finding::Not(Unidentified::TwoClusters(one, other)),
        (Some(one), None) => one,
    };
    if let Some(error) = other_configuration(configuration, cluster, answers)
        && !is_other(cluster)
    {
        return Finding::Not(error);
    }
    if !silent.is_empty() {
        return Finding::Not(Unidentified::Silent(silent));
    }
    if is_other(cluster) {
        return other(&holder, cluster);
    }
    // Another proposer may be founding it at the moment.
    if configuration.epoch == Epoch::FOUNDING && cluster == id_of(configuration, answers) {
        return Finding::Founds(cluster);
    }
    let empty = asked.iter().filter(|(_, status)| status.cluster.is_none());
    let empty = empty.map(|(id, _)| (*id).clone()).collect();
    Finding::Not(Unidentified::Lost { holder, cluster, empty })
}

/// The founders of a cluster that are still to be enrolled; those that lost their
/// data are not, and as long as one is silent nobody can tell.
fn missing_founders(
    configuration: &Configuration,
    cluster: ClusterId,
    answers: &BTreeMap<AcceptorId, AcceptorStatus>,
) -> Vec<AcceptorId> {
    let is_known = configuration.epoch == Epoch::FOUNDING
        && silent(configuration, answers).is_empty()
        && id_of(configuration, answers) == cluster;
    let is_missing = |id: &&AcceptorId| answers.get(*id).is_some_and(|it| it.cluster.is_none());
    configuration.acceptors().filter(|_| is_known).filter(is_missing).cloned().collect()
}

/// The id that the founders of a configuration give their cluster.
fn id_of(
    configuration: &Configuration,
    answers: &BTreeMap<AcceptorId, AcceptorStatus>,
) -> ClusterId {
    let mut founders: Vec<&AcceptorId> = configuration.acceptors().collect();
    founders.sort_unstable();
    let mut founding = Founding::new(configuration.digest());
    let nonces = founders.into_iter().filter_map(|id| answers.get(id));
    nonces.for_each(|status| founding.add(status.nonce));
    founding.id()
}

/// An acceptor of a cluster that was founded with another configuration than
/// this one.
fn other_configuration(
    configuration: &Configuration,
    cluster: ClusterId,
    answers: &BTreeMap<AcceptorId, AcceptorStatus>,
) -> Option<Unidentified> {
    answers.iter().filter(|(_, status)| status.cluster == Some(cluster)).find_map(|(id, status)| {
        let told = status.fence.configuration.as_ref()?;
        let differs = told.epoch == configuration.epoch && told.digest() != configuration.digest();
        differs.then(|| Unidentified::OtherConfiguration {
            acceptor: id.clone(),
            founded: describe(told),
            given: describe(configuration),
        })
    })
}

fn describe(configuration: &Configuration) -> String {
    let Configuration { prepare, accept, .. } = configuration;
    let quorum = |quorum: &Quorum| format!("{} of {:?}", quorum.size, quorum.acceptors);
    format!("quorums of {} to read and {} to write", quorum(prepare), quorum(accept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caspaxos::Fence;
    use crate::identity::Nonce;

    fn configuration(epoch: u64, names: &str, size: usize) -> Configuration {
        let ids: Vec<AcceptorId> = names.split(' ').map(AcceptorId::from).collect();
        Configuration::uniform(Epoch(epoch), &ids, size, size)
    }

    fn three() -> Configuration {
        configuration(1, "a1 a2 a3", 2)
    }

    fn empty(nonce: u64) -> AcceptorStatus {
        AcceptorStatus { nonce: Nonce(nonce), ..AcceptorStatus::default() }
    }

    fn of(cluster: u64, nonce: u64, configuration: Configuration) -> AcceptorStatus {
        let epoch = configuration.epoch;
        let fence = Fence { epoch, configuration: Some(configuration), ..Fence::default() };
        AcceptorStatus { cluster: ClusterId::new(cluster), fence, ..empty(nonce) }
    }

    fn found(configuration: &Configuration, answers: &[(&str, AcceptorStatus)]) -> Finding {
        found_by(0, configuration, answers)
    }

    /// What a proposer finds that was of a cluster before; 0 for one that was of none.
    fn found_by(
        kept: u64,
        configuration: &Configuration,
        answers: &[(&str, AcceptorStatus)],
    ) -> Finding {
        let answers = answers.iter().map(|(id, status)| (AcceptorId::from(*id), status.clone()));
        find(configuration, ClusterId::new(kept), &answers.collect())
    }

    fn belongs(cluster: u64) -> Finding {
        Finding::Belongs(ClusterId::new(cluster).unwrap(), Vec::new())
    }

    fn why(finding: Finding) -> String {
        match finding {
            Finding::Not(why) => why.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_acceptors_found_a_cluster_and_not_a_quorum_of_them() {
        let some = [("a1", empty(1)), ("a2", empty(2))];
        assert!(why(found(&three(), &some)).contains("no answer from acceptor a3"));
        let all = [("a3", empty(3)), ("a1", empty(1)), ("a2", empty(2))];
        let Finding::Founds(cluster) = found(&three(), &all) else { panic!("all are empty") };
        // The others of those who found it come to the same while it is done.
        let number = cluster.number();
        let half = [("a3", empty(3)), ("a1", of(number, 1, three())), ("a2", empty(2))];
        assert_eq!(found(&three(), &half), Finding::Founds(cluster));
        // The last one is enrolled when others serve already, unless its nonce is
        // another one than when it was founded.
        let most = |nonce| {
            let founder = |nonce| of(number, nonce, three());
            [("a1", founder(1)), ("a2", founder(2)), ("a3", empty(nonce))]
        };
        assert_eq!(found(&three(), &most(3)), Finding::Belongs(cluster, vec!["a3".into()]));
        assert_eq!(found(&three(), &most(9)), Finding::Belongs(cluster, Vec::new()));
        let full = AcceptorStatus { registers: 1, ..empty(3) };
        let told = why(found(&three(), &[("a1", empty(1)), ("a3", full)]));
        assert!(told.contains("a3 belongs to no cluster, yet holds registers"), "{told}");
    }

    #[test]
    fn a_quorum_of_one_cluster_tells_which_it_is() {
        let quorum = [("a1", of(7, 1, three())), ("a3", of(7, 3, three()))];
        assert_eq!(found(&three(), &quorum), belongs(7));
        let one = [("a1", of(7, 1, three())), ("a2", empty(2))];
        assert!(why(found(&three(), &one)).contains("no answer from acceptor a3"));
        let lost = [("a1", of(7, 1, three())), ("a2", empty(2)), ("a3", empty(3))];
        let told = why(found(&three(), &lost));
        assert!(told.contains("no data of acceptor a2, acceptor a3"), "{told}");
    }

    #[test]
    fn acceptors_of_two_clusters_are_refused_with_both_ids() {
        let (a1, a2) = (("a1", of(7, 1, three())), ("a2", of(8, 2, configuration(9, "a2", 1))));
        let told = why(found(&three(), &[a1.clone(), a2.clone(), ("a3", empty(3))]));
        assert!(told.contains("cluster 0000000000000007"), "{told}");
        assert!(told.contains("cluster 0000000000000008"), "{told}");
        // A quorum is one, whatever a third one is.
        let quorum = [a1, a2, ("a3", of(7, 3, three()))];
        assert_eq!(found(&three(), &quorum), belongs(7));
    }

    #[test]
    fn another_founding_configuration_is_refused() {
        let founded = configuration(1, "a1", 1);
        let told = why(found(&three(), &[("a1", of(7, 1, founded))]));
        assert!(told.contains("1 of [a1]") && told.contains("2 of [a1, a2, a3]"), "{told}");
    }

    #[test]
    fn who_was_of_a_cluster_takes_no_other_and_founds_none() {
        // Its list of acceptors is that of the other cluster.
        let theirs = configuration(1, "b1 b2", 2);
        let quorum = [("b1", of(8, 1, theirs.clone())), ("b2", of(8, 2, theirs.clone()))];
        assert_eq!(found(&theirs, &quorum), belongs(8));
        for (given, answers) in [
            (&theirs, &quorum[..]),
            (&three(), &[("a1", empty(1)), ("a2", of(8, 2, three())), ("a3", empty(3))]),
        ] {
            let told = why(found_by(7, given, answers));
            for part in ["cluster 0000000000000007", "cluster 0000000000000008", "acceptors, data"]
            {
                assert!(told.contains(part), "{told}");
            }
        }
        let all = [("a1", empty(1)), ("a2", empty(2)), ("a3", empty(3))];
        let told = why(found_by(7, &three(), &all));
        assert!(
            told.contains("cluster 0000000000000007") && told.contains("acceptor a3"),
            "{told}"
        );
        assert!(why(found_by(7, &three(), &all[..2])).contains("no answer from acceptor a3"));
        // Its own it takes, and the newest configuration that is told there.
        let newer = configuration(4, "a3 a4", 2);
        let own = [("a3", of(7, 3, newer.clone())), ("a4", of(7, 4, newer))];
        let stranger = ("a1", of(8, 1, configuration(9, "a1", 1)));
        let [a3, a4] = own;
        assert_eq!(found_by(7, &three(), &[stranger, a3, a4]), belongs(7));
    }

    #[test]
    fn one_store_is_not_two_acceptors() {
        let told = why(found(&three(), &[("a1", empty(1)), ("a2", empty(1))]));
        assert!(told.contains("a1 and a2 are one and the same store"), "{told}");
    }
}
