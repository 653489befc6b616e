//! Instances: what can be asked of them and done with them.

mod attribute;
mod console;
mod credits;
mod describe;
mod disks;
mod filter;
mod monitoring;
mod nics;
mod refuse;
mod run;
mod show;
mod state;
mod uefi;

pub(super) use nics::GROUPS_MAX;

crate::action::actions![
    read describe::DescribeInstances,
    read describe::DescribeInstanceStatus,
    read attribute::DescribeInstanceAttribute,
    write run::RunInstances,
    write state::StartInstances,
    write state::StopInstances,
    write state::RebootInstances,
    write state::TerminateInstances,
    write attribute::ModifyInstanceAttribute,
    write attribute::ModifyInstanceMetadataOptions,
    read credits::DescribeInstanceCreditSpecifications,
    write credits::ModifyInstanceCreditSpecification,
    write monitoring::MonitorInstances,
    write monitoring::UnmonitorInstances,
    read uefi::GetInstanceUefiData,
    slow console::GetConsoleOutput,
];
