//! What the terminal shows: a function of the model. Pure.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table};

use super::model::{Model, Pane};
use super::table::Table as Rows;
use crate::protocol::TimeMs;

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, model: &Model, now_ms: TimeMs) {
    let rows = [Constraint::Length(3), Constraint::Length(1), Constraint::Min(2), Constraint::Length(1)];
    let [head, tabs, body, foot] = Layout::vertical(rows).areas(frame.area());
    draw_head(frame, head, model, now_ms);
    frame.render_widget(tabs_line(model), tabs);
    draw_table(frame, body, model);
    frame.render_widget(foot_line(model), foot);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, model: &Model, now_ms: TimeMs) {
    let width = area.width.into();
    let mut lines = model.head().map(|parts| Line::from(fitted(&parts, width)));
    if let Some(away) = model.away(now_ms) {
        lines[0] = Line::styled(cut(away, width), Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
    }
    frame.render_widget(Paragraph::new(lines.to_vec()), area);
}

/// As many parts as there is room for: one that gives way does so as a whole, so that no number loses its last digits.
fn fitted(parts: &[String], width: usize) -> String {
    let is_fit = |line: &String| line.chars().count() <= width;
    let whole = parts.join(", ");
    if is_fit(&whole) {
        return whole;
    }
    let lines = (1..parts.len()).rev().map(|count| format!("{}, …", parts[..count].join(", ")));
    let first = || parts.first().and_then(|part| part.split(' ').next()).unwrap_or_default();
    lines.into_iter().find(is_fit).unwrap_or_else(|| cut(format!("{} …", first()), width))
}

fn tabs_line(model: &Model) -> Line<'static> {
    let tab = |pane: Pane| {
        let style = match pane == model.pane() {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => Style::new(),
        };
        [Span::styled(format!(" {} ", pane.name()), style), Span::raw(" ")]
    };
    Line::from_iter(Pane::ALL.into_iter().flat_map(tab))
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let table = model.table(model.pane());
    let none = table.rows.is_empty().then(|| Line::from(cut(table.none.clone(), area.width.into())));
    let widths = widths(&table, area.width.into());
    let rows = table.rows.into_iter().skip(model.scrolled()).map(|row| {
        let style = style_of(row.get(1).map_or("", String::as_str));
        Row::new(row.into_iter().zip(&widths).map(|(cell, width)| cut(cell, *width))).style(style)
    });
    let titles = table.header.iter().zip(&widths).map(|(title, width)| cut((*title).to_owned(), *width));
    let header = Row::new(titles).style(Style::new().add_modifier(Modifier::BOLD));
    let widths = widths.iter().map(|width| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(SPACING), area);
    if let Some(none) = none {
        let [_, below] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        frame.render_widget(none, below);
    }
}

/// Columns between columns.
const SPACING: u16 = 2;

/// How wide each column is. Where there is not room for all, the widest give way, and the short ones stay whole; the title of
/// the last one takes no room from what is in the others.
fn widths(table: &Rows, room: usize) -> Vec<usize> {
    let of_cells =
        |column: usize| table.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let last = table.header.len().saturating_sub(1);
    let mut widths: Vec<usize> =
        table.header.iter().enumerate().map(|(at, title)| of_cells(at).max(title.len())).collect();
    let room = room.saturating_sub(last * usize::from(SPACING));
    if widths.iter().sum::<usize>() > room && !table.rows.is_empty() {
        widths[last] = of_cells(last);
    }
    let mut most = widths.iter().copied().max().unwrap_or_default();
    while most > 1 && widths.iter().map(|width| *width.min(&most)).sum::<usize>() > room {
        most -= 1;
    }
    widths.iter().map(|width| *width.min(&most)).collect()
}

/// A cell, with a mark at its end where there is not room for all of it.
fn cut(cell: String, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell;
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// How a row is written, by where its task or worker stands.
fn style_of(word: &str) -> Style {
    match word {
        "running" => Style::new().fg(Color::Green),
        "error" | "lost" | "away" => Style::new().fg(Color::Red),
        "cancelled" | "retiring" => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    }
}

fn foot_line(model: &Model) -> Line<'static> {
    let keys = "q quit  Tab next  ↑↓ scroll  / filter";
    match model.filter() {
        Some(filter) if model.is_filtering() => Line::from(format!("/{filter}▏  Enter keep  Esc end")),
        Some(filter) => Line::from(format!("/{filter}  Esc end  {keys}")),
        None => Line::styled(keys, Style::new().add_modifier(Modifier::DIM)),
    }
}
