//! A service that panics is started again: one packet must not cost a VPC its names or its leases for good.

use futures_util::FutureExt as _;
use model::fault::panic_text;
use model::ids::VpcId;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait before a service is started again: at first, and at most. Each end in a row doubles it.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a service must have run for its next end to be the first in a row.
const STEADY_TIME: Duration = Duration::from_secs(60);

/// Runs a service, and starts it again whenever it panics or ends, until this is dropped. Its socket belongs to the caller, so that what
/// guests send meanwhile waits there.
pub(super) async fn supervise<F: Future<Output = ()>>(vpc: &VpcId, service: &'static str, start: impl Fn() -> F) {
    let mut pause = PAUSE;
    loop {
        let started = Instant::now();
        let ended = AssertUnwindSafe(async { start().await }).catch_unwind().await;
        if started.elapsed() >= STEADY_TIME {
            pause = PAUSE;
        }
        match ended {
            Ok(()) => tracing::error!(%vpc, service, ?pause, "a VPC's service ended; it is started again"),
            Err(panic) => {
                let panic = panic_text(panic.as_ref());
                tracing::error!(%vpc, service, ?pause, panic, "a VPC's service panicked; it is started again");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::net::UdpSocket;

    fn vpc() -> VpcId {
        "vpc-0123456789abcdef0".parse().unwrap()
    }

    /// Echoes what comes, and dies of some of it.
    async fn echo(socket: &UdpSocket) {
        let mut bytes = [0; 16];
        loop {
            let (n, from) = socket.recv_from(&mut bytes).await.unwrap();
            match &bytes[..n] {
                b"panic" => panic!("by order"),
                b"end" => return,
                echoed => _ = socket.send_to(echoed, from).await.unwrap(),
            }
        }
    }

    #[tokio::test]
    async fn what_panics_serves_again_on_the_same_socket() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = tokio::spawn(async move { supervise(&vpc(), "echo", || echo(&socket)).await });
        let guest = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        guest.connect(address).await.unwrap();
        for last_words in ["panic", "end"] {
            // The question right behind the deadly packet is answered, too: it waited in the socket.
            for words in ["before", last_words, "after"] {
                guest.send(words.as_bytes()).await.unwrap();
            }
            for words in ["before", "after"] {
                let mut bytes = [0; 16];
                let n = tokio::time::timeout(Duration::from_secs(10), guest.recv(&mut bytes)).await.unwrap().unwrap();
                assert_eq!(&bytes[..n], words.as_bytes());
            }
        }
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn what_always_panics_is_tried_ever_more_seldom_but_never_given_up() {
        let starts = Arc::new(AtomicU32::new(0));
        let counted = starts.clone();
        let server = tokio::spawn(async move {
            supervise(&vpc(), "none", || async {
                counted.fetch_add(1, Ordering::Relaxed);
                panic!("always");
            })
            .await;
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        let minute = starts.swap(0, Ordering::Relaxed);
        assert!((8..=12).contains(&minute), "{minute}");
        tokio::time::sleep(Duration::from_secs(600)).await;
        let ten = starts.load(Ordering::Relaxed);
        assert!((19..=21).contains(&ten), "{ten}");
        server.abort();
    }
}
