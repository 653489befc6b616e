//! Calls to the running server.

use super::{Failure, SOCKET};
use anyhow::{Context as _, Result, anyhow, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::io::ErrorKind;
use std::path::Path;
use tokio::net::UnixStream;

/// `GET path`.
pub(crate) fn get<T: DeserializeOwned>(data_dir: &Path, path: &str) -> Result<T> {
    call(data_dir, "GET", path, Bytes::new())
}

/// `POST path` with a JSON body.
pub(crate) fn post<T: DeserializeOwned>(data_dir: &Path, path: &str, body: &impl Serialize) -> Result<T> {
    call(data_dir, "POST", path, serde_json::to_vec(body)?.into())
}

/// Why no server can be asked, and what to do.
fn unreachable(data_dir: &Path, socket: &Path, error: &std::io::Error) -> String {
    let kind = error.kind();
    if matches!(kind, ErrorKind::NotFound | ErrorKind::ConnectionRefused) {
        return format!(
            "no cloud runs on the data directory {}: start it (`pileus serve`), or name another directory (--data-dir or PILEUS_DATA_DIR)",
            data_dir.display()
        );
    }
    if kind == ErrorKind::PermissionDenied {
        return format!("{} is not accessible: run this command as the user that runs the cloud (a real one: root)", socket.display());
    }
    format!("the cloud of {} can't be reached: {error}", data_dir.display())
}

fn call<T: DeserializeOwned>(data_dir: &Path, method: &str, path: &str, body: Bytes) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = data_dir.join(SOCKET);
        let stream = UnixStream::connect(&socket).await.map_err(|error| anyhow!("{}", unreachable(data_dir, &socket, &error)))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = http::Request::builder().method(method).uri(path).header("host", "admin").body(Full::new(body))?;
        let response = sender.send_request(request).await.context("the cloud hung up")?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            match serde_json::from_slice::<Failure>(&bytes) {
                Ok(failure) => bail!("{}", failure.error),
                Err(_) => bail!("the cloud answered {status}"),
            }
        }
        serde_json::from_slice(&bytes).context("the cloud's answer isn't what this version understands")
    })
}
