//! `pileus serve`: builds the parts in order, and stops them in reverse.

use crate::cli::ServeArgs;
use crate::config::Config;
use crate::parts::Simulation;
use crate::{admin, commands, http, index_keeper, lost_found, parts, scrub, space};
use anyhow::{Context as _, Result};
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// What is logged unless `RUST_LOG` says else; s3s calls each refusal an error.
const LOG: &str = "info,s3s=off";
/// Threads that answer calls. The machine belongs to the guests.
const WORKERS: usize = 2;

/// Connections that wait to be accepted.
const CONNECTIONS_WAITING_MAX: u32 = 1024;
/// How often unfinished images are looked for.
const STAGING_SWEEP_PERIOD: Duration = Duration::from_secs(10);

/// What is logged. At its debug level s3s writes whole requests, customers' keys and signatures too: only who names it gets that.
fn log_asked(rust_log: &str) -> String {
    match rust_log {
        "" => LOG.into(),
        named if named.contains("s3s") => named.into(),
        other => format!("{other},s3s=off"),
    }
}

pub(crate) fn run(data_dir: &Path, args: &ServeArgs) -> Result<()> {
    let asked = log_asked(&std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default());
    let filter = EnvFilter::try_new(asked).unwrap_or_else(|_| LOG.into());
    // A log that can't be written, on a full disk for one, must not be complained of on stderr: that is the log, and the complaint a panic.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    log.with_ansi(std::io::stderr().is_terminal()).init();
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    anyhow::ensure!(
        args.simulate || nix::unistd::geteuid().is_root(),
        "run it as root, or with --simulate: machines and networks need root"
    );
    files_raise()?;
    let data_dir = std::path::absolute(data_dir)?;
    data_dir_make(&data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let served = runtime.block_on(serve(&data_dir, config, Simulation { on: args.simulate, any_credentials: args.any_credentials }));
    // Objects that are being read for a check may take a while, and nothing waits for them.
    runtime.shutdown_timeout(Duration::from_millis(100));
    served
}

/// Makes the data directory, or looks at the one that is there. Machines run under their own user ids and must pass through to their own
/// directories; nobody else may write.
fn data_dir_make(path: &Path) -> Result<()> {
    let here = || path.display();
    match std::fs::metadata(path) {
        Ok(found) => {
            anyhow::ensure!(found.is_dir(), "{} is no directory", here());
            let mode = found.permissions().mode();
            anyhow::ensure!(mode & 0o022 == 0, "others may write to {}: name a directory of its own for the cloud", here());
            if mode & 0o011 != 0o011 {
                let passable = std::fs::Permissions::from_mode(mode | 0o011);
                std::fs::set_permissions(path, passable).with_context(|| format!("can't let machines pass through {}", here()))?;
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(path).with_context(|| format!("can't make the data directory {}", here()))?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711))?;
        }
        Err(error) => return Err(error).with_context(|| format!("can't look at the data directory {}", here())),
    }
    Ok(())
}

/// Lets the server have as many open files as it may: each connection is one, and the usual limit is as low as their number.
fn files_raise() -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("can't raise the limit of open files")
}

async fn serve(data_dir: &Path, config: Config, simulation: Simulation) -> Result<()> {
    let listen = config.listen;
    let port = port_take(listen)?;
    let endpoint = format!("http://{}", port.local_addr()?);
    let (parts, services) = parts::build(data_dir, config, simulation, endpoint).await?;
    let staging = data_dir.join("staging");
    commands::env::aws_config_write(data_dir)?;
    let socket = admin::server::listen(data_dir)?;
    if let Some(warning) = admin::storage::short_days(&parts.config.s3) {
        tracing::warn!("{warning}");
    }
    let (stop, stopping) = watch::channel(false);
    let loops = tokio::spawn(parts.reconciler.clone().run(stopping.clone()));
    let scrub = scrub::run(parts.objects.clone(), parts.config.s3.clone(), parts.clock.clone(), parts.scrub.clone(), stopping.clone());
    let scrub = tokio::spawn(scrub);
    let prune = tokio::spawn(lost_found::prune(data_dir.into(), parts.clock.clone(), stopping.clone()));
    let disk = space::Disk::open(&parts)?;
    let disk = tokio::spawn(space::run(disk, parts.clone(), stopping.clone()));
    let mark = tokio::spawn(parts.directory.clone().keep(stopping.clone()));
    let keeper = tokio::spawn(index_keeper::run(parts.objects.clone(), parts.index_kept.clone(), stopping.clone()));
    let operator = tokio::spawn(admin::server::serve(socket, parts.clone(), stopping.clone()));
    let upkeep = tokio::spawn(services.s3.upkeep(stopping.clone()));
    let sweep = tokio::spawn(staging_sweep(staging, stopping.clone()));
    // The port opens last: whoever sees it open finds all the rest there, the operator's socket too.
    let listener = port.listen(CONNECTIONS_WAITING_MAX).with_context(|| format!("can't listen on {listen}"))?;
    let answers = tokio::spawn(http::serve(listener, Arc::new(services), http::CONNECTIONS_MAX, stopping));
    tracing::info!(endpoint = parts.endpoint, mode = parts.store.mode().as_str(), accelerator = parts.accelerator.0, "the cloud is open");

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("{}", if simulation.on { "stopping" } else { "stopping; the guests go on" });
    stop.send_replace(true);
    answers.await??;
    operator.await?;
    loops.await?;
    scrub.await?;
    keeper.await?;
    upkeep.await?;
    prune.await?;
    disk.await?;
    mark.await?;
    sweep.await?;
    parts.directory.raise_or_warn().await;
    // The socket goes last: while it stands, a cloud is there.
    let _ = std::fs::remove_file(data_dir.join(admin::SOCKET));
    Ok(())
}

/// Takes the API's port, without opening it: a port that another process has is told at once.
fn port_take(address: SocketAddr) -> Result<TcpSocket> {
    let take = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Connections of an earlier server that are about to end keep the port from nobody.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        std::io::Result::Ok(socket)
    };
    take().with_context(|| format!("can't listen on {address}"))
}

/// Removes now and then what `pileus image` commands that were killed left in the staging directory, until `stop` turns true.
async fn staging_sweep(staging: PathBuf, mut stop: watch::Receiver<bool>) {
    loop {
        let staging = staging.clone();
        let _ = tokio::task::spawn_blocking(move || commands::image::leftovers_remove(&staging)).await;
        tokio::select! {
            () = tokio::time::sleep(STAGING_SWEEP_PERIOD) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_log_has_no_secrets_unless_they_are_asked_for() {
        for (asked, logged) in
            [("", LOG), ("debug", "debug,s3s=off"), ("warn,s3=trace", "warn,s3=trace,s3s=off"), ("s3s=debug", "s3s=debug")]
        {
            assert_eq!(log_asked(asked), logged);
        }
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let (new, shared, closed) = (scratch.path().join("new"), scratch.path().join("shared"), scratch.path().join("closed"));
        data_dir_make(&new).unwrap();
        assert_eq!(mode(&new), 0o711);
        for (path, bits) in [(&shared, 0o1777), (&closed, 0o700)] {
            std::fs::create_dir(path).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
        }
        assert!(data_dir_make(&shared).is_err());
        assert_eq!(mode(&shared), 0o1777);
        data_dir_make(&closed).unwrap();
        assert_eq!(mode(&closed), 0o711);
    }
}
