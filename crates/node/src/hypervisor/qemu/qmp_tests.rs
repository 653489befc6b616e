//! The client against a scripted server. Against real QEMU it is used by every test of `real_guest_tests`.
#![allow(clippy::unwrap_used)]

use super::*;
use tokio::io::AsyncReadExt as _;

const LIMIT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(50);
const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}"#;

/// The server's end: reads commands, writes lines.
struct Server(BufReader<UnixStream>);

impl Server {
    async fn command(&mut self) -> Value {
        let mut line = Vec::new();
        line_read(&mut self.0, &mut line).await.unwrap()
    }

    async fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }

    async fn answer(&mut self, to: &Value, result: Value) {
        self.say(&json!({ "return": result, "id": to["id"] }).to_string()).await;
    }

    /// Greets and takes the capabilities.
    async fn greet(&mut self) {
        self.say(GREETING).await;
        let command = self.command().await;
        assert_eq!(command["execute"], "qmp_capabilities");
        assert!(command.get("arguments").is_none());
        self.answer(&command, json!({})).await;
    }
}

async fn pair() -> (Qmp, mpsc::Receiver<Event>, Server) {
    let (near, far) = UnixStream::pair().unwrap();
    let mut server = Server(BufReader::new(far));
    let (opened, ()) = tokio::join!(Qmp::open(near, LIMIT), server.greet());
    let (qmp, events) = opened.unwrap();
    (qmp, events, server)
}

#[tokio::test]
async fn answers_are_matched_by_id_and_events_kept_apart() {
    let (qmp, mut events, mut server) = pair().await;
    let script = async {
        let first = server.command().await;
        let second = server.command().await;
        server.say(r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}"#).await;
        server.answer(&second, json!("second")).await;
        server.answer(&first, json!(first["arguments"]["n"])).await;
    };
    let (a, b, ()) = tokio::join!(qmp.execute("first", json!({ "n": 1 }), LIMIT), qmp.execute("second", Value::Null, LIMIT), script);
    assert_eq!(a.unwrap(), json!(1));
    assert_eq!(b.unwrap(), json!("second"));
    assert_eq!(events.recv().await, Some(Event { name: "STOP".into(), data: Value::Null }));
    assert!(!qmp.events_lost());
}

#[tokio::test]
async fn a_refusal_carries_class_and_text() {
    let (qmp, _events, mut server) = pair().await;
    let script = async {
        let command = server.command().await;
        server.say(&json!({ "error": { "class": "CommandNotFound", "desc": "no such thing" }, "id": command["id"] }).to_string()).await;
    };
    let (result, ()) = tokio::join!(qmp.execute("nonsense", Value::Null, LIMIT), script);
    assert_eq!(result.unwrap_err().to_string(), "QEMU refused nonsense: CommandNotFound: no such thing");
}

#[tokio::test]
async fn a_late_answer_is_not_taken_for_the_next_one() {
    let (qmp, _events, mut server) = pair().await;
    assert!(matches!(qmp.execute("slow", Value::Null, SHORT).await, Err(QmpError::Timeout { .. })));
    let script = async {
        let slow = server.command().await;
        let next = server.command().await;
        server.answer(&slow, json!("late")).await;
        server.answer(&next, json!("right")).await;
    };
    let (result, ()) = tokio::join!(qmp.execute("next", Value::Null, LIMIT), script);
    assert_eq!(result.unwrap(), json!("right"));
}

#[tokio::test]
async fn a_closed_connection_fails_what_waits_and_what_comes() {
    let (qmp, mut events, mut server) = pair().await;
    let script = async move {
        server.command().await;
        drop(server);
    };
    let (result, ()) = tokio::join!(qmp.execute("last", Value::Null, LIMIT), script);
    assert!(matches!(result, Err(QmpError::Closed)));
    assert_eq!(events.recv().await, None);
    assert!(matches!(qmp.execute("more", Value::Null, LIMIT).await, Err(QmpError::Closed)));
}

#[tokio::test]
async fn a_flood_of_events_is_bounded_and_told() {
    let (qmp, mut events, mut server) = pair().await;
    let script = async {
        for _ in 0..EVENTS_MAX + 10 {
            server.say(r#"{"event": "RESET", "data": {"guest": true}}"#).await;
        }
        let command = server.command().await;
        server.answer(&command, json!({})).await;
    };
    let (result, ()) = tokio::join!(qmp.execute("query-status", Value::Null, LIMIT), script);
    result.unwrap();
    assert!(qmp.events_lost() && !qmp.events_lost());
    let mut seen = 0;
    while events.try_recv().is_ok() {
        seen += 1;
    }
    assert_eq!(seen, EVENTS_MAX);
}

#[tokio::test]
async fn what_is_not_qmp_is_refused() {
    for line in ["SSH-2.0-dropbear", r#"{"error": {}}"#, "[]"] {
        let (near, far) = UnixStream::pair().unwrap();
        let mut server = Server(BufReader::new(far));
        let (opened, ()) = tokio::join!(Qmp::open(near, LIMIT), server.say(line));
        assert!(matches!(opened.err().unwrap(), QmpError::Protocol(_)), "{line}");
    }
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let (near, _far) = UnixStream::pair().unwrap();
    assert!(matches!(Qmp::open(near, SHORT).await.err().unwrap(), QmpError::Timeout { .. }));
}

#[tokio::test]
async fn an_endless_line_ends_the_connection() {
    let (qmp, mut events, server) = pair().await;
    let mut far = server.0.into_inner();
    let flood = async {
        let chunk = vec![b'x'; 64 * 1024];
        let mut sent = 0;
        while far.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
            assert!(sent <= 2 * LINE_BYTES_MAX, "still read after {sent} bytes");
        }
    };
    let ended = async {
        let end = events.recv().await;
        drop(qmp);
        end
    };
    let ((), end) = tokio::join!(flood, ended);
    assert_eq!(end, None);
    assert_eq!(far.read(&mut [0; 1]).await.unwrap_or(0), 0);
}
