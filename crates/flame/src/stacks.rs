//! Stacks, each distinct beginning of which is kept once.
//!
//! A stack is a place in a tree of calls, so a count of samples needs four bytes for its stack however deep that is. Frames are
//! addresses until somebody looks: names are found when a graph is drawn and not while the host works.

use crate::module::ModuleId;
use hashbrown::HashMap;

/// One call, or what stands for one at the root of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Frame {
    /// A process besides the one that was asked for; its name is a text of the stacks.
    Process { pid: u32, name: TextId },
    /// A thread; its name is a text of the stacks.
    Thread { tid: u32, name: TextId },
    /// Code in a file.
    Code { module: ModuleId, offset: u64 },
    /// Code that a process made at run time.
    Made { pid: u32, address: u64 },
    /// Code of the kernel.
    Kernel(u64),
    /// A ready text, such as a name that came from elsewhere.
    Text(TextId),
    /// An address that is in no mapping.
    Nowhere,
}

/// A text by its place among the stacks' texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TextId(u32);

/// A stack by its innermost call's place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StackId(u32);

/// The tree of calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stacks {
    nodes: Vec<Node>,
    /// Places by their parent and frame; those right behind their parent are not in it, and found there.
    by_step: HashMap<(u32, u32), u32>,
    /// The calls of the last stack and their places: the next one mostly begins with the same.
    last: Vec<(Frame, u32)>,
    frames: Vec<Frame>,
    by_frame: HashMap<Frame, u32>,
    texts: Vec<Box<str>>,
    by_text: HashMap<Box<str>, u32>,
    texts_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    frame: u32,
}

/// What stands above the calls of a sample whose copy of the stack ended before the stack did.
pub(crate) const CUT_OFF: &str = "[cut off]";
/// What stands above the calls of a sample whose further callers could not be found.
pub(crate) const CALLERS_NOT_FOUND: &str = "[callers not found]";
/// Above the root there is nothing.
const NONE: u32 = u32::MAX;

impl Stacks {
    /// The stack with these calls, outermost first; nothing for no calls at all.
    pub(crate) fn intern(&mut self, calls: impl IntoIterator<Item = Frame>) -> Option<StackId> {
        let mut at = NONE;
        let mut depth = 0;
        for call in calls {
            match self.last.get(depth) {
                Some((known, place)) if *known == call => at = *place,
                _ => {
                    let frame = self.frame(call);
                    at = self.child(at, frame);
                    self.last.truncate(depth);
                    self.last.push((call, at));
                }
            }
            depth += 1;
        }
        self.last.truncate(depth);
        (at != NONE).then_some(StackId(at))
    }

    /// A text's place.
    pub(crate) fn text_id(&mut self, text: &str) -> TextId {
        if let Some(known) = self.by_text.get(text) {
            return TextId(*known);
        }
        let id = index(self.texts.len());
        self.texts_bytes += 2 * text.len();
        self.texts.push(text.into());
        self.by_text.insert(text.into(), id);
        TextId(id)
    }

    /// A text.
    pub(crate) fn text(&self, id: TextId) -> &str {
        let at = usize::try_from(id.0).ok();
        at.and_then(|at| self.texts.get(at)).map_or("", |text| text)
    }

    /// All frames, each once.
    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The place of a frame among [`Stacks::frames`].
    pub(crate) fn frame_place(&self, frame: Frame) -> Option<usize> {
        place(*self.by_frame.get(&frame)?)
    }

