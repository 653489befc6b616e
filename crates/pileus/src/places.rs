//! The places that connections take: so many, and who leaves one idle, or has more than a share of them, gives one up to who comes.

use crate::wait::Wait;
use s3::Verified;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// An owner's share: this part of all places. Who has calls under way on no more than it is left in peace.
const SHARES: usize = 8;
/// How long who has just come may take to ask before it gives way, while those who ask nothing have no more than a share, and another has:
/// where few are idle, one that comes would otherwise give way to the next before its first request is read.
const FRESH_TIME: Duration = Duration::from_secs(2);
/// How soon who waits for a place looks again whether somebody gives way, and how long calls that wait for no client have to end before they do.
const LOOK_TIME: Duration = Duration::from_millis(100);

/// A number of places for connections. When all are taken, the connection that has been idle longest is given up for a new one; with a
/// call under way it is not idle. Once nobody is idle, the owner of most calls gives up one: that which has waited longest for its client.
/// Owners are the accounts, and one is nobody: those whose signature was not verified. A new one waits if nobody gives way.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    share: usize,
    taken: Mutex<Taken>,
    /// Somebody became idle.
    idled: Notify,
}

/// Who is there, by when its state began.
#[derive(Debug, Default)]
struct Taken {
    turn: u64,
    idle: BTreeMap<u64, Idle>,
    calls: BTreeMap<u64, Call>,
}

#[derive(Debug)]
struct Idle {
    /// When it came, if it has asked nothing yet.
    came: Option<Instant>,
    given_up: Arc<Notify>,
}

/// A call under way.
#[derive(Debug)]
struct Call {
    owner: Verified,
    wait: Arc<Wait>,
    given_up: Arc<Notify>,
}

/// A connection's place. Idle at first.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    state: Mutex<State>,
    /// Tells that the place is given up.
    given_up: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum State {
    /// Since this turn.
    Idle(u64),
    /// A call of this turn is under way.
    Busy(u64, Arc<Wait>),
    /// The answer is made, but perhaps not yet written.
    Answered(u64, Arc<Wait>),
}

/// A call under way: its place is busy until the answer that holds this was passed on, and then written.
#[derive(Debug)]
pub(crate) struct Busy {
    place: Arc<Place>,
    /// Is told who calls.
    pub(crate) owner: Verified,
    /// Is told when the client is waited for.
    pub(crate) wait: Arc<Wait>,
}

impl Places {
    /// `number` places, all of them free.
    pub(crate) fn new(number: usize) -> Arc<Self> {
        let (free, share) = (Arc::new(Semaphore::new(number)), number / SHARES);
        Arc::new(Self { free, share, taken: Mutex::default(), idled: Notify::new() })
    }

    /// Takes a place, if need be from who gives way.
    pub(crate) async fn take(self: &Arc<Self>) -> Arc<Place> {
        let begun = Instant::now();
        let permit = loop {
            // One that was given up is free as soon as its connection's task has heard of it.
            let free = self.free.clone().acquire_owned();
            let permit = if self.free.available_permits() > 0 || self.one_gives_way(begun.elapsed() >= LOOK_TIME) {
                free.await
            } else {
                tokio::select! {
                    permit = free => permit,
                    () = self.idled.notified() => continue,
                    () = tokio::time::sleep(LOOK_TIME) => continue,
                }
            };
            break permit.expect("this semaphore is never closed");
        };
        let given_up = Arc::new(Notify::new());
        let state = Mutex::new(State::Idle(self.idle(Some(Instant::now()), given_up.clone())));
        Arc::new(Place { places: self.clone(), state, given_up, _permit: permit })
    }

    fn idle(&self, came: Option<Instant>, given_up: Arc<Notify>) -> u64 {
        let turn = locked(&self.taken).idle_add(Idle { came, given_up });
        self.idled.notify_one();
        turn
    }

    /// Has one give up its place; with `any`, also one that waits for no client. False: nobody does.
    fn one_gives_way(&self, any: bool) -> bool {
        let mut taken = locked(&self.taken);
        let given_up = taken.one_gives_way(self.share, any);
        given_up.inspect(|given_up| given_up.notify_one()).is_some()
    }
}

impl Taken {
    fn turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    fn idle_add(&mut self, idle: Idle) -> u64 {
        let turn = self.turn();
        self.idle.insert(turn, idle);
        turn
    }

