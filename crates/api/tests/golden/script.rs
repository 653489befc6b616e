//! What golden exchanges are whatever they exchange: cases of steps, played and compared. Those of `crates/s3` use it, too.

use crate::pretty::difference;
use std::fmt;
use std::io::Write as _;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Lines;

#[derive(Debug)]
pub(crate) struct Case<C> {
    pub(crate) steps: Vec<Step<C>>,
}

#[derive(Debug)]
pub(crate) enum Step<C> {
    /// A line for people, or an empty one.
    Comment(String),
    /// What is done besides calling: see [`crate::world::World::play`].
    Do(String),
    Call(C),
}

/// A call and its reply.
pub(crate) trait Exchange: fmt::Display + Sized {
    /// Reads one: what stands behind `>>> `, and the lines below it.
    fn parse(call: &str, lines: &mut Peekable<Lines<'_>>) -> Result<Self, String>;
}

impl<C: Exchange> Case<C> {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            steps.push(match (line.strip_prefix("! "), line.strip_prefix(">>> ")) {
                (Some(order), _) => Step::Do(order.into()),
                (None, Some(call)) => Step::Call(C::parse(call, &mut lines)?),
                (None, None) if line.is_empty() || line.starts_with('#') => Step::Comment(line.into()),
                (None, None) => return Err(format!("unexpected line {line:?}")),
            });
        }
        Ok(Self { steps })
    }
}

impl<C: Exchange> fmt::Display for Case<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| match step {
            Step::Comment(line) => writeln!(f, "{line}"),
            Step::Do(order) => writeln!(f, "! {order}"),
            Step::Call(call) => write!(f, ">>> {call}"),
        })
    }
}

/// What stands behind `<<< `: the status, and whether the reply is compared.
pub(crate) fn status(text: &str) -> Result<(u16, bool), String> {
    let status = text.trim_end_matches(['…', ' ']).parse().map_err(|e| format!("{text:?}: {e}"))?;
    Ok((status, !text.ends_with('…')))
}

/// Writes a status and a reply, if that is compared.
pub(crate) fn reply(f: &mut fmt::Formatter<'_>, status: u16, reply: Option<&dyn fmt::Display>) -> fmt::Result {
    match reply {
        Some(reply) => write!(f, "<<< {status}\n{reply}"),
        None => writeln!(f, "<<< {status} …"),
    }
}

/// Plays cases of these names and files: each must come out as it was written down, and each reply must be one that AWS's model allows.
pub(crate) async fn exchanges<C: Exchange>(
    cases: impl IntoIterator<Item = (String, PathBuf)>,
    play: impl AsyncFn(&Case<C>, &str) -> (Case<C>, Vec<serde_json::Value>),
) {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut replies = tempfile::NamedTempFile::new().unwrap();
    let (mut different, mut count) = (Vec::new(), 0);
    for (name, path) in cases {
        let written = std::fs::read_to_string(&path).unwrap();
        let case = Case::parse(&written).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (came, shapes) = play(&case, &name).await;
        count += shapes.len();
        for line in shapes {
            writeln!(replies, "{line}").unwrap();
        }
        let came = came.to_string();
        if came != written && update {
            std::fs::write(&path, &came).unwrap();
        } else if came != written {
            different.push(format!("{name}:\n{}", difference(&written, &came)));
        }
    }
    assert!(count > 0, "there are no cases");
    check_shapes(replies.path());
    assert!(different.is_empty(), "{} cases differ\n{}", different.len(), different.join("\n"));
}

fn check_shapes(replies: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/check_shapes.py");
    let output = std::process::Command::new("python3").arg(script).arg(replies).output().expect("python3 with botocore is installed");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
}
