//! What `init` says of the process that it was pointed at: what it is written in, what runs it, where it listens, and what the
//! machine gives it. All of it is read from /proc and from the program's file; what cannot be read is left out.

use crate::sense::cgroup::CgroupReader;
use object::read::{ReadCache, ReadRef};
use object::{Object as _, ObjectSection as _};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use trimtab_sys::process::usable_cpus;

/// A process as a person would describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The program's file without its directories.
    pub(super) program: String,
    pub(super) language: Language,
    /// What within the language drives it, as far as the names of threads and the command line tell.
    pub(super) runtime: Option<String>,
    /// Where it listens for TCP, sorted.
    pub(super) listens: Vec<SocketAddr>,
    /// The machine in words.
    pub(super) machine: String,
}

/// What a program is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Language {
    Rust,
    Go,
    Python,
    Node,
    Java,
    DotNet,
    Ruby,
    Php,
    Erlang,
    /// Compiled by a C compiler, and nothing tells more.
    C,
    #[default]
    Unknown,
}

/// Where a TCP socket listens, in the kernel's list.
const LISTENS: &str = "0A";

impl Language {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Go => "Go",
            Self::Python => "Python",
            Self::Node => "Node.js",
            Self::Java => "Java",
            Self::DotNet => ".NET",
            Self::Ruby => "Ruby",
            Self::Php => "PHP",
            Self::Erlang => "Erlang or Elixir",
            Self::C => "C or C++",
            Self::Unknown => "a language that its file does not tell",
        }
    }

    /// How a service in it comes to offer the control API.
    pub(super) fn way_in(self) -> &'static str {
        match self {
            Self::Rust => "the crate `trimtab-host` offers it in a few lines",
            Self::Python => {
                "it is a little HTTP over a Unix socket, which Python's standard library suffices for; `trimtab conform` tells what is missing"
            }
            _ => "it is a little HTTP over a Unix socket; `trimtab conform` tells what is missing",
        }
    }

    /// By the files that a process has mapped, the program's own first: an interpreter or a virtual machine.
    fn of_files<'f>(files: impl Iterator<Item = &'f str>) -> Option<Self> {
        let named = |file: &str| {
            let name = file.rsplit('/').next().unwrap_or(file);
            let is = |program: &str| name == program;
            let begins = |begin: &str| name.starts_with(begin);
            let versioned =
                |begin: &str| is_versioned(name, begin) || begins(&format!("lib{begin}"));
            if versioned("python") {
                Some(Self::Python)
            } else if is("node") || begins("libnode.so") {
                Some(Self::Node)
            } else if begins("libjvm.so") {
                Some(Self::Java)
            } else if begins("libcoreclr.so") {
                Some(Self::DotNet)
            } else if versioned("ruby") {
                Some(Self::Ruby)
            } else if versioned("php") || begins("php-fpm") {
                Some(Self::Php)
            } else if begins("beam.") {
                Some(Self::Erlang)
            } else {
                None
            }
        };
        files.filter_map(named).next()
    }

    /// By the program's own file: what compilers leave in it.
    fn of_program<'d>(data: impl ReadRef<'d>) -> Option<Self> {
        let file = object::File::parse(data).ok()?;
        if file.section_by_name(".go.buildinfo").is_some() {
            return Some(Self::Go);
        }
        let comment = file.section_by_name(".comment")?.data().ok()?;
        let comment = String::from_utf8_lossy(comment);
        if comment.contains("rustc version") {
            Some(Self::Rust)
        } else {
            Some(Self::C)
        }
    }
}

/// Whether a name is this program's, with a version behind it or none: `python3.11`, and no `python-config`.
fn is_versioned(name: &str, program: &str) -> bool {
    let rest = name.strip_prefix(program);
    rest.is_some_and(|rest| {
        rest.chars()
            .all(|sign| sign.is_ascii_digit() || sign == '.')
    })
}

impl Seen {
    /// Looks at a process.
    ///
    /// # Errors
    /// There is no such process, or it is not shown to this user.
    pub(super) fn of(proc: &Path, pid: u32) -> io::Result<Self> {
        let place = proc.join(pid.to_string());
        let program = fs::read_link(place.join("exe"))?;
        let program = program.to_string_lossy().into_owned();
        let maps = fs::read_to_string(place.join("maps")).unwrap_or_default();
        let mapped = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5));
        let files = std::iter::once(program.as_str()).chain(mapped);
        let compiled = || {
            let file = fs::File::open(place.join("exe")).ok()?;
            Language::of_program(&ReadCache::new(file))
        };
        let language = Language::of_files(files).or_else(compiled);
        let inodes = super::open_sockets(&place)?;
        Ok(Self {
            program: program.rsplit('/').next().unwrap_or_default().to_owned(),
            language: language.unwrap_or_default(),
            runtime: runtime(&place),
            listens: listens(&place, &inodes),
            machine: machine(pid),
        })
    }

    /// In a sentence.
    pub(super) fn describe(&self) -> String {
        let Self {
            program,
            language,
            listens,
            machine,
            ..
        } = self;
        let runtime = self.runtime.as_ref();
        let runtime = runtime.map_or_else(String::new, |runtime| format!(", {runtime}"));
        let listens = match listens.as_slice() {
            [] => "listens on no TCP port".to_owned(),
            some => {
                let some: Vec<String> = some.iter().map(SocketAddr::to_string).collect();
                format!("listens on {}", some.join(", "))
            }
        };
        format!(
            "`{program}`: {}{runtime}; {listens}; {machine}",
            language.name()
        )
    }
}

