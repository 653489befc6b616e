//! Instances: what can be asked of them and done with them.

mod attribute;
mod console;
mod describe;
mod disks;
mod filter;
mod nics;
mod refuse;
mod run;
mod show;
mod state;

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
    slow console::GetConsoleOutput,
];
