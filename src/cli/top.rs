//! `trimtab top`: a running sidecar on a terminal, in the words of its page: pools, what limits them, what was done and why.

mod draw;
mod read;
mod screen;
mod spark;
#[cfg(test)]
mod tests;

use super::client::{Client, ClientError, host_id};
use super::operate::{OperateArgs, duration};
use super::pages::PagesArgs;
use super::{Console, Exit};
use crate::config::Overrides;
use crate::signal::Shutdown;
use crate::telemetry::escaped;
use clap::Args;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{Event, KeyEventKind, read};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use read::{Reader, Reading};
use screen::{Screen, Wish, Word};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender};
use trimtab_protocol::command::{CommandReceipt, PlainCommand};
use trimtab_protocol::operator::FreezeRequest;

/// The options of `trimtab top`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct TopArgs {
    /// How the pages are reached
    #[command(flatten)]
    pub pages: PagesArgs,
    /// The host's id; without it, the sidecar is asked which host it tunes
    #[arg(long, value_name = "ID", value_parser = host_id)]
    pub host: Option<String>,
    /// How often the sidecar is asked
    #[arg(long, value_name = "EVERY", default_value = "1s", value_parser = duration)]
    pub every: Duration,
    /// The operator's socket of the sidecar, for the freeze; without it, the one of the configuration
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Where the configuration is.
    #[command(flatten)]
    pub config: super::ConfigArgs,
}

/// What wakes the screen.
enum News {
    Terminal(Event),
    Read(Result<Box<Reading>, ClientError>),
    Answered {
        dry_run: bool,
        answer: Result<CommandReceipt, String>,
    },
    /// The terminal can be read no more, or a signal asks for the end.
    End,
}

/// How much news may wait; more holds its senders up.
const NEWS_WAITING: usize = 64;

impl TopArgs {
    /// Shows the screen until it is left: 0, or 1 with the reason.
    pub async fn execute(&self, vars: Overrides, console: &mut Console<'_>) -> Exit {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return console.fail(
                &"this is for terminals; `trimtab status` and `trimtab decisions` write plain lines",
            );
        }
        match self.show(vars, console.out).await {
            Ok(()) => Exit::Done,
            Err(error) => console.fail(&escaped(&error.to_string())),
        }
    }

    async fn show(&self, vars: Overrides, out: &mut dyn Write) -> io::Result<()> {
        // As https://no-color.org has it, an empty value is none.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let mut raw = Raw::enter(out)?;
        let mut terminal = Terminal::new(CrosstermBackend::new(&mut raw.out))?;
        let (tell, mut news) = mpsc::channel(NEWS_WAITING);
        listen(tell.clone());
        tokio::spawn(poll(self.reader(), self.every, tell.clone()));
        let mut shutdown = Shutdown::listen()?;
        let ended = tell.clone();
        tokio::spawn(async move {
            shutdown.wait().await;
            ended.send(News::End).await
        });
        let hand = Hand {
            args: self.clone(),
            vars,
            tell,
        };
        let mut screen = Screen::new(self.pages.url.to_string(), plain);
        loop {
            terminal.draw(|frame| draw::draw(frame, &screen))?;
            match next(&mut news, &mut screen).await {
                None | Some(Wish::Quit) => return Ok(()),
                Some(Wish::Nothing) => {}
                Some(Wish::Ask { word, dry_run }) => hand.give(word, dry_run),
            }
        }
    }

    fn reader(&self) -> Reader {
        Reader::new(Client::Pages(self.pages.clone()), self.host.clone())
    }
}

/// Waits for the next thing that happens and lets the screen know.
async fn next(news: &mut Receiver<News>, screen: &mut Screen) -> Option<Wish> {
    Some(match news.recv().await? {
        News::End => Wish::Quit,
        News::Terminal(Event::Key(key)) if key.kind != KeyEventKind::Release => screen.key(key),
        News::Terminal(_) => Wish::Nothing,
        News::Read(reading) => {
            screen.read(reading.map_err(|error| error.to_string()));
            Wish::Nothing
        }
        News::Answered { dry_run, answer } => {
            screen.answered(dry_run, answer);
            Wish::Nothing
        }
    })
}

/// Reads keys on a thread of its own, for a terminal can only be waited for; the thread ends with the process.
fn listen(tell: Sender<News>) {
    std::thread::spawn(move || {
        while let Ok(event) = read() {
            if tell.blocking_send(News::Terminal(event)).is_err() {
                return;
            }
        }
        // Without keys nobody could leave.
        drop(tell.blocking_send(News::End));
    });
}

/// Asks the sidecar again and again, until nobody wants to know.
async fn poll(mut reader: Reader, every: Duration, tell: Sender<News>) {
    loop {
        let reading = reader.read().await.map(Box::new);
        if tell.send(News::Read(reading)).await.is_err() {
            return;
        }
        tokio::time::sleep(every).await;
    }
}

/// What gives an operator's commands, beside the screen so that it goes on moving meanwhile.
struct Hand {
    args: TopArgs,
    vars: Overrides,
    tell: Sender<News>,
}

impl Hand {
    fn give(&self, word: Word, dry_run: bool) {
        let operate = OperateArgs {
            socket: self.args.socket.clone(),
            config: self.args.config.clone(),
            host: self.args.host.clone(),
            dry_run,
            ..OperateArgs::default()
        };
        let (vars, tell) = (self.vars.clone(), self.tell.clone());
        tokio::spawn(async move {
            let answer = match word {
                Word::Freeze => {
                    let reason = Some("from trimtab top".to_owned());
                    operate.ask("freeze", &FreezeRequest { reason }, vars).await
                }
                Word::Unfreeze => operate.ask("unfreeze", &PlainCommand {}, vars).await,
            };
            let answer = answer.map_err(|error| error.to_string());
            let answer = News::Answered { dry_run, answer };
            // Nobody waits any more where the screen has been left.
            drop(tell.send(answer).await);
        });
    }
}

/// A terminal that gives each key as it is pressed; given back as it was when dropped.
struct Raw<'w> {
    out: BufWriter<&'w mut dyn Write>,
}

impl<'w> Raw<'w> {
    fn enter(out: &'w mut dyn Write) -> io::Result<Self> {
        enable_raw_mode()?;
        let mut raw = Self {
            out: BufWriter::new(out),
        };
        execute!(raw.out, EnterAlternateScreen, Hide)?;
        Ok(raw)
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // A terminal that went away cannot be put right.
        drop(execute!(self.out, Show, LeaveAlternateScreen));
        drop(disable_raw_mode());
    }
}
