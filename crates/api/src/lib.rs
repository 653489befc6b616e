//! The API: one gate, and behind it one place an action.

pub mod account;
mod action;
pub mod bootstrap;
pub mod catalogue;
mod cloud;
mod ec2;
mod gate;
mod keys;
pub mod operator;
pub mod ports;
mod short;
mod sts;

pub use cloud::Cloud;
pub use gate::{BODY_BYTES_MAX, Gate, actions};
