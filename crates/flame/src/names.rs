//! From addresses to names, once somebody looks.
//!
//! One symbolizer lives as long as the profiler, so a file is read once. A stripped file's symbols are looked for by its build
//! id where systems install them. What has no name anywhere is called by its file, the place in it, and the file's build id,
//! and never just unknown. Names are data from elsewhere: control characters and what would break a line are taken out.

mod kernel;
mod made;

use crate::module::{Module, ModuleId, Modules};
use crate::stacks::{Frame, Stacks};
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;

/// The longest name that is kept, in bytes. Generic names of a kilobyte are no rarity, and nobody reads them.
const NAME_BYTES_MAX: usize = 400;
/// How many named places are remembered; a profile of a large program has some thousands.
const KNOWN_MAX: usize = 40_000;

/// The names of one frame, outermost first: one, or several where calls were inlined.
pub(crate) type FrameNames = Vec<Box<str>>;

/// All frames of some stacks by their names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// In the order of the frames.
    pub(crate) by_frame: Vec<FrameNames>,
    /// Which of them have no name of their own.
    pub(crate) nameless: Vec<bool>,
}

/// Finds names.
pub(crate) struct Namer {
    modules: Modules,
    /// Where the system keeps the symbols of stripped files.
    debug_root: PathBuf,
    plain: Symbolizer,
    inlining: Option<Symbolizer>,
    known: HashMap<(ModuleId, u64), (FrameNames, bool)>,
    kernel: kernel::Symbols,
    made: made::Maps,
}

impl fmt::Debug for Namer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Namer")
            .field("known", &self.known.len())
            .finish_non_exhaustive()
    }
}

impl Namer {
    /// A namer for code of these files.
    pub(crate) fn new(modules: Modules) -> Self {
        Self {
            modules,
            debug_root: PathBuf::from("/usr/lib/debug"),
            plain: symbolizer(false),
            inlining: None,
            known: HashMap::new(),
            kernel: kernel::Symbols::default(),
            made: made::Maps::default(),
        }
    }

    /// Names all frames of some stacks; with `inlined` also the calls that the compiler put into their callers, where the file
    /// tells of them.
    pub(crate) fn name(&mut self, stacks: &Stacks, inlined: bool) -> Names {
        let frames = stacks.frames();
        let mut by_module: BTreeMap<ModuleId, Vec<(usize, u64)>> = BTreeMap::new();
        let mut names = Names {
            by_frame: vec![Vec::new(); frames.len()],
            nameless: vec![false; frames.len()],
        };
        for (at, frame) in frames.iter().enumerate() {
            let one = match *frame {
                Frame::Code { module, offset } => {
                    by_module.entry(module).or_default().push((at, offset));
                    continue;
                }
                Frame::Thread { name, .. } | Frame::Text(name) => Some(clean(stacks.text(name))),
                Frame::Process { pid, name } => {
                    Some(clean(&format!("{} [{pid}]", stacks.text(name))))
                }
                Frame::Kernel(address) => self
                    .kernel
                    .name(address)
                    .map(|name| clean(&format!("{name}_[k]"))),
                Frame::Made { pid, address } => self.made.name(pid, address).map(clean),
                Frame::Nowhere => None,
            };
            let fallback = match frame {
                Frame::Kernel(_) => "[kernel]_[k]",
                Frame::Made { .. } => "[code made at run time]",
                _ => "[nowhere]",
            };
            set(
                &mut names,
                at,
                vec![one.clone().unwrap_or_else(|| fallback.into())],
                one.is_none(),
            );
        }
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        for (module, mut places) in by_module {
            if !inlined {
                places.retain(|(at, offset)| match self.known.get(&(module, *offset)) {
                    Some((known, nameless)) => {
                        set(&mut names, *at, known.clone(), *nameless);
                        false
                    }
                    None => true,
                });
            }
            self.name_places(module, &places, inlined, &mut names);
        }
        self.made.forget_old();
        names
    }

    /// Names places of one file.
    fn name_places(
        &mut self,
        id: ModuleId,
        places: &[(usize, u64)],
        inlined: bool,
        names: &mut Names,
    ) {
        let Some(module) = self.modules.get(id).filter(|_| !places.is_empty()) else {
            return;
        };
        let found = self.symbols(&module, places, inlined);
        for (nth, (at, offset)) in places.iter().enumerate() {
            let symbol = found.get(nth).cloned().flatten();
            let nameless = symbol.is_none();
            let one = symbol.unwrap_or_else(|| vec![place_name(&module, *offset)]);
            if !inlined {
                self.known.insert((id, *offset), (one.clone(), nameless));
            }
            set(names, *at, one, nameless);
        }
    }

    /// The file with the symbols of a stripped one, where the system has it by its build id.
    fn debug_file(&self, module: &Module) -> Option<PathBuf> {
        if module.image.named {
            return None;
        }
        let (first, rest) = module.image.build_id.as_deref()?.split_at_checked(2)?;
        let path = format!(".build-id/{first}/{rest}.debug");
        let path = self.debug_root.join(path);
        path.is_file().then_some(path)
    }

