//! The places that connections take: so many, and who leaves one idle gives it up to who comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// A number of places for connections. When all are taken, the connection that has been idle longest is given up for a new one; with a
/// call under way it is not idle. Once nobody is idle, a new one waits.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    /// Somebody became idle.
    idled: Notify,
}

/// Who is idle, by when that began.
#[derive(Debug, Default)]
struct Waiting {
    turn: u64,
    /// Each one's way to hear that its place is given up.
    idle: BTreeMap<u64, Arc<Notify>>,
}

/// A connection's place. Idle at first.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    state: Mutex<State>,
    given_up: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Since this turn.
    Idle(u64),
    /// A call is under way.
    Busy,
    /// The answer is made, but perhaps not yet written.
    Answered,
}

/// A call under way: its place is busy until the answer that holds this was passed on, and then written.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Place>);

impl Places {
    /// `number` places, all of them free.
    pub(crate) fn new(number: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(number)), waiting: Mutex::default(), idled: Notify::new() })
    }

    /// Takes a place, if need be from who has been idle longest.
    pub(crate) async fn take(self: &Arc<Self>) -> Arc<Place> {
        let permit = loop {
            // One that was given up is free as soon as its connection's task has heard of it.
            let free = self.free.clone().acquire_owned();
            let permit = if self.free.available_permits() > 0 || self.oldest_give_up() {
                free.await
            } else {
                tokio::select! {
                    permit = free => permit,
                    () = self.idled.notified() => continue,
                }
            };
            break permit.expect("this semaphore is never closed");
        };
        let given_up = Arc::new(Notify::new());
        let state = Mutex::new(State::Idle(self.idle(given_up.clone())));
        Arc::new(Place { places: self.clone(), state, given_up, _permit: permit })
    }

    fn idle(&self, given_up: Arc<Notify>) -> u64 {
        let mut waiting = locked(&self.waiting);
        waiting.turn += 1;
        let turn = waiting.turn;
        waiting.idle.insert(turn, given_up);
        drop(waiting);
        self.idled.notify_one();
        turn
    }

    /// False: nobody is idle.
    fn oldest_give_up(&self) -> bool {
        let oldest = locked(&self.waiting).idle.pop_first();
        oldest.is_some_and(|(_, given_up)| {
            given_up.notify_one();
            true
        })
    }
}

impl Place {
    /// A call begins. `None`: too late, the place has just been given up.
    pub(crate) fn busy(self: &Arc<Self>) -> Option<Busy> {
        let mut state = locked(&self.state);
        if let State::Idle(since) = *state {
            locked(&self.places.waiting).idle.remove(&since)?;
        }
        *state = State::Busy;
        Some(Busy(self.clone()))
    }

    /// All that there was to write is written.
    pub(crate) fn written(&self) {
        let mut state = locked(&self.state);
        if let State::Answered = *state {
            *state = State::Idle(self.places.idle(self.given_up.clone()));
        }
    }

    /// Waits until the place is given up.
    pub(crate) async fn given_up(&self) {
        self.given_up.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let State::Idle(since) = *locked(&self.state) {
            locked(&self.places.waiting).idle.remove(&since);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *locked(&self.0.state) = State::Answered;
    }
}

/// No panic can leave what is locked here half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
