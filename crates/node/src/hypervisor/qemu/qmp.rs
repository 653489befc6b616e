//! A client of QEMU's machine protocol (QMP): one JSON object a line on a unix socket, answers matched by id, and events between them
//! ("QEMU Machine Protocol Specification").
//!
//! Answers stay untyped: a stricter reader would break with each QEMU that adds a field.

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The longest line that is read, in bytes. The longest known answer, that of `query-qmp-schema`, has about 200 KB.
pub(crate) const LINE_BYTES_MAX: usize = 4 << 20;
/// How many events may wait for their reader. Of more than these the newest are dropped, and [`Qmp::events_lost`] says so.
pub(crate) const EVENTS_MAX: usize = 256;

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QmpError {
    /// QEMU closed the connection, or it broke.
    #[error("QEMU closed the connection")]
    Closed,
    /// QEMU doesn't answer. The command may still be done.
    #[error("QEMU didn't answer {what} within {limit:?}")]
    Timeout {
        /// The command, or `greeting`.
        what: String,
        /// How long it was waited.
        limit: Duration,
    },
    /// What came is not QMP.
    #[error("not QMP: {0}")]
    Protocol(String),
    /// QEMU refused the command.
    #[error("QEMU refused {command}: {class}: {description}")]
    Refused {
        /// The command.
        command: String,
        /// QMP's error class, such as `GenericError`.
        class: String,
        /// QEMU's text.
        description: String,
    },
}

/// Something that happened to the machine.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Its name, such as `SHUTDOWN`.
    pub(crate) name: String,
    /// Its data; `Null` if it has none.
    pub(crate) data: Value,
}

type Answer = Result<Value, (String, String)>;

#[derive(Default)]
struct Waiting {
    closed: bool,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    events_lost: AtomicBool,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection, with its capabilities negotiated. Dropping it closes it; QEMU takes one at a time.
pub(crate) struct Qmp {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    shared: Arc<Shared>,
    next_id: AtomicU64,
    reader: JoinHandle<()>,
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Qmp {
    /// Begins on a connected stream. Events come by the receiver; it ends with the connection.
    ///
    /// # Errors
    /// If that isn't done within `limit`, or nothing there speaks QMP.
    pub(crate) async fn open(stream: UnixStream, limit: Duration) -> Result<(Self, mpsc::Receiver<Event>), QmpError> {
        let (read, write) = stream.into_split();
        let mut read = BufReader::new(read);
        let mut line = Vec::new();
        let greeting =
            timeout(limit, line_read(&mut read, &mut line)).await.map_err(|_| QmpError::Timeout { what: "greeting".into(), limit })??;
        if greeting.get("QMP").is_none() {
            return Err(QmpError::Protocol(format!("no greeting, but {greeting}")));
        }
        let shared = Arc::new(Shared { waiting: Mutex::default(), events_lost: AtomicBool::new(false) });
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let reader = tokio::spawn(read_all(read, shared.clone(), events));
        let qmp = Self { writer: tokio::sync::Mutex::new(write), shared, next_id: AtomicU64::new(1), reader };
        qmp.execute("qmp_capabilities", Value::Null, limit).await?;
        Ok((qmp, receiver))
    }

    /// Runs a command. `arguments` is an object, or `Null` for none.
    ///
    /// # Errors
    /// See [`QmpError`]. After a timeout the answer is thrown away when it comes.
    pub(crate) async fn execute(&self, command: &str, arguments: Value, limit: Duration) -> Result<Value, QmpError> {
        self.execute_with(command, arguments, None, limit).await
    }

    /// Runs a command that takes an open file, such as `add-fd`.
    ///
    /// # Errors
    /// See [`Qmp::execute`].
    pub(crate) async fn execute_with(
        &self,
        command: &str,
        arguments: Value,
        file: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.shared.waiting();
            if waiting.closed {
                return Err(QmpError::Closed);
            }
            waiting.answers.insert(id, sender);
        }
        let mut message = json!({ "execute": command, "id": id });
        if !arguments.is_null() {
            message["arguments"] = arguments;
        }
        let result = timeout(limit, async {
            let mut bytes = message.to_string().into_bytes();
            bytes.push(b'\n');
            let mut writer = self.writer.lock().await;
            let sent = match file {
                Some(file) => send_with(writer.as_ref(), &bytes, file).await.map_err(|_| QmpError::Closed)?,
                None => 0,
            };
            writer.write_all(bytes.get(sent..).unwrap_or_default()).await.map_err(|_| QmpError::Closed)?;
            drop(writer);
            answer.await.map_err(|_| QmpError::Closed)
        })
        .await;
        self.shared.waiting().answers.remove(&id);
        match result {
            Err(_) => Err(QmpError::Timeout { what: command.into(), limit }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err((class, description)))) => Err(QmpError::Refused { command: command.into(), class, description }),
        }
    }

