//! `pileus forward`: a port of this machine that leads to a port of a guest.

use super::guest;
use super::print;
use crate::cli::ForwardArgs;
use anyhow::{Context as _, Result, bail};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Most connections at a time of one forwarded port. Each has two threads.
const CONNECTIONS_MAX: usize = 256;
/// How long to wait before the next accept after one failed, for lack of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// `[ADDRESS:]LOCAL:PORT`, or `PORT` alone for the same port on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortForward {
    local: SocketAddr,
    port: u16,
}

impl FromStr for PortForward {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let usage = || format!("{text:?} is not PORT, LOCAL:PORT or ADDRESS:LOCAL:PORT (an IPv6 address in brackets)");
        let number = |word: &str| word.parse::<u16>().map_err(|_| usage());
        let (front, port) = text.rsplit_once(':').unwrap_or((text, text));
        let port = number(port)?;
        if port == 0 {
            return Err("a guest has no port 0".into());
        }
        let local = match front.rsplit_once(':') {
            None => SocketAddr::from((Ipv4Addr::LOCALHOST, number(front)?)),
            Some((address, local)) => {
                let address: IpAddr = address.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| usage())?;
                SocketAddr::from((address, number(local)?))
            }
        };
        Ok(Self { local, port })
    }
}

/// Listens on every local port, and serves connections until the process is ended.
///
/// # Errors
/// If the instance isn't there or isn't running, or a port is taken.
pub(crate) fn run(data_dir: &Path, args: &ForwardArgs) -> Result<()> {
    let door = guest::door(data_dir, &args.instance)?;
    anyhow::ensure!(matches!(door.state.as_str(), "running" | "pending"), "{} is {}", args.instance, door.state);
    let mut listeners = Vec::new();
    for forward in &args.ports {
        let listener = TcpListener::bind(forward.local).with_context(|| format!("can't listen on {}", forward.local))?;
        listeners.push((listener, forward.port));
    }
    for (listener, port) in &listeners {
        print(&format!("{} -> {} port {port}", listener.local_addr()?, args.instance))?;
    }
    std::thread::scope(|scope| {
        for (listener, port) in &listeners {
            scope.spawn(|| accept(listener, data_dir, &args.instance, *port));
        }
    });
    Ok(())
}

fn accept(listener: &TcpListener, data_dir: &Path, instance: &str, port: u16) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) => {
                report(&format!("accept: {error}"));
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::Relaxed);
            report(&format!("refused a connection: {CONNECTIONS_MAX} are open"));
            continue;
        }
        let (open, data_dir, instance) = (open.clone(), data_dir.to_owned(), instance.to_owned());
        std::thread::spawn(move || {
            if let Err(error) = relay(&client, &data_dir, &instance, port) {
                report(&format!("{error:#}"));
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Connects to the guest and copies both ways until both sides have ended.
fn relay(client: &TcpStream, data_dir: &Path, instance: &str, port: u16) -> Result<()> {
    // Asked for each connection: the guest may have been stopped or started meanwhile.
    let door = guest::door(data_dir, instance)?;
    let Some(namespace) = &door.namespace else { bail!("{instance} has no network yet: it is {}", door.state) };
    let server = guest::connect(namespace, door.private_ip, port)?.with_context(|| format!("{instance} port {port}"))?;
    std::thread::scope(|scope| {
        scope.spawn(|| copy(client, &server));
        copy(&server, client);
    });
    Ok(())
}

/// Copies until the end of `from`, and passes the end on. A failed side ends both.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    if std::io::copy(&mut from, &mut to).is_ok() {
        let _ = to.shutdown(Shutdown::Write);
    } else {
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}

fn report(text: &str) {
    let _ = writeln!(std::io::stderr(), "pileus: {text}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read as _;

    #[test]
    fn ports_are_parsed() {
        let parsed = |text: &str| text.parse::<PortForward>().map(|f| (f.local.to_string(), f.port));
        assert_eq!(parsed("8080:80"), Ok(("127.0.0.1:8080".into(), 80)));
        assert_eq!(parsed("80"), Ok(("127.0.0.1:80".into(), 80)));
        assert_eq!(parsed("0:80"), Ok(("127.0.0.1:0".into(), 80)));
        assert_eq!(parsed("0.0.0.0:8080:80"), Ok(("0.0.0.0:8080".into(), 80)));
        assert_eq!(parsed("[::1]:8080:80"), Ok(("[::1]:8080".into(), 80)));
        for wrong in ["", "x", "80:", ":80", "80:0", "65536", "host:80:80", "1:2:3:4"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn both_directions_end_when_their_writers_do() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pair = || (TcpStream::connect(listener.local_addr().unwrap()).unwrap(), listener.accept().unwrap().0);
        let ((mut user, client), (server, mut guest)) = (pair(), pair());
        std::thread::scope(|scope| {
            scope.spawn(|| copy(&client, &server));
            scope.spawn(|| copy(&server, &client));
            user.write_all(b"question").unwrap();
            user.shutdown(Shutdown::Write).unwrap();
            let mut text = String::new();
            guest.read_to_string(&mut text).unwrap();
            assert_eq!(text, "question");
            guest.write_all(b"answer").unwrap();
            guest.shutdown(Shutdown::Write).unwrap();
            text.clear();
            user.read_to_string(&mut text).unwrap();
            assert_eq!(text, "answer");
        });
    }
}
