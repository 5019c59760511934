//! The next step of an operator who wants a number of acceptors: pure, from
//! the configuration alone, so that whoever comes after a crash can go on.

use std::collections::BTreeMap;

use gryadka::caspaxos::{
    AcceptorId, Configuration, ConfigurationStep, Quorum, UnsafeConfiguration,
};
use rand::Rng;
use rand::rngs::SmallRng;

/// A step, and whether every key has to be rescanned before it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub step: ConfigurationStep,
    pub needs_rescan: bool,
}

/// The next step from `configuration` to one of `wanted` of the acceptors
/// `all`; `None` when there is nothing to do.
pub fn next_step(
    configuration: &Configuration,
    wanted: usize,
    all: &[AcceptorId],
    random: &mut SmallRng,
) -> Option<Plan> {
    let (prepare, accept) = (&configuration.prepare, &configuration.accept);
    let (count, is_odd) = (prepare.acceptors.len(), prepare.acceptors.len() % 2 == 1);
    let is_same = accept.acceptors.len() == count;
    let half = count / 2 + 1;
    let lists = if is_same && accept.size < half {
        // Back from uneven quorums: the accept quorum first, then a rescan.
        (prepare.clone(), majority(&accept.acceptors))
    } else if is_same && prepare.size > half {
        (majority(&prepare.acceptors), accept.clone())
    } else if !is_same && wanted > count {
        // Up from an odd number: the accept list has grown.
        (majority(&accept.acceptors), accept.clone())
    } else if !is_same {
        // Down from an even one: the prepare list has shrunk.
        (prepare.clone(), majority(&prepare.acceptors))
    } else if wanted > count {
        let more = with_another(&prepare.acceptors, all, random);
        // From an odd number the accept list comes first.
        (if is_odd { prepare.clone() } else { majority(&more) }, majority(&more))
    } else if wanted < count {
        let fewer = without_one(&prepare.acceptors, random);
        // From an even number the prepare list comes first.
        (majority(&fewer), if is_odd { majority(&fewer) } else { accept.clone() })
    } else if !configuration.is_settled() {
        (prepare.clone(), accept.clone())
    } else {
        return None;
    };
    let (step, hides) = step_to(configuration, lists);
    // Up from an odd number, the even one is meant to be rescanned.
    let is_up_to_even = !is_same && wanted > count;
    let is_no_change = wanted == count && is_same;
    Some(Plan { step, needs_rescan: hides || is_up_to_even || is_no_change })
}

/// A step to a smaller accept quorum and a larger prepare quorum, where there
/// are acceptors enough.
pub fn uneven_step(configuration: &Configuration, random: &mut SmallRng) -> Option<Plan> {
    let acceptors = &configuration.prepare.acceptors;
    let half = acceptors.len() / 2 + 1;
    if half < 2 || !configuration.is_settled() {
        return None;
    }
    let accept = random.random_range(1..half);
    let quorum = |size| Quorum { acceptors: acceptors.clone(), size };
    let lists = (quorum(acceptors.len() + 1 - accept), quorum(accept));
    let (step, needs_rescan) = step_to(configuration, lists);
    Some(Plan { step, needs_rescan })
}

/// The step to these lists, and whether it would hide values without a rescan.
fn step_to(
    configuration: &Configuration,
    (prepare, accept): (Quorum, Quorum),
) -> (ConfigurationStep, bool) {
    let (from, places) = (configuration.epoch, BTreeMap::new());
    let step = ConfigurationStep { from, prepare, accept, places, is_rescanned: false };
    let after = configuration.after(step.clone());
    (step, matches!(after, Err(UnsafeConfiguration::Hidden { .. })))
}

fn majority(acceptors: &[AcceptorId]) -> Quorum {
    Quorum { acceptors: acceptors.to_vec(), size: acceptors.len() / 2 + 1 }
}

fn with_another(
    acceptors: &[AcceptorId],
    all: &[AcceptorId],
    random: &mut SmallRng,
) -> Vec<AcceptorId> {
    let others: Vec<&AcceptorId> = all.iter().filter(|id| !acceptors.contains(id)).collect();
    let other = others[random.random_range(0..others.len())].clone();
    acceptors.iter().cloned().chain([other]).collect()
}

fn without_one(acceptors: &[AcceptorId], random: &mut SmallRng) -> Vec<AcceptorId> {
    let mut fewer = acceptors.to_vec();
    fewer.remove(random.random_range(0..fewer.len()));
    fewer
}
