//! DNS for a VPC's guests: the names of its own guests are answered here, all others by the host's own name servers.

use super::VpcState;
use crate::directory::Directory;
use anyhow::{Context as _, Result};
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use model::network::VpcWanted;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;
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
/// How long a TCP connection may live.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// One VPC's server.
pub(super) struct Server {
    pub(super) state: Arc<VpcState>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) forwards: Semaphore,
}

impl Server {
    pub(super) fn new(state: Arc<VpcState>, directory: Arc<dyn Directory>) -> Arc<Self> {
        Arc::new(Self { state, directory, forwards: Semaphore::new(FORWARDS_MAX) })
    }

    async fn answer(&self, question: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let question_message = Message::from_vec(question).ok()?;
        if question_message.metadata.message_type != MessageType::Query {
            return None;
        }
        if let Some(reply) = local(&self.state.wanted(), &*self.directory, &question_message) {
            return reply.to_vec().ok();
        }
        let forwarded = match self.forwards.try_acquire() {
            Ok(_room) => forward(question, tcp).await,
            Err(_) => None,
        };
        forwarded.or_else(|| {
            // Nobody to ask: at once, since a guest that waits for names boots slowly.
            let mut reply = reply_to(&question_message);
            reply.metadata.response_code = ResponseCode::ServFail;
            reply.to_vec().ok()
        })
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

/// The answer to a question about the VPC's own names and addresses; `None` if it is about others.
fn local(wanted: &VpcWanted, directory: &dyn Directory, question: &Message) -> Option<Message> {
    let [query] = question.queries.as_slice() else {
        let mut reply = reply_to(question);
        reply.metadata.response_code = ResponseCode::FormErr;
        return Some(reply);
    };
    let name = query.name().to_ascii().to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    let mut reply = reply_to(question);
    reply.metadata.authoritative = true;
    if let Some(ip) = reverse(name) {
        if !wanted.cidr.contains(&ip) {
            return None;
        }
        match directory.guest(&wanted.id, ip) {
            Some(guest) if query.query_type() == RecordType::PTR => {
                let target = Name::from_str(&format!("{}.", guest.private_dns)).ok()?;
                reply.add_answer(Record::from_rdata(query.name().clone(), TTL_SECONDS, RData::PTR(PTR(target))));
            }
            Some(_) => {}
            None => reply.metadata.response_code = ResponseCode::NXDomain,
        }
        return Some(reply);
    }
    let domain = wanted.region.internal_domain();
    let label = name.strip_suffix(&domain)?.strip_suffix('.')?;
    let ip = match label {
        "instance-data" => Some(super::links::METADATA),
        other => model::names::address_of(other).filter(|ip| directory.guest(&wanted.id, *ip).is_some()),
    };
    match ip {
        Some(ip) if query.query_type() == RecordType::A => {
            reply.add_answer(Record::from_rdata(query.name().clone(), TTL_SECONDS, RData::A(A(ip))));
        }
        Some(_) => {}
        None => reply.metadata.response_code = ResponseCode::NXDomain,
    }
    Some(reply)
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
pub(super) async fn serve_udp(server: Arc<Server>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut buffer = [0; QUESTION_BYTES_MAX];
    // A question that is not forwarded is answered at once; the others are bounded by `forwards`.
    let mut open = tokio::task::JoinSet::new();
    loop {
        let Ok((n, from)) = socket.recv_from(&mut buffer).await else { continue };
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
pub(super) async fn serve_tcp(server: Arc<Server>, listener: TcpListener) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
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
