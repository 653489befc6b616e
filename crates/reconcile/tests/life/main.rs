//! The loops on a host without guests: each story of an instance's life, a crash between any two steps, and the server's way of running.
#![allow(clippy::unwrap_used)]

mod crashes;
mod lost;
mod running;
mod stories;
mod surroundings;
mod world;