    fn symbols(
        &mut self,
        module: &Module,
        places: &[(usize, u64)],
        inlined: bool,
    ) -> Vec<Option<FrameNames>> {
        let (path, symbolizer) = match (self.debug_file(module), inlined) {
            (debug_file, true) => {
                let inlining = self.inlining.get_or_insert_with(|| symbolizer(true));
                (debug_file.or_else(|| module.readable()), inlining)
            }
            (Some(debug_file), false) => (Some(debug_file), &mut self.plain),
            (None, false) => (module.readable(), &mut self.plain),
        };
        let Some(path) = path else { return Vec::new() };
        let address =
            |(_, offset): &(usize, u64)| module.image.address_of(*offset).unwrap_or(u64::MAX);
        let addresses: Vec<u64> = places.iter().map(address).collect();
        let mut elf = Elf::new(path);
        elf.debug_syms = inlined;
        let answer = symbolizer.symbolize(&Source::Elf(elf), Input::VirtOffset(&addresses));
        let Ok(symbols) = answer else {
            return Vec::new();
        };
        let named = |symbol| match symbol {
            Symbolized::Sym(symbol) => {
                let mut names = vec![clean(&symbol.name)];
                names.extend(symbol.inlined.iter().map(|inlined| clean(&inlined.name)));
                Some(names)
            }
            Symbolized::Unknown(_) => None,
        };
        let mut named: Vec<Option<FrameNames>> = symbols.into_iter().map(named).collect();
        if inlined && named.iter().flatten().any(is_bare) {
            self.place_bare(module, places, &mut named);
        }
        named
    }

    /// Gives closures and `async` functions that are called only that the name of the symbol table, which says of what.
    fn place_bare(
        &mut self,
        module: &Module,
        places: &[(usize, u64)],
        named: &mut [Option<FrameNames>],
    ) {
        let placed = self.symbols(module, places, false);
        for (names, placed) in named.iter_mut().zip(placed) {
            let (Some(names), Some(placed)) = (names, placed) else {
                continue;
            };
            if is_bare(names)
                && let (Some(bare), Some(whole)) = (names.first_mut(), placed.into_iter().next())
            {
                *bare = whole;
            }
        }
    }
}

/// Whether the outermost function has a name such as `{async_fn#0}`: debug information has each name within that of its parent.
fn is_bare(names: &FrameNames) -> bool {
    names.first().is_some_and(|name| name.starts_with('{'))
}

fn set(names: &mut Names, at: usize, one: FrameNames, nameless: bool) {
    if let (Some(name), Some(mark)) = (names.by_frame.get_mut(at), names.nameless.get_mut(at)) {
        (*name, *mark) = (one, nameless);
    }
}

fn symbolizer(inlined: bool) -> Symbolizer {
    Symbolizer::builder()
        .enable_code_info(inlined)
        .enable_inlined_fns(inlined)
        .build()
}

/// What a place without a name is called: the file, where the function begins in it, and the file's identity.
fn place_name(module: &Module, offset: u64) -> Box<str> {
    let address = module.image.address_of(offset).unwrap_or(offset);
    let start = module.image.function_start(address).unwrap_or(address);
    let build_id = module.image.build_id.as_deref().and_then(|id| id.get(..8));
    let build_id = build_id.map(|id| format!(" [{id}]")).unwrap_or_default();
    clean(&format!("{}+0x{start:x}{build_id}", module.name))
}

/// A name without what would break a line, a list of calls or a reader's screen, and not too long.
pub(crate) fn clean(name: &str) -> Box<str> {
    as_clean(name).into()
}

