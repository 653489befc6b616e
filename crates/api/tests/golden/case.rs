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

use crate::script::{self, Exchange};
use std::fmt;
use std::iter::Peekable;
use std::str::Lines;

pub(crate) type Case = script::Case<Call>;
pub(crate) type Step = script::Step<Call>;

pub(crate) struct Call {
    pub(crate) action: String,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) status: u16,
    /// `None` if it isn't compared.
    pub(crate) reply: Option<String>,
}

impl Exchange for Call {
    fn parse(action: &str, lines: &mut Peekable<Lines<'_>>) -> Result<Self, String> {
        let mut parameters = Vec::new();
        let status = loop {
            let line = lines.next().ok_or("a call without its reply")?;
            if let Some(status) = line.strip_prefix("<<< ") {
                break status;
            }
            let (name, value) = line.split_once('=').ok_or_else(|| format!("not a parameter: {line:?}"))?;
            parameters.push((name.to_owned(), value.to_owned()));
        };
        let (status, shown) = script::status(status)?;
        let mut reply = String::new();
        while let Some(line) = lines.next_if(|l| l.trim_start().starts_with('<') && !l.starts_with("<<<")) {
            reply += line;
            reply.push('\n');
        }
        Ok(Self { action: action.into(), parameters, status, reply: shown.then_some(reply) })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.action)?;
        self.parameters.iter().try_for_each(|(name, value)| writeln!(f, "{name}={value}"))?;
        script::reply(f, self.status, self.reply.as_ref().map(|reply| reply as &dyn fmt::Display))
    }
}
