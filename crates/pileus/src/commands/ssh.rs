//! `pileus ssh`: the operator's door into a guest.

use super::guest::{self, door};
use super::print;
use crate::admin::Door;
use crate::cli::SshArgs;
use anyhow::{Context as _, Result, bail};
use model::image::login_user_check;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// How long to wait between attempts.
const PAUSE: Duration = Duration::from_millis(200);
const SSH_PORT: u16 = 22;
/// What stands before a command that is to end with this one.
pub(crate) const TIED: &str = "__ssh";
/// How much of ssh's own messages is shown, in bytes.
const LOG_BYTES_MAX: u64 = 64 << 10;
/// What ssh ends with if it, and not the command in the guest, failed.
const SSH_FAILED: i32 = 255;
/// Added to the signal's number by shells when a command was ended by one.
const SIGNAL_BASE: i32 = 128;
/// ssh's words when no key was taken. `LogLevel=ERROR` keeps them.
const KEY_REFUSED: &str = "Permission denied (";

pub(crate) fn run(data_dir: &Path, args: &SshArgs) -> Result<ExitCode> {
    if args.proxy {
        return proxy(data_dir, &args.instance, Duration::from_secs(args.wait)).map(|()| ExitCode::SUCCESS);
    }
    if let Some(user) = &args.user {
        login_user_check(user)?;
    }
    let door = door(data_dir, &args.instance)?;
    let words = ssh_words(data_dir, args, &door)?;
    if args.print {
        let quoted: Vec<String> = words.iter().map(|w| quote(w)).collect();
        return print(&quoted.join(" ")).map(|()| ExitCode::SUCCESS);
    }
    anyhow::ensure!(matches!(door.state.as_str(), "running" | "pending"), "{} is {}", args.instance, door.state);
    log_in(args, &door, &words)
}

/// Runs ssh, and gives what it ends with. Its own messages are kept until then: some need explaining, some say nothing.
fn log_in(args: &SshArgs, door: &Door, words: &[String]) -> Result<ExitCode> {
    let log = File::from(memfd_create("ssh", MFdFlags::MFD_CLOEXEC).context("can't keep ssh's messages")?);
    // Opened anew by ssh, which closes what it inherits.
    let path = format!("/proc/{}/fd/{}", std::process::id(), log.as_raw_fd());
    let me = std::env::current_exe().context("can't find this program's own file")?;
    let mut command = Command::new(me);
    command.arg(TIED).arg(std::process::id().to_string()).arg(&words[0]).args(["-E", &path]).args(&words[1..]);
    let status = command.status().context("can't run ssh")?;
    let mut said = String::new();
    let mut bytes = Vec::new();
    (&log).rewind()?;
    log.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    for line in text.lines().filter(|line| !is_echo_of_the_proxys(line)) {
        said.push_str(line);
        said.push('\n');
    }
    if status.code() == Some(SSH_FAILED) && text.contains(KEY_REFUSED) {
        said.push_str(&format!("pileus: {}\n", key_advice(&args.instance, door.key_name.as_deref(), args.identity.as_deref())));
    }
    let _ = std::io::stderr().write_all(said.as_bytes());
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNAL_BASE + signal)).unwrap_or(SSH_FAILED);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// What ssh says when its ProxyCommand ends, which has said why already.
fn is_echo_of_the_proxys(line: &str) -> bool {
    line.starts_with("kex_exchange_identification: Connection closed") || line.starts_with("Connection closed by UNKNOWN port")
}

/// What to do when the guest takes none of the keys.
fn key_advice(instance: &str, key_name: Option<&str>, identity: Option<&Path>) -> String {
    match (key_name, identity) {
        (Some(name), None) => format!("{instance} was launched with the key pair '{name}': say --identity FILE, with its private key"),
        (Some(name), Some(file)) => format!(
            "{} is not what {instance} lets in as this user: it was launched with the key pair '{name}'; say --identity FILE, with its private key",
            file.display()
        ),
        (None, _) => format!(
            "{instance} was launched without a key pair: nobody's key was put into it. Say --identity FILE with a key that its image or user \
             data lets in, or launch it anew with a key pair (aws ec2 run-instances --key-name NAME)"
        ),
    }
}

/// The main function of `pileus __ssh PARENT ssh …`: becomes ssh, and ends when `pileus ssh` does, however that ends.
pub(crate) fn tied_main(words: &[String]) -> ExitCode {
    let [parent, program, arguments @ ..] = words else { return ExitCode::FAILURE };
    let tied = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM);
    // It may have ended before that.
    if tied.is_err() || nix::unistd::getppid().to_string() != *parent {
        return ExitCode::FAILURE;
    }
    let error = Command::new(program).args(arguments).exec();
    let _ = writeln!(std::io::stderr(), "pileus: can't run ssh; Debian has it in openssh-client: {error}");
    ExitCode::FAILURE
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
    for forward in &args.local_forward {
        words.extend(["-L".into(), forward.clone()]);
    }
    if !args.local_forward.is_empty() {
        // A port that is taken ends the command, instead of a session that forwards nothing.
        words.extend(["-o".into(), "ExitOnForwardFailure=yes".into()]);
    }
    if args.no_command {
        words.push("-N".into());
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
                if let Some(namespace) = &door.namespace
                    && let Ok(stream) = guest::connect(namespace, door.private_ip, SSH_PORT)?
                {
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
    use super::*;

    #[test]
    fn a_refused_key_is_explained_and_the_proxys_end_is_not_told_twice() {
        let (id, file) = ("i-1", Some(Path::new("/k.pem")));
        for (advice, words) in [
            (key_advice(id, Some("k"), None), vec!["i-1 was launched with the key pair 'k'", "--identity FILE"]),
            (key_advice(id, Some("k"), file), vec!["/k.pem is not", "key pair 'k'", "--identity FILE"]),
            (key_advice(id, None, file), vec!["without a key pair", "--identity FILE"]),
        ] {
            assert!(words.iter().all(|word| advice.contains(word)), "{advice}");
        }
        assert!(is_echo_of_the_proxys("kex_exchange_identification: Connection closed by remote host"));
        assert!(is_echo_of_the_proxys("Connection closed by UNKNOWN port 65535"));
        assert!(!is_echo_of_the_proxys("root@i-1: Permission denied (publickey)."));
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quote("/var/lib/pileus"), "/var/lib/pileus");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("a b"), "'a b'");
    }
}
