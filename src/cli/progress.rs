//! How far something long is, on stderr: a bar on a terminal, a line now and then elsewhere, nothing with `--quiet`.
//!
//! A bar shares its terminal with log lines and with stdout: whoever writes there does it [`beside`] the bar.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::logs;
use super::output::note;

/// How often there is a line where there is no terminal: 1 s.
pub const LINE_EVERY: Duration = Duration::from_secs(1);

/// When a bar is shown first, as what takes no time needs none: after 300 ms.
const SHOWN_AFTER: Duration = Duration::from_millis(300);

/// How often a bar is drawn: 10 times a second.
const DRAWN_HZ: u8 = 10;

/// Whether nobody wants to know.
static QUIET: AtomicBool = AtomicBool::new(false);

/// The bar that stands on the terminal.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// No progress is shown from now on: `--quiet`.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether no progress is shown.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Says on stderr what is done by now, unless nobody wants to know.
pub fn say(line: impl Display) {
    if !is_quiet() {
        note(line);
    }
}

/// Writes to the terminal while the bar, if there is one, makes room. What is written must not ask for the same.
pub fn beside<T>(write: impl FnOnce() -> T) -> T {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match shown {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Nobody,
    Terminal,
    Lines,
}

/// How far one thing is. When it is dropped, its bar is gone.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    to: To,
    begun: Instant,
    told: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Something has begun: in a word or two, what.
    pub fn begin(what: &'static str) -> Progress {
        let to = match () {
            // Neither is it shown where something else has the terminal.
            () if is_quiet() || logs::is_muted() => To::Nobody,
            () if io::stderr().is_terminal() => To::Terminal,
            () => To::Lines,
        };
        let now = Instant::now();
        Progress { what, to, begun: now, told: now, bar: None }
    }

    /// As [`begin`](Self::begin), of something that says nothing itself until it is done: only a bar that turns.
    pub fn spin(what: &'static str) -> Progress {
        Progress::spin_every(what, Duration::from_secs(1) / DRAWN_HZ.into())
    }

    /// As [`spin`](Self::spin), turning so often.
    pub fn spin_every(what: &'static str, every: Duration) -> Progress {
        let mut progress = Progress::begin(what);
        if progress.to == To::Terminal {
            progress.bar(None).enable_steady_tick(every);
        }
        progress
    }

    /// Whether there is a terminal that it is shown on.
    pub fn is_on_terminal(&self) -> bool {
        self.to == To::Terminal
    }

    /// So much is done, of so much if that is known; shown if it is time. Cheap where it is not.
    pub fn update(&mut self, done: u64, of: Option<u64>, words: impl Display) {
        let is_due = match self.to {
            To::Nobody => false,
            To::Terminal => self.begun.elapsed() >= SHOWN_AFTER,
            To::Lines => self.told.elapsed() >= LINE_EVERY,
        };
        if is_due {
            self.show(done, of, words);
        }
    }

    /// Draws it at once on a terminal. Elsewhere it is said otherwise: by what is printed of each, or by log lines.
    pub fn draw(&mut self, done: usize, of: Option<usize>, words: impl Display) {
        if self.to == To::Terminal {
            self.show(done as u64, of.map(|of| of as u64), words);
        }
    }

    /// As [`update`](Self::update), at once.
    pub fn show(&mut self, done: u64, of: Option<u64>, words: impl Display) {
        self.told = Instant::now();
        match self.to {
            To::Nobody => {}
            To::Lines => note(format_args!("{}: {words}", self.what)),
            To::Terminal => {
                let bar = self.bar(of);
                if let Some(of) = of {
                    bar.set_length(of);
                }
                bar.set_position(done);
                bar.set_message(words.to_string());
            }
        }
    }

    /// Waits for what is done elsewhere, and shows meanwhile how far it is, as `far` says: how much is done, of how much, and in
    /// words. Where there is no terminal a line says so once a second; for how long now, as long as `far` says nothing.
    pub async fn until<T>(
        mut self,
        done: impl Future<Output = T>,
        far: impl Fn() -> Option<(u64, u64, String)>,
    ) -> T {
        let begun = tokio::time::Instant::now();
        let every = if self.to == To::Terminal { LINE_EVERY / DRAWN_HZ.into() } else { LINE_EVERY };
        let mut done = std::pin::pin!(done);
        loop {
            if let Ok(done) = tokio::time::timeout(every, done.as_mut()).await {
                return done;
            }
            match far() {
                Some((done, of, words)) => self.show(done, Some(of), words),
                None if self.to == To::Lines => {
                    self.show(0, None, format_args!("for {} s by now", begun.elapsed().as_secs()));
                }
                None => {}
            }
        }
    }

    fn bar(&mut self, of: Option<u64>) -> &ProgressBar {
        let what = self.what;
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(DRAWN_HZ));
            *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
            bar.with_prefix(what)
        });
        bar.set_style(style(of.is_some()));
        bar
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
            bar.finish_and_clear();
        }
    }
}

/// What a bar looks like, of something whose end is known or not.
fn style(has_end: bool) -> ProgressStyle {
    let template = match has_end {
        true => "{prefix} [{bar:30}] {percent:>3}%  {msg}  {elapsed}",
        false => "{spinner} {prefix}  {msg}  {elapsed}",
    };
    let style = ProgressStyle::with_template(template).expect("its keys are known");
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_styles_that_are_known() {
        let _ = (style(true), style(false));
    }

    #[test]
    fn what_takes_no_time_says_nothing() {
        let mut progress = Progress::begin("x");
        progress.to = To::Terminal;
        progress.update(1, Some(2), "half");
        assert!(progress.bar.is_none());
        progress.begun -= SHOWN_AFTER;
        progress.update(1, Some(2), "half");
        let bar = progress.bar.clone().expect("it is time");
        assert_eq!((bar.position(), bar.length(), bar.message()), (1, Some(2), "half".to_owned()));
        assert_eq!(beside(|| 7), 7);
        drop(progress);
        assert!(bar.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn what_says_nothing_itself_is_waited_for_to_its_end() {
        for to in [To::Nobody, To::Lines] {
            let mut progress = Progress::begin("x");
            progress.to = to;
            let long = tokio::time::sleep(10 * LINE_EVERY);
            assert_eq!(progress.until(async { (long.await, 7).1 }, || None).await, 7);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_elsewhere_is_shown_as_far_as_it_is() {
        let mut progress = Progress::spin("x");
        progress.to = To::Terminal;
        let seen = std::cell::RefCell::new(None);
        let far = || {
            // The bar as it was drawn before.
            let bar = SHOWN.lock().unwrap().clone();
            *seen.borrow_mut() = bar.map(|bar| (bar.position(), bar.length(), bar.message()));
            Some((3, 4, "3 of 4".to_owned()))
        };
        let long = tokio::time::sleep(LINE_EVERY);
        progress.until(long, far).await;
        assert_eq!(seen.take(), Some((3, Some(4), "3 of 4".to_owned())));
    }
}
