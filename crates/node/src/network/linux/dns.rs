//! DNS for a VPC's guests: the names of its own guests are answered here, all others by the host's own name servers.

use super::vpc::{Seen, View};
use crate::directory::Directory;
use anyhow::{Context as _, Result};
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{Name, RData, Record};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// How long an answer of ours may be kept, in seconds.
const TTL_SECONDS: u32 = 60;
/// Longest question that is read over UDP.
const QUESTION_BYTES_MAX: usize = 1232;
/// Longest answer without EDNS (RFC 1035).
const PLAIN_ANSWER_BYTES_MAX: usize = 512;
/// Questions of one VPC that may wait for another server at one time.
const FORWARDS_MAX: usize = 128;
/// How long another server may take.
const FORWARD_TIME: Duration = Duration::from_secs(3);
/// How many names in a row must have got no answer before the name servers, and not the names, are taken for silent.
const SILENT_NAMES: usize = 3;
/// How long name servers that were silent are not asked again.
const SILENCE_TIME: Duration = Duration::from_secs(5);
/// How long to wait after a socket failed.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);
/// How long a TCP connection may live.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// One VPC's server.
pub(super) struct Server {
    view: Arc<View>,
    directory: Arc<dyn Directory>,
    forwards: Semaphore,
    silence: Mutex<Silence>,
}

/// What is known of the host's name servers' silence.
#[derive(Default)]
struct Silence {
    /// The questions that got no answer since the last that did, each once.
    unanswered: Vec<Vec<u8>>,
    /// Until when nobody is asked.
    until: Option<Instant>,
}

impl Silence {
    fn is_now(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Takes note of a question, by what follows its id, and of whether it was answered.
    fn note(&mut self, question: &[u8], answered: bool) {
        if answered {
            *self = Self::default();
            return;
        }
        if !self.unanswered.iter().any(|other| other == question) {
            self.unanswered.push(question.to_vec());
        }
        if self.unanswered.len() >= SILENT_NAMES {
            *self = Self { unanswered: Vec::new(), until: Some(Instant::now() + SILENCE_TIME) };
        }
    }
}

impl Server {
    pub(super) fn new(view: Arc<View>, directory: Arc<dyn Directory>) -> Arc<Self> {
        Arc::new(Self { view, directory, forwards: Semaphore::new(FORWARDS_MAX), silence: Mutex::new(Silence::default()) })
    }

    async fn answer(&self, bytes: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let question = Message::from_vec(bytes).ok()?;
        if question.metadata.message_type != MessageType::Query {
            return None;
        }
        if let Some(reply) = local(&self.view.seen(), &*self.directory, &question) {
            return reply.to_vec().ok();
        }
        if let Some(answer) = self.forward(bytes, tcp).await {
            return Some(answer);
        }
        // Nobody to ask: at once, since a guest that waits for names boots slowly.
        let mut reply = reply_to(&question);
        reply.metadata.response_code = ResponseCode::ServFail;
        reply.to_vec().ok()
    }

