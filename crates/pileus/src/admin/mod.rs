//! The operator's socket: HTTP and JSON on `admin.sock` in the data directory, mode 0600. Whoever can open it is the operator.

pub(crate) mod accounts;
pub(crate) mod backup;
pub(crate) mod client;
mod images;
pub(crate) mod server;
pub(crate) mod storage;

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The socket's name in the data directory.
pub(crate) const SOCKET: &str = "admin.sock";

/// `GET /env`: what a client needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Env {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) region: String,
    pub(crate) endpoint: String,
}

/// `POST /accounts`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AccountWanted {
    pub(crate) name: String,
}

/// The answer to `POST /accounts`, and what `pileus account create` prints.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AccountCreated {
    pub(crate) account_id: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

/// `POST /accounts/show`, `POST /accounts/keys`: an account by its name or id.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AccountNamed {
    pub(crate) account: String,
}

/// `POST /accounts/close`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AccountClose {
    pub(crate) account: String,
    pub(crate) force: bool,
}

/// `POST /keys/delete`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeyNamed {
    pub(crate) access_key_id: String,
}

/// An account, as `GET /accounts` and `POST /accounts/show` tell of it. Never a secret.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AccountShown {
    pub(crate) account_id: String,
    pub(crate) name: String,
    /// `active` or `closed`.
    pub(crate) state: String,
    pub(crate) created: String,
    pub(crate) closed: Option<String>,
    pub(crate) access_keys: Vec<KeyShown>,
    /// Those that are not terminated, of all regions.
    pub(crate) instances: usize,
    pub(crate) volumes: usize,
    pub(crate) images: usize,
    pub(crate) buckets: usize,
}

/// An access key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyShown {
    pub(crate) access_key_id: String,
    pub(crate) created: String,
}

/// `POST /images`: a finished directory below `staging/`, to be registered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ImageWanted {
    /// The directory's name in `staging/`.
    pub(crate) staged: String,
    /// What it is to be.
    pub(crate) image: api::operator::ImageWanted,
}

/// The answer to `POST /images`: the image's id in the configured region, or in the first that was named.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ImageRegistered {
    pub(crate) image_id: String,
}

/// One of `GET /images`, and of what `pileus image list --json` prints.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ImageListed {
    pub(crate) image_id: String,
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) owner_id: String,
    /// `None` for the owners of a simulated cloud's public images, which are no accounts.
    pub(crate) owner_name: Option<String>,
    pub(crate) public: bool,
    /// The accounts that may launch it besides the owner.
    pub(crate) shared_with: Vec<String>,
    pub(crate) architecture: String,
    pub(crate) size_gib: u32,
    /// The directory in `images/`; several images may stand on one.
    pub(crate) files: String,
    /// What the root disk's file takes on the disk; 0 in a simulated cloud.
    pub(crate) file_bytes: u64,
    /// How many instances of it there are.
    pub(crate) instances: usize,
    pub(crate) created: String,
}

/// `POST /images/ID/deregister`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ImageDeregister {
    pub(crate) all_regions: bool,
}

/// `GET /instances/ID/door`: how the operator reaches a guest.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Door {
    pub(crate) state: String,
    /// Of the VPC. `None` while that is being raised: for its first guest, or since the cloud has just opened.
    pub(crate) namespace: Option<PathBuf>,
    pub(crate) private_ip: std::net::Ipv4Addr,
    pub(crate) login_user: String,
    /// The key pair that it was launched with.
    pub(crate) key_name: Option<String>,
}

/// `GET /status`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    /// `real`, or `simulated`: no guest runs then.
    pub(crate) mode: String,
    /// Which cloud it is: what its database and its data directory carry.
    #[serde(default)]
    pub(crate) cloud_id: String,
    pub(crate) endpoint: String,
    pub(crate) accelerator: String,
    pub(crate) accelerator_reason: String,
    pub(crate) way_out: String,
    pub(crate) accounts: usize,
    pub(crate) images: usize,
    /// By state.
    pub(crate) instances: std::collections::BTreeMap<String, usize>,
    pub(crate) vcpus_used: u64,
    pub(crate) vcpus: u64,
    pub(crate) memory_used_mib: u64,
    pub(crate) memory_mib: u64,
    /// What the host has, and what makes the numbers above of it.
    pub(crate) host_vcpus: u32,
    pub(crate) vcpu_overcommit: f64,
    pub(crate) host_memory_mib: u64,
    pub(crate) memory_reserve_mib: u64,
    pub(crate) memory_overcommit: f64,
    pub(crate) disk_free_bytes: u64,
    pub(crate) buckets: u64,
    /// Versions and delete markers.
    pub(crate) object_versions: u64,
    pub(crate) object_bytes: u64,
    /// When all objects were last read, and what was found.
    pub(crate) scrub: Option<String>,
    /// Where notifications of buckets go.
    pub(crate) destinations: Vec<storage::Destination>,
    /// Access logs that can't be delivered.
    pub(crate) access_logs_failing: Vec<storage::LogTrouble>,
    /// What needs the operator's eye: paused guests, starts that fail, destinations that are down.
    pub(crate) notes: Vec<String>,
}

/// `POST /backup`: where to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BackupWanted {
    /// An absolute path.
    pub(crate) dir: PathBuf,
}

/// An error of any call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) error: String,
}
