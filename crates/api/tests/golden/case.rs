//! The form of a case.
//!
//! ```text
//! # What the case shows.
//! ! as alice us-east-1
//! >>> RunInstances
//! ImageId=ami-00000000000000001
//! MinCount=1
//! <<< 200
//! <RunInstancesResponse …>
//! ```
//! A reply that is only a step on the way is written `<<< 200 …` and not compared, but for its status. Ids that were drawn are written
//! `i-#1`, numbered as they appear, in requests too.

use std::fmt;

pub(crate) struct Case {
    pub(crate) steps: Vec<Step>,
}

pub(crate) enum Step {
    /// A line for people, or an empty one.
    Comment(String),
    /// What is done besides calling: see [`crate::world::World::play`].
    Do(String),
    Call(Call),
}

pub(crate) struct Call {
    pub(crate) action: String,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) status: u16,
    /// `None` if it isn't compared.
    pub(crate) reply: Option<String>,
}

impl Case {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(order) = line.strip_prefix("! ") {
                steps.push(Step::Do(order.into()));
                continue;
            }
            let Some(action) = line.strip_prefix(">>> ") else {
                if !line.is_empty() && !line.starts_with('#') {
                    return Err(format!("unexpected line {line:?}"));
                }
                steps.push(Step::Comment(line.into()));
                continue;
            };
            let mut parameters = Vec::new();
            let status = loop {
                let line = lines.next().ok_or("a call without its reply")?;
                if let Some(status) = line.strip_prefix("<<< ") {
                    break status;
                }
                let (name, value) = line.split_once('=').ok_or_else(|| format!("not a parameter: {line:?}"))?;
                parameters.push((name.to_owned(), value.to_owned()));
            };
            let shown = !status.ends_with('…');
            let status = status.trim_end_matches(['…', ' ']).parse().map_err(|e| format!("{status:?}: {e}"))?;
            let mut reply = String::new();
            while let Some(line) = lines.next_if(|l| l.trim_start().starts_with('<') && !l.starts_with("<<<")) {
                reply += line;
                reply.push('\n');
            }
            steps.push(Step::Call(Call { action: action.into(), parameters, status, reply: shown.then_some(reply) }));
        }
        Ok(Self { steps })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Comment(line) => writeln!(f, "{line}")?,
                Step::Do(order) => writeln!(f, "! {order}")?,
                Step::Call(call) => {
                    writeln!(f, ">>> {}", call.action)?;
                    call.parameters.iter().try_for_each(|(name, value)| writeln!(f, "{name}={value}"))?;
                    match &call.reply {
                        Some(reply) => write!(f, "<<< {}\n{reply}", call.status)?,
                        None => writeln!(f, "<<< {} …", call.status)?,
                    }
                }
            }
        }
        Ok(())
    }
}
