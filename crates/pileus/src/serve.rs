//! `pileus serve`: builds the parts in order, and stops them in reverse.

use crate::cli::ServeArgs;
use crate::config::Config;
use crate::{admin, http, parts};
use anyhow::{Context as _, Result};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Threads that answer calls. The machine belongs to the guests.
const WORKERS: usize = 2;

pub(crate) fn run(data_dir: &Path, args: &ServeArgs) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    let data_dir = std::path::absolute(data_dir)?;
    std::fs::create_dir_all(&data_dir).with_context(|| format!("can't make the data directory {}", data_dir.display()))?;
    // Machines run under their own user ids and must pass through to their own directories; nobody may list it.
    std::fs::set_permissions(&data_dir, std::fs::Permissions::from_mode(0o711))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(serve(&data_dir, config, args.simulate))
}

async fn serve(data_dir: &Path, config: Config, simulate: bool) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(config.listen).await.with_context(|| format!("can't listen on {}", config.listen))?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let (parts, gate) = parts::build(data_dir, config, simulate, endpoint).await?;
    let socket = admin::server::listen(data_dir)?;
    let (stop, stopping) = watch::channel(false);
    let loops = tokio::spawn(parts.reconciler.clone().run(stopping.clone()));
    let operator = tokio::spawn(admin::server::serve(socket, parts.clone(), stopping.clone()));
    let answers = tokio::spawn(http::serve(listener, Arc::new(gate), stopping));
    tracing::info!(endpoint = parts.endpoint, mode = parts.store.mode().as_str(), accelerator = parts.accelerator.0, "the cloud is open");

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; the guests go on");
    stop.send_replace(true);
    answers.await??;
    operator.await?;
    loops.await?;
    // The socket goes last: while it stands, a cloud is there.
    let _ = std::fs::remove_file(data_dir.join(admin::SOCKET));
    Ok(())
}
