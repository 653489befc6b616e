//! Pages of a list: `MaxResults` and `NextToken`.
//!
//! A list is ordered by a key that an item never changes, and a token holds the key of the last item that was shown. So what is
//! added or removed between two calls neither repeats nor hides another item. A token grants nothing (it only says where in the
//! caller's own list to go on), so it is guarded against mistakes, not against forgers: its checksum covers the call it belongs to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The form of the tokens. A token of another form is refused.
const VERSION: u8 = 1;
/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 1024;

/// The token isn't one that this call gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadToken;

/// The token that goes on after `last`. `call` is what has to be the same in the next call: the action, the tenant and the filters.
#[must_use]
pub fn token(call: &str, last: &str) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(checksum(call, last).to_be_bytes());
    bytes.extend(last.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The key after which a call with this token goes on.
///
/// # Errors
/// [`BadToken`] if it was changed, or given out by another call.
pub fn position(call: &str, token: &str) -> Result<String, BadToken> {
    let bytes = if token.len() <= TOKEN_BYTES_MAX { URL_SAFE_NO_PAD.decode(token) } else { return Err(BadToken) };
    let bytes = bytes.map_err(|_| BadToken)?;
    let (head, last) = bytes.split_at_checked(9).ok_or(BadToken)?;
    let last = std::str::from_utf8(last).map_err(|_| BadToken)?;
    if head[0] == VERSION && head[1..] == checksum(call, last).to_be_bytes() { Ok(last.into()) } else { Err(BadToken) }
}

/// FNV-1a, 64 bits: the same in every build, unlike the standard library's hasher.
fn checksum(call: &str, last: &str) -> u64 {
    let bytes = [VERSION].into_iter().chain(call.bytes()).chain([0xff]).chain(last.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Cuts one page out of `items`, which are ordered by `key` and begin after the last page's end: the page, and the token of the
/// next one if there is more. Without `max` it is all one page.
pub fn cut<T>(call: &str, items: impl IntoIterator<Item = T>, max: Option<usize>, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
    let mut items = items.into_iter();
    let page: Vec<T> = match max {
        Some(max) => items.by_ref().take(max).collect(),
        None => return (items.collect(), None),
    };
    let next = items.next().and(page.last()).map(|last| token(call, &key(last)));
    (page, next)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn only_its_own_token_is_taken() {
        let t = token("DescribeInstances a", "i-1");
        assert_eq!(position("DescribeInstances a", &t), Ok("i-1".into()));
        assert_eq!(position("DescribeInstances b", &t), Err(BadToken));
        for at in 0..t.len() {
            let mut bytes = t.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(position("DescribeInstances a", &String::from_utf8(bytes).unwrap()), Err(BadToken), "at {at}");
        }
        for bad in ["", "x", "AAAA", "=", "ä", &"A".repeat(4096)] {
            assert_eq!(position("DescribeInstances a", bad), Err(BadToken), "{bad}");
        }
    }

    #[test]
    fn pages_are_consistent_when_items_come_and_go() {
        let mut items: BTreeSet<u32> = (0..20).map(|n| n * 10).collect();
        let (mut shown, mut after) = (Vec::new(), None);
        for round in 0.. {
            let rest = items.iter().copied().filter(|i| after.is_none_or(|a| *i > a));
            let (page, next) = cut("x", rest, Some(5), |i| i.to_string());
            shown.extend(page);
            let Some(next) = next else { break };
            after = Some(position("x", &next).unwrap().parse::<u32>().unwrap());
            // Before the place: never seen. After it: seen once. The last one shown goes: no harm.
            items.insert(round);
            items.insert(195 - round);
            items.remove(&after.unwrap());
        }
        let mut unique = shown.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique, shown);
        assert!((0..20).all(|n| shown.contains(&(n * 10))));
        assert!(shown.contains(&195));
    }

    #[test]
    fn a_full_last_page_has_no_token() {
        assert_eq!(cut("x", 0..10, Some(10), ToString::to_string).1, None);
        assert!(cut("x", 0..11, Some(10), ToString::to_string).1.is_some());
        assert_eq!(cut("x", 0..11, None, ToString::to_string).0.len(), 11);
        assert_eq!(cut("x", 0..0, Some(5), i32::to_string).1, None);
    }
}
