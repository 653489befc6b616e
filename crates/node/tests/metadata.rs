//! The metadata service on a loopback listener: the protocol by hand, and botocore as a real client.
#![allow(clippy::unwrap_used, missing_docs)]

use model::ids::VpcId;
use model::metadata::{Guest, GuestInterface, MetadataOptions};
use model::network_interface::Mac;
use model::tag::Tags;
use model::time::{Clock, Timestamp};
use node::directory::Directory;
use node::metadata::{Tokens, serve};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;

const VPC: &str = "vpc-0123456789abcdef0";
const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp(now.as_millis().try_into().unwrap())
    }
}

struct Two(Mutex<MetadataOptions>);

impl Directory for Two {
    fn guest(&self, vpc: &VpcId, private_ip: Ipv4Addr) -> Option<Arc<Guest>> {
        assert_eq!(vpc.as_str(), VPC);
        let id = match private_ip {
            ONE => "i-00000000000000001",
            OTHER => "i-00000000000000002",
            _ => return None,
        };
        Some(Arc::new(guest(id, private_ip, self.0.lock().unwrap().clone())))
    }
}

fn guest(id: &str, private_ip: Ipv4Addr, options: MetadataOptions) -> Guest {
    Guest {
        account: "123456789012".parse().unwrap(),
        region: "us-west-2".parse().unwrap(),
        zone: "us-west-2b".into(),
        instance_id: id.parse().unwrap(),
        instance_type: "t3.nano".into(),
        image_id: "ami-0123456789abcdef0".parse().unwrap(),
        architecture: "x86_64".into(),
        reservation_id: "r-0123456789abcdef0".parse().unwrap(),
        launch_index: 0,
        launch_time: Timestamp(1_795_493_259_042),
        key: None,
        user_data: Some(vec![0x1f, 0x8b, 0, 0xff]),
        root_device_name: "/dev/xvda".into(),
        block_devices: vec![],
        private_dns: "ip-127-0-0-1.us-west-2.compute.internal".into(),
        public_dns: None,
        interfaces: vec![GuestInterface {
            id: "eni-0123456789abcdef0".parse().unwrap(),
            device_index: 0,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            private_ip,
            public_ip: None,
            subnet_id: "subnet-0123456789abcdef0".parse().unwrap(),
            subnet_cidr: "127.0.0.0/20".parse().unwrap(),
            vpc_id: VPC.parse().unwrap(),
            vpc_cidr: "127.0.0.0/16".parse().unwrap(),
            groups: vec![],
        }],
        tags: Tags([("a b".to_owned(), "v".to_owned())].into()),
        options,
    }
}

