//! The end of a seed: faults end, and all must come together again.

use std::rc::Rc;
use std::time::Duration;

use gryadka::kv::Command;
use gryadka::raft::ReplicaId;
use tokio::time::{Instant, sleep};

use super::clients::submit;
use super::machine::start;
use super::parameters::NetworkParameters;
use super::world::World;

/// By then the members must hold the same.
const DEADLINE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(50);
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// The final reads are those of a client that has not asked before.
pub const READER: u64 = 999;

/// Ends all faults, waits until the members agree, and reads everything
/// through each of them. Gives the members, unless the seed has failed.
pub async fn heal(world: &Rc<World>) -> Option<Vec<ReplicaId>> {
    world.network.cuts.borrow_mut().clear();
    *world.network.parameters.borrow_mut() = NetworkParameters::calm();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let ids: Vec<ReplicaId> = world.machines.borrow().keys().copied().collect();
        // What still crashes from before comes back.
        ids.into_iter().for_each(|id| start(world, id));
        let why = match agreement(world) {
            Ok(members) => match read_all(world, &members).await {
                // A change of members that was under way may have gone on meanwhile.
                Ok(()) if agreement(world).as_ref() == Ok(&members) => return Some(members),
                Ok(()) => "the members have changed meanwhile".into(),
                Err(why) => why,
            },
            Err(why) => why,
        };
        if Instant::now() >= deadline {
            world.fail(format!("the members do not come together again: {why}"));
            return None;
        }
        sleep(STEP).await;
    }
}

/// Reads all keys through all members. What was asked before the end may still
/// change the members meanwhile.
async fn read_all(world: &Rc<World>, members: &[ReplicaId]) -> Result<(), String> {
    for id in members {
        for key in world.keys.clone() {
            let read =
                submit(world, READER, *id, key.clone(), Command::Get.into(), READ_PATIENCE).await;
            read.ok_or_else(|| format!("{key} cannot be read from replica {id}"))?;
        }
    }
    Ok(())
}

/// The members, if all of them vote and hold the same, and nobody else runs
/// who was one.
fn agreement(world: &World) -> Result<Vec<ReplicaId>, String> {
    let machines = world.machines.borrow();
    let leader = machines.keys().copied().find(|id| world.leads(*id));
    let leader = leader.ok_or("nobody leads")?;
    let members = machines[&leader].replica().ok_or("the leader is down")?.state().members();
    let membership = members.membership.membership();
    let voters: Vec<ReplicaId> = membership.voter_ids().collect();
    if membership.get_joint_config().len() != 1 || membership.nodes().count() != voters.len() {
        return Err(format!("the members are still changing: {membership:?}"));
    }
    // Who was removed asks the members that it knows, if any of them is left.
    let knows_a_member = |id: &ReplicaId| {
        let known = machines[id].replica().map(|replica| replica.state().members());
        known.is_none_or(|known| voters.iter().any(|voter| known.url(*voter).is_some()))
    };
    let mut retired = members.retired.iter().filter(|id| machines.contains_key(id));
    if let Some(id) = retired.find(|id| !machines[id].has_left && knows_a_member(id)) {
        return Err(format!("replica {id} was removed and does not know it"));
    }
    let mut left = machines.iter().filter(|(_, machine)| machine.has_left).map(|(id, _)| id);
    if let Some(id) = left.find(|id| !members.retired.contains(id)) {
        return Err(format!("replica {id} has left though nobody removed it"));
    }
    let mut states = Vec::new();
    for id in &voters {
        let replica = machines[id].replica().ok_or_else(|| format!("replica {id} is down"))?;
        states.push((id, replica.state().hash().map_err(|error| error.to_string())?));
    }
    match states.iter().find(|(_, state)| *state != states[0].1) {
        Some(other) => Err(format!("{other:?} is not {:?}", states[0])),
        None => Ok(voters),
    }
}
