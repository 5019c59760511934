//! What clients ask: all commands, on values that tell who wrote them.

use bytes::Bytes;
use gryadka::kv::{Command, Compare, Record, VersionedJson};
use rand::Rng;
use rand::rngs::SmallRng;

/// Draws a command. `seen` is what the client saw last; `number` is unique, so
/// that a value that is lost or comes twice shows. Values are integers, so
/// that `Add` often finds one.
pub fn draw_command(
    random: &mut SmallRng,
    weights: &[u32; 9],
    seen: &Record,
    number: u64,
    draw_compare: impl Fn(&mut SmallRng, &Record) -> Compare,
) -> Command {
    let value = || Bytes::from((number * 1000).to_string());
    let mut left = random.random_range(0..weights.iter().sum::<u32>());
    let kind = weights.iter().position(|&weight| {
        let is_hit = left < weight;
        left = left.saturating_sub(weight);
        is_hit
    });
    match kind.expect("the draw is below the sum") {
        0 => Command::Get,
        1 => Command::Set(value()),
        2 => Command::Create(value()),
        3 => Command::Update(value()),
        4 => Command::CompareAndSwap(draw_compare(random, seen), value()),
        5 => Command::Delete,
        6 => Command::CompareAndDelete(draw_compare(random, seen)),
        7 => Command::Add(random.random_range(1..10)),
        _ => {
            let stored = seen.value.as_deref().and_then(VersionedJson::stored_version);
            let ver = stored.unwrap_or(0);
            Command::WriteVersion(VersionedJson { ver, val: number.to_string() })
        }
    }
}
