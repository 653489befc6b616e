//! What the simulated users know: what they were answered, and what they asked for without getting an answer. It outlives every crash,
//! as users do; at the end the cloud is held against it.

use model::ids::InstanceId;
use model::scope::Scope;
use std::collections::{BTreeMap, BTreeSet};

/// What may be true of one thing: a set, since an unanswered call may have been carried out or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Possible<T: Ord>(pub(crate) BTreeSet<T>);

impl<T: Ord + Clone> Possible<T> {
    pub(crate) fn only(value: T) -> Self {
        Self([value].into())
    }

    pub(crate) fn allows(&self, value: &T) -> bool {
        self.0.contains(value)
    }

    /// A call that would make it `value` was sent.
    fn asked(&mut self, value: T) {
        self.0.insert(value);
    }

    /// The call was answered: it is so.
    fn answered(&mut self, value: T) {
        self.0 = [value].into();
    }
}

/// What may be true of many things. What nobody asked for yet is as it is by default.
pub(crate) type Facts<K, T> = BTreeMap<K, Possible<T>>;

/// Notes a call that would make `facts[key]` be `value`, and gives back what was possible before.
pub(crate) fn fact_asked<K: Ord + Clone, T: Ord + Clone + Default>(facts: &mut Facts<K, T>, key: &K, value: T) -> Possible<T> {
    let fact = facts.entry(key.clone()).or_insert_with(|| Possible::only(T::default()));
    let before = fact.clone();
    fact.asked(value);
    before
}

/// What an instance's owner wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    Run,
    Stop,
    Terminate,
}

/// A launch, told apart by its token.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) scope: Scope,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) min: usize,
    pub(crate) max: usize,
    /// The reservation and the instances that the cloud answered with.
    pub(crate) answer: Option<(String, Vec<InstanceId>)>,
    /// The cloud refused it, so that it made nothing.
    pub(crate) refused: bool,
}

/// What is known of an instance whose launch was answered.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) scope: Scope,
    pub(crate) wish: Possible<Wish>,
    /// A guest that powers itself off ends it, rather than stopping it.
    pub(crate) terminates_itself: bool,
}

/// What came of calls of one action.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Calls {
    pub(crate) sent: usize,
    pub(crate) answered: usize,
    pub(crate) refused: usize,
}

/// Everything the users know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) launches: BTreeMap<String, Launch>,
    pub(crate) instances: BTreeMap<InstanceId, Known>,
    /// Instances whose guest did something by itself, or whose machine was killed, since the last answered wish.
    pub(crate) disturbed: BTreeSet<InstanceId>,
    /// Whether there is a key pair of a name.
    pub(crate) key_pairs: Facts<(Scope, String), bool>,
    /// Whether the default group lets a TCP port in from everywhere.
    pub(crate) ports: Facts<(Scope, u16), bool>,
    /// Of an instance's tag: its value, or `None` if it isn't there.
    pub(crate) tags: Facts<(InstanceId, String), Option<String>>,
    /// Drivers failed by themselves in some life, so that an instance may have ended with `Server.InternalError`.
    pub(crate) failures: bool,
    /// By scope and action: how many calls were sent, answered and refused.
    pub(crate) calls: BTreeMap<(Scope, String), Calls>,
}

impl Ledger {
    pub(crate) fn calls(&mut self, scope: &Scope, action: &str) -> &mut Calls {
        self.calls.entry((scope.clone(), action.to_owned())).or_default()
    }

    pub(crate) fn launch_asked(&mut self, token: &str, launch: Launch) {
        self.launches.insert(token.to_owned(), launch);
    }

    /// # Panics
    /// If a retry was answered with something else than the first time.
    pub(crate) fn launch_answered(&mut self, token: &str, reservation: &str, ids: &[InstanceId], terminates_itself: bool) {
        let launch = self.launches.get_mut(token).expect("an answered launch was asked for");
        let answer = (reservation.to_owned(), ids.to_vec());
        assert!((launch.min..=launch.max).contains(&ids.len()), "launch {token} made {} instances", ids.len());
        if let Some(first) = &launch.answer {
            assert_eq!(first, &answer, "the retried launch {token} was answered differently");
            return;
        }
        launch.answer = Some(answer);
        for id in ids {
            let known = Known { scope: launch.scope.clone(), wish: Possible::only(Wish::Run), terminates_itself };
            assert!(self.instances.insert(id.clone(), known).is_none(), "{id} was given out twice");
        }
    }

    pub(crate) fn launch_refused(&mut self, token: &str) {
        self.launches.get_mut(token).expect("a refused launch was asked for").refused = true;
    }

    /// Launches that were sent and neither answered nor refused.
    pub(crate) fn launches_open(&self) -> Vec<(String, Launch)> {
        let open = self.launches.iter().filter(|(_, l)| l.answer.is_none() && !l.refused);
        open.map(|(token, l)| (token.clone(), l.clone())).collect()
    }

    pub(crate) fn wish_asked(&mut self, ids: &[InstanceId], wish: Wish) {
        for id in ids {
            self.known(id).wish.asked(wish);
        }
    }

    pub(crate) fn wish_answered(&mut self, ids: &[InstanceId], wish: Wish) {
        for id in ids {
            self.known(id).wish.answered(wish);
            // A stop or an end settles what the guest did before; a start that was answered may have met a guest that is going.
            if wish != Wish::Run {
                self.disturbed.remove(id);
            }
        }
    }

    /// A call was refused: what was possible before it still is, and nothing else.
    pub(crate) fn wishes_restore(&mut self, before: Vec<(InstanceId, Possible<Wish>)>) {
        for (id, wish) in before {
            self.known(&id).wish = wish;
        }
    }

    pub(crate) fn wishes(&self, ids: &[InstanceId]) -> Vec<(InstanceId, Possible<Wish>)> {
        ids.iter().map(|id| (id.clone(), self.instances[id].wish.clone())).collect()
    }

    fn known(&mut self, id: &InstanceId) -> &mut Known {
        self.instances.get_mut(id).expect("users only act on what they were given")
    }
}
