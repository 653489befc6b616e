//! How long work tells how far it is.

/// Where long work reports to: a bar on a terminal, lines in a pipe.
pub trait Progress: Send + Sync {
    /// A new step has begun; `text` says which, for people.
    fn step(&self, text: &str);

    /// The current step is so far, from 0 to 1. Not every step tells.
    fn fraction(&self, done: f32);
}

/// Reports to nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _text: &str) {}
    fn fraction(&self, _done: f32) {}
}
