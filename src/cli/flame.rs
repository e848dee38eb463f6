//! `trimtab flame`: a flame graph of any process that may be looked at, with no sidecar and no preparation; or of what changed
//! between two that were written earlier.

use super::{Console, Exit, ended};
use clap::{Args, ValueEnum};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use trimtab_flame::ask::{HZ_MAX, Shot, WINDOW_MS_MAX};
use trimtab_flame::{
    Format, Kind, Named, Quality, Tree, View, read_pprof, shoot, write_difference,
};

/// The options of `trimtab flame`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct FlameArgs {
    /// The process; what it began is included
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// For how many seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=WINDOW_MS_MAX / 1_000))]
    pub seconds: u64,
    /// Samples a second of CPU time
    #[arg(long, value_name = "N", default_value_t = 99, value_parser = clap::value_parser!(u32).range(1..=i64::from(HZ_MAX)))]
    pub hz: u32,
    /// What time counts
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value_t)]
    pub kind: KindArg,
    /// How it is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: FormatArg,
    /// How it is shown
    #[arg(long, value_name = "VIEW", value_enum, default_value_t)]
    pub view: ViewArg,
    /// Only the threads of this name or number
    #[arg(long, value_name = "NAME")]
    pub thread: Option<String>,
    /// Show calls that the compiler put into their callers, where the program's file tells of them
    #[arg(long)]
    pub inlined: bool,
    /// Compare two profiles, folded or in pprof's format, instead: what grew is red, what shrank is blue
    #[arg(long, value_names = ["A", "B"], num_args = 2, conflicts_with = "pid")]
    pub diff: Vec<PathBuf>,
    /// Where it is written; without it, to the standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The kinds of time by their names on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Time on a CPU.
    #[default]
    Cpu,
    /// Time off a CPU.
    Offcpu,
    /// Both together.
    Wall,
}

/// The formats by their names on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// A picture for a browser.
    #[default]
    Svg,
    /// A line a stack.
    Folded,
    /// What `go tool pprof` reads.
    Pprof,
    /// What speedscope reads.
    Speedscope,
    /// What the Firefox profiler reads.
    Firefox,
}

/// The views by their names on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ViewArg {
    /// Threads below.
    #[default]
    Flame,
    /// Threads above.
    Icicle,
    /// What was called at the root.
    Reverse,
    /// The task types of a tokio service at the root.
    Task,
}

impl FlameArgs {
    /// Takes or compares, and writes.
    pub fn execute(&self, console: &mut Console<'_>) -> Exit {
        let made = match (&*self.diff, self.pid) {
            ([before, after], _) => self.compare(before, after),
            (_, Some(pid)) => self.take(pid),
            (_, None) => Err(
                "name a process with `--pid PID`, or two files with `--diff BEFORE AFTER`"
                    .to_owned(),
            ),
        };
        let (bytes, said) = match made {
            Ok(made) => made,
            Err(problem) => return console.fail(&problem),
        };
        let written = match &self.output {
            Some(path) => fs::write(path, bytes)
                .map_err(|error| format!("cannot write `{}`: {error}", path.display())),
            None => console
                .out
                .write_all(&bytes)
                .map_err(|error| error.to_string()),
        };
        match written {
            Ok(()) => ended(writeln!(console.err, "{said}").map(|()| Exit::Done)),
            Err(problem) => console.fail(&problem),
        }
    }

    fn take(&self, pid: u32) -> Result<(Vec<u8>, String), String> {
        let shot = Shot {
            hz: self.hz,
            kind: self.kind.into(),
            format: self.format.into(),
            view: self.view.into(),
            thread: self.thread.clone(),
            inlined: self.inlined,
            ..Shot::of(pid)
        };
        let (named, bytes) =
            shoot(&shot, self.seconds * 1_000).map_err(|error| error.to_string())?;
        Ok((bytes, named.quality.to_string()))
    }

    fn compare(&self, before: &Path, after: &Path) -> Result<(Vec<u8>, String), String> {
        if !Format::from(self.format).compares() {
            return Err("a comparison is written as svg or folded".to_owned());
        }
        let (before, after) = (self.read(before)?, self.read(after)?);
        if let Some(thread) = &self.thread
            && before.tree.is_empty()
            && after.tree.is_empty()
        {
            return Err(format!("neither of the two has a thread `{thread}`"));
        }
        let bytes = write_difference(&before, &after, self.view.into(), self.format.into())
            .map_err(|error| error.to_string())?;
        Ok((
            bytes,
            format!("compared {} with {}", before.title, after.title),
        ))
    }

