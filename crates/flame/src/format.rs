//! A profile as bytes that some program reads.

mod pprof;
mod viewer;

use crate::draw::{Caption, View, svg, svg_of_difference};
use crate::kind::Kind;
use crate::quality::{Quality, float};
use crate::tree::{Side, Tree};
use serde::{Deserialize, Serialize};
use std::io;

pub use self::pprof::{Foreign, read_pprof};

/// How a profile is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A picture for a browser.
    #[default]
    Svg,
    /// A line a stack.
    Folded,
    /// What `go tool pprof` reads, gzipped.
    Pprof,
    /// What speedscope reads.
    Speedscope,
    /// What the Firefox profiler reads.
    Firefox,
}

impl Format {
    /// Its name in addresses and options.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Folded => "folded",
            Self::Pprof => "pprof",
            Self::Speedscope => "speedscope",
            Self::Firefox => "firefox",
        }
    }

    /// Whether a comparison can be written so.
    #[must_use]
    pub fn compares(self) -> bool {
        matches!(self, Self::Svg | Self::Folded)
    }

    /// Its media type.
    #[must_use]
    pub fn media(self) -> &'static str {
        match self {
            Self::Svg => "image/svg+xml",
            Self::Folded => "text/plain; charset=utf-8",
            Self::Pprof => "application/octet-stream",
            Self::Speedscope | Self::Firefox => "application/json",
        }
    }
}

/// A named profile.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// What it is called.
    pub title: String,
    /// What its numbers count.
    pub kind: Kind,
    /// The numbers.
    pub tree: Tree,
    /// How good they are.
    pub quality: Quality,
}

impl Named {
    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be encoded, which is a bug.
    pub fn write(&self, view: View, format: Format) -> io::Result<Vec<u8>> {
        let tree = || match view {
            View::Flame | View::Icicle => self.tree.clone(),
            View::Reverse => self.tree.reversed(),
            View::Task => crate::task::by_task(&self.tree),
        };
        match format {
            Format::Svg => svg(&self.tree, self.kind, view, &self.caption()),
            Format::Folded => Ok((tree().folded(false).join("\n") + "\n").into_bytes()),
            Format::Pprof => pprof::write(&tree(), self.kind, &self.quality),
            Format::Speedscope => viewer::speedscope(&tree(), &self.title, self.kind),
            Format::Firefox => viewer::firefox(&tree(), &self.title, self.kind, &self.quality),
        }
    }

    fn caption(&self) -> Caption {
        let quality = &self.quality;
        Caption {
            title: format!("{}, {}", self.title, self.kind),
            subtitle: quality.to_string(),
        }
    }
}

/// Writes what changed from one profile to another: as a picture, or folded with both numbers, the first scaled to the second.
///
/// # Errors
/// When it cannot be drawn, which is a bug; `Unsupported` for formats that know no comparison.
pub fn write_difference(
    before: &Named,
    after: &Named,
    view: View,
    format: Format,
) -> io::Result<Vec<u8>> {
    let both = Tree::compare(&before.tree, &after.tree);
    match format {
        Format::Svg => {
            let gone = match (both.gone(), both.total(Side::First)) {
                (0, _) => String::new(),
                (gone, all) => {
                    let percent = float(gone) / float(all) * 100.0;
                    format!("; {percent:.1} % of before is gone")
                }
            };
            let (title, kind) = (&after.title, after.kind);
            let caption = Caption {
                title: format!("{title}, {kind}: red grew, blue shrank{gone}"),
                subtitle: format!("before: {} | after: {}", before.quality, after.quality),
            };
            svg_of_difference(&both, after.kind, view, &caption)
        }
        Format::Folded => {
            let both = match view {
                View::Flame | View::Icicle => both,
                View::Reverse => both.reversed(),
                View::Task => crate::task::by_task(&both),
            };
            Ok((both.folded(true).join("\n") + "\n").into_bytes())
        }
        Format::Pprof | Format::Speedscope | Format::Firefox => {
            Err(io::Error::from(io::ErrorKind::Unsupported))
        }
    }
}