    /// Whether events were dropped since this was last asked: what they would have told must be asked for.
    pub(crate) fn events_lost(&self) -> bool {
        self.shared.events_lost.swap(false, Ordering::Relaxed)
    }
}

/// Sends the first bytes together with an open file (`SCM_RIGHTS`, unix(7)). How many.
async fn send_with(stream: &UnixStream, bytes: &[u8], file: BorrowedFd<'_>) -> io::Result<usize> {
    let files = [file.as_raw_fd()];
    let send = || {
        let sent = sendmsg::<()>(
            stream.as_raw_fd(),
            &[IoSlice::new(bytes)],
            &[ControlMessage::ScmRights(&files)],
            MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
            None,
        );
        sent.map_err(io::Error::from)
    };
    stream.async_io(Interest::WRITABLE, send).await
}

/// Reads one line of at most [`LINE_BYTES_MAX`] bytes as JSON.
async fn line_read(read: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> Result<Value, QmpError> {
    line.clear();
    loop {
        let buffer = read.fill_buf().await.map_err(|_| QmpError::Closed)?;
        if buffer.is_empty() {
            return Err(QmpError::Closed);
        }
        let end = buffer.iter().position(|b| *b == b'\n');
        let taken = end.map_or(buffer.len(), |at| at + 1);
        if line.len() + taken > LINE_BYTES_MAX {
            return Err(QmpError::Protocol(format!("a line of more than {LINE_BYTES_MAX} bytes")));
        }
        line.extend_from_slice(buffer.get(..taken).unwrap_or_default());
        read.consume(taken);
        if end.is_some() {
            return serde_json::from_slice(line).map_err(|error| QmpError::Protocol(error.to_string()));
        }
    }
}

async fn read_all(mut read: impl AsyncBufRead + Unpin, shared: Arc<Shared>, events: mpsc::Sender<Event>) {
    let mut line = Vec::new();
    let why = loop {
        match line_read(&mut read, &mut line).await {
            Ok(value) => take(value, &shared, &events),
            Err(why) => break why,
        }
    };
    if !matches!(why, QmpError::Closed) {
        tracing::warn!(error = %why, "QMP connection given up");
    }
    let mut waiting = shared.waiting();
    waiting.closed = true;
    waiting.answers.clear();
}

fn take(value: Value, shared: &Shared, events: &mpsc::Sender<Event>) {
    if let Some(name) = value.get("event").and_then(Value::as_str) {
        let event = Event { name: name.into(), data: value.get("data").cloned().unwrap_or_default() };
        if events.try_send(event).is_err() {
            shared.events_lost.store(true, Ordering::Relaxed);
        }
        return;
    }
    let sender = value.get("id").and_then(Value::as_u64).and_then(|id| shared.waiting().answers.remove(&id));
    // Without one: an answer that nobody waits for any more.
    let Some(sender) = sender else { return };
    let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let answer = match (value.get("return"), value.get("error")) {
        (Some(result), _) => Ok(result.clone()),
        (None, Some(error)) => Err((text(error, "class"), text(error, "desc"))),
        (None, None) => Err(("Malformed".into(), value.to_string())),
    };
    // The receiver may have timed out meanwhile.
    let _ = sender.send(answer);
}

#[cfg(test)]
#[path = "qmp_tests.rs"]
mod tests;
