//! The server's side of the operator's socket.

use super::{Door, Env, Failure, SOCKET, Status, accounts, backup, images, storage};
use crate::http::accept_failed;
use crate::parts::Parts;
use crate::reset;
use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::ids::InstanceId;
use model::instance::Instance;
use model::scope::Scope;
use serde::Serialize;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::sync::watch;

/// Longest request, in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Opens the socket. The store's lock says that no other server has this data directory, so an old socket is a leftover.
pub(crate) fn listen(data_dir: &Path) -> Result<UnixListener> {
    let path = data_dir.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).with_context(|| format!("can't remove {}", path.display())),
        _ => {}
    }
    // Until its mode is set it has that of the umask, which on no usual machine lets others write, and so connect.
    let listener = UnixListener::bind(&path).with_context(|| format!("can't listen on {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until `stop` turns true.
pub(crate) async fn serve(listener: UnixListener, parts: Arc<Parts>, mut stop: watch::Receiver<bool>) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|s| *s) => return,
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let parts = parts.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let parts = parts.clone();
                async move { Ok::<_, Infallible>(answer(&parts, request).await) }
            });
            if let Err(error) = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "an admin connection ended early");
            }
        });
    }
}

async fn answer(parts: &Parts, request: http::Request<Incoming>) -> http::Response<Full<Bytes>> {
    let (status, body) = match route(parts, request).await {
        Ok(body) => (http::StatusCode::OK, body),
        Err(error) => {
            let failure = Failure { error: format!("{error:#}") };
            (http::StatusCode::BAD_REQUEST, serde_json::to_vec(&failure).unwrap_or_default())
        }
    };
    let mut response = http::Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

async fn route(parts: &Parts, request: http::Request<Incoming>) -> Result<Vec<u8>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|e| anyhow::anyhow!("{e}"))?.to_bytes();
    let path: Vec<&str> = head.uri.path().trim_start_matches('/').split('/').collect();
    match (head.method.as_str(), path.as_slice()) {
        ("GET", ["env"]) => json(&env(parts)?),
        ("GET", ["status"]) => json(&status(parts).await?),
        ("GET", ["accounts"]) => json(&accounts::list(parts)),
        ("POST", ["accounts"]) => json(&accounts::create(parts, serde_json::from_slice(&body)?).await?),
        ("POST", ["accounts", "show"]) => json(&accounts::show(parts, &serde_json::from_slice(&body)?)?),
        ("POST", ["accounts", "keys"]) => json(&accounts::key_create(parts, serde_json::from_slice(&body)?).await?),
        ("POST", ["accounts", "close"]) => json(&accounts::close(parts, serde_json::from_slice(&body)?).await?),
        ("POST", ["keys", "delete"]) => json(&accounts::key_delete(parts, serde_json::from_slice(&body)?).await?),
        ("POST", ["reset"]) => json(&reset::reset(&parts.store, &parts.objects, parts.clock.now()).await?),
        ("POST", ["images", "check"]) => json(&images::check(parts, &serde_json::from_slice(&body)?)?),
        ("POST", ["images"]) => json(&images::register(parts, serde_json::from_slice(&body)?).await?),
        ("GET", ["images"]) => json(&images::list(parts).await?),
        ("POST", ["images", id, "deregister"]) => json(&images::deregister(parts, id.parse()?, &serde_json::from_slice(&body)?).await?),
        ("POST", ["backup"]) => json(&backup::begin(parts, serde_json::from_slice(&body)?)?),
        ("GET", ["backup"]) => json(&backup::state(parts)?),
        ("GET", ["instances", id, "door"]) => json(&door(parts, &id.parse()?).await?),
        (method, _) => bail!("the admin socket has no {method} {}", head.uri.path()),
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(value)?)
}

/// The account that `pileus env` speaks for, in the configured region.
fn default_scope(parts: &Parts) -> Result<(Scope, Arc<model::account::AccessKey>)> {
    let snapshot = parts.store.snapshot();
    let (account, key) = api::bootstrap::account_by_name(&snapshot, api::bootstrap::DEFAULT_ACCOUNT)
        .context("the first account has no access key; make one: pileus account key create default")?;
    Ok((Scope { account: account.id.clone(), region: parts.config.region.parse()? }, key.clone()))
}

