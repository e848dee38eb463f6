//! Python's own calls, which the kernel's samples show only as the interpreter's.
//!
//! A CPython process is read from outside with py-spy as a library, and never stopped for it: what is read while it runs may be
//! torn, so a stack that does not begin where Python's stacks begin is counted as broken. Reading takes the cargo feature
//! `python`; without it this says what is missing.

#[cfg(feature = "python")]
mod reader;

#[cfg(feature = "python")]
pub(crate) use self::reader::watch;

use std::path::Path;

/// Whether a process's Python can be read: how, or what is in the way and what would help.
pub(crate) fn probe(pid: u32) -> Result<String, (String, String)> {
    let Some(interpreter) = interpreter(pid) else {
        let text = "it runs no CPython interpreter";
        return Err((text.to_owned(), "none is needed".to_owned()));
    };
    attach(pid, &interpreter)
}

/// The file with the interpreter in it: the program itself, or a library that it has loaded.
fn interpreter(pid: u32) -> Option<String> {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    if let Some(name) = name(&program).filter(|name| is_interpreter(name)) {
        return Some(name);
    }
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let files = maps
        .lines()
        .filter_map(|line| line.splitn(6, ' ').nth(5))
        .filter_map(|path| name(Path::new(path.trim_start())));
    files.into_iter().find(|name| name.starts_with("libpython"))
}

/// `python`, `python3` and `python3.11` are; `python-wrapper` is not.
fn is_interpreter(name: &str) -> bool {
    let version = name.strip_prefix("python");
    version.is_some_and(|version| {
        version
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

#[cfg(feature = "python")]
fn attach(pid: u32, interpreter: &str) -> Result<String, (String, String)> {
    let fix = "run Trimtab as the host's user with kernel.yama.ptrace_scope at 0, or give it CAP_SYS_PTRACE";
    reader::try_read(pid)
        .map(|version| format!("it runs CPython {version} ({interpreter})"))
        .map_err(|error| (error.to_string(), fix.to_owned()))
}

#[cfg(not(feature = "python"))]
fn attach(_pid: u32, interpreter: &str) -> Result<String, (String, String)> {
    let text = format!("it runs CPython ({interpreter}), which this build does not read");
    let fix =
        "build Trimtab with the cargo feature `python`, or run Python 3.12 or later with -X perf";
    Err((text, fix.to_owned()))
}

/// What stands here where Python is not read.
#[cfg(not(feature = "python"))]
pub(crate) fn watch(
    _pid: u32,
    _kind: crate::kind::Kind,
    _window_ns: u64,
    _stop: &std::sync::atomic::AtomicBool,
) -> std::io::Result<(crate::tree::Tree, crate::quality::Quality)> {
    Err(std::io::Error::from(std::io::ErrorKind::Unsupported))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_known_by_its_name() {
        for name in ["python", "python3", "python3.11"] {
            assert!(is_interpreter(name), "{name}");
        }
        for name in ["python-wrapper", "pythonista", "sh"] {
            assert!(!is_interpreter(name), "{name}");
        }
    }

    #[test]
    fn what_is_no_python_says_so() {
        let (reason, _) = probe(std::process::id()).expect_err("it is Rust");
        assert_eq!(reason, "it runs no CPython interpreter");
    }
}
