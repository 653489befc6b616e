//! Whether VPCs can be made here, and whether guests get out.

use super::{Finding, good, missing, tools, weak};
use crate::config::Uplink;
use nix::sched::{CloneFlags, unshare};
use std::process::{Command, Stdio};

/// Makes what a VPC is made of - a namespace, a tap, a rule - on a thread of its own; with the thread, all of it is gone.
pub(super) fn namespace() -> Vec<Finding> {
    let tried = std::thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            let advice = "run as root, on a kernel with CONFIG_NET_NS; a container needs CAP_SYS_ADMIN (docker run --privileged)";
            return vec![missing("namespaces", error.desc(), advice)];
        }
        let mut findings = vec![good("namespaces", "a network can be made")];
        let advice = "modprobe tun; a container must be given the device (docker run --device /dev/net/tun)";
        findings.extend(step("/dev/net/tun", "a tap can be made", advice, "ip", &["tuntap", "add", "dev", "probe", "mode", "tap"]));
        let advice = "modprobe nf_tables: the kernel must have it (CONFIG_NF_TABLES)";
        findings.extend(step("packet rules", "a table can be made", advice, "nft", &["add", "table", "inet", "probe"]));
        findings
    });
    tried.join().unwrap_or_else(|_| vec![missing("namespaces", "the check itself failed", "report this as a fault of pileus")])
}

/// Runs a program in the calling thread's namespace. The last line that it says is why it failed. `None` if it isn't there, which is a finding
/// of its own.
fn step(check: &'static str, done: &str, advice: &str, program: &str, arguments: &[&str]) -> Option<Finding> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    if output.status.success() {
        return Some(good(check, done));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Some(missing(check, said.lines().last().unwrap_or("it can't be made"), advice))
}

pub(super) fn way_out(uplink: Uplink) -> Vec<Finding> {
    if uplink == Uplink::None {
        return vec![good("way out", "none, as configured (network.uplink)")];
    }
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let route = if has_default_route(&routes) {
        good("default route", "there is one")
    } else {
        weak("default route", "none: guests reach nothing outside the cloud", "ip route add default via GATEWAY")
    };
    let pasta = match tools::version("pasta", "--version") {
        Ok(line) => good("pasta", line),
        Err(why) => weak("pasta", format!("{why}: guests reach nothing outside the cloud"), "apt-get install passt"),
    };
    vec![route, pasta]
}

/// Reads `/proc/net/route` (proc(5)): the second column is the destination, the eighth its mask; both are zero for the default route.
fn has_default_route(table: &str) -> bool {
    table.lines().skip(1).any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns.get(1) == Some(&"00000000") && columns.get(7) == Some(&"00000000")
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{Good, Missing};
    use super::*;

    #[test]
    fn the_default_route_is_the_one_to_everywhere() {
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let link = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let half = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n";
        let default = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert!(!has_default_route(""));
        assert!(!has_default_route(&format!("{head}{link}{half}")));
        assert!(has_default_route(&format!("{head}{default}{link}")));
    }

    #[test]
    fn a_step_says_why_it_failed() {
        let found = |program: &str, arguments: &[&str]| step("x", "done", "do", program, arguments).map(|f| (f.verdict, f.found));
        assert_eq!(found("true", &[]), Some((Good, "done".into())));
        assert_eq!(found("sh", &["-c", "echo first >&2; echo last >&2; exit 1"]), Some((Missing, "last".into())));
        assert_eq!(found("pileus-no-such-program", &[]), None);
    }
}
