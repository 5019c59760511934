//! Cuts that last: as long as a majority is connected, a majority must serve.
//!
//! Cuts that heal by themselves hide a cluster that waits for that. So once all
//! have come together, the network is cut into a shape that stays until the
//! members that can do so have served through.

use std::rc::Rc;
use std::time::Duration;

use gryadka::kv::{Command, Key};
use gryadka::raft::ReplicaId;
use rand::Rng;
use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep};

use super::clients::submit;
use super::machine::LONGEST_ELECTION;
use super::network::Cut;
use super::parameters::Shape;
use super::world::World;

/// After so many election times a majority must serve.
const ELECTIONS: u32 = 12;
/// For so many election times more it must go on doing so.
const ELECTIONS_LATER: u32 = 8;
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);
/// Its clients are those that ask here, one for each replica.
const CLIENTS: u64 = 900;

/// Cuts the network between the voters so that a majority stays connected, and
/// checks that writes through a majority succeed, soon and then again.
pub async fn endure(world: &Rc<World>, voters: &[ReplicaId]) {
    let Some(cuts) = draw_cuts(world, voters) else { return };
    world.note(|| format!("for good: {cuts:?}"));
    world.count(|counts| counts.lasting_cuts += 1);
    world.network.cuts.borrow_mut().extend(cuts);
    world.network.parameters.borrow_mut().told = f64::from(world.random().random_range(0..=1_u32));
    let began = Instant::now();
    let mut round = 0;
    let mut serving = async || {
        round += 1;
        let served = write_through(world, voters, round).await;
        world.note(|| format!("round {round}: served by {served:?}"));
        served.len() > voters.len() / 2
    };
    while !serving().await {
        sleep(PAUSE).await;
        if !are_voters(world, voters) {
            return;
        }
        if began.elapsed() > ELECTIONS * LONGEST_ELECTION {
            return world.fail(format!("a majority is connected, but none serves: {round} rounds"));
        }
    }
    world.count(|counts| counts.recovery_milliseconds += began.elapsed().as_millis() as u64);
    sleep(ELECTIONS_LATER * LONGEST_ELECTION).await;
    if !serving().await && are_voters(world, voters) {
        world.fail("a majority is connected and serves no longer".into());
    }
}

/// Whether all of them vote by what each of them has in its log: a change of members
/// that was under way may have gone on, and then the cuts are none that leave a
/// majority connected.
fn are_voters(world: &World, voters: &[ReplicaId]) -> bool {
    let machines = world.machines.borrow();
    let replicas = voters.iter().filter_map(|id| machines[id].replica());
    replicas.map(|replica| replica.metrics().membership_config).all(|effective| {
        let membership = effective.membership();
        membership.get_joint_config().len() == 1
            && membership.voter_ids().eq(voters.iter().copied())
    })
}

/// Writes through each of these replicas at once; gives those that did it.
async fn write_through(world: &Rc<World>, voters: &[ReplicaId], round: u64) -> Vec<ReplicaId> {
    // A key for each round: what is unknown in one is not searched in the next.
    let key = Key::try_from(format!("round-{round}").as_str()).expect("a good key");
    let writes = voters.iter().map(async |id| {
        let command = Command::Set((round * 100 + id).to_string().into());
        submit(world, CLIENTS + id, *id, key.clone(), command.into(), PATIENCE).await.map(|_| *id)
    });
    futures::future::join_all(writes).await.into_iter().flatten().collect()
}

/// Draws what is cut between the voters for good; nothing when they are too few.
fn draw_cuts(world: &World, voters: &[ReplicaId]) -> Option<Vec<Cut>> {
    let shape = world.parameters.shape.filter(|_| voters.len() >= 3)?;
    let leader = voters.iter().copied().find(|id| world.leads(*id))?;
    let mut others: Vec<ReplicaId> = voters.iter().copied().filter(|id| *id != leader).collect();
    others.shuffle(&mut *world.random());
    let majority = voters.len() / 2 + 1;
    let mut cuts = Vec::new();
    match shape {
        Shape::Bridge => {
            let (connected, lost) = others.split_at(majority.min(others.len()));
            let between = |ones: &[ReplicaId], others: &[ReplicaId]| {
                let pairs =
                    ones.iter().flat_map(|one| others.iter().map(move |other| (*one, *other)));
                pairs
                    .flat_map(|(one, other)| [Cut::all(one, other), Cut::all(other, one)])
                    .collect()
            };
            let parts: [Vec<Cut>; 3] = [
                between(&[leader], &connected[1..]),
                between(lost, &[leader]),
                between(lost, connected),
            ];
            cuts.extend(parts.concat());
        }
        Shape::Deaf => cuts.extend(others.iter().map(|other| Cut::calls(*other, leader))),
        Shape::Mute => cuts.extend(others.iter().map(|other| Cut::all(*other, leader))),
        Shape::Any => {
            let mut all = voters.to_vec();
            all.shuffle(&mut *world.random());
            let connected = &all[..majority];
            for from in voters {
                for to in voters.iter().filter(|to| *to != from) {
                    let kind = world.random().random_range(0..3);
                    let is_connected = connected.contains(from) && connected.contains(to);
                    match kind {
                        _ if is_connected => {}
                        0 => cuts.push(Cut::all(*from, *to)),
                        1 => cuts.push(Cut::calls(*from, *to)),
                        _ => {}
                    }
                }
            }
        }
    }
    Some(cuts)
}
