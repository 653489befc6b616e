//! The house's own tools: `cargo xtask --help`.

mod codegen;
mod instance_types;
mod parity;
mod tidy;
mod tree;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tools for working on Pileus")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate crates/wire/src/shapes and the list of AWS's operations from botocore's service models
    Codegen {
        /// An installed botocore's folder, instead of the pinned release
        #[arg(long, value_name = "DIR")]
        botocore: Option<PathBuf>,
    },
    /// Write the table of instance types from a reply of DescribeInstanceTypes, saved as JSON
    InstanceTypes {
        /// The saved reply, or a list or map of its InstanceTypes
        from: PathBuf,
    },
    /// Write docs/parity.md: which operations are built, and how far they are tested
    Parity,
    /// Check the rules of the house that a compiler doesn't know
    Tidy,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Codegen { botocore } => codegen::run(root(), botocore.as_deref()),
        Command::InstanceTypes { from } => instance_types::run(root(), &from),
        Command::Parity => parity::run(root()),
        Command::Tidy => tidy::run(root()),
    }
}

/// The workspace's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
