//! Whole requests: a good one, changed.
#![no_main]

mod front;

use front::{Ask, HEADERS, METHODS, QUERIES, furnished, judged, seeds};

/// Takes a change off the data, and makes it: its kind, where, and a piece of so many bytes.
fn change<'a>(ask: &mut Ask, data: &'a [u8]) -> &'a [u8] {
    let [kind, at, length, rest @ ..] = data else { return &[] };
    let (piece, rest) = rest.split_at(usize::from(*length).min(rest.len()));
    let (at, piece) = (usize::from(*at), piece.to_vec());
    match kind % 10 {
        0 => ask.method = METHODS[at % METHODS.len()].into(),
        1 => ask.path = [b"/", &piece[..]].concat(),
        2 => ask.path.extend(piece),
        3 => ask.headers.push((HEADERS[at % HEADERS.len()].into(), piece)),
        4 if !ask.headers.is_empty() => {
            let at = at % ask.headers.len();
            ask.headers[at].1 = piece;
        }
        5 => ask.query.push((QUERIES[at % QUERIES.len()].into(), piece)),
        6 if !ask.query.is_empty() => {
            let at = at % ask.query.len();
            ask.query[at].1 = piece;
        }
        7 => {
            let at = at * ask.body.len() / 256;
            let end = (at + piece.len()).min(ask.body.len());
            ask.body.splice(at..end, piece);
        }
        8 => ask.body = piece,
        _ => {
            ask.signed = at & 1 == 0;
            ask.cut = at & 2 == 2;
            ask.piece = at.max(1);
        }
    }
    rest
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [seed, changes @ ..] = data else { return };
    furnished(|world, bucket, upload| {
        let mut seeds = seeds(world, bucket, upload);
        let mut ask = seeds.swap_remove(usize::from(*seed) % seeds.len());
        let mut rest = changes;
        while !rest.is_empty() {
            rest = change(&mut ask, rest);
        }
        judged(world, &ask);
    });
});