struct Server {
    address: SocketAddr,
    directory: Arc<Two>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let options = MetadataOptions { enabled: true, tokens_required: false, hop_limit: 1, tags: true, ipv6: false };
        let directory = Arc::new(Two(Mutex::new(options)));
        let listener = TcpListener::bind((ONE, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let tokens = Tokens::new([3; 32], Arc::new(System));
        let until = async { stopped.await.unwrap() };
        let task = tokio::spawn({
            let directory = Arc::clone(&directory) as Arc<dyn Directory>;
            async move { serve(&listener, VPC.parse().unwrap(), directory, tokens, until).await }
        });
        Self { address, directory, stop: Some(stop), task }
    }

    fn set(&self, change: impl FnOnce(&mut MetadataOptions)) {
        change(&mut self.directory.0.lock().unwrap());
    }

    async fn send(&self, from: Ipv4Addr, request: &str) -> String {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self, from: Ipv4Addr, path: &str, headers: &str) -> String {
        self.send(from, &format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n{headers}\r\n")).await
    }

    async fn token(&self, from: Ipv4Addr, headers: &str) -> String {
        self.send(from, &format!("PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n{headers}\r\n")).await
    }

    async fn good_token(&self, from: Ipv4Addr) -> String {
        let answer = self.token(from, "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n").await;
        assert_eq!(status(&answer), 200, "{answer}");
        body(&answer).to_owned()
    }
}

fn status(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").and_then(|a| a.get(..3)).unwrap_or_else(|| panic!("no answer: {answer:?}")).parse().unwrap()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

const ID: &str = "/latest/meta-data/instance-id";

#[tokio::test]
async fn version_one() {
    let server = Server::start().await;
    let answer = server.get(ONE, ID, "").await;
    assert_eq!((status(&answer), body(&answer)), (200, "i-00000000000000001"));
    let head = answer.to_lowercase();
    for line in ["server: ec2ws", "content-type: text/plain", "accept-ranges: none", "content-length: 19", "connection: close"] {
        assert!(head.contains(&format!("{line}\r\n")), "{line} not in {head}");
    }
    assert_eq!(body(&server.get(OTHER, ID, "").await), "i-00000000000000002");
    assert_eq!(body(&server.get(ONE, "//latest//meta-data//placement/region/?x=y", "").await), "us-west-2");
    assert_eq!(body(&server.get(ONE, "/latest/meta-data/tags/instance/a%20b", "").await), "v");
    assert!(server.get(ONE, "/latest/user-data", "").await.contains("application/octet-stream"));
    let missing = server.get(ONE, "/latest/meta-data/nothing", "").await;
    assert_eq!(status(&missing), 404);
    assert!(body(&missing).contains("<h1>404 - Not Found</h1>"));
    assert_eq!(status(&server.get(STRANGER, ID, "").await), 404);
    let head = server.send(ONE, &format!("HEAD {ID} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    assert_eq!((status(&head), body(&head)), (200, ""));
}

#[tokio::test]
async fn version_two() {
    let server = Server::start().await;
    server.set(|o| o.tokens_required = true);
    assert_eq!(status(&server.get(ONE, ID, "").await), 401);
    let answer = server.token(ONE, "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n").await;
    assert!(answer.to_lowercase().contains("x-aws-ec2-metadata-token-ttl-seconds: 60\r\n"), "{answer}");
    let header = format!("X-aws-ec2-metadata-token: {}\r\n", body(&answer));
    let answer = server.get(ONE, ID, &header).await;
    assert_eq!((status(&answer), body(&answer)), (200, "i-00000000000000001"));
    assert!(answer.to_lowercase().contains("x-aws-ec2-metadata-token-ttl-seconds: "), "{answer}");
    assert_eq!(status(&server.get(OTHER, ID, &header).await), 401, "another guest's token");
    server.set(|o| o.tokens_required = false);
    assert_eq!(status(&server.get(ONE, ID, "X-aws-ec2-metadata-token: AQAAAA==\r\n").await), 401, "a wrong token is worse than none");
    let short = body(&server.token(ONE, "X-aws-ec2-metadata-token-ttl-seconds: 1\r\n").await).to_owned();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(status(&server.get(ONE, ID, &format!("X-aws-ec2-metadata-token: {short}\r\n")).await), 401, "an expired token");
}

#[tokio::test]
async fn what_gets_no_token() {
    let server = Server::start().await;
    for ttl in ["0", "-1", "21601", "99999999999", "ten", ""] {
        let answer = server.token(ONE, &format!("X-aws-ec2-metadata-token-ttl-seconds: {ttl}\r\n")).await;
        assert_eq!(status(&answer), 400, "{ttl}");
    }
    assert_eq!(status(&server.token(ONE, "").await), 400);
    let forwarded = "X-Forwarded-For: 10.0.0.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    assert_eq!(status(&server.token(ONE, forwarded).await), 403);
    assert_eq!(status(&server.get(ONE, "/latest/api/token", "").await), 405);
    for method in ["POST", "PUT", "DELETE"] {
        let answer = server.send(ONE, &format!("{method} {ID} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")).await;
        assert_eq!(status(&answer), 405, "{method}");
        assert!(answer.to_lowercase().contains("allow: options, get, head\r\n"));
    }
    server.set(|o| o.enabled = false);
    assert_eq!(status(&server.token(ONE, "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n").await), 403);
    assert_eq!(status(&server.get(ONE, ID, "").await), 403);
}

#[tokio::test]
async fn oversized_requests_are_refused() {
    let server = Server::start().await;
    assert_eq!(status(&server.get(ONE, ID, &format!("X: {}\r\n", "x".repeat(9000))).await), 431);
    assert_eq!(status(&server.get(ONE, ID, &"X: y\r\n".repeat(60)).await), 431);
    let body = "x".repeat(5000);
    let request = format!("PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{body}");
    assert_eq!(status(&server.send(ONE, &request).await), 413);
    assert_eq!(status(&server.send(ONE, "nonsense\r\n\r\n").await), 400);
}

/// Goal: whoever holds connections open is cut off, and meanwhile takes nothing from another guest.
#[tokio::test]
async fn slow_guests_are_cut_off() {
    let server = Server::start().await;
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(status(&server.get(OTHER, ID, "").await), 200);
    let start = Instant::now();
    for (i, stream) in slow.iter_mut().enumerate() {
        let mut rest = Vec::new();
        // A reset is as good an end as a close; only an answer, or none at all, would be wrong.
        let _ =
            tokio::time::timeout(Duration::from_secs(9), stream.read_to_end(&mut rest)).await.unwrap_or_else(|_| panic!("{i} still open"));
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }
    assert!(start.elapsed() > Duration::from_secs(3), "the first ones had their time");
    assert_eq!(status(&server.get(ONE, ID, "").await), 200);
}

#[tokio::test]
async fn too_many_requests_are_put_off() {
    let server = Server::start().await;
    let mut refused = 0;
    for _ in 0..2_000 {
        match status(&server.get(ONE, ID, "").await) {
            200 => {}
            503 => {
                refused += 1;
                if refused > 3 {
                    break;
                }
            }
            other => panic!("{other}"),
        }
    }
    assert!(refused > 3, "never refused");
    assert_eq!(status(&server.get(OTHER, ID, "").await), 200);
}

#[tokio::test]
async fn stops_when_told() {
    let mut server = Server::start().await;
    server.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), &mut server.task).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

/// Goal: the packets that carry a token live no longer than the hop limit; those that carry data live as long as any.
/// The packets are read from the loopback device, which needs root.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_travel_hop_limit_hops() {
    let server = Server::start().await;
    let port = server.address.port();
    for (hops, token, want) in [(1, true, 1), (3, true, 3), (1, false, 64)] {
        server.set(|o| o.hop_limit = hops);
        let sniffer = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Raw,
            nix::sys::socket::SockFlag::empty(),
            nix::sys::socket::SockProtocol::Tcp,
        )
        .expect("a raw socket (root is needed)");
        if token {
            server.good_token(ONE).await;
        } else {
            assert_eq!(status(&server.get(ONE, ID, "").await), 200);
        }
        let ttl = tokio::task::spawn_blocking(move || ttl_of_answer(&sniffer, port)).await.unwrap();
        assert_eq!(ttl, want, "hop limit {hops}, token {token}");
    }
}

/// The time to live of the first packet from the port that begins an HTTP answer.
fn ttl_of_answer(sniffer: &std::os::fd::OwnedFd, port: u16) -> u8 {
    use std::os::fd::AsRawFd as _;
    let timeout = nix::sys::time::TimeVal::new(5, 0);
    nix::sys::socket::setsockopt(sniffer, nix::sys::socket::sockopt::ReceiveTimeout, &timeout).unwrap();
    let mut packet = [0u8; 65_536];
    loop {
        let length =
            nix::sys::socket::recv(sniffer.as_raw_fd(), &mut packet, nix::sys::socket::MsgFlags::empty()).expect("a packet in 5 s");
        let (ip, tcp) = packet[..length].split_at(usize::from(packet[0] & 15) * 4);
        let payload = &tcp[usize::from(tcp[12] >> 4) * 4..];
        if tcp[..2] == port.to_be_bytes() && payload.starts_with(b"HTTP/1.1 200") {
            return ip[8];
        }
    }
}

/// Goal: botocore, as it is, finds region and token, and no role.
#[tokio::test(flavor = "multi_thread")]
async fn botocore_reads_it() {
    let server = Server::start().await;
    for required in [false, true] {
        server.set(|o| o.tokens_required = required);
        let output = tokio::process::Command::new("python3")
            .args(["-c", include_str!("metadata_client.py"), &format!("http://{}/", server.address)])
            .env_remove("AWS_EC2_METADATA_DISABLED")
            .output()
            .await
            .expect("python3 runs");
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
}