    async fn forward(&self, question: &[u8], tcp: bool) -> Option<Vec<u8>> {
        if self.silence.lock().unwrap_or_else(PoisonError::into_inner).is_now() {
            return None;
        }
        let _room = self.forwards.try_acquire().ok()?;
        let answer = forward(question, tcp).await;
        self.silence.lock().unwrap_or_else(PoisonError::into_inner).note(question.get(2..).unwrap_or_default(), answer.is_some());
        answer
    }
}

fn reply_to(question: &Message) -> Message {
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    for query in &question.queries {
        reply.add_query(query.clone());
    }
    reply
}

/// The answer to a question about the VPC's own names and addresses, or about ones that nobody outside can know; `None` if it is about
/// others.
fn local(seen: &Seen, directory: &dyn Directory, question: &Message) -> Option<Message> {
    let mut reply = reply_to(question);
    let [query] = question.queries.as_slice() else {
        reply.metadata.response_code = ResponseCode::FormErr;
        return Some(reply);
    };
    let name = query.name().to_ascii().to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    let guest = |ip: Ipv4Addr| directory.guest(&seen.vpc.id, ip);
    let found = if let Some(ip) = reverse(name) {
        if !seen.vpc.cidr.contains(&ip) && !is_private(ip) {
            return None;
        }
        guest(ip).and_then(|guest| Some(RData::PTR(PTR(Name::from_str(&format!("{}.", guest.private_dns)).ok()?))))
    } else if let Some(label) = label_of(name, &seen.vpc.region.internal_domain()) {
        let ip = if label == "instance-data" { Some(super::links::METADATA) } else { model::scope::address_of_name(label) };
        ip.filter(|ip| *ip == super::links::METADATA || guest(*ip).is_some()).map(|ip| RData::A(A(ip)))
    } else if let Some(ip) = public_address(seen, name) {
        // Inside the VPC a public name means the private address ("DNS attributes for your VPC").
        let own = seen.vpc.interfaces.values().find(|i| i.public_ip == Some(ip));
        Some(RData::A(A(own.map_or(ip, |i| i.private_ip))))
    } else if !name.is_empty() && (!name.contains('.') || INTERNAL.iter().any(|end| name.ends_with(end))) {
        None
    } else {
        return None;
    };
    reply.metadata.authoritative = true;
    match found {
        Some(data) if query.query_type() == data.record_type() => {
            reply.add_answer(Record::from_rdata(query.name().clone(), TTL_SECONDS, data));
        }
        Some(_) => {}
        None => reply.metadata.response_code = ResponseCode::NXDomain,
    }
    Some(reply)
}

/// Ends of names that mean something to whoever is inside only (RFC 6761, RFC 6762, and AWS's own).
const INTERNAL: [&str; 6] = [".internal", ".local", ".localdomain", ".localhost", ".invalid", ".test"];

/// What stands before a domain, if it is one label.
fn label_of<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    name.strip_suffix(domain)?.strip_suffix('.').filter(|label| !label.contains('.'))
}

/// The address of `ec2-198-18-0-1.compute-1.amazonaws.com`, if it is one of this cloud's public addresses: what AWS says of it would be
/// about another's.
fn public_address(seen: &Seen, name: &str) -> Option<Ipv4Addr> {
    let label = label_of(name, &seen.vpc.region.public_domain())?;
    let ip: Ipv4Addr = label.strip_prefix("ec2-")?.replace('-', ".").parse().ok()?;
    seen.public_pool.contains(&ip).then_some(ip)
}

/// Whether an address means something inside one network only (RFC 6303).
fn is_private(ip: Ipv4Addr) -> bool {
    ip.is_private() || ip.is_link_local() || ip.is_loopback() || ip.is_unspecified() || ip.is_broadcast()
}

/// The address of `4.3.2.1.in-addr.arpa`.
fn reverse(name: &str) -> Option<Ipv4Addr> {
    let octets: Vec<u8> = name.strip_suffix(".in-addr.arpa")?.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [d, c, b, a] = octets.try_into().ok()?;
    Some(Ipv4Addr::new(a, b, c, d))
}

/// Asks the host's name servers, from the host's own network.
async fn forward(question: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let text = tokio::fs::read_to_string("/etc/resolv.conf").await.ok()?;
    let servers = text.lines().filter_map(|l| l.trim().strip_prefix("nameserver")).filter_map(|l| l.trim().parse::<IpAddr>().ok());
    for server in servers {
        let server = SocketAddr::new(server, 53);
        let asked = async { if tcp { ask_tcp(server, question).await } else { ask_udp(server, question).await } };
        match tokio::time::timeout(FORWARD_TIME, asked).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%server, error = format!("{error:#}"), "a name server was not reached"),
            Err(_) => tracing::debug!(%server, "a name server was silent"),
        }
    }
    None
}

async fn ask_udp(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 65_535];
    let n = socket.recv(&mut buffer).await?;
    buffer.truncate(n);
    anyhow::ensure!(buffer.get(..2) == question.get(..2), "an answer to another question");
    Ok(buffer)
}

async fn ask_tcp(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_framed(&mut stream, question).await?;
    read_framed(&mut stream).await
}

async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> Result<()> {
    let length = u16::try_from(message.len()).context("too long for TCP")?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
    Ok(())
}

async fn read_framed(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    Ok(buffer)
}

