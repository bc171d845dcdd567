//! Data for stdout: lines, JSON lines, and tables. Buffered; [`Output::flush`] hands over what is there.
//! And [`note`]s for stderr.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};

use serde::Serialize;

use super::{logs, progress};

/// Whoever read stdout has gone away. It ends a command quietly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the output any more")]
pub struct ReaderGone;

/// Writes a line for people to stderr. Nobody has to read it: that stderr is closed stops nothing.
pub fn note(line: impl Display) {
    logs::say(tracing::Level::INFO, &line.to_string());
}

/// Stdout. Where it is a terminal, a bar may stand there.
struct Stdout {
    is_terminal: bool,
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || io::stdout().write(bytes);
        if self.is_terminal { progress::beside(write) } else { write() }
    }

    fn flush(&mut self) -> io::Result<()> {
        let flush = || io::stdout().flush();
        if self.is_terminal { progress::beside(flush) } else { flush() }
    }
}

/// Stdout, buffered.
pub struct Output {
    stdout: BufWriter<Box<dyn Write + Send>>,
}

impl Output {
    pub fn new() -> Self {
        Output { stdout: BufWriter::new(Box::new(Stdout { is_terminal: io::stdout().is_terminal() })) }
    }

    /// For tests that look at something else.
    #[cfg(test)]
    pub fn unread() -> Self {
        Output { stdout: BufWriter::new(Box::new(io::sink())) }
    }

    /// Writes a line.
    pub fn line(&mut self, line: impl Display) -> anyhow::Result<()> {
        writeln!(self.stdout, "{line}").map_err(failed)
    }

    /// Writes a text as it is.
    pub fn text(&mut self, text: &str) -> anyhow::Result<()> {
        self.stdout.write_all(text.as_bytes()).map_err(failed)
    }

    /// Writes a text to stderr as it is, behind what was written to stdout before. Nobody has to read it.
    pub fn error_text(&mut self, text: &str) -> anyhow::Result<()> {
        self.flush()?;
        let _ = progress::beside(|| io::stderr().write_all(text.as_bytes()));
        Ok(())
    }

    /// Writes an object as a line of JSON.
    pub fn json(&mut self, object: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(object)?;
        self.line(line)
    }

    /// Writes rows with their columns aligned, a header above them.
    pub fn table<const N: usize>(
        &mut self,
        header: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> anyhow::Result<()> {
        self.rows(&header, rows.into_iter().map(Vec::from).collect())
    }

    /// The same with as many columns as the header has.
    pub fn rows(&mut self, header: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
        table(header, rows).iter().try_for_each(|line| self.line(line))
    }

    /// Hands over what was written so far.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.stdout.flush().map_err(failed)
    }
}

fn failed(error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::BrokenPipe => ReaderGone.into(),
        _ => anyhow::Error::new(error).context("cannot write to stdout"),
    }
}

/// Rows with their columns aligned under a header: numbers to the right, others to the left.
fn table(header: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    let mut all = vec![header.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()];
    all.extend(rows);
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let is_number = |column: usize| {
        all.len() > 1 && all[1..].iter().all(|row: &Vec<String>| row[column].parse::<f64>().is_ok())
    };
    let columns: Vec<(usize, bool)> =
        (0..header.len()).map(|column| (width(column), is_number(column))).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&columns).map(|(cell, (width, is_number))| match is_number {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let rows = vec![vec!["a".to_owned(), "7".to_owned()], vec!["größer".to_owned(), "12".to_owned()]];
        assert_eq!(table(&["NAME", "HEAD"], rows), ["NAME    HEAD", "a          7", "größer    12"]);
        assert_eq!(table(&["NAME", "HEAD"], Vec::new()), ["NAME  HEAD"]);
    }

    #[test]
    fn a_broken_pipe_is_told_apart_from_a_full_disk() {
        assert!(failed(ErrorKind::BrokenPipe.into()).is::<ReaderGone>());
        assert!(!failed(ErrorKind::StorageFull.into()).is::<ReaderGone>());
    }
}
