//! AWS's protocols: signatures, parameters, replies, errors, and the names of all its operations. Knows none of the cloud's nouns.
//!
//! A request's way through here: [`Request::read`] finds its protocol and service, [`Request::verify`] says who sent it,
//! [`Request::operation`] what it asks for. [`Decode`] reads its input into a structure of [`shapes`]; [`Reply`] and [`Envelope`] write what
//! goes back.

#[cfg(test)]
mod botocore;
pub mod decode;
mod error;
pub mod operations;
pub mod params;
mod protocol;
mod reply;
mod request;
pub mod shapes;
pub mod sigv4;
mod timestamp;
pub mod xml;

pub use decode::{Decode, Dialect};
pub use error::{ApiError, usual_status};
pub use params::Parameters;
pub use protocol::Protocol;
pub use reply::{Envelope, Reply};
pub use request::{Request, not_implemented};
pub use timestamp::Timestamp;
pub use xml::{Empty, Encode};
