//! Sends requests that were signed before, over connections that are kept, and says how long they took: `bench-load ADDRESS CONNECTIONS`.
//!
//! Standard input has one request a line, its fields parted by tabs: the method, the target (path and query), the body (`=4096`: that
//! many bytes; `@file`: what the file holds; nothing: none), and headers (`Name: value`), any number. Standard output gets one line:
//! the seconds that all took, the bytes of the replies' bodies, and the 50th and 99th of 100 seconds of one request. A reply that isn't
//! 2xx ends it. It is small and synchronous, since it takes its processor time from the server that it measures.

use std::io::{self, BufRead, BufReader, Error, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bytes sent or read by one call.
const PIECE_BYTES: usize = 256 << 10;
/// How long a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(300);
/// Of a refusal, in bytes, what is shown.
const REFUSAL_BYTES: u64 = 2000;

enum Content {
    /// So many bytes of no meaning.
    Filler(u64),
    Held(Vec<u8>),
}

struct Request {
    head: Vec<u8>,
    content: Content,
}

fn wrong(text: impl Into<String>) -> Error {
    Error::other(text.into())
}

fn parse(line: &str, address: &str) -> io::Result<Request> {
    let mut fields = line.split('\t');
    let (Some(method), Some(target)) = (fields.next(), fields.next()) else { return Err(wrong(format!("not a request: {line}"))) };
    let content = match fields.next().unwrap_or_default() {
        "" => Content::Held(Vec::new()),
        body => match (body.strip_prefix('='), body.strip_prefix('@')) {
            (Some(count), _) => Content::Filler(count.parse().map_err(Error::other)?),
            (_, Some(file)) => Content::Held(std::fs::read(file)?),
            (None, None) => return Err(wrong(format!("not a body: {body}"))),
        },
    };
    let length = match &content {
        Content::Filler(count) => *count,
        Content::Held(bytes) => bytes.len() as u64,
    };
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n");
    if method == "PUT" || method == "POST" {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    for header in fields {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    Ok(Request { head: head.into_bytes(), content })
}

/// One connection.
struct Connection {
    reader: BufReader<TcpStream>,
    filler: Vec<u8>,
}

impl Connection {
    fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // Bytes that neither compress nor repeat within a piece.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let filler = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        });
        Ok(Self { reader: BufReader::with_capacity(PIECE_BYTES, stream), filler: filler.take(PIECE_BYTES).collect() })
    }

    fn send(&mut self, request: &Request) -> io::Result<()> {
        let stream = self.reader.get_mut();
        match &request.content {
            // A small one goes out with its head.
            Content::Filler(count) if *count <= 16 << 10 => {
                let mut all = request.head.clone();
                all.extend_from_slice(&self.filler[..usize::try_from(*count).map_err(Error::other)?]);
                stream.write_all(&all)
            }
            Content::Filler(count) => {
                stream.write_all(&request.head)?;
                let mut left = *count;
                while left > 0 {
                    let piece = left.min(PIECE_BYTES as u64);
                    stream.write_all(&self.filler[..usize::try_from(piece).map_err(Error::other)?])?;
                    left -= piece;
                }
                Ok(())
            }
            Content::Held(bytes) => stream.write_all(&[&request.head[..], bytes].concat()),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(wrong("the server closed the connection"));
        }
        Ok(line.trim_end().to_owned())
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            let held = self.reader.fill_buf()?.len() as u64;
            if held == 0 {
                return Err(wrong("a reply was cut short"));
            }
            let piece = left.min(held);
            self.reader.consume(usize::try_from(piece).map_err(Error::other)?);
            left -= piece;
        }
        Ok(())
    }

    /// Reads a reply. Returns how long its body was.
    fn reply(&mut self) -> io::Result<u64> {
        let status = self.line()?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(Error::other)?;
            }
            chunked |= name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked");
        }
        if status.as_bytes().get(9) != Some(&b'2') {
            let mut text = String::new();
            _ = (&mut self.reader).take(length.min(REFUSAL_BYTES)).read_to_string(&mut text);
            return Err(wrong(format!("{status}: {text}")));
        }
        // 204 has neither.
        if !chunked {
            self.skip(length)?;
            return Ok(length);
        }
        let mut whole = 0;
        loop {
            let size = u64::from_str_radix(&self.line()?, 16).map_err(Error::other)?;
            self.skip(size)?;
            self.line()?;
            whole += size;
            if size == 0 {
                return Ok(whole);
            }
        }
    }
}

fn work(address: &str, requests: &[Request], next: &AtomicUsize, times: &Mutex<Vec<f64>>, received: &AtomicUsize) -> io::Result<()> {
    let mut connection = Connection::open(address)?;
    let mut own = Vec::new();
    while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
        let begun = Instant::now();
        connection.send(request)?;
        let bytes = connection.reply()?;
        own.push(begun.elapsed().as_secs_f64());
        received.fetch_add(usize::try_from(bytes).map_err(Error::other)?, Ordering::Relaxed);
    }
    if let Ok(mut all) = times.lock() {
        all.append(&mut own);
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let [_, address, connections] = &words[..] else { return Err(wrong("usage: bench-load ADDRESS CONNECTIONS < REQUESTS")) };
    let connections: usize = connections.parse().map_err(Error::other)?;
    let requests = io::stdin().lines().map(|line| parse(&line?, address)).collect::<io::Result<Vec<_>>>()?;
    let (next, received, times) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::with_capacity(requests.len())));
    let begun = Instant::now();
    let ends = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections).map(|_| scope.spawn(|| work(address, &requests, &next, &times, &received))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err(wrong("a worker panicked")))).collect::<Vec<_>>()
    });
    let seconds = begun.elapsed().as_secs_f64();
    ends.into_iter().collect::<io::Result<()>>()?;
    let mut times = times.into_inner().map_err(|_| wrong("a worker panicked"))?;
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default();
    writeln!(io::stdout(), "{seconds} {} {} {}", received.load(Ordering::Relaxed), at(50), at(99))
}
