//! AWS's protocols: signatures, parameters, replies, errors, and the names of all its operations. Knows none of the cloud's nouns.
//!
//! A request's way through here: [`sigv4`] says who sent it, [`operations`] which operation it names, [`decode`] reads its input into a
//! generated structure of [`shapes`], [`xml`] writes the output.

pub mod decode;
mod error;
pub mod operations;
pub mod params;
mod protocol;
mod reply;
pub mod shapes;
mod timestamp;
pub mod xml;

pub use decode::{Decode, Dialect};
pub use error::{ApiError, usual_status};
pub use params::Parameters;
pub use protocol::Protocol;
pub use reply::{Envelope, Reply};
pub use timestamp::Timestamp;
pub use xml::{Empty, Encode};
