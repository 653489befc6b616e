//! The programs that the server and the commands run.

use super::{Finding, good, missing, weak};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// The first line that a program says of itself, or why it doesn't.
pub(super) type Version = Result<String, String>;

/// Runs a program to ask for its version: that it is there says less than that it runs.
pub(super) fn version(program: impl AsRef<OsStr>, argument: &str) -> Version {
    let output = match Command::new(program.as_ref()).arg(argument).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err("not found".into()),
        Err(error) => return Err(error.to_string()),
    };
    // ssh writes it to standard error.
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned();
    if output.status.success() { Ok(line) } else { Err(format!("ends with {}: {line}", output.status)) }
}

/// The number in QEMU's "QEMU emulator version 7.2.22 (Debian …)" and "qemu-img version 7.2.22 (Debian …)".
fn number(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    words.find(|word| *word == "version").and_then(|_| words.next())
}

pub(super) fn qemu(program: &Path, version: &Version) -> Finding {
    match version {
        Ok(line) => good("qemu", line),
        Err(why) => missing("qemu", format!("{}: {why}", program.display()), "apt-get install qemu-system-x86"),
    }
}

/// `qemu-img` makes the disks that QEMU opens, so both are to be of one release.
pub(super) fn qemu_img(qemu: &Version, qemu_img: &Version) -> Finding {
    let line = match qemu_img {
        Ok(line) => line,
        Err(why) => return missing("qemu-img", why, "apt-get install qemu-utils"),
    };
    match (qemu.as_ref().ok().and_then(|q| number(q)), number(line)) {
        (Some(qemu), Some(img)) if qemu != img => {
            let advice = "get both from one release: apt-get update && apt-get install --reinstall qemu-system-x86 qemu-utils";
            weak("qemu-img", format!("{img}, but QEMU is {qemu}"), advice)
        }
        _ => good("qemu-img", line),
    }
}

/// What the network and the commands need.
pub(super) fn others() -> Vec<Finding> {
    let needed = |check, argument, package| match version(check, argument) {
        Ok(line) => good(check, line),
        Err(why) => missing(check, why, format!("apt-get install {package}")),
    };
    let useful = |check, argument, package, what| match version(check, argument) {
        Ok(line) => good(check, line),
        Err(why) => weak(check, why, format!("apt-get install {package}; only {what} needs it")),
    };
    vec![
        needed("ip", "-V", "iproute2"),
        needed("nft", "--version", "nftables"),
        useful("ssh", "-V", "openssh-client", "`pileus ssh`"),
        useful("apt-get", "--version", "apt", "`pileus image build`"),
        useful("dpkg-deb", "--version", "dpkg", "`pileus image build`"),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{Good, Missing, Weak};
    use super::*;

    fn said(line: &str) -> Version {
        Ok(line.into())
    }

    #[test]
    fn versions_are_compared_by_their_number() {
        assert_eq!(number("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"), Some("7.2.22"));
        assert_eq!(number("qemu-img"), None);
        let qemu = said("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)");
        assert_eq!(qemu_img(&qemu, &said("qemu-img version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)")).verdict, Good);
        let other = qemu_img(&qemu, &said("qemu-img version 10.0.2"));
        assert_eq!((other.verdict, other.found.as_str()), (Weak, "10.0.2, but QEMU is 7.2.22"));
        // Without QEMU there is nothing to compare with; that finding stands elsewhere.
        assert_eq!(qemu_img(&Err("not found".into()), &said("qemu-img version 10.0.2")).verdict, Good);
        assert_eq!(qemu_img(&qemu, &Err("not found".into())).verdict, Missing);
    }

    #[test]
    fn a_program_must_run() {
        assert_eq!(version("pileus-no-such-program", "-V"), Err("not found".into()));
        assert_eq!(version("echo", "one\ntwo"), Ok("one".into()));
        assert_eq!(version("false", ""), Err("ends with exit status: 1: ".into()));
    }
}
