//! What the services inside a VPC (metadata, DNS) may ask about its guests.

use model::ids::VpcId;
use model::metadata::Guest;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Answers from the newest committed state, so that a changed option or tag shows at once.
pub trait Directory: Send + Sync {
    /// The guest that has this private address in this VPC.
    fn guest(&self, vpc: &VpcId, private_ip: Ipv4Addr) -> Option<Arc<Guest>>;
}
