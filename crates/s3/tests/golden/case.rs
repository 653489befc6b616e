//! The form of a case.
//!
//! ```text
//! # What the case shows.
//! ! as alice us-east-1
//! >>> PutObject PUT /bucket/key?versionId={version 1}
//! x-amz-meta-a: b
//! | the body's lines
//! <<< 200
//! etag: "0123"
//! ```
//! `PutObject` is the operation's name in AWS's model; `-` stands for what has none. A body's lines have `| ` in front, and no line's end
//! behind the last; `* 100 a` is a body of a hundred times `a`. In bodies `\r`, `\\` and `\xNN` are written so, in others XML is shown
//! with one element a line. Ids that were drawn are `{version 1}` and `{upload 1}`, ETags `{etag 1}`, numbered as they appear, in requests too.
//! A call that is only a step on the way ends in `<<< 200 …` and is not compared, but for its status.
//!
//! Lines with `@` say how a request is sent: see [`crate::send::Manner`].

use crate::script::{self, Exchange};
use std::fmt;
use std::iter::Peekable;
use std::str::Lines;

pub(crate) type Case = script::Case<Call>;
pub(crate) type Step = script::Step<Call>;

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) operation: String,
    pub(crate) method: String,
    /// Path and query, encoded.
    pub(crate) target: String,
    /// How it is sent.
    pub(crate) manner: Vec<String>,
    pub(crate) request: Message,
    pub(crate) status: u16,
    /// `None` if it isn't compared.
    pub(crate) reply: Option<Message>,
}

/// Headers and a body, as they are written in a case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub(crate) headers: Vec<(String, String)>,
    /// Without what stands in front of each line.
    pub(crate) body: Option<Text>,
}

#[derive(Debug, Clone)]
pub(crate) enum Text {
    Lines(String),
    /// So many times this.
    Many(usize, char),
}

/// A body of one character has this length at least to be written so.
const MANY_MIN: usize = 100;

impl Text {
    /// How bytes are shown.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [] => None,
            [first, rest @ ..] if bytes.len() >= MANY_MIN && first.is_ascii_graphic() && rest.iter().all(|b| b == first) => {
                Some(Self::Many(bytes.len(), char::from(*first)))
            }
            _ => Some(Self::Lines(escape(bytes))),
        }
    }

    /// The bytes of a request.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Lines(text) => unescape(text),
            Self::Many(count, c) => c.to_string().repeat(*count).into_bytes(),
        }
    }
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\r' => text += "\\r",
                '\\' => text += "\\\\",
                c if c.is_control() && c != '\n' => text += &format!("\\x{:02x}", u32::from(c)),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|b| text += &format!("\\x{b:02x}"));
    }
    text
}

fn unescape(text: &str) -> Vec<u8> {
    let mut pieces = text.split('\\');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    while let Some(piece) = pieces.next() {
        if piece.is_empty() {
            bytes.push(b'\\');
            bytes.extend(pieces.next().unwrap_or_default().bytes());
        } else if let Some(rest) = piece.strip_prefix('r') {
            bytes.push(b'\r');
            bytes.extend(rest.bytes());
        } else {
            let digits = piece.strip_prefix('x').and_then(|p| p.split_at_checked(2)).unwrap_or_else(|| panic!("what is \\{piece}?"));
            bytes.push(u8::from_str_radix(digits.0, 16).unwrap());
            bytes.extend(digits.1.bytes());
        }
    }
    bytes
}

/// Takes lines while they are a message's; `@` lines go to `manner`.
fn message(lines: &mut Peekable<Lines<'_>>, manner: &mut Vec<String>) -> Result<Message, String> {
    let is_one = |line: &&str| !line.is_empty() && !["#", "!", "<<<", ">>>"].iter().any(|mark| line.starts_with(mark));
    let mut message = Message::default();
    while let Some(line) = lines.next_if(is_one) {
        if let Some(text) = line.strip_prefix('|') {
            let text = text.strip_prefix(' ').unwrap_or(text);
            match &mut message.body {
                None => message.body = Some(Text::Lines(text.into())),
                Some(Text::Lines(before)) => *before = format!("{before}\n{text}"),
                Some(Text::Many(..)) => return Err(format!("a second body: {line:?}")),
            }
        } else if let Some(many) = line.strip_prefix("* ") {
            let many = many.split_once(' ').and_then(|(n, c)| Some(Text::Many(n.parse().ok()?, c.parse().ok()?)));
            message.body = Some(many.ok_or_else(|| format!("not `* COUNT CHARACTER`: {line:?}"))?);
        } else if let Some(order) = line.strip_prefix('@') {
            manner.push(order.into());
        } else {
            let (name, value) = line.split_once(':').ok_or_else(|| format!("not a header: {line:?}"))?;
            message.headers.push((name.into(), value.trim().into()));
        }
    }
    Ok(message)
}

impl Exchange for Call {
    fn parse(call: &str, lines: &mut Peekable<Lines<'_>>) -> Result<Self, String> {
        let [operation, method, target] = call.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            return Err(format!("not `OPERATION METHOD TARGET`: {call:?}"));
        };
        let mut manner = Vec::new();
        let request = message(lines, &mut manner)?;
        let status = lines.next().and_then(|l| l.strip_prefix("<<< ")).ok_or_else(|| format!("no reply to {call:?}"))?;
        let (status, shown) = script::status(status)?;
        let reply = message(lines, &mut Vec::new())?;
        let (operation, method, target) = (operation.to_owned(), method.to_owned(), target.to_owned());
        Ok(Self { operation, method, target, manner, request, status, reply: shown.then_some(reply) })
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headers.iter().try_for_each(|(name, value)| writeln!(f, "{}", format!("{name}: {value}").trim_end()))?;
        match &self.body {
            None => Ok(()),
            Some(Text::Lines(text)) => text.split('\n').try_for_each(|line| writeln!(f, "{}", format!("| {line}").trim_end())),
            Some(Text::Many(count, c)) => writeln!(f, "* {count} {c}"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} {}", self.operation, self.method, self.target)?;
        self.manner.iter().try_for_each(|order| writeln!(f, "@{order}"))?;
        write!(f, "{}", self.request)?;
        script::reply(f, self.status, self.reply.as_ref().map(|reply| reply as &dyn fmt::Display))
    }
}
