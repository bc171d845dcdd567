//! What the terminal shows: a function of the model. Pure.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table};

use super::model::{Model, Pane};
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
    let mut lines = model.head().map(Line::from);
    if let Some(away) = model.away(now_ms) {
        lines[0] = Line::styled(away, Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
    }
    frame.render_widget(Paragraph::new(lines.to_vec()), area);
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
    let widths: Vec<usize> = (0..table.header.len())
        .map(|column| {
            let cells = table.rows.iter().map(|row| row[column].chars().count());
            cells.chain([table.header[column].len()]).max().unwrap_or_default()
        })
        .collect();
    let rows = table.rows.into_iter().skip(model.scrolled()).map(|row| {
        let style = style_of(row.get(1).map_or("", String::as_str));
        Row::new(row).style(style)
    });
    let header = Row::new(table.header).style(Style::new().add_modifier(Modifier::BOLD));
    let widths = widths.into_iter().map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(2), area);
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
