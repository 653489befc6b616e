//! Where the service models come from.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An unpacked botocore.
pub(crate) struct Botocore {
    folder: PathBuf,
    version: String,
    /// Held so that a temporary installation lives as long as it is read.
    _installed: Option<tempfile::TempDir>,
}

impl Botocore {
    /// The botocore in `folder`; or Python's own, if it is of the pinned version; or the pinned version, installed into a temporary
    /// environment.
    pub(crate) fn find(folder: Option<&Path>, pinned: &str) -> Result<Self> {
        if let Some(folder) = folder {
            return Self::at(folder.to_owned(), None);
        }
        if let Ok(folder) = ask_python(Path::new("python3"))
            && let Ok(own) = Self::at(folder, None)
            && own.version == pinned
        {
            return Ok(own);
        }
        let place = tempfile::tempdir()?;
        run(Command::new("python3").args(["-m", "venv"]).arg(place.path()))?;
        let python = place.path().join("bin/python3");
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--no-deps", &format!("botocore=={pinned}")]))?;
        // Asked of the files, not by importing: botocore's own dependencies aren't installed.
        let lib = place.path().join("lib");
        let version = std::fs::read_dir(&lib)?.next().context("an environment without a library folder")??;
        Self::at(version.path().join("site-packages/botocore"), Some(place))
    }

    fn at(folder: PathBuf, installed: Option<tempfile::TempDir>) -> Result<Self> {
        let init = folder.join("__init__.py");
        let text = std::fs::read_to_string(&init).with_context(|| format!("{} is no botocore", folder.display()))?;
        let Some(version) = text.lines().find_map(|line| line.strip_prefix("__version__ = ")) else {
            bail!("{} names no version", init.display());
        };
        let version = version.trim_matches(['\'', '"']).to_owned();
        ensure!(folder.join("data").is_dir(), "{} has no data", folder.display());
        Ok(Self { folder, version, _installed: installed })
    }

    /// The folder with a folder for each service.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its version, such as `1.43.11`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

/// Unpacks a file.
pub(crate) fn gunzip(path: &Path) -> Result<Vec<u8>> {
    let out = Command::new("gzip").arg("-dc").arg(path).output().context("running gzip")?;
    ensure!(out.status.success(), "gzip can't read {}: {}", path.display(), String::from_utf8_lossy(&out.stderr));
    Ok(out.stdout)
}

fn ask_python(python: &Path) -> Result<PathBuf> {
    let out = Command::new(python).args(["-c", "import botocore; print(botocore.__path__[0])"]).output()?;
    ensure!(out.status.success(), "no botocore");
    Ok(PathBuf::from(String::from_utf8(out.stdout)?.trim()))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("running {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
