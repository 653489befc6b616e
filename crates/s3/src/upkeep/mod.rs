//! What S3 does by itself, beside answering.

mod access_log;
mod lifecycle;
mod sweep;

use crate::front::Front;
use crate::notification;
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;

impl Front {
    /// What S3 does by itself: it follows the buckets' lifecycle rules and delivers notifications and access logs. Ends when `stopping`
    /// says so; whatever was left undone is found again at the next start.
    pub fn upkeep(&self, stopping: watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static {
        let rules = lifecycle::follow(self.s3.clone(), stopping.clone());
        let told = notification::deliver(self.s3.clone(), stopping.clone());
        let logs = access_log::deliver(self.s3.clone(), stopping);
        async {
            tokio::join!(rules, told, logs);
        }
    }
}

/// Waits; false if it is time to stop.
pub(crate) async fn rest(time: Duration, stopping: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        _ = stopping.wait_for(|stop| *stop) => false,
    }
}
