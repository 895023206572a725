//! `cgn top`: what the CGN does at the moment, in a terminal.
//!
//! | file | what | I/O |
//! |---|---|---|
//! | [`model`] | two looks, and the rates between them | no |
//! | [`screen`] | a picture of it | no |
//! | this one | asks, draws, listens to keys | yes |

mod model;
mod screen;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal;

use super::TopArguments;
use super::client::{Client, target};
use super::show::{ShowError, print, socket_path, wait_for};
use crate::api::rows::Top;
use model::Model;

/// Subscribers that are asked for: as many as a tall screen shows.
const SUBSCRIBERS: usize = 50;
/// A picture for a script, where no terminal says how large.
const SIZE: (u16, u16) = (110, 44);

/// Shows pictures until q is typed, or prints one; an error goes to stderr, with exit code 1.
#[must_use]
pub fn top(arguments: &TopArguments) -> ExitCode {
    if arguments.once {
        return print(picture(arguments));
    }
    if !io::stdout().is_terminal() {
        // Without stderr, the exit code is all that can be said.
        let _ = writeln!(
            io::stderr(),
            "cgn top needs a terminal; --once prints one picture"
        );
        return ExitCode::FAILURE;
    }
    match wait_for(live(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // As above.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// One picture as text, of two looks.
pub(super) async fn picture(arguments: &TopArguments) -> Result<String, ShowError> {
    let path = socket_path(&arguments.daemon)?;
    let mut client = Client::connect(&path).await?;
    let mut model = Model::default();
    model.push(look(&mut client).await?);
    tokio::time::sleep(Duration::from_secs_f64(arguments.interval)).await;
    model.push(look(&mut client).await?);
    let (width, height) = match io::stdout().is_terminal() {
        true => terminal::size().unwrap_or(SIZE),
        false => SIZE,
    };
    Ok(text(&drawn(&model, width, height)?))
}

/// The cells of a picture.
fn drawn(model: &Model, width: u16, height: u16) -> io::Result<Buffer> {
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    terminal.draw(|frame| screen::draw(frame, model))?;
    Ok(terminal.backend().buffer().clone())
}

/// Cells as lines, without colours and trailing spaces.
fn text(cells: &Buffer) -> String {
    let lines = cells.content().chunks(cells.area.width.into());
    let lines = lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>());
    lines
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

async fn look(client: &mut Client) -> Result<Top, ShowError> {
    let pairs = [("limit", SUBSCRIBERS.to_string())];
    Ok(client.get(&target("/v1/top", &pairs)).await?)
}

async fn live(arguments: &TopArguments) -> Result<(), ShowError> {
    let path = socket_path(&arguments.daemon)?;
    // What is wrong now is told before the screen is taken.
    let mut client = Some(Client::connect(&path).await?);
    let mut terminal = ratatui::init();
    let result = pictures(&mut terminal, &mut client, &path, arguments.interval).await;
    ratatui::restore();
    result
}

async fn pictures(
    terminal: &mut ratatui::DefaultTerminal,
    client: &mut Option<Client>,
    path: &Path,
    interval: f64,
) -> Result<(), ShowError> {
    let mut model = Model::default();
    loop {
        match again(client, path).await {
            Ok(top) => model.push(top),
            // A restart: the next look may find it.
            Err(error) => {
                *client = None;
                model.trouble = Some(error.to_string());
            }
        }
        let next = Instant::now() + Duration::from_secs_f64(interval);
        loop {
            terminal.draw(|frame| screen::draw(frame, &model))?;
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            if event::poll(left)? && is_end(&event::read()?) {
                return Ok(());
            }
        }
    }
}

/// Asks, after a new connection if the last one broke.
async fn again(client: &mut Option<Client>, path: &Path) -> Result<Top, ShowError> {
    match client {
        Some(client) => look(client).await,
        None => {
            let connected = client.insert(Client::connect(path).await?);
            look(connected).await
        }
    }
}

/// q, Escape or Ctrl-C.
fn is_end(event: &Event) -> bool {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => {
            let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
            matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
                || is_control && key.code == KeyCode::Char('c')
        }
        _ => false,
    }
}
