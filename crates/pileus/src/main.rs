//! Pileus: an AWS-compatible cloud of real machines. This crate reads the command line and wires the rooms together.

mod admin;
mod cli;
mod commands;
mod config;
mod http;
mod parts;
mod serve;

use clap::Parser as _;
use cli::{AccountCommand, Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let dir = &cli.data_dir;
    let done = match cli.command {
        Command::Serve(args) => serve::run(dir, &args),
        Command::Env => commands::env::run(dir),
        Command::Status { json } => commands::status::run(dir, json),
        Command::Account(AccountCommand::Create { name }) => commands::account::create(dir, name),
        Command::Ssh(args) => commands::ssh::run(dir, &args),
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
