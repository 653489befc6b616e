//! The nouns of the cloud and every decision about them.
//!
//! Nothing here is async, reads a clock, draws a random number or touches a disk: time and chance are arguments. So every
//! decision can be tested by calling a function, and the whole cloud can be replayed from one seed.

pub mod account;
pub mod address;
pub mod bucket;
pub mod capacity;
pub mod cors;
pub mod fault;
pub mod filter;
pub mod ids;
pub mod image;
pub mod impairment;
pub mod instance;
pub mod instance_type;
pub mod key_pair;
pub mod lifecycle;
pub mod machine;
pub mod metadata;
pub mod metadata_tree;
pub mod network;
pub mod network_interface;
pub mod page;
pub mod plan;
pub mod policy;
pub mod rules;
pub mod scope;
pub mod security_group;
pub mod security_group_rule;
pub mod space;
pub mod subnet;
pub mod tag;
pub mod time;
pub mod volume;
pub mod vpc;
pub mod website;
