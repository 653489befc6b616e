//! Progress of long work: a bar on a terminal, plain lines in a pipe. Always on standard error; standard output is for results.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two lines of one step.
const LINE_PERIOD: Duration = Duration::from_secs(2);

/// The last line of a step: how many tenths, and when.
#[derive(Clone, Copy)]
struct Told {
    tenth: u64,
    at: Instant,
}

impl Told {
    fn begin() -> Self {
        Self { tenth: 0, at: Instant::now() }
    }
}

/// Shows steps, and how far each has come.
pub(crate) struct Terminal {
    bar: Option<ProgressBar>,
    told: Mutex<Told>,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(100);
            let style = ProgressStyle::with_template("{spinner} {msg:40} {bar:30} {percent:>3} %  {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, told: Mutex::new(Told::begin()) }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl node::image::progress::Progress for Terminal {
    fn step(&self, text: &str) {
        *self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Told::begin();
        match &self.bar {
            Some(bar) => {
                bar.set_position(0);
                bar.set_message(text.to_owned());
            }
            None => line(text),
        }
    }

    fn fraction(&self, done: f32) {
        // A cast saturates, and a NaN becomes 0.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let percent = (done * 100.0) as u64;
        match &self.bar {
            Some(bar) => bar.set_position(percent.min(100)),
            None => {
                // At most a line for each tenth, and none in a short step, so that a log isn't flooded.
                let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if percent / 10 > told.tenth && told.at.elapsed() >= LINE_PERIOD {
                    *told = Told { tenth: percent / 10, at: Instant::now() };
                    line(&format!("  {} %", told.tenth * 10));
                }
            }
        }
    }
}

fn line(text: &str) {
    // A closed standard error must not end the work.
    let _ = writeln!(std::io::stderr(), "{text}");
}
