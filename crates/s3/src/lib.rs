//! S3: the protocol in front of the storage engine (crate `objects`).
//!
//! `s3s` reads requests, checks their signatures and writes replies. What it leaves to us is here: who may do what, checksums,
//! conditions, ranges, encryption, CORS, websites, and what each operation means. [`Front`] is the way in; one file an operation or a
//! group of small ones behind it. Source of the behaviour: "Amazon S3 API Reference", "Amazon S3 User Guide".

mod access;
mod access_log;
mod answer;
mod auth;
mod body;
mod bucket;
mod budget;
mod caller;
mod checksum;
mod condition;
mod configuration;
mod control;
mod cors;
mod error;
mod form;
mod front;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod health;
mod host;
mod intake;
mod integrity;
mod list;
mod markup;
mod multipart;
mod notification;
mod object;
mod outgoing;
mod pace;
mod precheck;
mod range;
mod record;
mod route;
mod service;
mod settings;
mod signature;
mod split;
mod sse;
mod target;
mod time;
mod unbuilt;
mod upkeep;
mod website;
mod xml;

pub use caller::Verified;
pub use front::{Front, Peer};
pub use health::{Destination, Health, LogTrouble};
pub use notification::{BadWebhook, webhook_check};
pub use pace::Pace;
pub use s3s::Body;
pub use settings::Settings;
