//! Pileus: an AWS-compatible cloud of real machines. This crate reads the command line and wires the rooms together.

mod admin;
mod any_credentials;
mod backup;
mod cli;
mod commands;
mod config;
mod http;
mod identity;
mod index_keeper;
mod lost_found;
mod parts;
mod places;
mod progress;
mod reset;
mod scrub;
mod serve;
mod size;
mod space;
mod stream;
mod wait;

use clap::Parser as _;
use cli::{Cli, Command, FsckCommand, ImageCommand};
use std::process::ExitCode;

/// A reply of 200 kB is made of thousands of small texts: with the system's allocator a DescribeInstances takes a third longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Two helpers are this program, too. They are no commands: only the server starts the one, with open files, and `pileus ssh` the other.
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("__console") => return node::hypervisor::qemu::helper_main(&words.collect::<Vec<_>>()),
        Some(commands::ssh::TIED) => return commands::ssh::tied_main(&words.collect::<Vec<_>>()),
        _ => {}
    }
    let cli = Cli::parse();
    let dir = &cli.data_dir;
    let done = match cli.command {
        Command::Serve(args) => serve::run(dir, &args),
        Command::Doctor { config, json } => commands::doctor::run(dir, config.as_deref(), json),
        Command::Adopt => commands::adopt::run(dir),
        Command::Env => commands::env::run(dir),
        Command::Status { json } => commands::status::run(dir, json),
        Command::Account(command) => commands::account::run(dir, command),
        Command::Reset => commands::reset::run(dir),
        Command::Ssh(args) => match commands::ssh::run(dir, &args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Forward(args) => commands::forward::run(dir, &args),
        Command::Console { instance } => commands::console::run(dir, &instance),
        Command::Backup { to } => commands::backup::backup(dir, &to),
        Command::Restore { from, check } => commands::backup::restore(dir, &from, check),
        Command::Fsck(FsckCommand::Objects { rebuild }) => match commands::fsck::objects(dir, rebuild) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error),
        },
        Command::Image(ImageCommand::Build { kind: _, name, place, public }) => commands::image::build_tiny(dir, name, place, public),
        Command::Image(ImageCommand::Import(args)) => commands::image::import(dir, args),
        Command::Image(ImageCommand::List { region, json }) => commands::image::list(dir, region.as_deref(), json),
        Command::Image(ImageCommand::Rm { image, all_regions }) => commands::image::remove(dir, &image, all_regions),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "pileus: {error:#}");
            ExitCode::FAILURE
        }
    }
}