    fn read(&self, path: &Path) -> Result<Named, String> {
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
            .map_err(|error| format!("cannot read `{name}`: {error}"))?;
        let folded = std::str::from_utf8(&bytes).ok().map(Tree::of_folded);
        let (tree, kind) = match folded {
            Some(Ok(tree)) => (tree, None),
            Some(Err(line)) => {
                return Err(format!(
                    "`{name}`, line {line}: not a folded stack and its number"
                ));
            }
            None => {
                let foreign = read_pprof(&bytes)
                    .map_err(|error| format!("`{name}` is no profile: {error}"))?;
                (foreign.tree, foreign.kind)
            }
        };
        let tree = match &self.thread {
            Some(thread) => tree.of_thread(thread),
            None => tree,
        };
        let quality = Quality {
            collector: name.clone(),
            ..Quality::default()
        };
        Ok(Named {
            title: name,
            kind: kind.unwrap_or_else(|| self.kind.into()),
            tree,
            quality,
        })
    }
}

/// The most that is read of a profile.
const FILE_BYTES_MAX: u64 = 256 << 20;

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Cpu => Self::Cpu,
            KindArg::Offcpu => Self::Offcpu,
            KindArg::Wall => Self::Wall,
        }
    }
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Svg => Self::Svg,
            FormatArg::Folded => Self::Folded,
            FormatArg::Pprof => Self::Pprof,
            FormatArg::Speedscope => Self::Speedscope,
            FormatArg::Firefox => Self::Firefox,
        }
    }
}

impl From<ViewArg> for View {
    fn from(view: ViewArg) -> Self {
        match view {
            ViewArg::Flame => Self::Flame,
            ViewArg::Icicle => Self::Icicle,
            ViewArg::Reverse => Self::Reverse,
            ViewArg::Task => Self::Task,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &FlameArgs) -> (Exit, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console {
            out: &mut out,
            err: &mut err,
            color: false,
        };
        let exit = args.execute(&mut console);
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        (exit, text(out), text(err))
    }

    #[test]
    fn two_folded_profiles_are_compared() {
        let directory = tempfile::tempdir().expect("a directory");
        let [before, after] = ["before", "after"].map(|name| directory.path().join(name));
        fs::write(&before, "m;a 10\nm;b 10\n").expect("it is ours");
        fs::write(&after, "m;a 30\nm;b 10\n").expect("it is ours");
        let args = FlameArgs {
            diff: vec![before, after.clone()],
            format: FormatArg::Folded,
            ..FlameArgs::default()
        };
        let (exit, out, _) = run(&args);
        assert_eq!((exit, out.as_str()), (Exit::Done, "m;a 20 30\nm;b 20 10\n"));
        fs::write(&after, "m;a 30\nnonsense\n").expect("it is ours");
        let (exit, _, err) = run(&args);
        assert_eq!(exit, Exit::Failed);
        assert!(err.contains("line 2"), "{err}");
        let (exit, _, err) = run(&FlameArgs {
            format: FormatArg::Pprof,
            ..args
        });
        assert_eq!(exit, Exit::Failed, "{err}");
    }

    #[test]
    fn who_names_nothing_hears_what_can_be_named() {
        let (exit, _, err) = run(&FlameArgs::default());
        assert_eq!(exit, Exit::Failed);
        assert!(err.contains("--pid PID") && err.contains("--diff"), "{err}");
    }

    #[test]
    fn one_threads_profiles_are_compared() {
        let directory = tempfile::tempdir().expect("a directory");
        let [before, after] = ["before", "after"].map(|name| directory.path().join(name));
        fs::write(&before, "main;a 90\nmail;b 5\nmail;c 5\n").expect("it is ours");
        fs::write(&after, "main;a 10\nmail;b 30\nmail;c 10\n").expect("it is ours");
        let of = |thread: &str| FlameArgs {
            diff: vec![before.clone(), after.clone()],
            format: FormatArg::Folded,
            thread: Some(thread.to_owned()),
            ..FlameArgs::default()
        };
        let (exit, out, _) = run(&of("mail"));
        assert_eq!(
            (exit, out.as_str()),
            (Exit::Done, "mail;b 20 30\nmail;c 20 10\n")
        );
        let (exit, _, err) = run(&of("nobody"));
        assert_eq!(exit, Exit::Failed);
        assert!(err.contains("thread `nobody`"), "{err}");
    }

    #[test]
    fn whoever_is_not_there_is_said_not_to_be() {
        let args = FlameArgs {
            pid: Some(u32::MAX),
            seconds: 1,
            ..FlameArgs::default()
        };
        let (exit, out, err) = run(&args);
        assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
        assert!(err.contains("there is no process"), "{err}");
    }
}