/// The same, without a copy of what is clean already, as nearly every name is.
pub(crate) fn as_clean(name: &str) -> Cow<'_, str> {
    let is_plain = |byte: &u8| matches!(byte, b'!'..=b'~') && *byte != b';';
    if name.len() <= NAME_BYTES_MAX
        && name.as_bytes().first().is_some_and(is_plain)
        && name.as_bytes().last().is_some_and(is_plain)
        && name.bytes().all(|byte| byte == b' ' || is_plain(&byte))
    {
        return Cow::Borrowed(name);
    }
    let is_hidden = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut cleaned: String = name
        .chars()
        .filter(|letter| !is_hidden(*letter))
        .map(|letter| if letter == ';' { ':' } else { letter })
        .collect();
    if cleaned.len() > NAME_BYTES_MAX {
        cleaned.truncate(cleaned.floor_char_boundary(NAME_BYTES_MAX));
        cleaned.push('…');
    }
    // Who reads folded stacks cuts blanks off a line, and would then find the lines out of order.
    match cleaned.trim() {
        "" => Cow::Borrowed("[no name]"),
        trimmed if trimmed.len() == cleaned.len() => Cow::Owned(cleaned),
        trimmed => Cow::Owned(trimmed.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_a_line_or_hide_anything() {
        assert_eq!(&*clean("a;b\nc\u{1b}[31m\u{202e}d"), "a:bc[31md");
        assert_eq!(&*clean(" \n"), "[no name]");
        assert_eq!(&*clean("  a b \u{3000}"), "a b");
        assert_eq!(&*clean("a b "), "a b");
        assert!(matches!(
            as_clean("core::fmt::Write for T"),
            Cow::Borrowed(_)
        ));
        assert!(matches!(
            as_clean(&"a".repeat(NAME_BYTES_MAX + 1)),
            Cow::Owned(_)
        ));
        let long = clean(&"ä".repeat(NAME_BYTES_MAX));
        assert!(long.len() <= NAME_BYTES_MAX + 3 && long.ends_with('…'));
    }

    #[test]
    fn a_stripped_file_has_the_names_that_are_installed_for_its_build_id() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let source = "int weigh_kettle(int n) { return n * 31; }\nint main(void) { return weigh_kettle(1); }";
        std::fs::write(at("shop.c"), source).expect("it is ours");
        let run = |program: &str, options: &[&str]| {
            let mut command = std::process::Command::new(program);
            let status = command.args(options).current_dir(directory.path()).status();
            status.is_ok_and(|status| status.success())
        };
        let is_built = run("gcc", &["-O0", "-Wl,--build-id", "shop.c", "-o", "shop"])
            && run("objcopy", &["--only-keep-debug", "shop", "shop.debug"]);
        if !is_built {
            println!("skipped: there is no gcc or no objcopy here");
            return;
        }
        let modules = Modules::default();
        let of = |path: PathBuf| {
            let path = path.to_str().expect("it is text").to_owned();
            modules.of_path(std::process::id(), &path)
        };
        let whole = of(at("shop")).expect("it is a program");
        let module = modules.get(whole).expect("it is kept");
        let object = std::fs::read(at("shop")).expect("it is ours");
        let file = object::File::parse(&*object).expect("it is a program");
        let address = object::Object::symbol_by_name(&file, "weigh_kettle");
        let address = object::ObjectSymbol::address(&address.expect("it is in it"));
        let offset = (0..address * 2)
            .find(|offset| module.image.address_of(*offset) == Some(address))
            .expect("it is in the file");
        assert!(run("strip", &["-o", "bare", "shop"]), "it can be stripped");
        let bare = of(at("bare")).expect("it is a program");
        let mut stacks = Stacks::default();
        stacks.intern([Frame::Code {
            module: bare,
            offset,
        }]);
        let mut namer = Namer::new(modules.clone());
        namer.debug_root = directory.path().to_owned();
        let nameless = namer.name(&stacks, false);
        assert!(nameless.nameless[0] && nameless.by_frame[0][0].starts_with("bare+0x"));
        let id = module
            .image
            .build_id
            .clone()
            .expect("it was linked with one");
        let (first, rest) = id.split_at(2);
        let installed = at(".build-id").join(first);
        std::fs::create_dir_all(&installed).expect("it is ours");
        std::fs::rename(at("shop.debug"), installed.join(format!("{rest}.debug")))
            .expect("it is ours");
        let mut namer = Namer::new(modules);
        namer.debug_root = directory.path().to_owned();
        assert_eq!(&*namer.name(&stacks, false).by_frame[0][0], "weigh_kettle");
    }

    #[test]
    fn a_function_of_this_program_is_named_and_remembered() {
        let modules = Modules::default();
        let pid = std::process::id();
        let own = std::fs::read_link("/proc/self/exe").expect("it runs");
        let id = modules
            .of_path(pid, own.to_str().expect("text"))
            .expect("a program");
        let space = crate::space::Space::read(pid, &modules);
        let address = u64::try_from(clean as fn(&str) -> Box<str> as usize).expect("64 bits");
        let crate::space::Place::File(found, offset) = space.place(address) else {
            panic!("it is ours")
        };
        assert_eq!(found, id);
        let mut stacks = Stacks::default();
        let odd = stacks.text_id("odd;name");
        stacks.intern([
            Frame::Text(odd),
            Frame::Code { module: id, offset },
            Frame::Code {
                module: id,
                offset: 1,
            },
        ]);
        let mut namer = Namer::new(modules);
        for _ in 0..2 {
            let names = namer.name(&stacks, false);
            let [text, code, nowhere] = &names.by_frame[..] else {
                panic!("three frames")
            };
            assert_eq!(&*text[0], "odd:name");
            assert!(
                code[0].contains("names") && code[0].contains("clean"),
                "{code:?}"
            );
            assert!(nowhere[0].contains("+0x1"), "{nowhere:?}");
            assert_eq!(names.nameless, [false, false, true]);
        }
    }
}