    /// Takes out who gives way.
    fn one_gives_way(&mut self, share: usize, any: bool) -> Option<Arc<Notify>> {
        let fresh = |idle: &Idle| idle.came.is_some_and(|came| came.elapsed() < FRESH_TIME);
        if self.idle.len() <= share && self.idle.first_key_value().is_none_or(|(_, oldest)| fresh(oldest)) {
            let under_way: Vec<_> = self.calls.iter().map(|(turn, call)| (*turn, call.owner.get(), call.wait.since())).collect();
            if let Some(call) = call_to_end(&under_way, share, any).and_then(|turn| self.calls.remove(&turn)) {
                return Some(call.given_up);
            }
        }
        self.idle.pop_first().map(|(_, idle)| idle.given_up)
    }
}

/// Of calls under way (each one's turn, owner, and since when it waits for its client) the one that gives way: of the owner of most calls,
/// if they are more than a share, that which has waited longest. With `any` one that waits for no client, but only if none of its owner's
/// does, and the one that began last: it has least to do again.
fn call_to_end<Owner: std::hash::Hash + Eq + Copy>(calls: &[(u64, Owner, Option<Instant>)], share: usize, any: bool) -> Option<u64> {
    let mut owners: HashMap<Owner, (usize, Option<Rank>)> = HashMap::new();
    for &(turn, owner, since) in calls {
        let (number, first) = owners.entry(owner).or_default();
        *number += 1;
        let rank = match since {
            Some(since) => Some(Rank::Waits(Reverse((since, turn)))),
            None => any.then_some(Rank::Works(turn)),
        };
        *first = rank.max(*first);
    }
    let over = owners.into_values().filter(|(number, _)| *number > share);
    let (_, rank) = over.filter_map(|(number, first)| Some((number, first?))).max()?;
    match rank {
        Rank::Works(turn) | Rank::Waits(Reverse((_, turn))) => Some(turn),
    }
}

/// How soon a call gives way: the greatest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It waits for no client, and began at this turn.
    Works(u64),
    /// It waits for its client since then, and began at this turn.
    Waits(Reverse<(Instant, u64)>),
}

impl Place {
    /// A call begins. `None`: too late, the place has just been given up.
    pub(crate) fn busy(self: &Arc<Self>) -> Option<Busy> {
        let (mut state, mut taken) = (locked(&self.state), locked(&self.places.taken));
        match &*state {
            State::Idle(turn) => drop(taken.idle.remove(turn)?),
            State::Busy(turn, _) | State::Answered(turn, _) => drop(taken.calls.remove(turn)?),
        }
        let (turn, owner, wait) = (taken.turn(), Verified::default(), Arc::<Wait>::default());
        taken.calls.insert(turn, Call { owner: owner.clone(), wait: wait.clone(), given_up: self.given_up.clone() });
        *state = State::Busy(turn, wait.clone());
        Some(Busy { place: self.clone(), owner, wait })
    }

    /// All that there was to write is written.
    pub(crate) fn written(&self) {
        let mut state = locked(&self.state);
        let State::Answered(turn, _) = &*state else { return };
        let call = locked(&self.places.taken).calls.remove(turn);
        // Unless the place has just been given up.
        if let Some(Call { given_up, .. }) = call {
            *state = State::Idle(self.places.idle(None, given_up));
        }
    }

    /// The wait of the call under way, if there is one.
    pub(crate) fn wait(&self) -> Option<Arc<Wait>> {
        match &*locked(&self.state) {
            State::Idle(_) => None,
            State::Busy(_, wait) | State::Answered(_, wait) => Some(wait.clone()),
        }
    }

    /// Waits until the place is given up.
    pub(crate) async fn given_up(&self) {
        self.given_up.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (state, mut taken) = (locked(&self.state), locked(&self.places.taken));
        match &*state {
            State::Idle(turn) => drop(taken.idle.remove(turn)),
            State::Busy(turn, _) | State::Answered(turn, _) => drop(taken.calls.remove(turn)),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = locked(&self.place.state);
        if let State::Busy(turn, wait) = &*state {
            *state = State::Answered(*turn, wait.clone());
        }
    }
}

/// No panic can leave what is locked here half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A share is two.
    const PLACES: usize = 2 * SHARES;

