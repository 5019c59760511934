//! Turns of the event loop for connections that have more to give than a portion.
//!
//! A command is handed on from task to task, and waits at each for all that are in
//! the queue before it. Some hundred connections that are always in the queue would
//! make it wait for all of them each time; so they wait here, and few of them at a
//! time go on.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

/// How many connections go on at a time.
const AT_ONCE: usize = 4;

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

/// Lets some go on each time that the event loop comes round, until none waits.
async fn let_on() {
    loop {
        tokio::task::yield_now().await;
        let (next, is_empty) = WAITING.with_borrow_mut(|waiting| {
            let count = waiting.len().min(AT_ONCE);
            let next: Vec<_> = waiting.drain(..count).collect();
            (next, waiting.is_empty())
        });
        for (waits, waker) in next {
            waits.set(false);
            waker.wake();
        }
        if is_empty {
            return;
        }
    }
}
