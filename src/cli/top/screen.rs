//! The terminal: all of it is taken for as long as this shows something, and then it is as it was before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::model::{Input, Key, Model};
use super::view;
use crate::client::millis::now_ms;

/// How often it is drawn though nothing happens, as it says for how long: each second.
const DRAWN_EVERY: Duration = Duration::from_secs(1);

/// How long the thread that waits for keys takes to see that nobody wants them any more: 100 ms.
const KEYS_EVERY: Duration = Duration::from_millis(100);

/// The terminal, taken. It is given back when this is dropped, and by a panic, wherever that is.
struct Screen {
    terminal: DefaultTerminal,
    is_wanted: Arc<AtomicBool>,
}

impl Screen {
    fn take() -> anyhow::Result<(Screen, mpsc::UnboundedReceiver<Event>)> {
        let terminal = ratatui::try_init().context("the terminal cannot be taken: try --once")?;
        let is_wanted = Arc::new(AtomicBool::new(true));
        let (sender, keys) = mpsc::unbounded_channel();
        let wanted = is_wanted.clone();
        std::thread::spawn(move || {
            while wanted.load(Ordering::Relaxed) {
                let read = match event::poll(KEYS_EVERY) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(error) => Err(error),
                };
                if read.is_err() || read.is_ok_and(|event| sender.send(event).is_err()) {
                    return;
                }
            }
        });
        Ok((Screen { terminal, is_wanted }, keys))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.is_wanted.store(false, Ordering::Relaxed);
        ratatui::restore();
    }
}

/// Shows what is seen until somebody quits.
///
/// # Errors
/// When the terminal cannot be taken or written.
pub async fn show(mut model: Model, mut seen: mpsc::Receiver<Input>) -> anyhow::Result<()> {
    // Not before something was seen: who cannot reach a scheduler is told so as ever.
    let Some(first) = seen.recv().await else { return std::future::pending().await };
    model.fold(first);
    let (mut screen, mut keys) = Screen::take()?;
    let mut ticks = interval(DRAWN_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !model.is_over() {
        screen
            .terminal
            .draw(|frame| view::draw(frame, &model, now_ms()))
            .context("cannot write to the terminal")?;
        let input = tokio::select! {
            input = seen.recv() => match input {
                Some(input) => Some(input),
                // Why it ended is told by who watches.
                None => return std::future::pending().await,
            },
            event = keys.recv() => match event {
                Some(Event::Key(key)) => key_of(key).map(Input::Key),
                Some(_) => None,
                // Nobody types any more: the terminal is gone.
                None => return Ok(()),
            },
            _ = ticks.tick() => None,
        };
        input.into_iter().for_each(|input| model.fold(input));
    }
    Ok(())
}

fn key_of(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    Some(match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Interrupt,
        KeyCode::Char(letter) => Key::Letter(letter),
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}
