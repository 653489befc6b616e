//! EC2, one file (or folder) a noun.

mod account_attribute;
mod common;
mod image;
mod instance;
mod instance_type;
mod internet_gateway;
mod key_pair;
mod kind;
mod network_interface;
mod region;
mod security_group;
mod shown;
mod subnet;
mod tag;
mod volume;
mod vpc;

use crate::action::Entry;

/// The actions of each noun.
pub(crate) const ACTIONS: &[&[Entry]] = &[
    account_attribute::ACTIONS,
    image::ACTIONS,
    instance::ACTIONS,
    instance_type::ACTIONS,
    internet_gateway::ACTIONS,
    key_pair::ACTIONS,
    network_interface::ACTIONS,
    region::ACTIONS,
    security_group::ACTIONS,
    subnet::ACTIONS,
    tag::ACTIONS,
    volume::ACTIONS,
    vpc::ACTIONS,
];