/// Answers over UDP until it is dropped.
pub(super) async fn serve_udp(server: &Arc<Server>, socket: &Arc<UdpSocket>) {
    let mut buffer = [0; QUESTION_BYTES_MAX];
    // A question that is not forwarded is answered at once; the others are bounded by `forwards`.
    let mut open = tokio::task::JoinSet::new();
    loop {
        let Ok((n, from)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(FAILURE_PAUSE).await;
            continue;
        };
        while open.try_join_next().is_some() {}
        if open.len() >= FORWARDS_MAX * 2 {
            continue;
        }
        let (question, server, socket) = (buffer[..n].to_vec(), server.clone(), socket.clone());
        open.spawn(async move {
            let Some(mut answer) = server.answer(&question, false).await else { return };
            let edns = Message::from_vec(&question).ok().and_then(|m| m.edns.map(|e| usize::from(e.max_payload())));
            if answer.len() > edns.unwrap_or(PLAIN_ANSWER_BYTES_MAX).max(PLAIN_ANSWER_BYTES_MAX) {
                let Some(short) = Message::from_vec(&answer).ok().and_then(|m| m.truncate().to_vec().ok()) else { return };
                answer = short;
            }
            let _ = socket.send_to(&answer, from).await;
        });
    }
}

/// Answers over TCP until it is dropped.
pub(super) async fn serve_tcp(server: &Arc<Server>, listener: &TcpListener) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(FAILURE_PAUSE).await;
            continue;
        };
        while open.try_join_next().is_some() {}
        if open.len() >= FORWARDS_MAX {
            continue;
        }
        let server = server.clone();
        open.spawn(async move {
            let _ = tokio::time::timeout(CONNECTION_TIME, async {
                while let Ok(question) = read_framed(&mut stream).await {
                    let Some(answer) = server.answer(&question, true).await else { return };
                    if write_framed(&mut stream, &answer).await.is_err() {
                        return;
                    }
                }
            })
            .await;
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::network::contract;
    use hickory_proto::op::Query;
    use hickory_proto::rr::RecordType;
    use model::ids::VpcId;
    use model::metadata::Guest;

    struct Nobody;

    impl Directory for Nobody {
        fn guest(&self, _vpc: &VpcId, _private_ip: Ipv4Addr) -> Option<Arc<Guest>> {
            None
        }
    }

    /// The answer's code and addresses; `None` if others are asked.
    fn asked(name: &str, kind: RecordType) -> Option<(ResponseCode, Vec<RData>)> {
        let mut vpc = contract::vpc(1);
        contract::join(&mut vpc, 1, "172.31.0.10", &[contract::group_id(1)]);
        vpc.interfaces.get_mut(&contract::interface_id(1)).unwrap().public_ip = Some([198, 18, 0, 7].into());
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_str(name).unwrap(), kind));
        let reply = local(&Seen::of(vpc), &Nobody, &question)?;
        Some((reply.metadata.response_code, reply.answers.into_iter().map(|record| record.data).collect()))
    }

    #[test]
    fn one_name_without_an_answer_silences_nobody() {
        let mut silence = Silence::default();
        for _ in 0..10 {
            silence.note(b"slow", false);
        }
        silence.note(b"other", false);
        assert!(!silence.is_now());
        silence.note(b"third", false);
        assert!(silence.is_now());
        silence.note(b"fast", true);
        assert!(!silence.is_now());
    }

    #[test]
    fn what_only_the_vpc_can_know_is_answered_at_once() {
        let a = |ip: [u8; 4]| vec![RData::A(A(ip.into()))];
        assert_eq!(asked("Instance-Data.ec2.internal.", RecordType::A), Some((ResponseCode::NoError, a([169, 254, 169, 254]))));
        assert_eq!(asked("instance-data.ec2.internal.", RecordType::AAAA), Some((ResponseCode::NoError, vec![])));
        assert_eq!(asked("ec2-198-18-0-7.compute-1.amazonaws.com.", RecordType::A), Some((ResponseCode::NoError, a([172, 31, 0, 10]))));
        assert_eq!(asked("ec2-198-18-0-8.compute-1.amazonaws.com.", RecordType::A), Some((ResponseCode::NoError, a([198, 18, 0, 8]))));
        for name in [
            "ip-172-31-0-99.ec2.internal.",
            "x.internal.",
            "a.b.ec2.internal.",
            "host.",
            "9.0.31.172.in-addr.arpa.",
            "1.0.0.10.in-addr.arpa.",
        ] {
            assert_eq!(asked(name, RecordType::A), Some((ResponseCode::NXDomain, vec![])), "{name}");
        }
        for name in ["example.com.", "ec2-3-4-5-6.compute-1.amazonaws.com.", "8.8.8.8.in-addr.arpa.", "."] {
            assert_eq!(asked(name, RecordType::A), None, "{name}");
        }
    }
}