fn env(parts: &Parts) -> Result<Env> {
    let (scope, key) = default_scope(parts)?;
    Ok(Env {
        access_key_id: key.id.clone(),
        secret_access_key: key.secret.clone(),
        region: scope.region.to_string(),
        endpoint: parts.endpoint.clone(),
    })
}

async fn door(parts: &Parts, id: &InstanceId) -> Result<Door> {
    let snapshot = parts.store.snapshot();
    let (_, instance) = snapshot.find::<Instance>(id).with_context(|| format!("there is no instance {id}"))?;
    anyhow::ensure!(parts.store.mode() == store::Mode::Real, "this cloud is simulated: {id} has no guest to reach");
    let namespace = parts.drivers.network.vpc_namespace(&instance.vpc_id).await;
    if let Err(error) = &namespace {
        tracing::debug!(instance = %id, error = format!("{error:#}"), "there is no way to a guest yet");
    }
    let image = snapshot.launched_image(&instance.image_id);
    Ok(Door {
        state: instance.state.name().into(),
        namespace: namespace.ok(),
        private_ip: instance.private_ip,
        login_user: image.map_or_else(|| "root".into(), |i| i.login_user.clone()),
        key_name: instance.key_name.clone(),
    })
}

async fn status(parts: &Parts) -> Result<Status> {
    let storage = storage::health(parts).await;
    let snapshot = parts.store.snapshot();
    let mut instances = BTreeMap::new();
    for (_, instance) in snapshot.all::<Instance>() {
        *instances.entry(instance.state.name().to_owned()).or_insert(0) += 1;
    }
    let used = model::instance_type::taken(snapshot.capacity_used());
    let promised = model::capacity::promised_max(&parts.cloud.host, &parts.cloud.overcommit);
    let place = nix::sys::statvfs::statvfs(&parts.data_dir)?;
    let way_out = match parts.drivers.network.way_out() {
        node::network::WayOut::Open(how) => format!("open: {how}"),
        node::network::WayOut::None(why) => format!("none: {why}"),
    };
    let stored = parts.objects.usage();
    let data_dir = parts.data_dir.clone();
    let lost = tokio::task::spawn_blocking(move || crate::lost_found::notes(&data_dir)).await?;
    let places = [parts.store.place_check().map_err(anyhow::Error::from), parts.objects.place_check().map_err(anyhow::Error::from)];
    let displaced = places.into_iter().filter_map(|place| place.err().map(|error| format!("{error:#}")));
    let (scrub, damage) = parts.scrub.tell();
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        mode: parts.store.mode().as_str().into(),
        cloud_id: parts.directory.cloud().into(),
        endpoint: parts.endpoint.clone(),
        accelerator: parts.accelerator.0.into(),
        accelerator_reason: parts.accelerator.1.clone(),
        way_out,
        accounts: snapshot.accounts().count(),
        images: snapshot.all::<model::image::Image>().count(),
        instances,
        vcpus_used: used.vcpus,
        vcpus: promised.vcpus,
        memory_used_mib: used.memory_mib,
        memory_mib: promised.memory_mib,
        host_vcpus: parts.cloud.host.vcpus,
        vcpu_overcommit: parts.cloud.overcommit.vcpus,
        host_memory_mib: parts.cloud.host.memory_mib,
        memory_reserve_mib: parts.cloud.overcommit.memory_reserve_mib,
        memory_overcommit: parts.cloud.overcommit.memory,
        disk_free_bytes: place.blocks_available() * place.fragment_size(),
        buckets: stored.buckets,
        object_versions: stored.versions,
        object_bytes: stored.bytes,
        scrub,
        destinations: storage.destinations,
        access_logs_failing: storage.log_troubles,
        notes: displaced
            .chain(parts.reconciler.notes())
            .chain(damage)
            .chain(storage.notes)
            .chain(parts.index_kept.notes())
            .chain(lost)
            .collect(),
    })
}
