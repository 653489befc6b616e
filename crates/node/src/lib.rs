//! Everything that touches a host: machines, networks, volumes and images. Each room is a trait, its drivers, a fake, and
//! one contract test that all of them pass.

pub mod directory;
mod durable;
pub mod fake;
pub mod hypervisor;
pub mod image;
pub mod lost_found;
pub mod metadata;
pub mod network;
#[cfg(test)]
mod test_kit;
pub mod volume;

/// What a driver could not do, with its whole chain of causes. For the log; a tenant never sees it.
pub type Result<T> = anyhow::Result<T>;
