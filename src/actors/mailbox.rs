//! What an actor does with all the messages of a turn together.

use actix::fut::{self, ActorFutureExt};
use actix::{Actor, AsyncContext, Context};

/// Calls `then` when no message waits for the actor any more: an actor drains its
/// mailbox before it polls its futures.
pub fn once_it_is_empty<A: Actor<Context = Context<A>>>(
    ctx: &mut Context<A>,
    then: impl FnOnce(&mut A, &mut Context<A>) + 'static,
) {
    ctx.spawn(fut::ready(()).map(move |(), actor, ctx| then(actor, ctx)));
}
