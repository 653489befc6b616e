//! The packages' files, unpacked side by side: programs with their libraries, and the kernel's modules.

use super::elf;
use crate::Result;
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where Debian's packages put shared libraries.
const LIBRARY_DIRECTORIES: [&str; 3] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "lib64"];
/// How many symbolic links are followed for one file.
const LINKS_MAX: usize = 8;

/// The directory into which all packages were unpacked. Nothing in it is ever looked up on the host: links stay inside.
#[derive(Debug)]
pub(super) struct Unpacked {
    root: PathBuf,
    release: String,
    /// The path of each kernel module below the release's directory, by its name.
    modules: BTreeMap<String, String>,
    builtin: String,
}

/// A kernel module, ready to be put somewhere.
#[derive(Debug)]
pub(super) struct Module {
    /// Its path below `/lib/modules/<release>`.
    pub(super) path: String,
    pub(super) content: Vec<u8>,
    /// The paths of those that must be loaded before it, in the order in which to load them.
    pub(super) before: Vec<String>,
}

impl Unpacked {
    /// Looks at what was unpacked.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let kernel = std::fs::read_dir(root.join("boot"))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .find_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned))
            .context("no kernel among the packages")?;
        let mut unpacked = Self { root: root.to_owned(), release: kernel, modules: BTreeMap::new(), builtin: String::new() };
        let directory = unpacked.module_directory();
        unpacked.builtin = std::fs::read_to_string(directory.join("modules.builtin"))?;
        let mut pending = vec![directory.join("kernel")];
        while let Some(next) = pending.pop() {
            for entry in std::fs::read_dir(&next)? {
                let path = entry?.path();
                if path.is_dir() {
                    pending.push(path);
                } else if let Some(stem) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
                    let below = path.strip_prefix(&directory)?.to_string_lossy().into_owned();
                    unpacked.modules.insert(elf::module_name(stem), below);
                }
            }
        }
        Ok(unpacked)
    }

    /// The kernel's release, as `uname -r` prints it.
    pub(super) fn release(&self) -> &str {
        &self.release
    }

    /// The path of a file, links followed.
    pub(super) fn path(&self, inside: &str) -> Result<PathBuf> {
        let mut path = self.root.join(inside);
        for _ in 0..LINKS_MAX {
            let Ok(link) = std::fs::read_link(&path) else {
                return Ok(path);
            };
            path = match link.strip_prefix("/") {
                Ok(absolute) => self.root.join(absolute),
                Err(_) => path.with_file_name(link),
            };
        }
        bail!("{inside}: too many symbolic links")
    }

    /// A file's content.
    pub(super) fn read(&self, inside: &str) -> Result<Vec<u8>> {
        std::fs::read(self.path(inside)?).with_context(|| format!("{inside} from the packages"))
    }

    /// The kernel.
    pub(super) fn kernel(&self) -> Result<Vec<u8>> {
        self.read(&format!("boot/vmlinuz-{}", self.release))
    }

    /// The shared libraries that these programs need, and those need, by name; with the loader's among them.
    pub(super) fn libraries(&self, programs: &[&str]) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut pending = Vec::new();
        for program in programs {
            let needs = elf::needs(&self.read(program)?).with_context(|| (*program).to_owned())?;
            pending.extend(needs.libraries);
            pending.extend(needs.loader.iter().filter_map(|path| path.rsplit('/').next()).map(str::to_owned));
        }
        while let Some(name) = pending.pop() {
            if found.contains_key(&name) {
                continue;
            }
            let content = LIBRARY_DIRECTORIES
                .iter()
                .find_map(|directory| self.read(&format!("{directory}/{name}")).ok())
                .with_context(|| format!("no library {name} among the packages"))?;
            pending.extend(elf::needs(&content).with_context(|| name.clone())?.libraries);
            found.insert(name, content);
        }
        Ok(found)
    }

    /// These modules and all that they need, each after those it needs. What is built into the kernel is left out.
    pub(super) fn modules(&self, names: &[&str]) -> Result<Vec<Module>> {
        let mut done: Vec<(String, Module)> = Vec::new();
        for name in names {
            self.module(&elf::module_name(name), &mut Vec::new(), &mut done)?;
        }
        Ok(done.into_iter().map(|(_, module)| module).collect())
    }

    /// Adds a module to those that are done, unless it is there, and returns all the paths that must be loaded for it, its own last.
    fn module(&self, name: &str, above: &mut Vec<String>, done: &mut Vec<(String, Module)>) -> Result<Vec<String>> {
        if let Some((_, module)) = done.iter().find(|(other, _)| other == name) {
            return Ok(module.before.iter().chain([&module.path]).cloned().collect());
        }
        let Some(path) = self.modules.get(name) else {
            let is_builtin = |line: &str| line.rsplit('/').next().is_some_and(|file| elf::module_name(file) == format!("{name}.ko"));
            return if self.builtin.lines().any(is_builtin) { Ok(Vec::new()) } else { bail!("the kernel has no module {name}") };
        };
        if above.iter().any(|other| other == name) {
            bail!("the module {name} needs itself");
        }
        above.push(name.to_owned());
        let content = std::fs::read(self.module_directory().join(path)).with_context(|| path.clone())?;
        let mut before: Vec<String> = Vec::new();
        for needed in elf::module_needs(&content).with_context(|| path.clone())? {
            for other in self.module(&needed, above, done)? {
                if !before.contains(&other) {
                    before.push(other);
                }
            }
        }
        above.pop();
        let all = before.iter().chain([path]).cloned().collect();
        done.push((name.to_owned(), Module { path: path.clone(), content, before }));
        Ok(all)
    }

    fn module_directory(&self) -> PathBuf {
        // Debian 12 packages have /lib apart from /usr/lib.
        ["lib/modules", "usr/lib/modules"]
            .iter()
            .map(|directory| self.root.join(directory).join(&self.release))
            .find(|path| path.is_dir())
            .unwrap_or_else(|| self.root.join("lib/modules").join(&self.release))
    }

    /// A program from the packages, to be run on this host with its own loader and libraries.
    pub(super) fn command(&self, program: &str) -> Result<std::process::Command> {
        let loader = LIBRARY_DIRECTORIES
            .iter()
            .filter_map(|directory| self.path(&format!("{directory}/ld-linux-x86-64.so.2")).ok())
            .find(|path| path.is_file())
            .context("no loader among the packages")?;
        let libraries: Vec<String> = LIBRARY_DIRECTORIES.iter().map(|directory| self.root.join(directory).display().to_string()).collect();
        let mut command = std::process::Command::new(loader);
        command.arg("--library-path").arg(libraries.join(":")).arg(self.path(program)?);
        Ok(command)
    }
}
