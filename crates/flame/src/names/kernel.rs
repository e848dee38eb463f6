//! The kernel's own names, read once, when the first address of the kernel is to be named.

use std::fs::File;
use std::io::{BufRead, BufReader};

/// The kernel's functions by address, as compactly as they can be kept: there are more than a hundred thousand.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    read: bool,
    starts: Vec<(u64, u32)>,
    /// All names one after another, each ended by a zero.
    names: String,
}

impl Symbols {
    /// The function that holds an address; nothing where the kernel does not say.
    pub(super) fn name(&mut self, address: u64) -> Option<&str> {
        if !self.read {
            self.read = true;
            if let Ok(file) = File::open("/proc/kallsyms") {
                self.parse(&mut BufReader::with_capacity(1 << 16, file));
            }
        }
        let after = self.starts.partition_point(|(start, _)| *start <= address);
        let (_, at) = self.starts.get(after.checked_sub(1)?)?;
        let rest = self.names.get(usize::try_from(*at).ok()?..)?;
        rest.split('\0').next()
    }

    /// Reads lines of an address, a letter and a name. A kernel that hides its addresses shows 0 for all of them.
    fn parse(&mut self, text: &mut impl BufRead) {
        let mut line = String::new();
        while matches!(text.read_line(&mut line), Ok(1..)) {
            let mut words = line.split_ascii_whitespace();
            if let (Some(address), Some("t" | "T" | "w" | "W"), Some(name)) =
                (words.next(), words.next(), words.next())
                && let Ok(address) = u64::from_str_radix(address, 16)
                && let Ok(at) = u32::try_from(self.names.len())
                && address > 0
            {
                self.starts.push((address, at));
                self.names.push_str(name);
                self.names.push('\0');
            }
            line.clear();
        }
        self.starts.sort_by_key(|(address, _)| *address);
        self.starts.shrink_to_fit();
        self.names.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_function_that_begins_before_it() {
        let text = "ffffffff81000200 T later\nffffffff81000000 T _text\nffffffff81000100 t do_work [mod]\nffffffff81000150 d data\n";
        let mut symbols = Symbols {
            read: true,
            ..Symbols::default()
        };
        symbols.parse(&mut text.as_bytes());
        assert_eq!(symbols.name(0xffff_ffff_8100_0180), Some("do_work"));
        assert_eq!(symbols.name(0xffff_ffff_8100_0100), Some("do_work"));
        assert_eq!(symbols.name(0xffff_ffff_9000_0000), Some("later"));
        assert_eq!(symbols.name(1), None);
    }

    #[test]
    fn hidden_addresses_name_nothing() {
        let mut symbols = Symbols {
            read: true,
            ..Symbols::default()
        };
        symbols.parse(&mut "0000000000000000 T _text\n".as_bytes());
        assert_eq!(symbols.name(0xffff_ffff_8100_0180), None);
    }
}
