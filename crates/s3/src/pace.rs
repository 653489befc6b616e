//! How patient the server is with a peer: it must go on, and not crawl.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// How long a client may send nothing of a body it announced, or read nothing of an answer.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// How long it may take for the least that it must send or read. Only time in which the server waits for it counts.
const WINDOW: Duration = Duration::from_secs(60);
/// The least of a window: 1 KiB a second.
const WINDOW_BYTES_MIN: u64 = 1024 * WINDOW.as_secs();

/// Watches one direction of one client. It is asked when there is nothing to move, and told what was moved.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the wait began that is under way.
    since: Option<Instant>,
    /// How long the waits of this window took that are over.
    waited: Duration,
    /// When the window began, if that was during the wait under way.
    from: Option<Instant>,
    /// Bytes that were moved in this window.
    moved: u64,
    /// Wakes who waits.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// So many bytes were moved: no wait is under way.
    pub fn moved(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        if let Some(since) = self.since.take() {
            self.waited += self.from.take().unwrap_or(since).elapsed();
        }
    }

    /// There is nothing to move. Ready once the client has kept the server waiting for 30 s, or has moved less than 1 KiB a second in a
    /// minute of waiting.
    pub fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            let since = *self.since.get_or_insert(now);
            let from = self.from.unwrap_or(since);
            let left = WINDOW.saturating_sub(self.waited + (now - from));
            if now - since >= IDLE_TIME || (left.is_zero() && self.moved < WINDOW_BYTES_MIN) {
                return Poll::Ready(());
            }
            if left.is_zero() {
                (self.moved, self.waited, self.from) = (0, Duration::ZERO, Some(now));
                continue;
            }
            let until = (since + IDLE_TIME).min(now + left);
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if alarm.deadline() != until {
                alarm.as_mut().reset(until);
            }
            ready!(alarm.as_mut().poll(cx));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves so much after each pause, and tells after how many seconds that was found to be too late; at most an hour.
    async fn late_after(pause: u64, bytes: usize) -> Option<u64> {
        let (begun, mut pace) = (Instant::now(), Pace::default());
        while begun.elapsed() < Duration::from_secs(3600) {
            let next = tokio::time::sleep(Duration::from_secs(pause));
            tokio::select! {
                biased;
                () = std::future::poll_fn(|cx| pace.poll_late(cx)) => return Some(begun.elapsed().as_secs()),
                () = next => pace.moved(bytes),
            }
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_or_crawls_is_late() {
        assert_eq!(late_after(31, 1 << 20).await, Some(30));
        for (pause, bytes, late) in [(29, 1, true), (1, 1, true), (1, 900, true), (1, 1100, false), (1, 2048, false), (29, 60 << 10, false)]
        {
            assert_eq!(late_after(pause, bytes).await, late.then_some(60), "{bytes} bytes each {pause} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_takes_its_time_with_is_not_the_clients() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_secs(40)).await;
            assert!(std::future::poll_fn(|cx| Poll::Ready(pace.poll_late(cx).is_pending())).await);
            pace.moved(1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_window_is_judged_alone() {
        let (begun, mut pace) = (Instant::now(), Pace::default());
        pace.moved(1 << 30);
        let mut late = async || loop {
            tokio::select! {
                biased;
                () = std::future::poll_fn(|cx| pace.poll_late(cx)) => return begun.elapsed().as_secs(),
                () = tokio::time::sleep(Duration::from_secs(25)) => pace.moved(1),
            }
        };
        assert_eq!(late().await, 120);
    }
}
