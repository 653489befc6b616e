//! How much memory documents on their way in take together, and of that each who sends them. s3s keeps a document until it has read all
//! of it.

use crate::caller::Verified;
use crate::error::Result;
use model::scope::AccountId;
use s3s::s3_error;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of documents that are held at a time of requests whose signature was verified.
pub(crate) const VERIFIED_BYTES_MAX: usize = 64 << 20;
/// How many of them may be one account's: no account takes the others' room.
pub(crate) const ACCOUNT_BYTES_MAX: usize = VERIFIED_BYTES_MAX / 4;
/// Bytes of documents that are held at a time of requests that nobody signed. What a bucket's policy lets everybody do takes short ones.
pub(crate) const ANONYMOUS_BYTES_MAX: usize = 8 << 20;
/// How many of them may come from one address.
pub(crate) const PEER_BYTES_MAX: usize = ANONYMOUS_BYTES_MAX / 4;

/// Who holds some of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    Account(AccountId),
    Peer(IpAddr),
}

impl Holder {
    /// Who sends a request, as far as that is known.
    fn new(verified: &Verified, peer: IpAddr) -> Self {
        verified.get().map_or_else(|| Self::Peer(network(peer)), |account| Self::Account(account.clone()))
    }

    /// The most that all of its kind hold, and that it does.
    fn limits(&self) -> (usize, usize) {
        match self {
            Self::Account(_) => (VERIFIED_BYTES_MAX, ACCOUNT_BYTES_MAX),
            Self::Peer(_) => (ANONYMOUS_BYTES_MAX, PEER_BYTES_MAX),
        }
    }
}

/// What counts as one address: of IPv6, the 64 bits that a site is given (RFC 6177), since it has all addresses under them.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

/// Bytes that are held.
#[derive(Debug, Default)]
struct Taken {
    verified: usize,
    anonymous: usize,
    /// By who holds them; nobody holds none.
    shares: HashMap<Holder, usize>,
}

impl Taken {
    fn all(&mut self, holder: &Holder) -> &mut usize {
        match holder {
            Holder::Account(_) => &mut self.verified,
            Holder::Peer(_) => &mut self.anonymous,
        }
    }

    /// Whether there is room for so many more; then they are held.
    fn take(&mut self, holder: &Holder, bytes: usize) -> bool {
        let (all_max, share_max) = holder.limits();
        let share = self.shares.get(holder).copied().unwrap_or_default();
        let all = *self.all(holder);
        if bytes > all_max - all || bytes > share_max - share {
            return false;
        }
        *self.all(holder) = all + bytes;
        if bytes > 0 {
            self.shares.insert(holder.clone(), share + bytes);
        }
        true
    }

    fn give_back(&mut self, holder: &Holder, bytes: usize) {
        *self.all(holder) -= bytes;
        if let Some(share) = self.shares.get_mut(holder) {
            *share -= bytes;
            if *share == 0 {
                self.shares.remove(holder);
            }
        }
    }
}

/// What can be held.
#[derive(Debug, Clone, Default)]
pub(crate) struct Budget(Arc<Mutex<Taken>>);

impl Budget {
    /// What one request holds: nothing so far. `verified` says who sent it, once that is known, and `peer` from where.
    pub(crate) fn held(&self, verified: Verified, peer: IpAddr) -> Held {
        let share = Share { budget: self.clone(), holder: None, bytes: 0 };
        Held { verified, peer, share: Arc::new(Mutex::new(share)) }
    }
}

/// One request's, given back when it goes.
#[derive(Debug)]
struct Share {
    budget: Budget,
    /// Who the first bytes were counted for.
    holder: Option<Holder>,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(holder) = &self.holder {
            self.budget.0.lock().unwrap_or_else(PoisonError::into_inner).give_back(holder, self.bytes);
        }
    }
}

/// What a request holds, until the last of these is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    verified: Verified,
    peer: IpAddr,
    share: Arc<Mutex<Share>>,
}

impl Held {
    /// Holds so many more bytes. Who announces much and sends nothing holds nothing.
    ///
    /// # Errors
    /// `SlowDown` if there is no room for them, among all or in the sender's share: those who wait would hold what has come so far.
    pub(crate) fn take(&self, bytes: usize) -> Result<()> {
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        let Share { budget, holder, bytes: held } = &mut *share;
        // A request's caller doesn't change while its body comes.
        let holder = holder.get_or_insert_with(|| Holder::new(&self.verified, self.peer));
        if !budget.0.lock().unwrap_or_else(PoisonError::into_inner).take(holder, bytes) {
            return Err(s3_error!(SlowDown, "Please reduce your request rate."));
        }
        *held += bytes;
        Ok(())
    }

    /// Whether anybody is known to have signed the request.
    pub(crate) fn is_verified(&self) -> bool {
        self.verified.get().is_some()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn account(id: &str) -> Verified {
        let verified = Verified::default();
        verified.set(&id.parse().unwrap());
        verified
    }

    /// How many bytes more there is room for, in pieces of 1 MiB.
    fn fill(budget: &Budget, verified: &Verified, peer: &str) -> (usize, Vec<Held>) {
        let mut all = Vec::new();
        loop {
            let held = budget.held(verified.clone(), peer.parse().unwrap());
            if let Err(error) = held.take(1 << 20) {
                assert_eq!(error.code().as_str(), "SlowDown");
                return (all.len() << 20, all);
            }
            all.push(held);
        }
    }

    #[test]
    fn nobody_takes_the_others_room() {
        let budget = Budget::default();
        let (first, held) = fill(&budget, &account("111111111111"), "10.0.0.1");
        assert_eq!(first, ACCOUNT_BYTES_MAX);
        let (second, _held) = fill(&budget, &account("222222222222"), "10.0.0.1");
        assert_eq!(second, ACCOUNT_BYTES_MAX);
        let (one, _of_one) = fill(&budget, &Verified::default(), "2001:db8::1");
        assert_eq!(one, PEER_BYTES_MAX);
        let (neighbour, _none) = fill(&budget, &Verified::default(), "2001:db8::ffff:2");
        assert_eq!(neighbour, 0);
        for peer in ["10.0.0.1", "2001:db8:0:1::1"] {
            assert_eq!(fill(&budget, &Verified::default(), peer).0, PEER_BYTES_MAX, "{peer}");
        }
        drop(held);
        assert_eq!(fill(&budget, &account("111111111111"), "10.0.0.1").0, ACCOUNT_BYTES_MAX);
    }

    #[test]
    fn all_have_a_limit_together() {
        let budget = Budget::default();
        let accounts = (1..=9).map(|n| fill(&budget, &account(&format!("{n:012}")), "10.0.0.1")).collect::<Vec<_>>();
        assert_eq!(accounts.iter().map(|(bytes, _)| bytes).sum::<usize>(), VERIFIED_BYTES_MAX);
        let peers = (1..=9).map(|n| fill(&budget, &Verified::default(), &format!("10.0.0.{n}"))).collect::<Vec<_>>();
        assert_eq!(peers.iter().map(|(bytes, _)| bytes).sum::<usize>(), ANONYMOUS_BYTES_MAX);
        drop((accounts, peers));
        let left = budget.0.lock().unwrap();
        assert_eq!((left.verified, left.anonymous, left.shares.len()), (0, 0, 0));
    }
}