    /// How many places the tree has.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Every place in the tree: its parent and its frame, by their numbers. A parent comes before its children.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (Option<usize>, usize)> {
        self.nodes
            .iter()
            .map(|node| (place(node.parent), place(node.frame).unwrap_or(0)))
    }

    /// A stack's calls, innermost first.
    pub(crate) fn calls(&self, stack: StackId) -> impl Iterator<Item = Frame> {
        let mut at = stack.0;
        std::iter::from_fn(move || {
            let node = self.nodes.get(place(at)?)?;
            at = node.parent;
            self.frames.get(place(node.frame)?).copied()
        })
    }

    /// Whether this is the thread of that name or number; nothing for what is no thread.
    pub(crate) fn is_thread(&self, frame: Frame, wanted: &str) -> Option<bool> {
        match frame {
            Frame::Thread { tid, name } => {
                Some(wanted == self.text(name) || wanted == tid.to_string())
            }
            _ => None,
        }
    }

    /// Takes a stack over from another tree.
    pub(crate) fn adopt(&mut self, other: &Self, stack: StackId) -> Option<StackId> {
        let mut calls: Vec<Frame> = other.calls(stack).collect();
        calls.reverse();
        let calls: Vec<Frame> = calls
            .into_iter()
            .map(|frame| match frame {
                Frame::Process { pid, name } => Frame::Process {
                    pid,
                    name: self.text_id(other.text(name)),
                },
                Frame::Thread { tid, name } => Frame::Thread {
                    tid,
                    name: self.text_id(other.text(name)),
                },
                Frame::Text(text) => Frame::Text(self.text_id(other.text(text))),
                Frame::Code { .. } | Frame::Made { .. } | Frame::Kernel(_) | Frame::Nowhere => {
                    frame
                }
            })
            .collect();
        self.intern(calls)
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let of_maps = self.by_step.capacity() * (size_of::<((u32, u32), u32)>() + 1)
            + self.by_frame.capacity() * (size_of::<(Frame, u32)>() + 1)
            + self.by_text.capacity() * (size_of::<(Box<str>, u32)>() + 1);
        let of_lists = self.nodes.capacity() * size_of::<Node>()
            + self.last.capacity() * size_of::<(Frame, u32)>()
            + self.frames.capacity() * size_of::<Frame>()
            + self.texts.capacity() * size_of::<Box<str>>();
        of_maps + of_lists + self.texts_bytes
    }

    fn child(&mut self, parent: u32, frame: u32) -> u32 {
        let new = index(self.nodes.len());
        let behind = place(parent).and_then(|at| self.nodes.get(at + 1));
        if behind.is_some_and(|node| node.parent == parent && node.frame == frame) {
            return parent + 1;
        }
        if parent != NONE && parent + 1 == new {
            self.nodes.push(Node { parent, frame });
            return new;
        }
        *self.by_step.entry((parent, frame)).or_insert_with(|| {
            self.nodes.push(Node { parent, frame });
            new
        })
    }

    fn frame(&mut self, frame: Frame) -> u32 {
        *self.by_frame.entry(frame).or_insert_with(|| {
            self.frames.push(frame);
            index(self.frames.len() - 1)
        })
    }
}

impl StackId {
    /// Its place among [`Stacks::nodes`].
    pub(crate) fn place(self) -> usize {
        place(self.0).unwrap_or(0)
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).expect("memory ends long before four billion places")
}

fn place(at: u32) -> Option<usize> {
    usize::try_from(at).ok().filter(|_| at != NONE)
}

/// Samples counted by their stacks.
pub(crate) type Counts = HashMap<StackId, u64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_share_their_beginnings() {
        let mut stacks = Stacks::default();
        let name = stacks.text_id("main");
        let root = Frame::Thread { tid: 1, name };
        let first = stacks.intern([root, Frame::Kernel(1), Frame::Kernel(2)]);
        let second = stacks.intern([root, Frame::Kernel(1), Frame::Kernel(3)]);
        assert_ne!(first, second);
        assert_eq!(stacks.len(), 4);
        assert_eq!(
            stacks.intern([root, Frame::Kernel(1), Frame::Kernel(2)]),
            first
        );
        let shorter = stacks.intern([root, Frame::Kernel(1)]);
        assert_eq!(stacks.len(), 4, "the beginning of a stack is there");
        let parted = stacks.intern([root, Frame::Kernel(2), Frame::Kernel(3)]);
        assert_eq!(stacks.len(), 6, "{shorter:?} {parted:?}");
        assert_eq!(
            stacks.intern([root, Frame::Kernel(2), Frame::Kernel(3)]),
            parted
        );
        assert_eq!(stacks.intern([root, Frame::Kernel(1)]), shorter);
        let calls: Vec<Frame> = stacks.calls(second.expect("it has calls")).collect();
        assert_eq!(calls, [Frame::Kernel(3), Frame::Kernel(1), root]);
        assert_eq!(stacks.text(name), "main");
        assert_eq!(stacks.intern([]), None);
    }

    #[test]
    fn a_stack_is_taken_over_with_its_texts() {
        let mut old = Stacks::default();
        let other = old.text_id("other");
        let name = old.text_id("worker");
        let stack = old
            .intern([Frame::Thread { tid: 7, name }, Frame::Text(other)])
            .expect("it has calls");
        let mut new = Stacks::default();
        let adopted = new.adopt(&old, stack).expect("it has calls");
        let texts: Vec<&str> = new
            .calls(adopted)
            .map(|frame| match frame {
                Frame::Thread { name, .. } | Frame::Process { name, .. } | Frame::Text(name) => {
                    new.text(name)
                }
                Frame::Code { .. } | Frame::Made { .. } | Frame::Kernel(_) | Frame::Nowhere => "",
            })
            .collect();
        assert_eq!(texts, ["other", "worker"]);
        assert!(new.bytes() > 0);
    }
}
