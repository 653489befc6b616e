//! `pileus ssh`: the operator's door into a guest.

use super::print;
use crate::admin::{Door, client};
use crate::cli::SshArgs;
use anyhow::{Context as _, Result, bail};
use model::image::login_user_check;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long to wait between attempts.
const PAUSE: Duration = Duration::from_millis(200);
const SSH_PORT: u16 = 22;

pub(crate) fn run(data_dir: &Path, args: &SshArgs) -> Result<()> {
    if args.proxy {
        return proxy(data_dir, &args.instance, Duration::from_secs(args.wait));
    }
    if let Some(user) = &args.user {
        login_user_check(user)?;
    }
    let door = door(data_dir, &args.instance)?;
    let words = ssh_words(data_dir, args, &door)?;
    if args.print {
        let quoted: Vec<String> = words.iter().map(|w| quote(w)).collect();
        return print(&quoted.join(" "));
    }
    let error = Command::new(&words[0]).args(&words[1..]).exec();
    Err(error).context("can't run ssh; Debian has it in openssh-client")
}

/// Asks the server where the guest is.
pub(crate) fn door(data_dir: &Path, instance: &str) -> Result<Door> {
    instance.parse::<model::ids::InstanceId>().map_err(|_| anyhow::anyhow!("{instance:?} is no instance id (i-…)"))?;
    client::get(data_dir, &format!("/instances/{instance}/door"))
}

fn ssh_words(data_dir: &Path, args: &SshArgs, door: &Door) -> Result<Vec<String>> {
    let data_dir = std::path::absolute(data_dir)?;
    let me = std::env::current_exe().context("can't find this program's own file")?;
    let proxy = format!(
        "{} --data-dir {} ssh --proxy --wait {} {}",
        quote(&me.display().to_string()),
        quote(&data_dir.display().to_string()),
        args.wait,
        args.instance
    );
    let mut words: Vec<String> = vec!["ssh".into()];
    // The address is the VPC's own and may stand in other VPCs too: the host key belongs to the instance's id. Its first sight is
    // trusted, since the connection never leaves this machine.
    for option in [
        format!("ProxyCommand={proxy}"),
        format!("HostKeyAlias={}", args.instance),
        format!("UserKnownHostsFile={}", data_dir.join("known_hosts").display()),
        "GlobalKnownHostsFile=/dev/null".into(),
        "StrictHostKeyChecking=accept-new".into(),
        "BatchMode=yes".into(),
        "LogLevel=ERROR".into(),
        // A guest that was reset says nothing more: the session ends within two minutes.
        "ServerAliveInterval=30".into(),
    ] {
        words.extend(["-o".into(), option]);
    }
    if let Some(identity) = &args.identity {
        let identity = std::path::absolute(identity)?;
        anyhow::ensure!(identity.exists(), "no such identity file: {}", identity.display());
        words.extend(["-o".into(), "IdentitiesOnly=yes".into(), "-i".into(), identity.display().to_string()]);
    }
    let user = args.user.as_deref().unwrap_or(&door.login_user);
    // The image may have been registered before its user was checked.
    login_user_check(user)?;
    words.extend(["-l".into(), user.into(), args.instance.clone()]);
    if !args.command.is_empty() {
        words.push("--".into());
        words.extend(args.command.iter().cloned());
    }
    Ok(words)
}

/// A word as a shell reads it back.
fn quote(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-=:,@%+".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Connects standard input and output with the guest's port 22, from the router of its VPC.
fn proxy(data_dir: &Path, instance: &str, wait: Duration) -> Result<()> {
    let until = Instant::now() + wait;
    let stream = loop {
        // Asked anew each time: the guest may have been stopped or started meanwhile.
        let door = door(data_dir, instance)?;
        match door.state.as_str() {
            "running" => {
                if let Some(stream) = knock(&door.namespace, door.private_ip)? {
                    break stream;
                }
            }
            "pending" => {}
            other => bail!("{instance} is {other}"),
        }
        if Instant::now() >= until {
            bail!("{instance} doesn't answer on port {SSH_PORT}; `aws ec2 get-console-output --latest` shows what it does");
        }
        std::thread::sleep(PAUSE);
    };
    splice(stream)
}

/// One attempt; `None` if nobody answers yet. Only the connecting thread enters the namespace.
fn knock(namespace: &Path, ip: Ipv4Addr) -> Result<Option<TcpStream>> {
    let file = File::open(namespace).with_context(|| format!("can't open the VPC's namespace {}", namespace.display()))?;
    std::thread::spawn(move || {
        nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).context("can't enter the VPC's namespace; are you root?")?;
        Ok(TcpStream::connect_timeout(&SocketAddr::from((ip, SSH_PORT)), CONNECT).ok())
    })
    .join()
    .map_err(|_| anyhow::anyhow!("the connecting thread panicked"))?
}

/// Copies both ways until both ends are done.
fn splice(stream: TcpStream) -> Result<()> {
    let mut up = stream.try_clone()?;
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut up);
        let _ = up.shutdown(std::net::Shutdown::Write);
    });
    let mut down = stream;
    let mut out = std::io::stdout().lock();
    // Unbuffered: ssh waits for each packet.
    let mut buffer = [0u8; 65536];
    loop {
        use std::io::{Read as _, Write as _};
        let n = down.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..n])?;
        out.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quote("/var/lib/pileus"), "/var/lib/pileus");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("a b"), "'a b'");
    }
}
