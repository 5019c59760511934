//! Turns of the event loop for connections that have more to give than a portion.
//!
//! A command is handed on from task to task, and waits at each for all that are in
//! the queue before it. Some hundred connections that are always in the queue would
//! make it wait for all of them each time; so they wait here, and one of them goes
//! on each time that the event loop comes round.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

thread_local! {
    static WAITING: RefCell<VecDeque<(Rc<Cell<bool>>, Waker)>> = RefCell::default();
}

/// Wakes a task when it may go on; `waits` is true until then.
pub fn wait_for_turn(waits: &Rc<Cell<bool>>, waker: &Waker) {
    if waits.replace(true) {
        return;
    }
    let count = WAITING.with_borrow_mut(|waiting| {
        waiting.push_back((waits.clone(), waker.clone()));
        waiting.len()
    });
    if count == 1 {
        actix_web::rt::spawn(let_on());
    }
}

/// Lets one after the other go on, until none waits.
async fn let_on() {
    loop {
        tokio::task::yield_now().await;
        let (next, is_empty) =
            WAITING.with_borrow_mut(|waiting| (waiting.pop_front(), waiting.is_empty()));
        let (waits, waker) = next.expect("it ends when none waits");
        waits.set(false);
        waker.wake();
        if is_empty {
            return;
        }
    }
}
