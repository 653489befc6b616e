//! The API: one gate, and behind it one place an action.

pub mod bootstrap;
pub mod ports;