/// What drives the process: by the names of its threads, or its command line.
fn runtime(place: &Path) -> Option<String> {
    let threads = fs::read_dir(place.join("task")).ok()?;
    let names = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("tokio-rt-worker") || name.starts_with("tokio-runtime-w"));
    match names.count() {
        0 => {}
        1 => return Some("tokio with 1 worker thread".to_owned()),
        some => return Some(format!("tokio with {some} worker threads")),
    }
    let line = fs::read(place.join("cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line);
    let known = [
        "gunicorn", "uvicorn", "uwsgi", "puma", "unicorn", "sidekiq", "celery",
    ];
    let words = line.split('\0').map(|word| word.rsplit('/').next());
    let mut words = words.flatten();
    words.find_map(|word| {
        let runs = |name: &&&str| word == **name || word.starts_with(&format!("{name}:"));
        known.iter().find(runs).map(|name| (*name).to_owned())
    })
}

/// Where a process listens for TCP.
fn listens(place: &Path, inodes: &[u64]) -> Vec<SocketAddr> {
    let lists = ["net/tcp", "net/tcp6"].map(|list| fs::read_to_string(place.join(list)));
    let found: BTreeSet<SocketAddr> = lists
        .iter()
        .flatten()
        .flat_map(|list| list.lines())
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_ascii_whitespace().collect();
            let inode = columns.get(9)?.parse::<u64>().ok()?;
            let listens = columns.get(3) == Some(&LISTENS) && inodes.contains(&inode);
            listens.then(|| address(columns.get(1)?)).flatten()
        })
        .collect();
    found.into_iter().collect()
}

/// An address as the kernel lists it: words of four bytes in the machine's order, in hexadecimal.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<u8>> = (0..address.len())
        .step_by(8)
        .map(|at| {
            let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
            Some(word.to_ne_bytes())
        })
        .collect::<Option<Vec<[u8; 4]>>>()
        .map(|words| words.concat());
    let bytes = words?;
    let ip = if let Ok(bytes) = <[u8; 4]>::try_from(bytes.as_slice()) {
        IpAddr::V4(Ipv4Addr::from(bytes))
    } else {
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?))
    };
    Some(SocketAddr::new(ip, port))
}

/// What the process may use, in words.
fn machine(pid: u32) -> String {
    let cores = usable_cpus(pid).map_or_else(
        |_| "cores unknown".to_owned(),
        |cores| match cores {
            1 => "1 core".to_owned(),
            cores => format!("{cores} cores"),
        },
    );
    let group = CgroupReader::open(pid).and_then(|mut reader| reader.read());
    let (quota, limit) = group.map_or((None, None), |group| {
        (group.cpu_quota_millicores, group.memory_limit_bytes)
    });
    let quota = quota.map_or_else(
        || "no CPU quota".to_owned(),
        |quota| format!("a CPU quota of {quota} millicores"),
    );
    let limit = limit.map_or_else(
        || "no memory limit".to_owned(),
        |limit| format!("a memory limit of {} MiB", limit >> 20),
    );
    format!("{cores}, {quota}, {limit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_a_rust_program_that_listens_where_it_does() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("it is free");
        let own = listener.local_addr().expect("it is bound");
        let seen = Seen::of(Path::new("/proc"), std::process::id()).expect("it is ours");
        assert_eq!(seen.language, Language::Rust);
        assert!(seen.listens.contains(&own), "{seen:?}");
        assert!(seen.machine.contains(" core"), "{seen:?}");
        let text = seen.describe();
        assert!(
            text.contains("Rust") && text.contains(&own.to_string()),
            "{text}"
        );
        Seen::of(Path::new("/proc"), u32::MAX).expect_err("there is no such process");
    }

    #[test]
    fn tokio_is_known_by_the_names_of_its_threads() {
        let (starts, started) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(3)
            // A thread that has started has its name.
            .on_thread_start(move || starts.send(()).expect("the test waits"))
            .build()
            .expect("a runtime");
        (0..3).for_each(|_| started.recv().expect("it starts"));
        let told = super::runtime(&Path::new("/proc").join(std::process::id().to_string()));
        // Other tests of this process may have runtimes too.
        assert!(told.expect("it runs").starts_with("tokio with "));
        drop(runtime);
    }

    #[test]
    fn interpreters_are_known_by_their_files() {
        let of = |files: &[&str]| Language::of_files(files.iter().copied());
        assert_eq!(of(&["/usr/bin/python3.11"]), Some(Language::Python));
        assert_eq!(
            of(&["/usr/bin/uwsgi", "/usr/lib/libpython3.11.so.1.0"]),
            Some(Language::Python)
        );
        assert_eq!(of(&["/usr/bin/node"]), Some(Language::Node));
        assert_eq!(
            of(&["/opt/jdk/bin/java", "/opt/jdk/lib/server/libjvm.so"]),
            Some(Language::Java)
        );
        assert_eq!(of(&["/usr/bin/python3-config", "/bin/shop"]), None);
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let four = format!("{}:1F90", word([127, 0, 0, 1]));
        assert_eq!(address(&four), "127.0.0.1:8080".parse().ok());
        let none = word([0; 4]);
        let six = format!("{none}{none}{none}{}:0050", word([0, 0, 0, 1]));
        assert_eq!(address(&six), "[::1]:80".parse().ok());
        assert_eq!(address("0100007F"), None);
        assert_eq!(address("01:0050"), None);
    }
}