    #[tokio::test(start_paused = true)]
    async fn who_has_most_ends_what_waits_longest() {
        let now = Instant::now();
        let since = |seconds| Some(now + Duration::from_secs(seconds));
        // An owner of four, one of three, and one of two that have waited longer than all.
        let mut calls = vec![
            (1, 'a', since(9)),
            (2, 'b', since(2)),
            (3, 'a', since(7)),
            (4, 'c', since(0)),
            (5, 'a', since(8)),
            (6, 'b', since(3)),
            (7, 'a', None),
            (8, 'c', since(0)),
            (9, 'b', since(1)),
        ];
        let mut order = Vec::new();
        while let Some(turn) = call_to_end(&calls, 1, false) {
            order.push(turn);
            calls.retain(|(t, ..)| *t != turn);
        }
        // Of equals the one that has waited longest.
        assert_eq!(order, [3, 9, 5, 4, 2, 1]);
        assert_eq!(calls.iter().map(|(turn, ..)| *turn).collect::<Vec<_>>(), [6, 7, 8]);
        assert_eq!(call_to_end::<char>(&[], 0, true), None);
        // Who has most, but waits for no client, leaves it to the next; at last the newest of its calls ends.
        let calls = [(1, 'a', None), (2, 'a', None), (3, 'a', None), (4, 'b', since(1)), (5, 'b', since(0))];
        assert_eq!(call_to_end(&calls, 1, false), Some(5));
        assert_eq!(call_to_end(&calls, 1, true), Some(3));
        assert_eq!(call_to_end(&calls[..3], 1, false), None);
        // What waits for its client goes first all the same.
        assert_eq!(call_to_end(&[(1, 'a', None), (2, 'a', since(5)), (3, 'a', None)], 1, true), Some(2));
    }

    /// Who has a place, and a call of an owner under way that waits for its client.
    async fn waits(places: &Arc<Places>, owner: Option<u8>) -> (Arc<Place>, Busy) {
        let place = places.take().await;
        let busy = place.busy().unwrap();
        if let Some(digit) = owner {
            busy.owner.set(&digit.to_string().repeat(12).parse().unwrap());
        }
        busy.wait.begin();
        tokio::time::sleep(Duration::from_millis(1)).await;
        (place, busy)
    }

    type Connection = Option<(Arc<Place>, Busy)>;

    /// Those that were told to give up their places; they do.
    async fn given_up(connections: &mut [Connection]) -> Vec<usize> {
        let mut told = Vec::new();
        for (at, connection) in connections.iter_mut().enumerate() {
            let Some((place, _)) = connection else { continue };
            if tokio::time::timeout(Duration::ZERO, place.given_up()).await.is_ok() {
                *connection = None;
                told.push(at);
            }
        }
        told
    }

    #[tokio::test(start_paused = true)]
    async fn one_owner_of_all_places_loses_them_to_others_down_to_a_share() {
        for owner in [Some(1), None] {
            let places = Places::new(PLACES);
            let mut all = Vec::new();
            for _ in 0..PLACES {
                all.push(Some(waits(&places, owner).await));
            }
            // The third has just got something of its client's.
            all[2].as_ref().unwrap().1.wait.end();
            all[2].as_ref().unwrap().1.wait.begin();
            let mut others = Vec::new();
            for (n, account) in (0..PLACES).zip((2..9).cycle()) {
                let mut new = std::pin::pin!(waits(&places, Some(account)));
                let mut told = Vec::new();
                let new = loop {
                    tokio::select! {
                        biased;
                        new = &mut new => break new,
                        () = tokio::time::sleep(Duration::from_millis(10)) => told.extend(given_up(&mut all).await),
                    }
                };
                others.push(new);
                // The one that has waited longest, each time.
                let order: Vec<usize> = (0..PLACES).filter(|at| *at != 2).collect();
                assert_eq!(told, order[n..=n]);
                if others.len() == PLACES - 2 {
                    break;
                }
            }
            // Nobody has more than a share now: who comes waits, until one has its answer.
            let mut new = std::pin::pin!(places.take());
            assert!(tokio::time::timeout(Duration::from_secs(20), &mut new).await.is_err());
            let (place, busy) = others.remove(5);
            drop(busy);
            place.written();
            let told = async {
                place.given_up().await;
                drop(place);
            };
            assert!(tokio::time::timeout(Duration::from_secs(1), async { tokio::join!(new, told) }).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_just_come_may_ask_while_another_has_most_places() {
        let places = Places::new(PLACES);
        let mut all = Vec::new();
        for _ in 1..PLACES {
            all.push(Some(waits(&places, Some(1)).await));
        }
        let mut fresh = vec![places.take().await];
        assert!(places.one_gives_way(false));
        assert_eq!(given_up(&mut all).await, [0]);
        // Those who have just come have more than a share.
        fresh.push(places.take().await);
        drop(all.pop());
        fresh.push(places.take().await);
        assert!(places.one_gives_way(false));
        assert_eq!(given_up(&mut all).await, [0; 0]);
        drop(fresh.remove(0));
        // It has had its time.
        tokio::time::sleep(FRESH_TIME).await;
        assert!(places.one_gives_way(false));
        assert_eq!(given_up(&mut all).await, [0; 0]);
        // Nobody is idle any more.
        drop(fresh);
        assert!(places.one_gives_way(false));
        assert_eq!(given_up(&mut all).await, [1]);
    }
}
